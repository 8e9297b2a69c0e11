"""What a model takes and gives: the one source for request validation, OpenAPI, the web form and the docs."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Self

from pydantic import TypeAdapter

Scalar = bool | int | float | str
MOST_TOGETHER = 16_384  # rows of a table that a model is asked for at once


class Kind(StrEnum):
    """What a single value is, in the words of JSON and pandas."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"
    CATEGORY = "category"
    DATETIME = "datetime"


class Container(StrEnum):
    """What the model's methods are called with."""

    DATAFRAME = "dataframe"
    ARRAY = "array"
    TEXTS = "texts"


@dataclass(frozen=True, slots=True)
class Column:
    """One input column: what it may hold, and the dtype that the model sees.

    `categories` are the values that the model knows (an encoder's, or a pandas category's); with
    `accepts_unknown` it answers for others too. `minimum`, `maximum` and `null_shown` (was a value missing?) were
    observed in the example and bind nobody; versions from before there was a `null_shown` have none. `null` is how
    the model's data write a missing value: "nan", "none", "na" or "nat"; with `null_is_unknown` no encoder learned it
    as a category, and it is answered as any value beyond those.
    """

    name: str
    kind: Kind
    dtype: str
    nullable: bool = False
    categories: tuple[Scalar, ...] | None = None
    accepts_unknown: bool = True
    ordered: bool = False
    minimum: float | str | None = None
    maximum: float | str | None = None
    null: str = "nan"
    null_is_unknown: bool = False
    null_shown: bool | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What one method of the model answers for one row.

    `shape` is () for a single value and (k,) for k values. `classes` names the labels behind probabilities and
    class predictions; with `per_target` there is one list of classes for each of several targets.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    classes: tuple[Scalar, ...] | tuple[tuple[Scalar, ...], ...] | None = None
    per_target: bool = False
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """Columns in order, and the outputs by the name of the method that makes them.

    `by_row` is how a frame of one dtype lies in memory: sums are taken in that order, and their last digit
    depends on it. `row_wise` tells whether a row is answered the same whatever rows are asked with it; None where the
    model was never asked (versions of before).
    `promised` are the outputs that callers were told they may rely on, beside the default one.
    """

    container: Container
    columns: tuple[Column, ...]
    outputs: dict[str, Output]
    array_dtype: str | None = None
    by_row: bool = False
    row_wise: bool | None = None
    promised: tuple[str, ...] = ()

    @property
    def default_output(self) -> str:
        """The method that answers when the caller names none: the first, `predict` where it exists."""
        return next(iter(self.outputs))

    def column(self, name: str) -> Column:
        """Return a column by name; KeyError if there is none."""
        return next((c for c in self.columns if c.name == name), None) or _missing(name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, as the catalog keeps them."""
        return _adapter().dump_python(self, mode="json", exclude_none=True)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read back what `to_dict` wrote."""
        return _adapter().validate_python(value)  # type: ignore[return-value]


def _missing(name: str) -> Column:
    raise KeyError(name)


@cache
def _adapter() -> TypeAdapter[Signature]:
    return TypeAdapter(Signature)
