"""The versions kept in memory: each loaded once however many ask at the same moment, bounded by bytes.

What could not be loaded is remembered too, to be shown beside the version until a load succeeds.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from bodega_db.errors import CatalogUnavailableError
from bodega_db.records import Version, VersionSummary
from bodega_model.errors import BodegaError

Key = tuple[str, int, str]


class Model(Protocol):
    """What is kept for a version."""

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""


M = TypeVar("M", bound=Model)
MOST_FAILURES = 1000
LOADS_AT_ONCE = 4  # each may take as much memory as its model, twice


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """Why a version was not loaded, and when that was."""

    error: BodegaError
    at: datetime


@dataclass(slots=True)
class Kept(Generic[M]):
    """A version in memory, and when its artifact was last found to be the registered one, by the monotonic clock."""

    version: Version
    model: M
    verified_at: float = field(default_factory=time.monotonic)


def key_of(version: VersionSummary) -> Key:
    """Return what a version is known by in memory; the sha256 is part of it, so that nothing is mistaken."""
    return (version.model, version.number, version.digest.hex)


class LoadedVersions(Generic[M]):
    """Models by version, the least recently used leaving first, the favoured last; safe to share between threads.

    The bytes are verified at every load; after a failed one the next request tries again.
    """

    def __init__(self, load: Callable[[Version], M], capacity_bytes: int) -> None:
        self._load = load
        self._loaders = ThreadPoolExecutor(LOADS_AT_ONCE, thread_name_prefix="load")
        self._capacity = capacity_bytes
        self._kept: OrderedDict[Key, Kept[M]] = OrderedDict()
        self._loading: dict[Key, Future[M]] = {}
        self._failures: OrderedDict[Key, LoadFailure] = OrderedDict()
        self._favoured: Set[Key] = frozenset()
        self._lock = threading.Lock()
        self.loads = 0
        self.failed_loads = 0

    def get(self, version: Version) -> M:
        """Return the model of a version, loading it if need be; raise what loading raises, to all who wait."""
        return self.request(version).result()

    def request(self, version: Version) -> "Future[M]":
        """Return the engine of a version, now or once it is loaded; a waiting request cannot cancel the load."""
        key = key_of(version)
        with self._lock:
            waiting = self._loading.get(key)
            if waiting is None:
                waiting = Future[M]()
                waiting.set_running_or_notify_cancel()
                if key in self._kept:
                    self._kept.move_to_end(key)
                    waiting.set_result(self._kept[key].model)
                else:
                    self._loading[key] = waiting
                    self._loaders.submit(self._load_for_all, key, version, waiting)
        return waiting

    def peek(self, key: Key) -> M | None:
        """Return the model of a version that is in memory, or None; nothing is loaded, and it counts as a use."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            self._kept.move_to_end(key)
            return kept.model

    def favour(self, keys: Set[Key]) -> None:
        """Set the versions that are removed from memory last; this replaces the former set."""
        with self._lock:
            self._favoured = keys

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether a version of that size finds room beside those that are favoured."""
        with self._lock:
            taken = sum(kept.model.size_bytes for key, kept in self._kept.items() if key in self._favoured)
            return taken + size_bytes <= self._capacity

    def close(self) -> None:
        """Begin no further load."""
        self._loaders.shutdown(wait=False, cancel_futures=True)

    def _load_for_all(self, key: Key, version: Version, result: "Future[M]") -> None:
        try:
            model = self._load(version)
        except BaseException as exc:  # noqa: BLE001 (whoever waits raises it)
            with self._lock:
                del self._loading[key]
                self._remember(key, exc)
                self.failed_loads += 1
            result.set_exception(exc)
            return
        with self._lock:
            del self._loading[key]
            self._failures.pop(key, None)
            self.loads += 1
            self._keep(key, Kept(version, model))
        result.set_result(model)

    def _keep(self, key: Key, kept: Kept[M]) -> None:
        if kept.model.size_bytes > self._capacity:
            return  # it answers this once; making room would only drive out all others
        self._kept[key] = kept
        while self._size() > self._capacity:
            del self._kept[min(self._kept, key=self._favoured.__contains__)]  # the first of the least

    def _remember(self, key: Key, error: BaseException) -> None:
        # A catalog that is away says nothing about the version.
        if isinstance(error, BodegaError) and not isinstance(error, CatalogUnavailableError):
            self._failures[key] = LoadFailure(error, datetime.now(UTC))
            self._failures.move_to_end(key)
            if len(self._failures) > MOST_FAILURES:
                self._failures.popitem(last=False)

    def failure(self, version: VersionSummary) -> LoadFailure | None:
        """Return why the last load of a version failed here, or None if it did not."""
        with self._lock:
            return self._failures.get(key_of(version))

    # --- whether the artifacts behind them are still the registered ones ------------------------------------

    def versions(self) -> list[Version]:
        """Return the versions in memory, the one whose artifact was verified longest ago first."""
        with self._lock:
            return [kept.version for kept in sorted(self._kept.values(), key=lambda kept: kept.verified_at)]

    def note_sound(self, version: VersionSummary) -> None:
        """Remember that the artifact of a version was verified just now."""
        key = key_of(version)
        with self._lock:
            self._failures.pop(key, None)
            if key in self._kept:
                self._kept[key].verified_at = time.monotonic()

    def note_failure(self, version: VersionSummary, error: BodegaError) -> None:
        """Remember that a version could not be loaded now, to be shown beside it; in memory it answers on."""
        with self._lock:
            self._remember(key_of(version), error)

    @property
    def unverified_seconds(self) -> float:
        """How long ago the artifact was verified that was verified longest ago; 0 if nothing is in memory."""
        with self._lock:
            now = time.monotonic()
            return max((now - kept.verified_at for kept in self._kept.values()), default=0.0)

    @property
    def size_bytes(self) -> int:
        """The room that the versions in memory take."""
        with self._lock:
            return self._size()

    def _size(self) -> int:
        return sum(kept.model.size_bytes for kept in self._kept.values())

    @property
    def references(self) -> list[str]:
        """The versions in memory, least recently used first."""
        with self._lock:
            return [f"{model}@{number}" for model, number, _ in self._kept]
