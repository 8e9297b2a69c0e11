"""What a person is told of a version whose answers depend on the rows that are asked together."""

from bodega_db.records import Version
from bodega_model.signature.types import MOST_TOGETHER

LOOKS_AT_OTHER_ROWS = (
    "{} answers a row otherwise when other rows are asked with it: alone, fewer or in another order the example's rows "
    "got other answers. Over HTTP the rows of one request are answered together, never with those of another request; "
    f"a table may have {MOST_TOGETHER} rows. If callers have single rows, compute what looks at other rows before the "
    "model is called, or fit it (a fitted scaler keeps the mean of the training data)."
)


def warning_of(version: Version) -> str | None:
    """Return the warning for a version that looks at other rows; None for others, and where that is not known."""
    return LOOKS_AT_OTHER_ROWS.format(version.reference) if version.signature.row_wise is False else None
