"""Fingerprints of training data: the same data give the same sha256, so that a later reader can compare.

The rows are hashed by pandas into 64 bits each, so a fingerprint tells data apart and does not prove anything
against somebody who wants to deceive.
"""

import hashlib
import json
import math
from typing import Any

import numpy as np
import pandas as pd
from bodega_db.errors import InvalidMetadataError

TAKES = "A DataFrame, a Series, a numpy array, a sparse matrix, a list, or a tuple of them such as (X, y) will do."


def fingerprint(data: Any) -> dict[str, Any]:
    """Return type, shape and sha256 of training data; the index of a DataFrame does not count.

    Raises InvalidMetadataError for data of another type.
    """
    if isinstance(data, tuple):
        parts = [fingerprint(part) for part in data]
        return {
            "type": f"({', '.join(part['type'] for part in parts)})",
            "shape": [part["shape"] for part in parts],
            "sha256": _sha256([part["type"] for part in parts], *(part["sha256"].encode() for part in parts)),
        }
    kind, shape = type(data).__name__, list(np.shape(data) if not isinstance(data, list) else (len(data),))
    return {"type": kind, "shape": shape, "sha256": _digest(data)}


def _digest(data: Any) -> str:
    if hasattr(data, "tocsr"):
        matrix = data.tocsr(copy=True)
        matrix.sum_duplicates()
        return _sha256(
            [list(matrix.shape), str(matrix.dtype)],
            *(_bytes(part) for part in (matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64))),
        )
    if isinstance(data, np.ndarray) and data.dtype != object:
        return _sha256([list(data.shape), str(data.dtype)], _bytes(data))
    return _digest_frame(_frame(data))


def _digest_frame(frame: pd.DataFrame) -> str:
    described = [[str(name), str(dtype)] for name, dtype in frame.dtypes.items()]
    try:
        rows = pd.util.hash_pandas_object(frame, index=False)
    except TypeError as exc:
        raise InvalidMetadataError(f"The training data cannot be hashed: {exc}", TAKES) from exc
    return _sha256([list(frame.shape), described], _bytes(rows.to_numpy()))


def _frame(data: Any) -> pd.DataFrame:
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, pd.Series):
        return data.to_frame(name=str(data.name))
    if isinstance(data, list):
        return pd.Series(data, dtype=object).to_frame()
    if isinstance(data, np.ndarray):
        rows = data if data.ndim else data.reshape(1)
        return pd.DataFrame(rows.reshape(len(rows), math.prod(rows.shape[1:])))
    raise InvalidMetadataError(f"A {type(data).__name__} cannot be fingerprinted as training data", TAKES)


def _bytes(array: "np.ndarray[Any, Any]") -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _sha256(described: list[Any], *parts: bytes) -> str:
    digest = hashlib.sha256(json.dumps(described).encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
