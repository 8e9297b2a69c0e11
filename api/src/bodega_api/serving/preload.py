"""The versions in production: loaded before the process is ready and after each promotion, if the settings say so."""

import logging
import threading

from bodega_db.errors import CatalogUnavailableError
from bodega_db.records import VersionSummary
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError

from bodega_api.errors import WarmingError
from bodega_api.serving.engine import Engine
from bodega_api.serving.model_cache import LoadedVersions, key_of
from bodega_api.serving.version_router import Routes

log = logging.getLogger("bodega_api")
LOOK_SECONDS = 0.2  # how often it looks whether the catalog changed, in memory
RETRY_SECONDS = 2.0


class Warming:
    """The thread that loads; without `wanted` there is none."""

    def __init__(self, store: ModelStore, routes: Routes, loaded: LoadedVersions[Engine], *, wanted: bool) -> None:
        self._store, self._routes, self._loaded = store, routes, loaded
        self._wanted = wanted
        self._warm = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, as soon as the catalog is heard."""
        if self._wanted:
            self._thread = threading.Thread(target=self._run, name="warming", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End; a load that was begun goes on."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def check(self) -> None:
        """Raise WarmingError until each version that was in production at the start was loaded, or could not be."""
        if self._wanted and not self._warm.is_set():
            raise WarmingError("The versions in production are being loaded")

    def _run(self) -> None:
        known: int | None = None
        while not self._ending.wait(LOOK_SECONDS):
            generation = self._routes.generation
            if generation == known:
                continue
            try:
                self._load_production()
            except Exception as exc:  # a dead thread would be a process that is never ready
                odd = None if isinstance(exc, BodegaError) else exc
                log.warning("The versions in production are not loaded yet: %s", exc, exc_info=odd)
                self._ending.wait(RETRY_SECONDS)
                continue
            known = generation
            self._warm.set()

    def _load_production(self) -> None:
        wanted = self._store.versions(filter="status=production")
        self._loaded.favour({key_of(version) for version in wanted})
        for version in wanted:
            if self._ending.is_set():
                return
            if self._loaded.peek(key_of(version)) is None:
                self._load(version)

    def _load(self, summary: VersionSummary) -> None:
        if not self._loaded.has_room(summary.size_bytes):
            log.warning("%s is in production, and BODEGA_CACHE_BYTES has no room for it", summary.reference)
            return
        try:
            self._loaded.get(self._store.resolve(summary.reference).version)
        except CatalogUnavailableError:
            raise
        except BodegaError as exc:  # which is shown beside the version, and told to whoever asks for it
            log.warning("%s is in production and cannot be loaded: %s", summary.reference, exc.message)
        except Exception:  # the others have a right to be loaded, and the process to be ready
            log.exception("%s is in production, and loading it failed", summary.reference)
