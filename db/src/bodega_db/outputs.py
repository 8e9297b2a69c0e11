"""What a model answers: its methods, their answers as plain JSON rows, and how two answers compare."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from bodega_db.errors import BodegaError, OutputNotAvailableError, OutputNotFiniteError, PredictionError
from bodega_db.foreign import has, known, members, type_name
from bodega_db.signature import Kind, Output, Scalar, Signature

METHODS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")
MOST_COLUMN_NAMES = 1000
MOST_VALUES = 2**16  # of one row's answer: a row of so many is a megabyte of JSON
# Another processor or BLAS adds in another order, which moves the last digits; a wrong model moves the first.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-8

PLAIN = frozenset({bool, int, str})  # what JSON carries whatever its value
KINDS = {bool: Kind.BOOLEAN, int: Kind.INTEGER, float: Kind.NUMBER, str: Kind.STRING}


def call(model: Any, method: str, rows: Any) -> list[Any]:
    """Call a method of the model and return one JSON value (or list) for each row.

    Raises OutputNotAvailableError, PredictionError when the model raises, and OutputNotFiniteError when it
    answers NaN or an infinity, which JSON cannot carry and no client expects.
    """
    try:
        function = getattr(model, method, None) if method in METHODS else None
        raw = None if function is None else function(rows)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # a foreign method may raise anything, SystemExit too
        raise PredictionError(f"{type_name(model)}.{method} raised {type_name(exc)}") from exc
    if function is None:
        raise OutputNotAvailableError("The model has no such output", _choices(model))
    try:
        return to_rows(raw, method)
    except BodegaError:
        raise
    except Exception as exc:
        raise PredictionError(f"{type_name(model)}.{method} returned a {type_name(raw)} that is no rows") from exc


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
    # Labels and names are a courtesy: an estimator that cannot tell them answers all the same.
    classes, per_target = known(lambda: _classes(model, method, shape), (None, False))
    names = known(lambda: _columns(model), ()) if method == "transform" else ()
    return Output(
        kind=KINDS[type(_first(rows))],
        shape=tuple(int(length) for length in shape),
        classes=classes,
        per_target=per_target,
        columns=names if (len(names),) == shape and 0 < len(names) <= MOST_COLUMN_NAMES else None,
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
    if not isinstance(raw, list | tuple) and not hasattr(type(raw), "__array__") and not sparse.issparse(raw):
        raise PredictionError(f"The model's {method} is a {type_name(raw)}, not an array or a list of rows")
    if sparse.issparse(raw):
        _check_width(raw.shape, method)  # before it is made dense
        raw = raw.toarray()
    if isinstance(raw, pd.DataFrame | pd.Series):
        raw = raw.to_numpy()
    array = np.asarray(raw)
    _check_width(array.shape, method)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise OutputNotFiniteError(f"The model's {method} is not a finite number for some rows")
    if array.dtype.kind in "fiubU":
        return array.tolist()  # type: ignore[no-any-return]
    if array.dtype != object:
        raise PredictionError(f"The model's {method} has the dtype {array.dtype}, which JSON cannot carry")
    values = array.tolist()
    return values if PLAIN.issuperset(map(type, values)) else [_item(value, method) for value in values]


def _check_width(shape: tuple[int, ...], method: str) -> None:
    if not shape:
        raise PredictionError(f"The model's {method} is a single value, not one for each row")
    if (width := math.prod(shape[1:])) > MOST_VALUES:
        raise PredictionError(
            f"The model's {method} has {width} values for each row, and {MOST_VALUES} are served",
            "Register it in a pipeline with the estimator that uses these values, or let it make fewer: "
            "n_features, max_features or n_components.",
        )


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
    labels = classes.tolist() if isinstance(classes, np.ndarray) else members(classes)
    if not {type(label) for label in labels} <= KINDS.keys():
        raise PredictionError("The labels in classes_ are neither text nor numbers")
    return tuple(_item(label, "classes_") for label in labels)


def _columns(model: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in members(model.get_feature_names_out()))


def _first(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0]
    return value


def _is_ragged(row: Any) -> bool:
    return isinstance(row, list) and len({np.shape(part) for part in row}) > 1


def _choices(model: Any) -> str:
    return f"It has: {', '.join(m for m in METHODS if has(model, m))}."
