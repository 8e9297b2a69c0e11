"""Which missing value a model knows in each column: found by asking it for each kind, and by watching its parts.

A null in a request is one value, and pandas and numpy have several: an encoder that learned `None` as a category takes
NaN for an unknown one. What the encoders know decides; where none knows any, what the example shows; and where the
model tells two kinds apart and nothing says which it was trained with, the registration is refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import joblib
import numpy as np
import pandas as pd
from pandas.api import types as pandas_types

from bodega_model.errors import ExampleError
from bodega_model.foreign import known
from bodega_model.signature.columns import NULLS, nulls_in, to_wire, writing
from bodega_model.signature.encoders import known_nulls
from bodega_model.signature.inputs import Example, build_input
from bodega_model.signature.outputs import same_answer
from bodega_model.signature.several_outputs import Asked
from bodega_model.signature.tracing import (
    Call,
    Trace,
    fills,
    is_encoder,
    is_missing,
    nulls_of,
    pairs,
    parts_of,
    watched,
)
from bodega_model.signature.types import Column, Container, Signature

SILENT = ("str", "category", "bool")
NAMES = {"none": "None", "nan": "NaN", "na": "pd.NA", "nat": "NaT"}
# Each column is asked in some rows of its own, of all that are asked at once: few calls cost less than few rows.
MOST_ROWS, FEWEST_ROWS = 400, 2
CELLS_AT_ONCE, MOST_CELLS = 400_000, 200_000  # beyond, what can be read from the encoders has to do
MOST_SPLITS = 200  # of what is asked at once, to find the columns because of which the model refuses it


@dataclass(frozen=True, slots=True)
class Heard:
    """What a model makes of one missing value in one column.

    `answers` is None where it refuses. `verdicts` are of its parts: "known" and "unknown" of encoders, "filled" of
    imputers. `made` is what the encoders made of it.
    """

    answers: list[Any] | None = None
    verdicts: frozenset[str] = frozenset()
    made: Sequence[pd.DataFrame] = ()

    def same(self, other: "Heard") -> bool:
        """Tell whether the model makes the same of another one."""
        if self.answers is None or other.answers is None:
            return self.answers is other.answers
        made = len(self.made) == len(other.made) and all(
            a.equals(b) for a, b in zip(self.made, other.made, strict=True)
        )
        return made and same_answer(self.answers, other.answers)


def settle_nulls(model: Any, signature: Signature, example: Example) -> Signature:
    """Return the signature with the missing value that the model knows in each column; raise ExampleError for two.

    A column whose dtype cannot hold that value becomes one of objects.
    """
    if signature.container is Container.TEXTS:
        return signature
    learned = _known_nulls(model)
    doubts = {column.name: _candidates(column, _shown(example, column), learned) for column in signature.columns}
    doubted = [c for c in signature.columns if len(doubts[c.name]) > 1 or c.categories is not None]
    most = MOST_CELLS // (FEWEST_ROWS * len(signature.columns))
    interview = Interview(model, signature, example, doubted[:most])
    heard: dict[str, dict[str, Heard]] = {column.name: {} for column in doubted[:most]}
    for null in NULLS:
        for name, answer in interview.hear_all(null, [c for c in doubted[:most] if null in doubts[c.name]]):
            heard[name][null] = answer
    settled = {c.name: _settle(c, heard[c.name], _shown(example, c)) for c in doubted[:most]}
    if doubted[most:]:
        read = known_nulls(model, [column.name for column in signature.columns])
        settled |= {c.name: _settle_unasked(c, read.get(c.name, set())) for c in doubted[most:]}
    columns = tuple(settled.get(column.name, column) for column in signature.columns)
    retyped = any(new.dtype != old.dtype for new, old in zip(columns, signature.columns, strict=True))
    return replace(signature, columns=columns, by_row=signature.by_row and not retyped)


# --- which are in question -------------------------------------------------------------------------------


def _shown(example: Example, column: Column) -> set[str]:
    """Return which missing values the example has in a column."""
    return nulls_in(example.frame[column.name])


def _candidates(column: Column, shown: set[str], learned: Mapping[bool, set[str]]) -> set[str]:
    if column.null == "nat":
        return {"nat"}
    # Without a gap these dtypes tell nothing: what was read from CSV has them, whatever the training data had.
    either = {"none", "nan"} if column.dtype == "object" or (not shown and column.dtype in SILENT) else set()
    return {column.null} | shown | either | learned[_is_text(column)]


def _known_nulls(model: Any) -> dict[bool, set[str]]:
    """Return which missing values the parts of a model know, for columns of text (True) and for others."""
    learned: dict[bool, set[str]] = {True: set(), False: set()}
    for part in parts_of(model):
        if not is_encoder(vars(part)):
            nulls = {null for null in NULLS if fills(part, null)}
            nulls = nulls if len(nulls) == 1 else nulls & {"na"}  # pd.NA stands for all
            learned = {text: others | nulls for text, others in learned.items()}
            continue
        for categories in part.categories_:
            learned[any(isinstance(value, str) for value in categories.tolist())] |= nulls_of(categories)
    return learned


def _is_text(column: Column) -> bool:
    values = column.categories or ()
    return pandas_types.is_string_dtype(column.dtype) or any(isinstance(value, str) for value in values)


# --- asking ----------------------------------------------------------------------------------------------


@dataclass
class Interview:
    """Asks a model for rows of its example that have a missing value in one place."""

    model: Any
    signature: Signature
    example: Example
    columns: Sequence[Column]
    splits: int = field(default=MOST_SPLITS, init=False)

    def hear_all(self, null: str, columns: Sequence[Column]) -> Iterator[tuple[str, Heard]]:
        """Ask for one missing value in each of these columns."""
        rows = len(next(iter(self.usual.values())))
        at_once = max(1, CELLS_AT_ONCE // (rows * len(self.signature.columns)))
        for begin in range(0, len(columns), at_once):
            yield from self._hear_some(null, columns[begin : begin + at_once])

    def _hear_some(self, null: str, columns: Sequence[Column]) -> list[tuple[str, Heard]]:
        heard = known(lambda: self._hear(null, columns), None)  # a model may raise anything
        if heard is not None:
            return heard
        if len(columns) == 1 or not self.splits:
            return [(column.name, Heard()) for column in columns]
        self.splits -= 1
        half = len(columns) // 2
        return self._hear_some(null, columns[:half]) + self._hear_some(null, columns[half:])

    def _hear(self, null: str, columns: Sequence[Column]) -> list[tuple[str, Heard]]:
        names = {column.name for column in columns}
        written = [writing(c, null) if c.name in names else c for c in self.signature.columns]
        signature = replace(self.signature, columns=tuple(written), by_row=False)
        count = len(next(iter(self.usual.values())))
        usual = {name: values * len(columns) for name, values in self.usual.items()}
        asked = dict(usual)
        blocks = [slice(place * count, (place + 1) * count) for place in range(len(columns))]
        for column, block in zip(columns, blocks, strict=True):
            asked[column.name] = [
                *usual[column.name][: block.start],
                *[None] * count,
                *usual[column.name][block.stop :],
            ]
        _, before = self._call(partial(build_input, signature, usual), None)
        answers, trace = self._call(partial(build_input, signature, asked), before)
        calls = list(pairs(before, trace))
        return [(column.name, _heard(answers, calls, block)) for column, block in zip(columns, blocks, strict=True)]

    def _call(self, rows: Callable[[], Any], usual: Trace | None) -> tuple[list[list[Any] | None], Trace]:
        """Ask for all outputs, each with rows of its own, as a step may change them; the first must be answered."""
        first, *others = self.signature.outputs
        model, trace = watched(self.model, usual)
        with joblib.parallel_config(backend="threading"):  # another process would note what it sees for itself
            asked = Asked(model, rows)
            answers: list[list[Any] | None] = [asked.answer(first)]
            answers += [known(partial(asked.answer, output), None) for output in others]
        return answers, trace

    @cached_property
    def usual(self) -> dict[str, list[Any]]:
        """Some rows of the example, with a value in each column that is in question."""
        frame = self.example.frame
        count = max(FEWEST_ROWS, MOST_ROWS // (len(self.columns) or 1))
        picked = np.unique(np.linspace(0, len(frame) - 1, min(len(frame), count, 20)).astype(int))
        doubted = {column.name for column in self.columns}
        rows = {}
        for column in self.signature.columns:
            values = to_wire(column, frame[column.name].iloc[picked])
            if column.name in doubted and None in values:
                present = to_wire(column, frame[column.name].dropna().head(1)) or [None]
                values = [present[0] if value is None else value for value in values]
            rows[column.name] = values
        return rows


def _heard(answers: Sequence[list[Any] | None], calls: Sequence[tuple[Call, Call]], rows: slice) -> Heard:
    verdicts: set[str] = set()
    made = []
    for usual, found in calls:
        changes = list(found.changes(usual, rows))
        verdicts.update(filter(None, (_verdict(found, place, value, rows) for place, value in changes)))
        if found.is_encoder:
            made.append(found.made_of(rows))
    refused = any(found.refused[rows].any() for _, found in calls)
    return Heard(
        None if refused else [None if rows_of is None else rows_of[rows] for rows_of in answers],
        frozenset(verdicts),
        made,
    )


def _verdict(found: Call, place: int, value: Any, rows: slice) -> str | None:
    """Say what a part makes of a value that came of a missing one; None where that tells nothing."""
    missing = bool(is_missing(value))
    if found.knows(place, value):
        return ("known" if found.is_encoder else "filled") if missing else None
    if not found.is_encoder or (not found.refused[rows].any() and is_missing(found.made_of(rows)).any()):
        return None  # it is passed on, and still missing
    return "unknown"


# --- choosing --------------------------------------------------------------------------------------------


def _settle(column: Column, heard: Mapping[str, Heard], shown: set[str]) -> Column:
    null = _choose(column, heard, shown)
    found = heard[null]
    answered = found.answers is not None
    unknown = answered and column.categories is not None and "unknown" in found.verdicts
    return replace(writing(column, null), nullable=column.nullable or answered, null_is_unknown=unknown)


def _settle_unasked(column: Column, learned: set[str]) -> Column:
    """Settle a column of a very wide table by what its encoders say alone."""
    if len(learned) > 1:
        raise _two_nulls(column, learned)
    return writing(column, next(iter(learned), column.null))


def _two_nulls(column: Column, learned: Sequence[str] | set[str]) -> ExampleError:
    return ExampleError(
        f"The model knows two missing values in column {column.name!r}, {_named(learned)}, and does not answer them "
        "alike; a null in a request can only be one of them",
        _one_way(column),
    )


def _choose(column: Column, heard: Mapping[str, Heard], shown: set[str]) -> str:
    if not _all_same(heard, shown):
        raise ExampleError(
            f"Column {column.name!r} of the example holds {_named(shown)}, and the model does not answer them alike; "
            "a null in a request can only be one of them",
            _one_way(column),
        )
    learned = [null for null in heard if "known" in heard[null].verdicts]
    learned = [null for null in learned if "unknown" not in heard[null].verdicts] or learned
    if learned:
        if not _all_same(heard, learned):
            raise _two_nulls(column, learned)
        return column.null if column.null in learned else learned[0]
    return _guess(column, heard, shown)


def _guess(column: Column, heard: Mapping[str, Heard], shown: set[str]) -> str:
    """Choose where no encoder knows a missing value: one that is answered, and not as an unknown category."""
    possible = [null for null in heard if heard[null].answers is not None] or [column.null]
    possible = [null for null in possible if "unknown" not in heard[null].verdicts] or possible
    if column.null in possible and (_all_same(heard, possible) or shown or _is_telling(column)):
        return column.null
    if _all_same(heard, possible):
        return possible[0]
    filled = [null for null in possible if "filled" in heard[null].verdicts]
    if len(filled) == 1:
        return filled[0]
    raise ExampleError(
        f"The model does not answer {_named(possible)} alike in column {column.name!r}, and neither its encoders nor "
        "the example tell which of them a null is",
        "Pass an example with a missing value in this column, written as in the training data.",
    )


def _is_telling(column: Column) -> bool:
    """Tell whether the dtype says how missing values are written also where there is none."""
    return column.null == "na" or pandas_types.is_float_dtype(column.dtype)


def _all_same(heard: Mapping[str, Heard], nulls: Sequence[str] | set[str]) -> bool:
    first, *others = [heard[null] for null in nulls] or [Heard()]
    return all(first.same(other) for other in others)


def _named(nulls: Sequence[str] | set[str]) -> str:
    return " and ".join(NAMES[null] for null in NULLS if null in nulls)


def _one_way(column: Column) -> str:
    frame = f"X[{column.name!r}]"
    return (
        f"Write missing values in one way before you fit, as in {frame} = {frame}.where({frame}.notna(), None), and "
        "pass an example of that."
    )
