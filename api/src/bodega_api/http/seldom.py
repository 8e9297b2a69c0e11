"""Lines for the log about what may happen thousands of times a second: one a minute of each kind, with a count."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

PAUSE_SECONDS = 60.0
MOST_KINDS = 1000


class Seldom:
    """Writes the first lines of each kind at once, and counts those that come within the minute after."""

    def __init__(self, log: logging.Logger, at_most: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._at_most = at_most
        self._clock = clock
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}  # the minute of each kind
        self._seen: Counter[str] = Counter()  # in that minute

    def warn(self, kind: str, line: str) -> None:
        """Write a line, or count it; the next line of its kind tells how many were left out."""
        with self._lock:
            now = self._clock()
            left_out = 0
            if now - self._began.get(kind, -PAUSE_SECONDS) >= PAUSE_SECONDS:
                left_out = max(0, self._seen.pop(kind, 0) - self._at_most)
                self._forget(now)
                self._began[kind] = now
            self._seen[kind] += 1
            if self._seen[kind] > self._at_most:
                return
        self._log.warning("%s%s", line, f" (and {left_out} more like it since the last such line)" if left_out else "")

    def _forget(self, now: float) -> None:
        if len(self._began) >= MOST_KINDS:
            for kind in [kind for kind, began in self._began.items() if now - began >= PAUSE_SECONDS]:
                del self._began[kind], self._seen[kind]
