"""A scrub: the artifacts of the versions in memory are read again in the background, slowly, to find what has rotted.

A version in memory was verified when it was loaded and answers on; what a scrub finds would be met at the next load,
here or in another process, when nobody has time for it. One that was damaged is read a second time, past the cache,
before that is believed; what is missing or cannot be read is this machine's trouble.
"""

import logging
import threading
from collections import Counter

from bodega_db.errors import ArtifactError, ArtifactMissingError
from bodega_db.records import Version
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError

from bodega_api.serving.engine import Engine
from bodega_api.serving.model_cache import LoadedVersions

log = logging.getLogger("bodega_api")


class EndedError(Exception):
    """The process ends in the middle of an artifact."""


class Scrub:
    """The thread that reads; `pause_seconds` lie between two rounds."""

    def __init__(
        self,
        store: ModelStore,
        loaded: LoadedVersions[Engine],
        *,
        pause_seconds: float,
        bytes_per_second: int,
        quarantine: bool,
    ) -> None:
        self._store = store
        self._loaded = loaded
        self._pause = pause_seconds
        self._rate = bytes_per_second
        self._quarantine = quarantine
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.bytes_read = 0
        self.outcomes: Counter[str] = Counter()

    def start(self) -> None:
        """Begin, a pause after now, unless the pause is 0."""
        if self._pause:
            self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, also in the middle of an artifact."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(self._pause):
            for version in self._loaded.versions():
                try:
                    self._check(version)
                except EndedError:
                    return
                except Exception:  # whatever it is, the other versions have a right to be read
                    log.exception("The scrub of %s failed", version.reference)

    def _check(self, version: Version) -> None:
        try:
            self._store.check_volume()
            self._store.verify(version.digest, version.size_bytes, pace=self._wait)
        except BodegaError as exc:
            self.outcomes[exc.step or "catalog"] += 1
            self._report(version, exc)
        else:
            self.outcomes["sound"] += 1
            self._loaded.note_sound(version)

    def _report(self, version: Version, error: BodegaError) -> None:
        log.warning("The scrub of %s found: %s", version.reference, error.message)
        self._loaded.note_failure(version, error)
        if not self._quarantine or not isinstance(error, ArtifactError) or isinstance(error, ArtifactMissingError):
            return
        if self._store.quarantine_damaged(version, error):
            log.warning("%s is in quarantine now", version.reference)

    def _wait(self, count: int) -> None:
        self.bytes_read += count
        if self._ending.wait(count / self._rate):
            raise EndedError
