"""Encoders of categories: a table of the encoder's own answers, one for each category it knows.

The encoder is asked for each category of each column once, so what is rare, dropped, missing or unknown needs no rule
here.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from bodega_model.plans.matrices import Array, AsideError, Block, NoPlanError, Sparse, bounded, dense, unchecked
from bodega_model.plans.registry import Transform, transformer
from bodega_model.plans.tables import Table

UNKNOWN = "no category has this name"
LARGEST = 2**24  # numbers in the tables of an encoder
MOST_COLUMNS = 100  # are asked each by itself


@dataclass(frozen=True, slots=True)
class Codes:
    """What an encoder makes of the values of one column: the rows of a table, and which is whose.

    A missing value is None here. Without a place for unknown ones the encoder refuses them.
    """

    places: Mapping[Any, int]
    table: Array
    unknown: int | None

    def encode(self, values: list[Any]) -> Array:
        """Return one row for each value."""
        try:
            found = np.fromiter(map(self.places.__getitem__, values), np.intp, len(values))
        except KeyError:
            if self.unknown is None:
                unknown = np.array([value not in self.places for value in values])
                raise AsideError("a category is unknown", unknown) from None
            found = np.array([self.places.get(value, self.unknown) for value in values])
        return self.table.take(found, axis=0)


@transformer(OneHotEncoder, OrdinalEncoder, TargetEncoder)
def plan_encoder(encoder: Any) -> Transform:
    """Look up what the encoder makes of each value; the table is of the dtype that the encoder answers in."""
    columns = _ask_for_all(encoder)
    are_floats = [categories.dtype.kind == "f" for categories in encoder.categories_]

    is_sparse = isinstance(encoder, OneHotEncoder) and encoder.sparse_output

    def transform(block: Block) -> Block:
        block = block if isinstance(block, Table) else bounded(unchecked(dense(block)))
        encoded = [codes.encode(_values(block, place, are_floats[place])) for place, codes in enumerate(columns)]
        found = encoded[0] if len(encoded) == 1 else np.concatenate(encoded, axis=1)
        return Sparse(found) if is_sparse else found

    return transform


def _values(block: Table | Array, place: int, as_float: bool) -> list[Any]:
    column = list(block.columns.values())[place] if isinstance(block, Table) else block[:, place]
    if isinstance(column, list):
        return column
    if column.dtype.kind != "f":
        # Where categories are floating point numbers, integers are compared as such.
        column = column.astype(np.float64) if as_float else column
        found: list[Any] = column.tolist()
        return found
    return [None if math.isnan(value) else value for value in column.tolist()]


def _ask_for_all(encoder: Any) -> list[Codes]:
    """Ask for each category of each column, for a missing value, and for one that the encoder does not know.

    Columns are encoded each for itself, so all of them are asked in the same rows.
    """
    ends = np.cumsum(_widths(encoder)).tolist()
    borders = [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]
    categories = encoder.categories_
    if sum(len(known) * (where.stop - where.start) for known, where in zip(categories, borders, strict=True)) > LARGEST:
        raise NoPlanError(f"{type(encoder).__name__} knows too many categories")
    depth = max(map(len, categories))
    known = _ask(encoder, [np.resize(values, depth) for values in categories])
    if known is None:
        raise NoPlanError(f"{type(encoder).__name__} refuses what it knows")
    missing = _ask_for_one(encoder, [np.nan] * len(categories))
    unknown = _ask_for_one(encoder, [_unknown(values) for values in categories])
    tables = [_dense(known[: len(values), where]) for values, where in zip(categories, borders, strict=True)]
    others = [
        [None if row is None else _dense(row[:, where]) for row in rows]
        for rows, where in zip(zip(missing, unknown, strict=True), borders, strict=True)
    ]
    return [_codes(*each) for each in zip(categories, tables, others, strict=True)]


def _codes(categories: Array, table: Array, others: list[Array | None]) -> Codes:
    places: dict[Any, int] = {}
    for place, category in enumerate(categories.tolist()):
        places.setdefault(None if pd.isna(category) else category, place)
    missing, unknown = others
    rows = [table]
    if missing is not None and None not in places:
        places[None] = len(table)
        rows.append(missing)
    if unknown is None:
        return Codes(places, np.concatenate(rows), None)
    return Codes(places, np.concatenate([*rows, unknown]), sum(map(len, rows)))


def _ask_for_one(encoder: Any, values: list[Any]) -> list[Any]:
    """Ask for one value of each column, all at once; None for the columns where the encoder refuses it.

    If it refuses some it is asked for each column by itself, unless there are too many: the plan steps aside then.
    """
    firsts = [known[:1] for known in encoder.categories_]
    row = [_column(known, value) for known, value in zip(encoder.categories_, values, strict=True)]
    answer = _ask(encoder, row)
    if answer is not None:
        return [answer] * len(row)
    if len(row) > MOST_COLUMNS or getattr(encoder, "handle_unknown", "error") == "error":
        return [None] * len(row)
    return [_ask(encoder, [*firsts[:place], column, *firsts[place + 1 :]]) for place, column in enumerate(row)]


def _column(categories: Array, value: Any) -> Array:
    return np.array([value], dtype=object if categories.dtype.kind in "OU" else np.float64)


def _ask(encoder: Any, columns: list[Array]) -> Any:
    """Return what the encoder makes of some columns, or None where it refuses."""
    names = getattr(encoder, "feature_names_in_", range(len(columns)))
    frame = pd.DataFrame(
        {
            name: pd.Series(values, dtype=object if values.dtype.kind in "OU" else values.dtype)
            for name, values in zip(names, columns, strict=True)
        }
    )
    with warnings.catch_warnings(action="ignore"):
        try:
            return encoder.transform(frame)
        except ValueError:
            return None


def _dense(answer: Any) -> Array:
    dense: Array = answer.toarray() if hasattr(answer, "toarray") else np.asarray(answer)
    return dense


def _widths(encoder: Any) -> list[int]:
    if isinstance(encoder, OneHotEncoder):
        return [int(width) for width in encoder._n_features_outs]
    several = isinstance(encoder, TargetEncoder) and encoder.target_type_ == "multiclass"
    return [len(encoder.classes_) if several else 1] * len(encoder.categories_)


def _unknown(categories: Array) -> Any:
    """Return a value that is none of the categories."""
    if categories.dtype.kind in "OU":
        return UNKNOWN
    known = categories[np.isfinite(categories)]
    return float(np.abs(known).max(initial=0.0)) * 2 + 1
