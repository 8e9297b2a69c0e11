"""A progress bar on a terminal's standard error; without a terminal nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bodega_db.maintenance.progress import Progress
    from rich.progress import Progress as Bars


class Bar:
    """Shows each part of a piece of work as a bar of its own."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars

    def begin(self, what: str, total: int) -> None:
        """Show a further bar."""
        self._part = self._bars.add_task(what, total=total)

    def advance(self, done: int) -> None:
        """Move the last bar on."""
        self._bars.advance(self._part, done)


@contextmanager
def shown_progress() -> Iterator["Progress"]:
    """Yield what long work reports to; it is drawn on standard error if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal) as bars:
        yield Bar(bars)
