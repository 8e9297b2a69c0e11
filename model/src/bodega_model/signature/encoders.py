"""Which values of a column a fitted pipeline knows: read from its encoders, wherever they sit."""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from bodega_model.foreign import has, known, members, read, type_name
from bodega_model.signature.tracing import is_encoder, nulls_of
from bodega_model.signature.types import Scalar

Names = Sequence[str]
Found = tuple[str, tuple[Scalar, ...]]
Seen = tuple[Any, Names]  # a part, and the input columns that it sees

SCALARS = (bool, int, float, str)
MOST_PARTS = 5000  # that are looked at: a part may hold itself, or make new ones without an end

# Steps that keep the columns they are given, in order, so that an encoder behind them still sees the same ones.
KEEPS_COLUMNS = ("Imputer", "Scaler", "FunctionTransformer")
# Where fitted estimators keep the ones they are made of.
PARTS = ("estimators_", "estimator_", "best_estimator_", "regressor_", "base_estimator_", "calibrated_classifiers_")


def known_categories(model: Any, names: Names) -> dict[str, tuple[Scalar, ...]]:
    """Return the values that the encoders of a fitted model know, by input column.

    Where several encoders see a column (the folds of a stacking), a value counts as known if all know it.
    """
    found: dict[str, tuple[Scalar, ...]] = {}
    for part, columns in _walk(model, names):
        for name, values in known(partial(_encoder, part, columns), []):
            found[name] = values if name not in found else _in_both(found[name], values)
    return found


def known_nulls(model: Any, names: Names) -> dict[str, set[str]]:
    """Return which missing values the encoders of a fitted model know as categories, by input column."""
    found: dict[str, set[str]] = {}
    for part, columns in _walk(model, names):
        if is_encoder(read(part, "__dict__", {})) and len(part.categories_) == len(columns):
            for name, categories in zip(columns, part.categories_, strict=True):
                found.setdefault(name, set()).update(nulls_of(categories))
    return found


def _in_both(some: tuple[Scalar, ...], others: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    wanted = set(others)
    return tuple(value for value in some if value in wanted)


def consumers(model: Any, names: Names) -> dict[str, tuple[int, ...]]:
    """Return which parts of a model see a column and not all of them, by column and as numbers of the parts."""
    found: dict[str, list[int]] = {name: [] for name in names}
    for number, (_, columns) in enumerate(_walk(model, names)):
        if len(columns) < len(names):
            for name in columns:
                found[name].append(number)
    return {name: tuple(numbers) for name, numbers in found.items()}


def _walk(model: Any, names: Names) -> Iterator[Seen]:
    """Go through the parts of a model, each with the input columns that it sees; a part may hold itself."""
    waiting = deque([(model, names)])
    for _ in range(MOST_PARTS):
        if not waiting:
            return
        part, columns = waiting.popleft()
        yield part, columns
        inner = known(partial(_inside, part, columns), [])
        waiting.extendleft(reversed(inner[:MOST_PARTS]))


def _inside(part: Any, names: Names) -> list[Seen]:
    """Return the parts of a part. What is none of those that are known here has none."""
    if _is_encoder(part):
        return []
    if has(part, "transformers_"):
        return [(transformer, _chosen(columns, names)) for _, transformer, columns in members(part.transformers_)]
    if has(part, "steps"):
        return [(step, names) for step in _first_steps(part)]
    if has(part, "transformer_list"):
        return [(transformer, names) for _, transformer in members(part.transformer_list)]
    inner = [one for attribute in PARTS for one in _members(read(part, attribute))]
    return [(read(one, "estimator", one), names) for one in inner]


def _first_steps(pipeline: Any) -> Iterator[Any]:
    """Yield the steps that see the columns as they come in."""
    for _, step in members(pipeline.steps):
        yield step
        if step != "passthrough" and not type_name(step).endswith(KEEPS_COLUMNS):
            return


def _is_encoder(part: Any) -> bool:
    return has(part, "categories_") and has(part, "transform")


def _encoder(encoder: Any, names: Names) -> list[Found]:
    if not _is_encoder(encoder) or len(encoder.categories_) != len(names):
        return []
    found = []
    for name, categories in zip(names, members(encoder.categories_), strict=True):
        array = np.asarray(categories if isinstance(categories, np.ndarray) else members(categories))
        values = tuple(array[~pd.isna(array)].tolist())
        if values and len({type(value) for value in values}) == 1 and type(values[0]) in SCALARS:
            found.append((name, values))
    return found


def _chosen(columns: Any, names: Names) -> list[str]:
    """Turn what ColumnTransformer keeps (names, positions, a mask, a slice) into names."""
    if isinstance(columns, str | int):
        columns = [columns]
    if isinstance(columns, slice):
        return list(names[columns])
    chosen = members(columns)
    if chosen and all(isinstance(column, bool | np.bool_) for column in chosen):
        return [name for name, taken in zip(names, chosen, strict=True) if taken]
    return [column if isinstance(column, str) else names[column] for column in chosen]


def _members(value: Any) -> list[Any]:
    if value is None:
        return []
    members = value if isinstance(value, list | tuple | np.ndarray) else [value]
    flat = np.ravel(np.array(members, dtype=object)) if isinstance(value, np.ndarray) else members
    return [member for member in flat if has(member, "fit") or has(member, "estimator")]
