"""One difference of two signatures: where it is, what it is in words, and what it is to a client."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bodega_model.signature.types import Scalar

MOST_VALUES, LONGEST_VALUE = 5, 40


class Grade(StrEnum):
    """What a difference is to a client: nothing, wider or narrower where it was not used, or breaking."""

    SAME = "same"
    NOTE = "note"
    BREAKING = "breaking"

    @classmethod
    def worst(cls, grades: Collection["Grade"]) -> "Grade":
        """Return the worst of some grades, and SAME of none."""
        return max(grades, key=list(cls).index, default=cls.SAME)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference of two signatures: its place, as in 'column island', and what it is to a client."""

    what: str
    detail: str
    grade: Grade

    @property
    def breaking(self) -> bool:
        """Whether a client does not survive it."""
        return self.grade is Grade.BREAKING

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"what": self.what, "detail": self.detail, "grade": self.grade.value, "breaking": self.breaking}


def grade_of(breaking: bool) -> Grade:
    """Return the grade of what breaks a client or, of what does not, that of a note."""
    return Grade.BREAKING if breaking else Grade.NOTE


# --- in words ---------------------------------------------------------------------------------------------


def beyond(values: Collection[Any], known: Collection[Any]) -> list[Any]:
    """Return the values that are not among the known ones."""
    found = set(known)
    return [value for value in values if value not in found]


def listed(values: Collection[Scalar]) -> str:
    """Write some values, of many the first ones."""
    texts = [repr(value) for value in values][:MOST_VALUES]
    shown = ", ".join(text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…" for text in texts)
    return shown if len(values) <= MOST_VALUES else f"{shown} and {len(values) - MOST_VALUES} more"
