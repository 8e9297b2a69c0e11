"""A block as the matrix that scikit-learn would make of it: the types that a model computes in are kept here.

Integers that are squared as integers wrap, and numbers of half the length are rounded at each step. So a plan makes
a matrix nowhere else, and each estimator names the dtypes that its own check accepts: `checked(block, *FLOATS)` is
what `check_array(X, dtype=FLOAT_DTYPES)` makes of the frame or array that the model would get, `checked(block)` what
it makes with `dtype="numeric"`.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from bodega_model.plans.tables import Table

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sparse:
    """What is a sparse matrix in the model: all its numbers here, multiplied in the order of a sparse one there."""

    matrix: Array


Block = Table | Sparse | Array
DOUBLE, SINGLE = np.dtype(np.float64), np.dtype(np.float32)
FLOATS = (DOUBLE, SINGLE, np.dtype(np.float16))


class NoPlanError(Exception):
    """There is no plan for a model; the message says why, for people who read a version's details."""


class AsideError(Exception):
    """A plan met something that it was not made for: the model itself shall answer, or refuse.

    `rows` tells which rows it met it in, where that is known.
    """

    def __init__(self, message: str, rows: Array | None = None) -> None:
        super().__init__(message)
        self.rows = rows


def checked(block: Block, *dtypes: "np.dtype[Any]") -> Array:
    """Return a block as a matrix of the first of some dtypes unless it has one of them; NoPlanError for text."""
    if isinstance(block, Table):
        try:
            return block.matrix(dtypes)
        except TypeError as exc:
            raise NoPlanError(f"{exc} where numbers are needed") from exc
    matrix = block.matrix if isinstance(block, Sparse) else block
    return matrix if not dtypes or matrix.dtype in dtypes else matrix.astype(dtypes[0])


def unchecked(block: Block) -> Array:
    """Return a block as numpy makes an array of it, where scikit-learn does not look at it."""
    if isinstance(block, Sparse):
        return block.matrix
    if not isinstance(block, Table):
        return block
    try:
        return block.values()
    except TypeError as exc:
        raise NoPlanError(f"{exc} where numbers are needed") from exc


def bounded(matrix: Array) -> Array:
    """Return a matrix of finite numbers and gaps; step aside for one with an infinity: something was too large."""
    infinite = np.isinf(matrix)
    if infinite.any():
        raise AsideError("a value is too large", _any_in_row(infinite))
    return matrix


def finite(matrix: Array) -> Array:
    """Return finite numbers, row by row; step aside for others, which the model refuses in its own words."""
    sound = np.isfinite(matrix)
    if not sound.all():
        raise AsideError("a value is missing or too large", _any_in_row(~sound))
    return matrix


def _any_in_row(found: Array) -> Array:
    return np.asarray(found.reshape(len(found), -1).any(axis=1))


# --- sparse matrices -------------------------------------------------------------------------------------------

CELLS = 2**20  # numbers that are added at once


def like(block: Block, matrix: Array) -> Block:
    """Return a matrix that was made of a block by a step that keeps sparse matrices sparse."""
    return Sparse(matrix) if isinstance(block, Sparse) else matrix


def dense(block: Block) -> Block:
    """Return a block that is no sparse matrix; NoPlanError for one, which the estimator refuses or handles itself."""
    if isinstance(block, Sparse):
        raise NoPlanError("a sparse matrix has no plan here")
    return block


def as_given(block: Block) -> Any:
    """Return a block as an estimator of scikit-learn takes it: sparse if it is."""
    return csr_matrix(block.matrix) if isinstance(block, Sparse) else checked(block)


def product(block: Block, matrix: Array, weights: Array) -> Array:
    """Multiply the matrix of a block by weights, adding in the order in which the model does.

    BLAS adds several numbers at a time, a sparse matrix one after another, which rounds otherwise.
    """
    if not isinstance(block, Sparse):
        found: Array = matrix @ weights
        return found
    if not adds_in_order():
        return np.asarray(csr_matrix(matrix) @ weights)
    count = max(1, CELLS // max(1, weights.size))
    parts = [_add_in_order(matrix[begin : begin + count], weights) for begin in range(0, len(matrix), count)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _add_in_order(matrix: Array, weights: Array) -> Array:
    products = matrix * weights if weights.ndim == 1 else matrix[:, :, np.newaxis] * weights
    added: Array = products.cumsum(axis=1, dtype=products.dtype)[:, -1] + products.dtype.type(0)
    return added


@cache
def adds_in_order() -> bool:
    """Tell whether scipy's sparse product rounds as plain additions do: some processors multiply and add at once."""
    numbers = np.random.default_rng(1)
    matrix = numbers.normal(size=(64, 50)) * (numbers.random((64, 50)) < 0.5)
    weights = numbers.normal(size=(50, 3))
    return all(
        np.array_equal(csr_matrix(matrix) @ each, _add_in_order(matrix, each)) for each in (weights, weights[:, 0])
    )
