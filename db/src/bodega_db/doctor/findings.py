"""What a check of a store finds: how that part stands, what was found, and what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How a part of a store stands."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, how that part stands, what was found, what to do next, and the figures for programs."""

    name: str
    state: State
    found: str
    advice: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_usable(self) -> bool:
        """Tell whether checks that build on this part make sense."""
        return self.state in (State.OK, State.WARNING)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain JSON values."""
        return {
            "name": self.name,
            "state": self.state.value,
            "found": self.found,
            "advice": self.advice,
            "figures": dict(self.figures),
        }


def judge(value: float, *, warning: float, fault: float) -> State:
    """Return how a figure stands that is the worse the larger it is: beyond a limit, it is that."""
    if value > fault:
        return State.FAULT
    return State.WARNING if value > warning else State.OK
