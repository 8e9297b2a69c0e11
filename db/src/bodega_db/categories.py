"""Which values of a column a fitted pipeline knows: read from its encoders, wherever they sit."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bodega_db.signature import Scalar

Names = Sequence[str]
Found = tuple[str, tuple[Scalar, ...]]

# Steps that keep the columns they are given, in order, so that an encoder behind them still sees the same ones.
KEEPS_COLUMNS = ("Imputer", "Scaler", "FunctionTransformer")
# Where fitted estimators keep the ones they are made of.
PARTS = ("estimators_", "estimator_", "best_estimator_", "regressor_", "base_estimator_", "calibrated_classifiers_")


def known_categories(model: Any, names: Names) -> dict[str, tuple[Scalar, ...]]:
    """Return the values that the encoders of a fitted model know, by input column.

    Where several encoders see a column (the folds of a stacking), a value counts as known if all know it.
    """
    known: dict[str, tuple[Scalar, ...]] = {}
    for name, values in _walk(model, names):
        known[name] = tuple(v for v in known[name] if v in values) if name in known else values
    return known


def _walk(part: Any, names: Names) -> Iterator[Found]:
    if hasattr(part, "categories_") and hasattr(part, "transform"):
        yield from _encoder(part, names)
    elif hasattr(part, "transformers_"):
        for _, transformer, columns in part.transformers_:
            yield from _walk(transformer, _chosen(columns, names))
    elif hasattr(part, "steps"):
        yield from _pipeline(part, names)
    elif hasattr(part, "transformer_list"):
        for _, transformer in part.transformer_list:
            yield from _walk(transformer, names)
    else:
        for attribute in PARTS:
            for inner in _members(getattr(part, attribute, None)):
                yield from _walk(getattr(inner, "estimator", inner), names)


def _pipeline(pipeline: Any, names: Names) -> Iterator[Found]:
    for _, step in pipeline.steps:
        yield from _walk(step, names)
        if step != "passthrough" and not type(step).__name__.endswith(KEEPS_COLUMNS):
            return


def _encoder(encoder: Any, names: Names) -> Iterator[Found]:
    if len(encoder.categories_) != len(names):
        return
    for name, categories in zip(names, encoder.categories_, strict=True):
        values = tuple(np.asarray(categories)[~pd.isna(categories)].tolist())
        if values and len({type(value) for value in values}) == 1:
            yield name, values


def _chosen(columns: Any, names: Names) -> list[str]:
    """Turn what ColumnTransformer keeps (names, positions, a mask, a slice) into names."""
    if isinstance(columns, str | int):
        columns = [columns]
    if isinstance(columns, slice):
        return list(names[columns])
    chosen = list(columns)
    if chosen and all(isinstance(column, bool | np.bool_) for column in chosen):
        return [name for name, taken in zip(names, chosen, strict=True) if taken]
    return [column if isinstance(column, str) else names[column] for column in chosen]


def _members(value: Any) -> list[Any]:
    if value is None:
        return []
    members = value if isinstance(value, list | tuple | np.ndarray) else [value]
    flat = np.ravel(np.array(members, dtype=object)) if isinstance(value, np.ndarray) else members
    return [member for member in flat if hasattr(member, "fit") or hasattr(member, "estimator")]
