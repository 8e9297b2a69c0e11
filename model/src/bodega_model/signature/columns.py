"""One column of data, between the three forms it takes: what a user holds, plain JSON values, what a model sees."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import MAXYEAR, MINYEAR
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as pandas_types

from bodega_model.errors import ExampleError
from bodega_model.signature.types import Column, Kind, Scalar

Values = Sequence[Any]  # or an array of numpy, which is none to mypy
NULLS: dict[str, Any] = {"nan": np.nan, "none": None, "na": pd.NA, "nat": pd.NaT}
OBJECT_KINDS: dict[frozenset[type], Kind] = {
    frozenset({str}): Kind.STRING,
    frozenset({bool}): Kind.BOOLEAN,
    frozenset({int}): Kind.INTEGER,
    frozenset({float}): Kind.NUMBER,
    frozenset({int, float}): Kind.NUMBER,
}


# --- from what a user holds ------------------------------------------------------------------------------


def describe_column(name: str, series: "pd.Series[Any]") -> Column:
    """Describe a column of an example: kind, dtype, categories and observed range; raise ExampleError."""
    kind = _kind(name, series)
    lowest, highest = _range(name, kind, series)
    return Column(
        name=name,
        kind=kind,
        dtype="category" if kind is Kind.CATEGORY else str(series.dtype),
        nullable=bool(series.isna().any()),
        categories=_categories(name, series) if kind is Kind.CATEGORY else None,
        ordered=bool(kind is Kind.CATEGORY and series.cat.ordered),
        minimum=lowest,
        maximum=highest,
        null=_null(kind, series),
        null_shown=bool(series.isna().any()),
    )


def _kind(name: str, series: "pd.Series[Any]") -> Kind:
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return Kind.CATEGORY
    if dtype == object:
        return _object_kind(name, series)
    for test, kind in (
        (pandas_types.is_bool_dtype, Kind.BOOLEAN),
        (pandas_types.is_integer_dtype, Kind.INTEGER),
        (pandas_types.is_float_dtype, Kind.NUMBER),
        (pandas_types.is_datetime64_any_dtype, Kind.DATETIME),
        (pandas_types.is_string_dtype, Kind.STRING),
    ):
        if test(dtype) and not isinstance(dtype, pd.SparseDtype):
            return kind
    raise ExampleError(
        f"Column {name!r} has the dtype {dtype}",
        "Columns hold numbers, integers, booleans, text, categories or datetimes; convert it first.",
    )


def _object_kind(name: str, series: "pd.Series[Any]") -> Kind:
    found = {type(_plain(value)) for value in series[series.notna()]}
    if not found:
        raise ExampleError(
            f"Column {name!r} is empty, so its kind cannot be known", "Give it a dtype, or rows with values."
        )
    kind = OBJECT_KINDS.get(frozenset(found))
    if kind is None:
        names = ", ".join(sorted(t.__name__ for t in found))
        raise ExampleError(
            f"Column {name!r} mixes or holds values of type {names}",
            "Columns hold numbers, integers, booleans, text, categories or datetimes; convert it first.",
        )
    return kind


def _categories(name: str, series: "pd.Series[Any]") -> tuple[Scalar, ...]:
    values = tuple(_plain(value) for value in series.cat.categories)
    if len({type(v) for v in values}) > 1 or any(type(v) not in (str, int, float, bool) for v in values):
        raise ExampleError(
            f"The categories of column {name!r} are neither text nor numbers", "Convert them to text first."
        )
    return values


def _range(name: str, kind: Kind, series: "pd.Series[Any]") -> tuple[Any, Any]:
    values = series[series.notna()]
    if kind not in (Kind.NUMBER, Kind.INTEGER, Kind.DATETIME) or values.empty:
        return None, None
    lowest, highest = values.min(), values.max()
    if kind is Kind.DATETIME:
        return lowest.isoformat(), highest.isoformat()
    if math.isinf(lowest) or math.isinf(highest):
        raise ExampleError(f"Column {name!r} holds an infinity, which JSON cannot carry", "Replace it first.")
    return float(lowest), float(highest)


def _null(kind: Kind, series: "pd.Series[Any]") -> str:
    if kind is Kind.DATETIME:
        return "nat"
    if series.dtype == object:
        return next((null for null in ("none", "nan", "na", "nat") if null in nulls_in(series)), "nan")
    return _null_of(series.dtype)


def _null_of(dtype: Any) -> str:
    return "na" if isinstance(dtype, pd.api.extensions.ExtensionDtype) and dtype.na_value is pd.NA else "nan"


# --- missing values --------------------------------------------------------------------------------------


def nulls_in(series: "pd.Series[Any]") -> set[str]:
    """Return which missing values a column holds: only one of objects can hold several."""
    return {null_kind(value) for value in series[series.isna()]}


def null_kind(value: Any) -> str:
    """Return the name that the signature gives to a missing value."""
    return next((name for name, null in NULLS.items() if value is null), "nan")


def writing(column: Column, null: str) -> Column:
    """Return a column that writes its missing values so; one of objects, where its dtype has no such value."""
    if column.dtype == "object" or null == column.null:
        return replace(column, null=null)
    dtype = pandas_types.pandas_dtype(column.dtype)
    if null == _null_of(dtype) or (null == "none" and dtype == bool):  # which becomes one of objects beside a gap
        return replace(column, null=null)
    return replace(column, null=null, dtype="object", ordered=False)


# --- to JSON ---------------------------------------------------------------------------------------------


def to_wire(column: Column, series: "pd.Series[Any]") -> list[Any]:
    """Write a column as JSON values: null for missing ones, ISO 8601 for datetimes."""
    return [None if missing else _scalar(column, value) for value, missing in zip(series, series.isna(), strict=True)]


def _scalar(column: Column, value: Any) -> Any:
    if column.kind is Kind.DATETIME:
        # In UTC, because the offsets of long ago have seconds, which ISO 8601 does not know.
        return (value if value.tz is None else value.tz_convert("UTC")).isoformat()
    if column.kind is Kind.NUMBER:
        return float(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    """Return the Python value of a numpy scalar; a subclass of str (numpy's) becomes str."""
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, str) else value


