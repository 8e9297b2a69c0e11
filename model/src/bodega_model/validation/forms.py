"""The two forms of a request that were read but not yet held to a signature: rows, and columns."""

from dataclasses import dataclass
from typing import Any


class DuplicateKeys(dict[str, Any]):
    """An object whose keys are not unique; `twice` are those that came again."""

    twice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows form: one object per row."""

    rows: list[Any]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns form: one list per column."""

    columns: dict[str, Any]


def json_type(value: Any) -> str:
    """Name the JSON type of a value, for a message that must not show the value."""
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", type(None): "null"}
    return names.get(type(value), "an object")
