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

from bodega_api.plans.registry import Array, AsideError, Block, Transform, transformer
from bodega_api.plans.tables import Table

UNKNOWN = "no category has this name"


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
                raise AsideError("a category is unknown") from None
            found = np.array([self.places.get(value, self.unknown) for value in values])
        return self.table.take(found, axis=0)


@transformer(OneHotEncoder, OrdinalEncoder, TargetEncoder)
def plan_encoder(encoder: Any) -> Transform:
    """Look up what the encoder makes of each value."""
    ends = np.cumsum(_widths(encoder)).tolist()
    begins = [0, *ends[:-1]]
    borders = [slice(begin, end) for begin, end in zip(begins, ends, strict=True)]
    columns = [_ask_for_each(encoder, place, where) for place, where in enumerate(borders)]

    def transform(block: Block) -> Array:
        encoded = [codes.encode(_values(block, place)) for place, codes in enumerate(columns)]
        return encoded[0] if len(encoded) == 1 else np.concatenate(encoded, axis=1)

    return transform


def _values(block: Block, place: int) -> list[Any]:
    column = list(block.columns.values())[place] if isinstance(block, Table) else block[:, place]
    if isinstance(column, list):
        return column
    return [None if math.isnan(value) else value for value in column.tolist()]


def _widths(encoder: Any) -> list[int]:
    if isinstance(encoder, OneHotEncoder):
        return [int(width) for width in encoder._n_features_outs]
    several = isinstance(encoder, TargetEncoder) and encoder.target_type_ == "multiclass"
    return [len(encoder.classes_) if several else 1] * len(encoder.categories_)


def _ask_for_each(encoder: Any, place: int, where: slice) -> Codes:
    """Ask for each category of a column, for a missing value, and for one that the encoder does not know."""
    places: dict[Any, int] = {}
    rows: list[Array] = []
    for category in [*encoder.categories_[place].tolist(), np.nan]:
        key = None if pd.isna(category) else category
        answer = None if key in places else _ask(encoder, place, category, where)
        if answer is not None:
            places[key] = len(rows)
            rows.append(answer)
    unknown = _ask(encoder, place, _unknown(encoder.categories_[place]), where)
    if unknown is None:
        return Codes(places, np.array(rows), None)
    return Codes(places, np.array([*rows, unknown]), len(rows))


def _ask(encoder: Any, place: int, value: Any, where: slice) -> Array | None:
    """Return what the encoder makes of one value of one column, or None where it refuses."""
    row = [categories[0] for categories in encoder.categories_]
    row[place] = value
    dtypes = [object if categories.dtype.kind in "OU" else float for categories in encoder.categories_]
    names = getattr(encoder, "feature_names_in_", None)
    labels = range(len(row)) if names is None else names
    frame = pd.DataFrame({n: pd.Series([v], dtype=t) for n, v, t in zip(labels, row, dtypes, strict=True)})
    with warnings.catch_warnings(action="ignore"):
        try:
            answer = encoder.transform(frame.to_numpy() if names is None else frame)
        except ValueError:
            return None
    dense = answer.toarray() if hasattr(answer, "toarray") else np.asarray(answer)
    return np.array(dense[0, where], dtype=np.float64)


def _unknown(categories: Array) -> Any:
    """Return a value that is none of the categories."""
    if categories.dtype.kind in "OU":
        return UNKNOWN
    known = categories[np.isfinite(categories)]
    return float(np.abs(known).max(initial=0.0)) * 2 + 1
