"""Rows with one odd value each, as a request has them and as the frame that a person would ask the model with."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

NUMBERS = (0.0, -0.0, -1.5, 5e-324, 2.0**53, 2.0**53 + 2, 1e20, 3.5e38, -1e300, 1.7e308)
INTEGERS = (0, -1, 2**15, 2**31, 2**53 - 1, 2**53 + 1, 2**62, 2**63 - 1, 2**63, -(2**63))
TEXTS = ("", " ", "no such thing", "nan", "None", "é")
MOMENTS = ("1700-01-01T00:00:00", "1970-01-01T00:00:00", "2262-04-11T00:00:00", "2500-01-01T00:00:00")
NULLS = {"none": None, "nan": np.nan, "na": pd.NA}


def odd_values(series: "pd.Series[Any]") -> Iterator[Any]:
    """Go through odd values for a column, as JSON has them; the last is null."""
    dtype = series.dtype
    if types.is_bool_dtype(dtype):
        yield from (True, False)
    elif types.is_integer_dtype(dtype):
        yield from INTEGERS
    elif types.is_float_dtype(dtype):
        yield from NUMBERS
    elif types.is_datetime64_any_dtype(dtype):
        yield from MOMENTS
    else:
        yield from TEXTS
    yield None


def frames(frame: pd.DataFrame, row: dict[str, Any], column: str) -> list[pd.DataFrame]:
    """Return one row as a frame of the dtypes that the model knows; none where a dtype cannot hold the odd value.

    A null in a column of objects is each of None, NaN and NA that the column has itself, or any where it has none.
    """
    if row[column] is None and frame[column].dtype == object:
        of_column = [value for value in frame[column] if pd.isna(value)]
        kinds = [null for null in NULLS.values() if any(type(null) is type(value) for value in of_column)]
        nulls = kinds or list(NULLS.values())
        return [_frame(frame, row | {column: pd.Series([null], dtype=object)}) for null in nulls]
    try:
        return [_frame(frame, row)]
    except (OverflowError, ValueError, TypeError):
        return []


def _frame(frame: pd.DataFrame, row: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: value if isinstance(value, pd.Series) else _series(frame[name], value)
            for name, value in ((name, row[name]) for name in frame.columns)
        }
    )


def _series(like: "pd.Series[Any]", value: Any) -> "pd.Series[Any]":
    dtype = like.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        known = list(dtype.categories)
        return pd.Series(pd.Categorical([value], categories=known if value in (None, *known) else [*known, value]))
    if value is None and isinstance(dtype, np.dtype) and dtype.kind in "iu":
        return pd.Series([np.nan])
    if value is None and dtype == bool:
        return pd.Series([None], dtype=object)
    if types.is_datetime64_any_dtype(dtype):
        return pd.Series([pd.NaT if value is None else pd.Timestamp(value)]).astype(dtype)
    return pd.Series([value], dtype=dtype)
