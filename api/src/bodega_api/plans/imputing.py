"""Filling in what is missing."""

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer

from bodega_api.plans.registry import Array, Block, NoPlanError, Transform, transformer
from bodega_api.plans.tables import Table, Values


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

    def transform(block: Block) -> Block:
        if isinstance(block, Table) and any(isinstance(column, list) for column in block.columns.values()):
            if marked is not None or not all(isinstance(column, list) for column in block.columns.values()):
                raise NoPlanError("SimpleImputer takes numbers and text together, or marks where text is missing")
            pairs = zip(block.columns.items(), fill.tolist(), strict=True)
            return Table({name: _fill(column, value) for (name, column), value in pairs})
        matrix = block.matrix() if isinstance(block, Table) else block
        filled = fill_matrix(matrix, fill)
        return filled if marked is None else np.hstack([filled, np.isnan(matrix[:, marked])])

    return transform


def _fill(column: Values, value: object) -> Values:
    return [value if item is None else item for item in column] if None in column else column


def fill_matrix(matrix: Array, fill: Array) -> Array:
    """Return a matrix with each column's own number in place of NaN."""
    if matrix.dtype.kind != "f":
        return matrix
    return np.where(np.isnan(matrix), fill.astype(matrix.dtype, copy=False), matrix)
