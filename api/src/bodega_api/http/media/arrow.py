"""Columns of Arrow, strictly as the signature has them: at once where all values fit, else one by one as JSON's.

So a value that does not fit is told with the same words whatever form it came in.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bodega_model.signature.columns import integer_bounds
from bodega_model.signature.types import Column, Kind, Signature
from bodega_model.validation.rows import EXACT_FLOAT, Report, check_column, value_kind

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_NUMBERS = (pa.types.is_floating, pa.types.is_integer, pa.types.is_null)
_MOMENTS = (pa.types.is_timestamp, pa.types.is_date)
Array = Any  # of pyarrow, which has no types
Values = Any  # a list of JSON values, or an array of numpy in which NaN is a missing value
FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def columns_of(
    batch: "pa.RecordBatch", signature: Signature, report: Report, *, all_text: bool
) -> Mapping[str, Values]:
    """Return the columns of a batch as the model is given them; note each value that does not fit.

    In CSV all is text, and read as what its column holds; elsewhere text is no number.
    """
    found = {
        column.name: _column(column, batch.column(column.name), report, all_text=all_text)
        for column in signature.columns
    }
    for column in filter(is_ambiguous, signature.columns if all_text else ()):
        _note_ambiguous(column, batch.column(column.name), report, alone=len(found) == 1)
    report.rows += batch.num_rows
    return found


def _column(column: Column, array: Array, report: Report, *, all_text: bool) -> Values:
    kind = value_kind(column)
    fits = all_text or kind is Kind.STRING or not _is_text(array)
    quick = _AT_ONCE.get(kind) if fits else None
    values = None if quick is None else quick(column, array)
    if values is not None and (column.categories is None or _are_known(column, values)):
        return values
    return check_column(column, _to_json(array, _FROM_TEXT.get(kind) if all_text else None), report)


def quotes_can_be_null(column: Column) -> bool:
    """Tell whether `""` is a missing value in a table of this column alone, in CSV."""
    return value_kind(column) is not Kind.STRING or (column.nullable and not is_ambiguous(column))


def is_ambiguous(column: Column) -> bool:
    """Tell whether a field of CSV without anything can be a missing value and also a category."""
    return column.nullable and "" in (column.categories or ())


def _note_ambiguous(column: Column, array: Array, report: Report, *, alone: bool) -> None:
    """Note the fields that pandas writes for a missing value and for empty text alike.

    In a column alone that is `""`; beside others it is nothing, unless empty text is there as `""`.
    """
    empty = pc.fill_null(pc.equal(array, ""), fill_value=False).to_numpy(zero_copy_only=False)
    if not alone:
        empty = np.zeros(len(array), dtype=bool) if empty.any() else array.is_null().to_numpy(zero_copy_only=False)
    for place in np.flatnonzero(empty).tolist():
        detail = 'is empty, which in CSV can be the category "" or a missing value: send JSON, Arrow or Parquet'
        report.add(detail, column.name, place)


def check_types(schema: "pa.Schema", names: Sequence[str], report: Report) -> None:
    """Note the columns of a type that nothing in JSON is like; ask this before such a column is unpacked."""
    for name in names:
        kind = schema.field(name).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(is_type(plain) for is_type in (*_TEXTS, *_NUMBERS, *_MOMENTS, pa.types.is_boolean)):
            # Without its parts, whose names are the sender's.
            report.add(f"is of the type {str(kind).partition('<')[0]}, which is not read here", name)


# --- all values at once; None if one may not fit -------------------------------------------------------------


def _numbers(column: Column, array: Array) -> Values:
    if column.dtype not in FLOATS or not (_is_text(array) or _is_number(array)):
        return None
    try:
        values = pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # an integer that no float holds, or what is no number
        return None
    missing = np.isnan(values)
    gaps = int(np.count_nonzero(missing))
    if gaps and (not column.nullable or (_is_text(array) and gaps != array.null_count)):
        return None
    largest = 0.0 if gaps == len(values) else float(np.nanmax(np.abs(values)))
    if _is_text(array) and largest >= EXACT_FLOAT:  # nobody looked at its digits yet
        return None
    return values if largest <= float(np.finfo(column.dtype).max) else None


def _integers(column: Column, array: Array) -> Values:
    if column.dtype not in INTEGERS or array.null_count or not len(array):
        return None
    if _is_text(array):
        try:
            if pc.any(pc.match_substring(array, "x", ignore_case=True)).as_py():  # Arrow reads 0x10
                return None
            array = pc.cast(array, pa.int64())
        except pa.ArrowInvalid:
            return None
    if not pa.types.is_integer(array.type):
        return None
    found = pc.min_max(array).as_py()
    lowest, highest = integer_bounds(column)
    if found["min"] < lowest or found["max"] > highest:
        return None
    return array.to_numpy(zero_copy_only=False).astype(column.dtype)


def _booleans(column: Column, array: Array) -> Values:
    if column.dtype != "bool" or not pa.types.is_boolean(array.type) or array.null_count:
        return None
    return array.to_numpy(zero_copy_only=False)


def _are_known(column: Column, values: Values) -> bool:
    """Tell whether no value of a column with categories has to be told apart; of texts `_texts` looked already."""
    if not isinstance(values, np.ndarray):
        return True
    present = set(np.unique(values).tolist())
    known = {value for value in present if value == value}  # noqa: PLR0124 (NaN is the one that is not)
    return known <= set(column.categories or ()) and not (column.null_is_unknown and known != present)


def _texts(column: Column, array: Array) -> Values:
    if not _is_text(array) or (array.null_count and (not column.nullable or column.null_is_unknown)):
        return None
    if column.categories is not None:
        present = set(pc.unique(_plain_text(array)).to_pylist())
        if not present <= {None, *column.categories}:
            return None
    return _objects(array)


_AT_ONCE: dict[Kind, Callable[[Column, Array], Values]] = {
    Kind.NUMBER: _numbers,
    Kind.INTEGER: _integers,
    Kind.BOOLEAN: _booleans,
    Kind.STRING: _texts,
}


# --- one by one ----------------------------------------------------------------------------------------------


def _to_json(array: Array, read: Callable[[str], Any] | None) -> list[Any]:
    """Return the values as JSON would have them."""
    if _is_text(array):
        values = _objects(array)
        return values if read is None else [None if value is None else read(value) for value in values]
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()  # of numbers and the like, which are short
    if pa.types.is_floating(array.type):
        return [None if value is None or math.isnan(value) else value for value in array.cast(pa.float64()).to_pylist()]
    return _moments(array) if any(is_type(array.type) for is_type in _MOMENTS) else list(array.to_pylist())


def _moments(array: Array) -> list[str | None]:
    """Write moments as ISO 8601, with a zone in UTC; also those that no calendar has, which the check refuses."""
    zoned = pa.types.is_timestamp(array.type) and array.type.tz is not None
    if zoned:  # what is stored is UTC; the name of the zone may be any text
        array = array.cast(pa.timestamp(array.type.unit))
    texts = np.datetime_as_string(array.to_numpy(zero_copy_only=False)).tolist()
    return [None if text == "NaT" else text + "Z" * zoned for text in texts]


def _number(text: str) -> Any:
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def _boolean(text: str) -> Any:
    return BOOLEANS.get(text, text)


_FROM_TEXT: dict[Kind, Callable[[str], Any]] = {
    Kind.NUMBER: _number,
    Kind.INTEGER: _number,
    Kind.BOOLEAN: _boolean,
}


# --- text ----------------------------------------------------------------------------------------------------


def _is_number(array: Array) -> bool:
    return any(is_type(array.type) for is_type in _NUMBERS)


def _is_text(array: Array) -> bool:
    return is_text(array.type.value_type if pa.types.is_dictionary(array.type) else array.type)


def is_text(kind: Any) -> bool:
    """Tell whether a type of Arrow is one of text."""
    return any(is_type(kind) for is_type in _TEXTS)


def _plain_text(array: Array) -> Array:
    """Return the texts that there are, each perhaps more than once; of a dictionary also those that no row has."""
    if not pa.types.is_dictionary(array.type):
        return array
    return array.dictionary.take(pc.unique(array.indices).drop_null())


def _objects(array: Array) -> list[Any]:
    """Return texts as Python's; rows that share one in a dictionary share it here too."""
    if not pa.types.is_dictionary(array.type):
        return list(array.to_pylist())
    texts = np.array([*array.dictionary.to_pylist(), None], dtype=object)
    places = pc.fill_null(array.indices.cast(pa.int64()), len(texts) - 1)
    return list(texts[places.to_numpy()])
