"""Rows that are chosen to find a difference between a plan and its model: every column has its turn, however many.

Each odd row is a usual one, or one mixed of usual ones, with one value that is extreme or rare; of hundreds of columns,
with several rare ones. Which values are asked is bound by the column's kind and dtype, and by nothing else: all
categories, the borders of what was seen and their neighbours, what is missing or unknown, zeros of either sign, the
least and the greatest numbers, and integers around 2^31, 2^33, 2^53 and 2^63, where a type ends.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from bodega_model.signature.columns import integer_bounds
from bodega_model.signature.types import Column, Kind, Signature

Columns = Mapping[str, Sequence[Any]]
Row = dict[str, Any]

MIXED = 100
RARE_SHARE = 0.1  # of the values of a mixed row
WIDE = 100  # columns
CELLS, MOST_ROWS = 2**22, 4096  # of one batch: large ones take much memory, small ones repeat what a call costs
SMALL_NUMBERS = (0.0, -0.0, 1.0, -1.0, 5e-324, -1e-310, 2.2250738585072014e-308, 1e-17)
LARGE_NUMBERS = (2.0**31, 2.0**33 + 1, -(2.0**53), 2.0**63, 1e20, -1e38, 3.5e38, 1e300)
SMALL_INTEGERS = (0, 1, -1)
LARGE_INTEGERS = (2**31 - 1, 2**31, -(2**31) - 1, 2**33, 2**53 - 1, 2**53 + 1, -(2**53) - 1, 2**62, 2**63 - 1, -(2**63))
TEXTS = ("", " ", "no such category", "é", "nan", "None")
EXACT = 2**53  # integers beside a missing one are floating point numbers, and smaller than this


class OddRows:
    """The odd rows of a signature, in batches; the same for the same golden rows."""

    def __init__(self, signature: Signature, golden: Columns, seed: int = 1) -> None:
        self._signature = signature
        self._dice = random.Random(seed)  # noqa: S311 (the same rows at every load)
        self._usual = [dict(zip(golden, values, strict=True)) for values in zip(*golden.values(), strict=True)]
        self._rare = {column.name: list(rare_values(column)) for column in signature.columns}
        mixed = [self.mix() for _ in range(MIXED)]
        self._base = [row for pair in zip(mixed, self._usual * MIXED, strict=False) for row in pair]

    def batches(self) -> Iterator[Columns]:
        """Return all rows: mixed ones, then those with a rare value, with an extreme one, and with one missing.

        What one value changes for the rows beside it is part of the question: an integer that is missing makes
        floating point numbers of its column. So missing integers come last, in batches of their own.
        """
        yield self._columns([{}] * len(self._base))
        for rows in (self._rare_values(), self._extremes(), self._missing()):
            yield from self._in_batches(rows)
        integers = [column for column in self._signature.columns if column.nullable and turns(column)]
        yield from self._in_batches(_beside(integers), {column.name: None for column in integers})

    def _in_batches(self, rows: Sequence[Row], first: Row | None = None) -> Iterator[Columns]:
        size = max(2, min(MOST_ROWS, CELLS // len(self._signature.columns)))
        ahead = [] if first is None else [first]
        for begin in range(0, len(rows), size):
            yield self._columns([*ahead, *rows[begin : begin + size]], begin)

    def alone(self, count: int) -> list[Columns]:
        """Return some of the rows, of each sort in turn, each as a batch of its own."""
        sorts = [self._usual, self._rare_values(), self._extremes(), self._missing()]
        sampled = [self._dice.sample(rows, min(count // len(sorts), len(rows))) for rows in sorts]
        changes = [change for turn in zip_longest(*sampled) for change in turn if change is not None]
        rows = [self._dice.choice(self._base) | change for change in changes]
        return [{name: [value] for name, value in row.items()} for row in rows]

    def mix(self) -> Row:
        """Return a row of which every value comes from another one, some from the rare ones."""
        return {
            name: self._dice.choice(rare if rare and self._dice.random() < RARE_SHARE else self._values(name))
            for name, rare in self._rare.items()
        }

    def _values(self, name: str) -> list[Any]:
        return [row[name] for row in self._usual]

    def _rare_values(self) -> list[Row]:
        """Return rare values, in a wide table several in a row: one column in a hundred at most."""
        each = [{name: value} for name, values in self._rare.items() for value in values]
        together = max(1, len(self._rare) // WIDE)
        step = max(-(-len(each) // together), 0, *map(len, self._rare.values()))  # no column twice in a row
        return [{name: value for row in each[begin::step] for name, value in row.items()} for begin in range(step)]

    def _extremes(self) -> list[Row]:
        """Return extremes, value by value: what one column is refused for, the others probably are too."""
        each = [(place, column.name, value) for column in self._signature.columns for place, value in extremes(column)]
        rows = [{name: value} for _, name, value in sorted(each, key=lambda found: found[0])]
        together: dict[int, Row] = {}
        for place, name, value in each:
            together.setdefault(place, {})[name] = value
        return rows + list(together.values())

    def _missing(self) -> list[Row]:
        return [{column.name: None} for column in self._signature.columns if column.nullable]

    def _columns(self, changes: Sequence[Row], begin: int = 0) -> Columns:
        """Return base rows in their order, each with its change."""
        base = [self._base[(begin + place) % len(self._base)] for place in range(min(len(changes), len(self._base)))]
        columns: dict[str, Any] = {}
        for column in self._signature.columns:
            values = [row[column.name] for row in base]
            columns[column.name] = (values * (len(changes) // len(values) + 1))[: len(changes)]
        for place, change in enumerate(changes):
            for name, value in change.items():
                columns[name][place] = value
        return {column.name: _as_sent(column, columns[column.name]) for column in self._signature.columns}


def _as_sent(column: Column, values: list[Any]) -> Any:
    """Return numbers as an array, which is read the same and sooner."""
    if column.kind is Kind.NUMBER and column.dtype in ("float32", "float64"):
        return np.array(values, dtype=np.float64)
    if column.kind is Kind.INTEGER and column.dtype == "int64" and None not in values:
        return np.array(values, dtype=np.int64)
    return values


def _beside(integers: Sequence[Column]) -> list[Row]:
    """Return what integers are beside a missing one: floating point numbers, which hold those up to 2^53."""
    values = {column.name: (*rare_values(column), *(value for _, value in extremes(column))) for column in integers}
    return [{name: value} for name, found in values.items() for value in found if abs(value) < EXACT]


def turns(column: Column) -> bool:
    """Tell whether a missing value changes the type of a column's other values."""
    return column.kind is Kind.INTEGER and column.dtype.startswith(("int", "uint"))


