"""Which version answers for what, kept in memory: a warm prediction needs no database."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from bodega_db.catalog.changes import Choose, Contact
from bodega_db.errors import CatalogNotMigratedError, CatalogUnavailableError
from bodega_db.records import Changes, Resolution, Version
from bodega_db.reference import ByNumber, Default, Production, Selector, parse_selector
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError

from bodega_api.serving.model_cache import key_of

log = logging.getLogger(__name__)
CAPACITY = 1000  # choices; each holds what the catalog knows of a version, and all may have to be made again at once

Choice = tuple[str | None, Selector]


def choice_of(model: str | None, version: str | None) -> Choice:
    """Return what a choice is remembered by: "7", "007" and "0000000007" are one; raise InvalidReferenceError."""
    return (model, parse_selector(version))


@dataclass(frozen=True, slots=True)
class Route:
    """The version that answers, and how fresh that is: every change up to `generation` is in it.

    `age_seconds` ago there certainly was no later change.
    """

    resolution: Resolution
    generation: int
    age_seconds: float


class Heard(NamedTuple):
    """Every change up to `generation` is known; `age_seconds` ago there certainly was no later one."""

    generation: int
    age_seconds: float


class Recalled(NamedTuple):
    """A choice that is in memory; the former one, as of `since`, while the version that follows it is loaded."""

    resolution: Resolution
    since: Contact | None

    def heard(self, now: Heard) -> Heard:
        """Tell how fresh it is, where `now` is how fresh the others are."""
        if self.since is not None:
            return Heard(self.since.generation, time.monotonic() - self.since.at)
        return Heard(max(now.generation, self.resolution.generation), now.age_seconds)


class Takeover(NamedTuple):
    """A choice that will be made as soon as its version is loaded, and what was known before it was to be made."""

    resolution: Resolution
    loading: "Future[Any]"
    since: Contact


Load = Callable[[Version], "Future[Any]"]


class Routes:
    """The choices that were made, renewed whenever the catalog changes; safe to share between threads.

    What is remembered answers while the catalog was heard no longer than `max_stale` seconds ago; everything else
    asks the catalog. An error is never remembered. A version that is promoted is loaded before it takes over, if there
    is a `load`; until then the former one answers, as long as it may.
    """

    def __init__(self, store: ModelStore, max_stale: float, capacity: int = CAPACITY, load: Load | None = None) -> None:
        self._store = store
        self._max_stale = max_stale
        self._capacity = capacity
        self._load = load
        self._takeovers: dict[Choice, Takeover] = {}
        self._watcher = store.watch(self._renew)
        self._kept: OrderedDict[Choice, Resolution] = OrderedDict()
        self._renewals = 0
        self._epoch = 0
        self._lock = threading.Lock()  # never held while the catalog is asked

    def start(self) -> None:
        """Begin to hear of changes; until then every choice asks the catalog."""
        self._watcher.start()

    def stop(self) -> None:
        """Hear of no more changes."""
        self._watcher.stop()

    @property
    def generation(self) -> int | None:
        """The last change of the catalog that is known; None before the catalog was first heard."""
        contact = self._watcher.contact
        return None if contact is None else contact.generation

    @property
    def age_seconds(self) -> float | None:
        """How long ago it was certain that nothing had changed; None before the catalog was first heard."""
        contact = self._watcher.contact
        return None if contact is None else time.monotonic() - contact.at

    def choose(self, model: str | None, version: str | None) -> Route:
        """Choose by model and version as `ModelStore.choose` does, from memory if that is fresh enough.

        Raises what `ModelStore.choose` raises.
        """
        key = choice_of(model, version)
        contact = self._watcher.contact
        heard = self.hear()
        recalled = None if heard is None else self.recall(key)
        if heard is not None and recalled is not None:
            return Route(recalled.resolution, *recalled.heard(heard))
        resolution = self._ask(key, version, contact)
        return Route(resolution, resolution.generation, 0.0)

    @property
    def epoch(self) -> int:
        """How often choices were replaced: while it stays the same, what was recalled is what would be recalled."""
        return self._epoch

    def hear(self) -> Heard | None:
        """Tell how fresh what is in memory is; None where that is not enough.

        Ask this before the choice, which is then no older than this says.
        """
        contact = self._watcher.contact
        if contact is None or (age := time.monotonic() - contact.at) > self._max_stale:
            return None
        return Heard(contact.generation, age)

    def recall(self, key: Choice) -> Recalled | None:
        """Return a choice that is in memory, however old."""
        with self._lock:
            resolution = self._kept.get(key)
            if resolution is None:
                return None
            self._kept.move_to_end(key)
            takeover = self._takeovers.get(key)
            return Recalled(resolution, None if takeover is None else takeover.since)

    def _ask(self, key: Choice, version: str | None, contact: Contact | None) -> Resolution:
        with self._lock:
            renewals = self._renewals
        try:
            resolution = self._store.choose(key[0], version)
        except CatalogUnavailableError as exc:
            self._refuse_the_stale(contact, exc)
            raise
        with self._lock:
            # A choice that was made before a change must not be remembered after it: nobody would renew it.
            if renewals == self._renewals:
                self._keep(key, resolution)
        return resolution

    def _keep(self, key: Choice, resolution: Resolution) -> None:
        self._kept[key] = resolution
        self._kept.move_to_end(key)
        while len(self._kept) > self._capacity:
            dropped, _ = self._kept.popitem(last=False)
            self._takeovers.pop(dropped, None)

    def _refuse_the_stale(self, contact: Contact | None, exc: CatalogUnavailableError) -> None:
        age = 0.0 if contact is None else time.monotonic() - contact.at
        if age > self._max_stale:
            raise CatalogUnavailableError(
                f"{exc.message}, and what is remembered of it is {age:.1f} s old: more than the {self._max_stale:g} s "
                "that BODEGA_MAX_STALE allows"
            ) from exc

    def _renew(self, changes: Changes, choose: Choose) -> None:
        """Make the choices anew that a change concerns, all in the one snapshot of the catalog that `choose` sees.

        Until they are made the former ones answer; if the catalog goes away meanwhile none is replaced.
        """
        with self._lock:
            self._renewals += 1  # from here on nothing is kept that was asked for before
            concerned = {key: kept for key, kept in self._kept.items() if changes.concern(key[0])}
        renewed = {key: _choose_again(choose, key) for key in concerned}
        takeovers = self._prepare(concerned, renewed, choose)
        with self._lock:
            for key in self._kept.keys() & renewed.keys():
                resolution = renewed[key]
                self._takeovers.pop(key, None)
                if resolution is None:
                    del self._kept[key]
                elif key in takeovers:
                    self._takeovers[key] = takeovers[key]
                else:
                    self._kept[key] = resolution
            self._epoch += 1
        for key, takeover in takeovers.items():
            takeover.loading.add_done_callback(partial(self._take_over, key, takeover))

    def _prepare(
        self, former: Mapping[Choice, Resolution], renewed: Mapping[Choice, Resolution | None], choose: Choose
    ) -> dict[Choice, Takeover]:
        """Begin to load the versions that were promoted; return the choices that wait for one."""
        contact = self._watcher.contact
        takeovers: dict[Choice, Takeover] = {}
        for key, resolution in renewed.items():
            if self._load is None or contact is None or resolution is None:
                continue
            if not _is_promotion(key, former[key], resolution):
                continue
            loading = self._load(resolution.version)
            if not loading.done() and _serves_still(former[key].version, choose):
                waiting = self._takeovers.get(key)
                since = contact if waiting is None else waiting.since
                takeovers[key] = Takeover(resolution, loading, since)
        return takeovers

    def _take_over(self, key: Choice, takeover: Takeover, _: object) -> None:
        """Make a choice whose version was loaded, or could not be, which whoever asks is told."""
        with self._lock:
            if self._takeovers.get(key) is takeover:
                del self._takeovers[key]
                self._kept[key] = takeover.resolution
                self._epoch += 1


def _is_promotion(key: Choice, former: Resolution, resolution: Resolution) -> bool:
    is_other = key_of(former.version) != key_of(resolution.version)
    return is_other and isinstance(key[1], Production | Default) and resolution.version.status == "production"


def _serves_still(version: Version, choose: Choose) -> bool:
    """Tell whether a version that was chosen before may be served, and is not in quarantine or deleted."""
    again = _choose_again(choose, (version.model, ByNumber(version.number)))
    return again is not None and again.version.digest == version.digest


def _choose_again(choose: Choose, key: Choice) -> Resolution | None:
    try:
        return choose(*key)
    except (CatalogUnavailableError, CatalogNotMigratedError):
        raise
    except BodegaError:  # whoever asks next is told why
        return None
    except Exception:
        # A row that this program cannot read must not keep all others from being renewed.
        log.exception("A choice for the model %s could not be made again", key[0])
        return None


def freshness(generation: int, age_seconds: float) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that tell how fresh the choice of the version is, as ASGI sends them."""
    return (b"bodega-generation", b"%d" % generation), (b"bodega-snapshot-age", b"%.1f" % age_seconds)
