"""Filling in what is missing."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer

from bodega_model.plans.matrices import FLOATS, Array, AsideError, Block, NoPlanError, checked, dense
from bodega_model.plans.registry import Transform, transformer
from bodega_model.plans.tables import Table


@transformer(SimpleImputer)
def plan_simple_imputer(imputer: SimpleImputer) -> Transform:
    """Plan an imputer of NaN: each column's own value in place of what is missing."""
    # Whether it takes None or NaN for missing, the gate finds out: in a table there is only one of them.
    if not pd.isna(imputer.missing_values):
        raise NoPlanError("SimpleImputer looks for a value of its own")
    fill = imputer.statistics_
    if pd.isna(fill).any():
        raise NoPlanError("SimpleImputer leaves out a column that was empty")
    marked = imputer.indicator_.features_ if imputer.add_indicator else None
    is_text = imputer._fit_dtype.kind == "O"
    fill = fill if is_text else fill.astype(imputer._fill_dtype, copy=False)
    # The mean of integers is none; what is most frequent, and what is given, is filled in as it is.
    dtypes = () if imputer.strategy in ("most_frequent", "constant") else FLOATS

    def transform(block: Block) -> Block:
        if is_text:
            return _fill_text(block, fill.tolist(), marked=marked is not None)
        matrix = checked(dense(block), *dtypes)
        if matrix.dtype.kind == "b":
            raise NoPlanError("SimpleImputer takes booleans alone")
        if imputer.strategy == "constant" and not np.can_cast(imputer._fill_dtype, matrix.dtype, "same_kind"):
            raise AsideError("integers have no place for the value to fill in")
        filled = fill_matrix(matrix, fill)
        return filled if marked is None else np.hstack([filled, np.isnan(matrix[:, marked])])

    return transform


def _fill_text(block: Block, fill: list[object], *, marked: bool) -> Table:
    columns = list(block.columns.items()) if isinstance(block, Table) else []
    texts = [(name, column) for name, column in columns if isinstance(column, list)]
    if marked or not texts or len(texts) < len(columns):
        raise NoPlanError("SimpleImputer takes numbers and text together, or marks where text is missing")
    return Table({name: _fill(column, value) for (name, column), value in zip(texts, fill, strict=True)})


def _fill(column: list[Any], value: object) -> list[Any]:
    return [value if item is None else item for item in column] if None in column else column


def fill_matrix(matrix: Array, fill: Array) -> Array:
    """Return a matrix with each column's own number in place of NaN."""
    if matrix.dtype.kind != "f":
        return matrix
    return np.where(np.isnan(matrix), fill.astype(matrix.dtype, copy=False), matrix)
