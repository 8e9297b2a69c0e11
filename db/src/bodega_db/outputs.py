"""What a model answers: its methods, their answers as plain JSON rows, and how two answers compare."""

import math
from typing import Any

import numpy as np
import pandas as pd

from bodega_db.errors import OutputNotAvailableError, OutputNotFiniteError, PredictionError
from bodega_db.signature import Kind, Output, Scalar, Signature

METHODS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")
MOST_COLUMN_NAMES = 1000
# Another processor or BLAS adds in another order, which moves the last digits; a wrong model moves the first.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-8

PLAIN = frozenset({bool, int, str})  # what JSON carries whatever its value
KINDS = {bool: Kind.BOOLEAN, int: Kind.INTEGER, float: Kind.NUMBER, str: Kind.STRING}


def call(model: Any, method: str, rows: Any) -> list[Any]:
    """Call a method of the model and return one JSON value (or list) for each row.

    Raises OutputNotAvailableError, PredictionError when the model raises, and OutputNotFiniteError when it
    answers NaN or an infinity, which JSON cannot carry and no client expects.
    """
    function = getattr(model, method, None)
    if method not in METHODS or function is None:
        raise OutputNotAvailableError("The model has no such output", _choices(model))
    try:
        raw = function(rows)
    except Exception as exc:
        raise PredictionError(f"{type(model).__name__}.{method} raised {type(exc).__name__}") from exc
    return to_rows(raw, method)


def check_output(signature: Signature, output: str | None) -> str:
    """Return the output to make, the signature's first where none is named; raise OutputNotAvailableError."""
    if output is None:
        return signature.default_output
    if output not in signature.outputs:
        raise OutputNotAvailableError("The model has no such output", f"It has: {', '.join(signature.outputs)}.")
    return output


def describe_output(model: Any, method: str, rows: list[Any]) -> Output:
    """Describe the answer of a method by one answer: kind, shape of a row, classes, names of the columns."""
    shape = np.shape(rows[0]) if not _is_ragged(rows[0]) else (len(rows[0]),)
    classes, per_target = _classes(model, method, shape)
    return Output(
        kind=KINDS[type(_first(rows))],
        shape=tuple(int(length) for length in shape),
        classes=classes,
        per_target=per_target,
        columns=_columns(model, shape) if method == "transform" else None,
    )


def same_answer(expected: Any, actual: Any) -> bool:
    """Compare two answers: labels and integers exactly, floating point numbers within a small tolerance."""
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(same_answer, expected, actual))
    if isinstance(expected, float) or isinstance(actual, float):
        return (
            isinstance(expected, int | float)
            and isinstance(actual, int | float)
            and math.isclose(expected, actual, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
        )
    return type(expected) is type(actual) and bool(expected == actual)


def to_rows(raw: Any, method: str) -> list[Any]:
    """Turn what a method returned into one JSON value or list for each row.

    Raises OutputNotFiniteError, or PredictionError for what JSON cannot carry.
    """
    if isinstance(raw, list) and raw and np.ndim(raw[0]):
        # One array for each of several targets: turned so that rows come first.
        targets = [to_rows(target, method) for target in raw]
        return [list(row) for row in zip(*targets, strict=True)]
    if hasattr(raw, "toarray"):
        raw = raw.toarray()
    if isinstance(raw, pd.DataFrame | pd.Series):
        raw = raw.to_numpy()
    array = np.asarray(raw)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise OutputNotFiniteError(f"The model's {method} is not a finite number for some rows")
    if array.dtype.kind in "fiubU":
        return array.tolist()  # type: ignore[no-any-return]
    if array.dtype != object:
        raise PredictionError(f"The model's {method} has the dtype {array.dtype}, which JSON cannot carry")
    values = array.tolist()
    return values if PLAIN.issuperset(map(type, values)) else [_item(value, method) for value in values]


def _item(value: Any, method: str) -> Any:
    if isinstance(value, list):
        return [_item(part, method) for part in value]
    value = value.item() if isinstance(value, np.generic) else value
    if type(value) not in KINDS:
        raise PredictionError(f"The model's {method} holds a {type(value).__name__}, which JSON cannot carry")
    if isinstance(value, float) and not math.isfinite(value):
        raise OutputNotFiniteError(f"The model's {method} is not a finite number for some rows")
    return value


def _classes(model: Any, method: str, shape: tuple[int, ...]) -> tuple[Any, bool]:
    classes = getattr(model, "classes_", None)
    if classes is None or method not in ("predict", "predict_proba", "decision_function"):
        return None, False
    if isinstance(classes, list):
        return tuple(_labels(target) for target in classes), True
    labels = _labels(classes)
    fits = method == "predict" or shape == (len(labels),)
    return (labels if fits else None), False


def _labels(classes: Any) -> tuple[Scalar, ...]:
    return tuple(_item(label, "classes_") for label in np.asarray(classes).tolist())


def _columns(model: Any, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    try:
        names = tuple(str(name) for name in model.get_feature_names_out())
    except Exception:  # noqa: BLE001 (names are a courtesy: many transformers cannot tell them)
        return None
    return names if (len(names),) == shape and len(names) <= MOST_COLUMN_NAMES else None


def _first(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0]
    return value


def _is_ragged(row: Any) -> bool:
    return isinstance(row, list) and len({np.shape(part) for part in row}) > 1


def _choices(model: Any) -> str:
    return f"It has: {', '.join(m for m in METHODS if hasattr(model, m))}."