def rare_values(column: Column) -> Iterator[Any]:
    """Return values of a column that are rare and within what the model was made for."""
    if column.nullable and not turns(column):
        yield None
    if column.categories is not None:
        yield from column.categories
    if column.kind is Kind.BOOLEAN:
        yield from (True, False)
    elif column.kind is Kind.NUMBER:
        yield from (*SMALL_NUMBERS, *_around(column))
    elif column.kind is Kind.INTEGER:
        yield from (value for value in (*SMALL_INTEGERS, *_around(column)) if _holds(column, value))
    elif column.kind in (Kind.STRING, Kind.CATEGORY) and column.accepts_unknown and _is_text(column):
        yield from TEXTS


def extremes(column: Column) -> Iterator[tuple[int, Any]]:
    """Return values of a column that may be too large for the arithmetic, numbered by which they are."""
    if column.kind is Kind.NUMBER:
        largest = float(np.finfo(column.dtype.lower()).max) if column.dtype.lower() in ("float16", "float32") else None
        most = largest or float(np.finfo(np.float64).max)
        numbers = (*LARGE_NUMBERS, most, -most)
        yield from ((place, value) for place, value in enumerate(numbers) if abs(value) <= most)
    elif column.kind is Kind.INTEGER:
        yield from ((place, value) for place, value in enumerate(LARGE_INTEGERS) if _holds(column, value))


def _is_text(column: Column) -> bool:
    return column.categories is None or all(isinstance(value, str) for value in column.categories)


def _holds(column: Column, value: int) -> bool:
    lowest, highest = integer_bounds(column)
    return lowest <= value <= highest


def _around(column: Column) -> Iterator[Any]:
    for border in (column.minimum, column.maximum):
        if isinstance(border, float):
            if column.kind is Kind.INTEGER:
                yield from (int(border) - 1, int(border), int(border) + 1)
            else:
                yield from (border, math.nextafter(border, math.inf), math.nextafter(border, -math.inf))
