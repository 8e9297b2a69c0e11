"""The columns of a request as a plan takes them: arrays of numbers, and lists of text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bodega_model.signature.types import Column, Container, Kind, Signature

Array = npt.NDArray[Any]
Values = Array | list[Any]
Read = Callable[[Sequence[Any]], Values]
BOOLEAN = np.dtype(bool)
ARRAYS = ("float64", "float32", "int64")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns in order, by name, each of its own dtype; a missing number is NaN, and missing text is None."""

    columns: Mapping[str, Values]
    by_row: bool = False

    def take(self, names: Sequence[str]) -> "Table":
        """Return some of the columns, in another order."""
        return Table({name: self.columns[name] for name in names})

    def matrix(self, wanted: tuple["np.dtype[Any]", ...] = ()) -> Array:
        """Return the columns as one matrix, of the dtype and the order in memory that scikit-learn makes of a frame.

        The dtype is the one that all columns fit in, or the first that is wanted unless it is among those. Raises
        TypeError if a column holds text.
        """
        columns, dtypes = self._numbers()
        common = dtypes[0] if len(dtypes) == 1 else np.result_type(*dtypes)
        dtype = common if not wanted or common in wanted else wanted[0]
        # A frame with booleans becomes of that dtype column by column, any other one as a whole.
        matrix = _fill(columns, dtype if BOOLEAN in dtypes else common, by_row=self.by_row and len(dtypes) == 1)
        return matrix if matrix.dtype == dtype else matrix.astype(dtype)

    def values(self) -> Array:
        """Return the columns as one matrix, as numpy makes it of a frame; TypeError if that is one of objects."""
        columns, dtypes = self._numbers()
        if BOOLEAN in dtypes and len(dtypes) > 1:
            raise TypeError("booleans stand beside numbers")
        return _fill(columns, np.result_type(*dtypes), by_row=self.by_row and len(dtypes) == 1)

    def array(self) -> Array:
        """Return the columns of an array as the matrix that they were sent as."""
        columns, dtypes = self._numbers()
        return _fill(columns, np.result_type(*dtypes), by_row=True)

    def _numbers(self) -> tuple[list[Array], list["np.dtype[Any]"]]:
        columns = [column for column in self.columns.values() if isinstance(column, np.ndarray)]
        if len(columns) < len(self.columns):
            raise TypeError("a column holds text")
        return columns, list({column.dtype for column in columns})


def _fill(columns: list[Array], dtype: "np.dtype[Any]", *, by_row: bool) -> Array:
    matrix = np.empty((len(columns[0]), len(columns)), dtype, "C" if by_row else "F")
    for place, column in enumerate(columns):
        matrix[:, place] = column
    return matrix


def readers(signature: Signature) -> dict[str, Read] | None:
    """Return what reads each column of a signature from JSON values, or None if one is of a kind without a plan."""
    if signature.container is Container.TEXTS:
        return None
    if signature.container is Container.ARRAY and signature.array_dtype not in ARRAYS:
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
