"""Which outputs of which versions were answered: told to the catalog now and then, so that a promotion knows.

Whoever answers puts a word into a set, which costs nothing; a thread looks into the sets each second. What was told
within the hour is not told again, so the catalog is written to when something new is asked, and hardly ever else.
"""

import logging
import threading
import time

from bodega_db.catalog.usage import RENEWED_AFTER, AskedOutput
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError

log = logging.getLogger(__name__)
PAUSE = 1.0  # seconds, after which a promotion elsewhere knows of an output that was asked for the first time
PAUSE_AFTER_FAILURE = 30.0
RENEW = RENEWED_AFTER.total_seconds()


class Usage:
    """What this process answered and the catalog does not know yet; safe to share between threads."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._asked: dict[tuple[str, int], set[str]] = {}
        self._told: dict[AskedOutput, float] = {}  # by time.monotonic()
        self._lock = threading.Lock()
        self._telling = threading.Lock()  # one at a time; loads, which take a set, do not wait for the catalog
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)

    def of(self, model: str, number: int) -> set[str]:
        """Return the set into which goes each output of the version that is answered."""
        with self._lock:
            return self._asked.setdefault((model, number), set())

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def stop(self) -> None:
        """End, and tell what is left if the catalog takes it."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self.tell_if_possible()

    def tell(self) -> None:
        """Tell the catalog now; raise what it raises, and keep what it did not take."""
        with self._telling:
            with self._lock:
                sets = list(self._asked.items())
            now = time.monotonic()
            asked = [AskedOutput(*key, output) for key, outputs in sets for output in _taken(outputs)]
            due = [one for one in asked if now - self._told.get(one, -RENEW) >= RENEW]
            try:
                self._store.note_asked(due)
            except BaseException:
                for one in due:
                    self.of(one.model, one.number).add(one.output)
                raise
            self._told.update(dict.fromkeys(due, now))

    def tell_if_possible(self) -> bool:
        """Tell the catalog now, and whether it took it; nothing that depends on it fails with it."""
        try:
            self.tell()
        except BodegaError as exc:
            log.warning("Which outputs were asked could not be noted: %s", exc.message)
        except Exception:
            log.exception("Noting which outputs were asked failed")
        else:
            return True
        return False

    def _run(self) -> None:
        pause = PAUSE
        while not self._ending.wait(pause):
            pause = PAUSE if self.tell_if_possible() else PAUSE_AFTER_FAILURE


def _taken(outputs: set[str]) -> list[str]:
    """Take everything out of a set, into which others put more meanwhile."""
    taken = []
    while outputs:
        taken.append(outputs.pop())
    return taken
