"""What was answered, counted by version: how many, by what, how soon, and how many rows at once."""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0, 16384.0)
MOST_VERSIONS = 100  # each is some thirty series for whoever collects them; the others are counted together
OTHERS = ("", "")

Label = tuple[str, str]  # model and number


class Histogram:
    """How many values were at most as large as each bound, and their sum; safe to share between threads."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._lock = threading.Lock()
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        place = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[place] += 1
            self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def buckets(self) -> list[tuple[str, float]]:
        """Return the bounds, the last one infinite, and how many values are at most as large."""
        total, found = 0, []
        with self._lock:
            for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
                total += count
                found.append((bound, float(total)))
        return found


@dataclass(slots=True)
class Tally:
    """What was answered for one version: by its plan, by the model itself, or not; and what came of comparing the two.

    `seconds` are those of requests that were answered, `rows` those that were computed at once.
    """

    planned: int = 0
    native: int = 0
    failed: int = 0
    compared: int = 0
    retired: int = 0
    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    rows: Histogram = field(default_factory=lambda: Histogram(ROWS))


class Tallies:
    """The counters of a process: one for each of the first versions, so that there are never a million series."""

    def __init__(self) -> None:
        self._tallies: dict[Label, Tally] = {}
        self._lock = threading.Lock()

    def of(self, model: str, number: int) -> Tally:
        """Return the tally of a version, or the one of all that came too late."""
        with self._lock:
            label = (model, str(number))
            if label not in self._tallies and len(self._tallies) >= MOST_VERSIONS:
                label = OTHERS
            return self._tallies.setdefault(label, Tally())

    def by_version(self) -> list[tuple[Label, Tally]]:
        """Return each tally with the model and the number that it is of, both empty for that of the others."""
        with self._lock:
            return list(self._tallies.items())

    def total(self, name: str) -> int:
        """Return a count of all versions together."""
        return sum(getattr(tally, name) for _, tally in self.by_version())
