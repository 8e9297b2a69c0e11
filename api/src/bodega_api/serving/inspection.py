"""Whether the catalog knows all that the volume has, looked at when the process starts and when the catalog went back.

What the catalog knows is served all the same: each answer is of bytes that were verified, and names its version. But a
catalog that is behind its volume is an older backup, so that what was promoted or quarantined since is not known here
either: it is said loudly, in the log and at `/readyz`, until a rebuild has brought the versions back.
"""

import logging
import threading

from bodega_db.maintenance.behind import describe
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError

from bodega_api.serving.version_router import Routes

log = logging.getLogger("bodega_api")
LOOK_SECONDS = 0.1  # how often it looks whether the catalog changed, in memory
REPEAT_SECONDS = 10.0  # after which a catalog that is behind, and changes, is looked at again


class Inspection:
    """The thread that looks, and what it found last."""

    def __init__(self, store: ModelStore, routes: Routes) -> None:
        self._store, self._routes = store, routes
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.trouble: str | None = None

    def start(self) -> None:
        """Begin, as soon as the catalog is heard."""
        self._thread = threading.Thread(target=self._run, name="inspection", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        seen: int | None = None
        while not self._ending.wait(LOOK_SECONDS):
            generation = self._routes.generation
            if generation is None or not self._is_due(seen, generation):
                continue
            try:
                self._look()
            except BodegaError as exc:
                self._tell(f"It is not known whether the catalog knows all of the volume: {exc.message}")
                self._ending.wait(REPEAT_SECONDS)
                continue
            except Exception:  # a dead thread would never look again
                log.exception("The volume could not be held against the catalog")
            seen = generation
            if self.trouble:
                self._ending.wait(REPEAT_SECONDS)

    def _is_due(self, seen: int | None, generation: int) -> bool:
        """Tell whether to look: at first, when the catalog went back, and after a change while something is wrong."""
        return seen is None or generation < seen or (self.trouble is not None and generation != seen)

    def _look(self) -> None:
        self._store.check_catalog()
        unknown = self._store.find_unknown()
        self._tell(describe(unknown) if unknown else None)

    def _tell(self, trouble: str | None) -> None:
        if trouble and trouble != self.trouble:
            log.warning("%s", trouble)
        if self.trouble and not trouble:
            log.warning("The catalog knows all of the volume again")
        self.trouble = trouble
