"""The states of a version and the moves between them, as pure data."""

from collections.abc import Iterable
from enum import StrEnum


class Status(StrEnum):
    """Where a version stands in its life."""

    CANDIDATE = "candidate"
    PRODUCTION = "production"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"


ALLOWED: dict[Status, frozenset[Status]] = {
    Status.CANDIDATE: frozenset({Status.PRODUCTION, Status.ARCHIVED, Status.QUARANTINED}),
    Status.PRODUCTION: frozenset({Status.ARCHIVED, Status.QUARANTINED}),
    Status.ARCHIVED: frozenset({Status.PRODUCTION, Status.QUARANTINED}),
    # Leaving quarantine takes a person, a reason and a fresh verification: `ModelStore` asks for them.
    Status.QUARANTINED: frozenset({Status.CANDIDATE, Status.ARCHIVED}),
}
RETIRED = frozenset({Status.ARCHIVED, Status.QUARANTINED})  # these alone may leave the catalog


def may_move(before: Status, after: Status) -> bool:
    """Tell whether a version may go from one status to another."""
    return after in ALLOWED[before]


def production_line(promotions: Iterable[int]) -> list[int]:
    """Return which versions were in production one after the other, the first one first, from all promotions in order.

    A version that returns ends the line behind it: after 1, 2, 3 and back to 2 the line is 1, 2. So one rollback
    after the other goes further back, and none returns to a version that somebody has left behind.
    """
    line: list[int] = []
    for number in promotions:
        if number in line:
            del line[line.index(number) + 1 :]
        else:
            line.append(number)
    return line
