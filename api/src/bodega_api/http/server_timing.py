"""The duration of each step of a request, on demand: the header Server-Timing (W3C), which browsers draw."""

import time


class Laps:
    """A stopwatch that runs from its making and notes each step, one after another."""

    def __init__(self) -> None:
        self._start = self._began = time.perf_counter()
        self._steps: list[str] = []

    def lap(self, step: str) -> None:
        """Note that a step ends here; the next one begins."""
        now = time.perf_counter()
        self._steps.append(f"{step};dur={1000 * (now - self._began):.3f}")
        self._began = now

    @property
    def seconds(self) -> float:
        """All steps so far."""
        return self._began - self._start

    @property
    def header(self) -> str:
        """The steps in milliseconds, as in `read;dur=0.412, load;dur=0.003`."""
        return ", ".join(self._steps)