# --- to what a model sees --------------------------------------------------------------------------------


def build_columns(columns: Iterable[Column], wire: Mapping[str, Values]) -> dict[str, Any]:
    """Make the arrays that the model was trained on the like of, from JSON values; None is a missing one.

    Numbers and booleans may also come as an array of numpy, in which NaN is a missing value. It is copied: what was
    sent may lie in memory that nobody may write to, and some models do.

    An integer or boolean column of numpy has no missing value: with one it becomes float or object, as pandas
    itself would read it.
    """
    return {column.name: _build(column, wire[column.name]) for column in columns}


def _build(column: Column, values: Values) -> Any:
    if isinstance(values, np.ndarray):
        return np.array(values, dtype=column.dtype)
    if column.kind is Kind.DATETIME:
        return _datetimes(column, values)
    if column.dtype == "category":  # of pandas: text that an encoder turns into categories is none
        return _categorical(column, values)
    dtype = pandas_types.pandas_dtype(column.dtype)
    if isinstance(dtype, pd.api.extensions.ExtensionDtype):
        return pd.array(values, dtype=dtype)  # type: ignore[call-overload]
    if None in values:
        values = [NULLS[column.null] if value is None else value for value in values]
        if dtype.kind in "iu":
            return np.array(values, dtype=np.float64)
        if dtype.kind == "b":
            return np.array(values, dtype=object)
    return _array(values, dtype)


def _array(values: Values, dtype: Any) -> Any:
    if dtype == object:
        # np.array() would look into the values to find more dimensions.
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    return np.array(values, dtype=dtype)


def _categorical(column: Column, values: Values) -> pd.Categorical:
    """A value beyond the known categories would silently become missing, so it gets a category of its own."""
    known = list(column.categories or ())
    unknown = sorted({value for value in values if value is not None} - set(known), key=str)
    return pd.Categorical(values, categories=known + unknown, ordered=column.ordered)


def _datetimes(column: Column, values: Values) -> Any:
    """One by one: pandas reads a list in the finest unit that one value needs, which cannot hold the far ones."""
    moments: list[Any] = [pd.NaT if value is None else read_moment(column, value) for value in values]
    return pd.array(moments, dtype=pandas_types.pandas_dtype(column.dtype))  # type: ignore[arg-type]


def read_moment(column: Column, value: str) -> pd.Timestamp:
    """Read an ISO 8601 text in the unit and zone of a datetime column; ValueError if it cannot hold it exactly."""
    unit, zone = _unit_and_zone(column.dtype)
    try:
        moment = pd.Timestamp(value)
        moment = moment if zone is None else moment.tz_convert(zone)
    except (NotImplementedError, OverflowError) as exc:  # what pandas says of zones beyond the calendar
        raise ValueError("the moment is outside of the calendar") from exc
    if not MINYEAR <= moment.year <= MAXYEAR:
        raise ValueError("the moment is outside of the calendar")
    return moment.as_unit(unit, round_ok=False)


@cache
def _unit_and_zone(dtype: str) -> tuple[Any, Any]:
    parsed: Any = pandas_types.pandas_dtype(dtype)
    if isinstance(parsed, pd.DatetimeTZDtype):
        return parsed.unit, parsed.tz
    return np.datetime_data(parsed)[0], None


def integer_bounds(column: Column) -> tuple[int, int]:
    """Return the least and the greatest integer that the column's dtype holds."""
    name = column.dtype.split("[")[0].lower()
    try:
        bounds = np.iinfo(np.dtype(name))
    except (TypeError, ValueError):
        bounds = np.iinfo(np.int64)
    return int(bounds.min), int(bounds.max)


def turns_to_float(column: Column) -> bool:
    """Tell whether a missing value makes floating point numbers of an integer column (numpy's, not pandas' own)."""
    dtype = pandas_types.pandas_dtype(column.dtype)
    return isinstance(dtype, np.dtype) and dtype.kind in "iu"


def is_timezone_aware(column: Column) -> bool:
    """Tell whether a datetime column carries a time zone."""
    return isinstance(pandas_types.pandas_dtype(column.dtype), pd.DatetimeTZDtype)
