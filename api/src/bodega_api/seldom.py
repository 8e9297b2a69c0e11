"""Lines for the log about what may happen thousands of times a second: one a minute of each kind, with a count."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

PAUSE_SECONDS = 60.0


class Seldom:
    """Writes the first line of each kind at once, and others of the kind not before a minute has passed."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._written: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()

    def warn(self, kind: str, line: str) -> None:
        """Write a line, or count it; the next line of its kind tells how many were left out."""
        with self._lock:
            now = self._clock()
            if now - self._written.get(kind, -PAUSE_SECONDS) < PAUSE_SECONDS:
                self._left_out[kind] += 1
                return
            self._written[kind] = now
            left_out = self._left_out.pop(kind, 0)
        self._log.warning("%s%s", line, f" (and {left_out} more like it since the last such line)" if left_out else "")
