"""Rows against a signature: every value strictly of its column's kind, every fault named by row and column.

Nothing is converted that could lose something: no "1" for 1, no true for 1, no 1.5 for an integer.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bodega_model.errors import InputError, TooManyRowsError
from bodega_model.signature.columns import integer_bounds, is_timezone_aware, read_moment, turns_to_float
from bodega_model.signature.types import Column, Kind, Signature
from bodega_model.validation.forms import Columns, DuplicateKeys, Rows, json_type

MOST_PROBLEMS = 20
LONGEST_NAME = 64
EXACT_FLOAT = 2**53  # beyond, a JSON number with a point may not be the integer that was meant
ISO_8601 = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(?P<zone>Z|[+-]\d\d:\d\d)?)?", re.ASCII)

Check = Callable[[Any], Any]


class FaultError(ValueError):
    """One value that does not fit; the message completes 'column x …'."""


@dataclass(slots=True)
class Report:
    """What is wrong (at most 20 are kept) and what is only worth a warning.

    `rows` were looked at before: the first of those that are looked at now has that number.
    """

    problems: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0
    rows: int = 0
    unknown: dict[str, tuple[int, int]] = field(default_factory=dict)  # by column: how many, and the row of the first

    def add(self, detail: str, column: str | None = None, row: int | None = None) -> None:
        """Note a fault."""
        self.count += 1
        if len(self.problems) < MOST_PROBLEMS:
            place = {
                "row": None if row is None else self.rows + row,
                "column": shown(column) if column is not None else None,
            }
            self.problems.append({k: v for k, v in place.items() if v is not None} | {"detail": detail})

    def add_unknown(self, column: str, count: int, row: int) -> None:
        """Note values beyond the categories that a column knows, and the row of the first."""
        before, first = self.unknown.get(column, (0, self.rows + row))
        self.unknown[column] = (before + count, first)

    @property
    def warnings(self) -> list[str]:
        """What the answer says beside its predictions, once all `rows` were looked at."""
        return [
            f"column {shown(column)}: {count} of {self.rows} values are not among the categories the "
            f"model was trained on (first in row {first}); it answers as for an unknown one"
            for column, (count, first) in self.unknown.items()
        ]

    def raise_if_any(self) -> None:
        """Raise InputError with what was noted."""
        if self.count:
            first = self.problems[0]
            where = ", ".join(f"{k} {first[k]}" for k in ("row", "column") if k in first)
            more = f" (and {self.count - 1} more)" if self.count > 1 else ""
            raise InputError(f"{where}: {first['detail']}{more}".removeprefix(": "), self.problems)


@dataclass(frozen=True, slots=True)
class Input:
    """Columns that fit the signature, in its order, and warnings for the answer."""

    columns: dict[str, list[Any]]
    rows: int
    warnings: list[str]


def check_input(body: Rows | Columns, signature: Signature, max_rows: int) -> Input:
    """Return the columns of a request; raise InputError listing at most 20 faults."""
    report = Report()
    columns, count = _gather(body, signature, report, max_rows)
    report.raise_if_any()
    checked = {column.name: check_column(column, columns[column.name], report) for column in signature.columns}
    report.raise_if_any()
    report.rows = count
    return Input(checked, count, report.warnings)


def shown(name: str) -> str:
    """Return a column's name as a message may show it: short and printable."""
    printable = "".join(character if character.isprintable() else "�" for character in name)
    return printable if len(printable) <= LONGEST_NAME else printable[: LONGEST_NAME - 1] + "…"


# --- the same columns in every row -------------------------------------------------------------------------


def _gather(
    body: Rows | Columns, signature: Signature, report: Report, max_rows: int
) -> tuple[dict[str, list[Any]], int]:
    names = [column.name for column in signature.columns]
    if isinstance(body, Columns):
        return _gather_columns(body.columns, names, report, max_rows)
    _check_count(len(body.rows), max_rows)
    for place, row in enumerate(body.rows):
        _check_names(row, names, report, place)
    if report.count:
        return {}, 0
    return {name: [row[name] for row in body.rows] for name in names}, len(body.rows)


def _gather_columns(
    columns: dict[str, Any], names: Sequence[str], report: Report, max_rows: int
) -> tuple[dict[str, list[Any]], int]:
    _check_names(columns, names, report, None)
    lengths = {}
    for name in names:
        values = columns.get(name)
        if isinstance(values, list):
            lengths[name] = len(values)
        elif name in columns:
            report.add(f"is {json_type(values)}, not a list", name)
    if len(set(lengths.values())) > 1:
        report.add("the columns have different lengths: " + ", ".join(map(str, sorted(set(lengths.values()))[:5])))
    report.raise_if_any()
    count = next(iter(lengths.values()))
    _check_count(count, max_rows)
    return columns, count


def _check_count(count: int, max_rows: int) -> None:
    if count == 0:
        raise no_rows()
    if count > max_rows:
        raise TooManyRowsError(f"There are {count} rows, at most {max_rows} are answered at once")


def no_rows() -> InputError:
    """Return what is wrong with a body that has no rows."""
    return InputError("There are no rows", hint="Send at least one.")


