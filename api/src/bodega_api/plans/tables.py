"""The columns of a request as a plan takes them: arrays of numbers, and lists of text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from bodega_db.signature import Column, Container, Kind, Signature

Array = npt.NDArray[Any]
Values = Array | list[Any]
Read = Callable[[Sequence[Any]], Values]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns in order, by name; a missing number is NaN, or the column floating point, and missing text is None."""

    columns: Mapping[str, Values]
    by_row: bool = False

    def take(self, names: Sequence[str]) -> "Table":
        """Return some of the columns, in another order."""
        return Table({name: self.columns[name] for name in names})

    def matrix(self) -> Array:
        """Return the columns as one matrix, of the dtype and the order in memory that scikit-learn makes of a frame.

        Raises TypeError if a column holds text.
        """
        columns = list(self.columns.values())
        if any(isinstance(column, list) for column in columns):
            raise TypeError("a column holds text")
        dtypes = {column.dtype for column in columns if isinstance(column, np.ndarray)}
        dtype = np.dtype(np.float64) if np.dtype(bool) in dtypes else np.result_type(*dtypes)
        matrix = np.empty((len(columns[0]), len(columns)), dtype=dtype, order="C" if self.by_row else "F")
        for place, column in enumerate(columns):
            matrix[:, place] = column
        return matrix


def readers(signature: Signature) -> dict[str, Read] | None:
    """Return what reads each column of a signature from JSON values, or None if one is of a kind without a plan."""
    if signature.container is Container.TEXTS:
        return None
    if signature.container is Container.ARRAY and signature.array_dtype not in ("float64", "float32", "int64"):
        return None
    found = {column.name: _reader(column) for column in signature.columns}
    if None in found.values():
        return None
    return {name: read for name, read in found.items() if read is not None}


def _reader(column: Column) -> Read | None:
    if column.kind in (Kind.STRING, Kind.CATEGORY) and column.dtype in ("str", "object", "category"):
        return list
    if column.kind is Kind.DATETIME:
        return list  # as text, for a model that leaves it out
    if column.kind is Kind.NUMBER and column.dtype == "float64":
        return _numbers
    if column.kind is Kind.NUMBER and column.dtype == "float32":
        return _singles
    if column.kind is Kind.INTEGER and column.dtype == "int64":
        return _integers
    if column.kind is Kind.BOOLEAN and column.dtype == "bool" and not column.nullable:
        return _booleans
    return None


def _numbers(values: Sequence[Any]) -> Array:
    return np.array(values, dtype=np.float64)  # numpy reads None as NaN


def _singles(values: Sequence[Any]) -> Array:
    return np.array(values, dtype=np.float32)


def _integers(values: Sequence[Any]) -> Array:
    if isinstance(values, np.ndarray):
        return values
    return np.array(values, dtype=np.float64 if None in values else np.int64)


def _booleans(values: Sequence[Any]) -> Array:
    return np.array(values, dtype=bool)
