"""The states of a version and the moves between them, as pure data."""

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


def may_move(before: Status, after: Status) -> bool:
    """Tell whether a version may go from one status to another."""
    return after in ALLOWED[before]
