"""Models written to bytes and read back, without a catalog or a volume."""

import io
from typing import Any

import numpy as np
import pandas as pd
from bodega_model.formats import codecs
from bodega_model.formats.policy import Policy
from scipy import sparse

BOTH = Policy(formats=frozenset({"skops", "joblib"}))


class Sink:
    """Takes bytes and gives nothing back: no seek, no tell, no read, as a writer that hashes what passes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, piece: Any) -> int:
        """Keep the bytes."""
        self.pieces.append(bytes(piece))
        return len(self.pieces[-1])

    def flush(self) -> None:
        """Do nothing: all is kept already."""


def written(model: Any, fmt: str = "skops") -> bytes:
    """Return the bytes of the model in the format."""
    sink = Sink()
    codecs.dump(model, fmt, sink)  # type: ignore[arg-type]
    return b"".join(sink.pieces)


def read(content: bytes, fmt: str = "skops", policy: Policy = BOTH) -> Any:
    """Return the model that the bytes hold."""
    return codecs.load(io.BytesIO(content), fmt, policy)


def same(one: Any, two: Any) -> bool:
    """Tell whether two answers are equal bit for bit, of one type and dtype."""
    if isinstance(one, list):
        return isinstance(two, list) and all(map(same, one, two))
    if isinstance(one, pd.DataFrame):
        return isinstance(two, pd.DataFrame) and one.equals(two)
    if sparse.issparse(one):
        one, two = one.toarray(), two.toarray()
    return one.dtype == two.dtype and np.array_equal(one, two)
