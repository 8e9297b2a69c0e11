"""The progress of a long task, reported to a caller that shows it."""

from typing import Protocol


class Progress(Protocol):
    """What is told of a long piece of work: its parts one after another, and how much of each is done."""

    def begin(self, what: str, total: int) -> None:
        """Hear that a part begins, and how much there is to do: files or bytes."""

    def advance(self, done: int) -> None:
        """Hear that so much more of it is done."""


class Silence:
    """Reports to no one."""

    def begin(self, what: str, total: int) -> None:
        """Say nothing."""

    def advance(self, done: int) -> None:
        """Say nothing."""