def check_header(names: Sequence[str], signature: Signature, report: Report) -> None:
    """Note which columns of a table are missing, unknown or there twice."""
    header = DuplicateKeys(dict.fromkeys(names))
    header.twice = tuple(name for name, count in Counter(names).items() if count > 1)
    _check_names(header, [column.name for column in signature.columns], report, None)


def _check_names(row: Any, names: Sequence[str], report: Report, place: int | None) -> None:
    if not isinstance(row, dict):
        report.add(f"is {json_type(row)}, not an object", row=place)
        return
    if isinstance(row, DuplicateKeys):
        for name in dict.fromkeys(row.twice):
            report.add("is there twice", name, place)
    if row.keys() == set(names):
        return
    for name in names:
        if name not in row:
            report.add("is missing", name, place)
    known = set(names)
    for name in row:
        if name not in known:
            report.add("is not a column of this model", name, place)


# --- one column ------------------------------------------------------------------------------------------


def check_column(column: Column, values: list[Any], report: Report) -> list[Any]:
    """Return the JSON values of a column as the model is given them; note each that does not fit."""
    check = _check_for(column, gaps=None in values)
    checked = []
    for place, value in enumerate(values):
        try:
            checked.append(check(value) if value is not None else _check_null(column))
        except FaultError as exc:
            report.add(str(exc), column.name, place)
            checked.append(None)  # the rows behind it keep their numbers
    if column.categories is not None:
        _check_categories(column, checked, report)
    return checked


def _check_null(column: Column) -> Any:
    if not column.nullable:
        raise FaultError("is null, and the model does not take missing values here")
    return None


def _check_categories(column: Column, values: Sequence[Any], report: Report) -> None:
    known = set(column.categories or ())
    unknown = [
        place for place, value in enumerate(values) if (column.null_is_unknown if value is None else value not in known)
    ]
    if not column.accepts_unknown:
        for place in unknown:
            if values[place] is not None:
                report.add(f"is not one of the {len(known)} categories the model knows", column.name, place)
        unknown = [place for place in unknown if values[place] is None]
    if unknown:
        report.add_unknown(column.name, len(unknown), unknown[0])


def value_kind(column: Column) -> Kind:
    """Return what the values of a column are: those of a category are of the kind of its categories."""
    if column.kind is not Kind.CATEGORY:
        return column.kind
    first = (column.categories or ("",))[0]
    return {bool: Kind.BOOLEAN, int: Kind.INTEGER, float: Kind.NUMBER}.get(type(first), Kind.STRING)


def _check_for(column: Column, *, gaps: bool) -> Check:
    kind = value_kind(column)
    return {
        Kind.NUMBER: _number(column),
        Kind.INTEGER: _integer(column, gaps=gaps),
        Kind.BOOLEAN: _boolean,
        Kind.STRING: _text,
        Kind.DATETIME: _datetime(column),
    }[kind]


def _number(column: Column) -> Check:
    dtype = column.dtype.lower()  # pandas' nullable Float32 is as narrow as numpy's
    largest = float(np.finfo(dtype).max) if dtype in ("float16", "float32") else math.inf

    def check(value: Any) -> float:
        if isinstance(value, int) and abs(value) > EXACT_FLOAT and not _is_exact(value):
            raise FaultError("is an integer that a floating point number cannot hold")
        if type(value) not in (int, float):
            raise FaultError(f"is {json_type(value)}, not a number")
        number = float(value)
        if not math.isfinite(number) or abs(number) > largest:
            raise FaultError("is a number too large for the column")
        return number

    return check


def _is_exact(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _integer(column: Column, *, gaps: bool) -> Check:
    lowest, highest = integer_bounds(column)
    as_float = gaps and column.kind is Kind.INTEGER and turns_to_float(column)

    def check(value: Any) -> int:
        if type(value) not in (int, float):
            raise FaultError(f"is {json_type(value)}, not an integer")
        if type(value) is float and not (value.is_integer() and abs(value) < EXACT_FLOAT):
            raise FaultError("is a number with a fraction, or too large to be an exact integer")
        if not lowest <= value <= highest:
            raise FaultError(f"is not between {lowest} and {highest}")
        if as_float and not _is_exact(int(value)):
            raise FaultError("is an integer too large to stand beside a missing value")
        return int(value)

    return check


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise FaultError(f"is {json_type(value)}, not true or false")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise FaultError(f"is {json_type(value)}, not text")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise FaultError("is text with half of a surrogate pair")
    return value


def _datetime(column: Column) -> Check:
    aware = is_timezone_aware(column) if column.kind is Kind.DATETIME else False

    def check(value: Any) -> str:
        if type(value) is not str:
            raise FaultError(f"is {json_type(value)}, not text with a date and time")
        found = ISO_8601.fullmatch(value)
        if not found:
            raise FaultError("is not an ISO 8601 date and time such as 2026-01-31T12:00:00")
        if bool(found["zone"]) != aware:
            raise FaultError("needs a time zone, as in …Z or …+02:00" if aware else "has a time zone, and none is due")
        _check_moment(column, value)
        return value

    return check


def _check_moment(column: Column, value: str) -> None:
    try:
        read_moment(column, value)
    except ValueError:
        raise FaultError("is not a moment that the column can hold exactly") from None
