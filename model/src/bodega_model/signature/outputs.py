"""What a model answers: its methods, their answers as plain JSON rows, and how two answers compare."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from scipy import sparse

from bodega_model.errors import (
    BodegaError,
    BrokenSignatureError,
    OutputNotAvailableError,
    OutputNotFiniteError,
    PredictionError,
)
from bodega_model.foreign import has, known, members, type_name
from bodega_model.signature.conformance import (
    DTYPES,
    EXACT_FLOAT,
    Contract,
    flat,
    have_one_form,
    labels_of,
    types_of,
    values_of,
)
from bodega_model.signature.inputs import Wire, build_input
from bodega_model.signature.types import Kind, Output, Scalar, Signature

METHODS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")
MOST_COLUMN_NAMES = 1000
MOST_VALUES = 2**16  # of one row's answer: a row of so many is a megabyte of JSON
# Another processor or BLAS adds in another order, which moves the last digits; a wrong model moves the first.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-8

PLAIN = frozenset({bool, int, str})  # what is finite whatever its value
INTEGERS = range(-(2**63), 2**64)  # what readers and writers of JSON take, in 64 bits with a sign or without one
KINDS = {bool: Kind.BOOLEAN, int: Kind.INTEGER, float: Kind.NUMBER, str: Kind.STRING}


def call(model: Any, method: str, rows: Any, contract: Contract | None = None) -> list[Any]:
    """Call a method of the model and return one JSON value (or list) for each row.

    Raises OutputNotAvailableError; PredictionError when the model raises, or answers what JSON cannot carry;
    OutputNotFiniteError when that is NaN or an infinity; and BrokenSignatureError when there is not one answer for each
    row, or when an answer does not keep to the contract.
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
        return _held(raw, method, len(rows), contract)
    except BodegaError:
        raise
    except Exception as exc:  # what code of any kind returns may raise when it is looked at
        raise BrokenSignatureError(f"The model's {method} returned a {type_name(raw)} that cannot be read") from exc


def answer_columns(
    model: Any, method: str, signature: Signature, columns: Wire, contract: Contract | None = None
) -> list[Any]:
    """Call a method of the model for JSON columns that fit the signature, as `call` does."""
    return call(model, method, build_input(signature, columns), contract)


def check_output(signature: Signature, output: str | None) -> str:
    """Return the output to make, the signature's first where none is named; raise OutputNotAvailableError."""
    if output is None:
        return signature.default_output
    if output not in signature.outputs:
        raise OutputNotAvailableError("The model has no such output", f"It has: {', '.join(signature.outputs)}.")
    return output


def describe_output(model: Any, method: str, rows: list[Any]) -> Output:
    """Describe the answers of a method: kind, shape of a row, classes, names of the columns."""
    shape = np.shape(rows[0]) if not _is_ragged(rows[0]) else (len(rows[0]),)
    # Labels and names are a courtesy: an estimator that cannot tell them answers all the same.
    classes, per_target = known(lambda: _classes(model, method, shape), (None, False))
    names = known(lambda: _columns(model), ()) if method == "transform" else ()
    types = types_of(rows)[0]
    described = Output(
        kind=Kind.NUMBER if float in types else KINDS[type(next(flat(rows[0])))],
        shape=tuple(int(length) for length in shape),
        classes=classes,
        per_target=per_target,
        columns=names if (len(names),) == shape and 0 < len(names) <= MOST_COLUMN_NAMES else None,
    )
    if method == "predict" and shape == () and labels_of(method, described, rows) is None:
        return replace(described, classes=None)  # it answers others than those
    return described


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

    Raises OutputNotFiniteError, PredictionError for what JSON cannot carry, and BrokenSignatureError for what has no
    rows.
    """
    if _is_by_target(raw):
        return [list(row) for row in zip(*(to_rows(target, method) for target in raw), strict=True)]
    return _rows_of(_as_array(raw, method), method)


# --- what a model returned, held to what is due -----------------------------------------------------------


def _held(raw: Any, method: str, count: int, contract: Contract | None) -> list[Any]:
    """Return the rows of an answer: as many as were asked, of values that JSON carries, and as the contract says."""
    if _is_by_target(raw):
        targets = [_held(target, method, count, None) for target in raw]
        rows, plain = [list(row) for row in zip(*targets, strict=True)], False
    else:
        array = _as_array(raw, method)
        if len(array) != count:
            raise BrokenSignatureError(f"The model's {method} gave {len(array)} answers for {count} rows")
        plain = array.dtype.kind in DTYPES
        if plain and contract is not None:
            contract.check_array(array)
        rows = _rows_of(array, method)
        if array.dtype.kind in "OU":
            _check_carried(rows, method)
    if not plain:
        _check_forms(rows, method, contract)
    if contract is not None:
        contract.check_labels(rows)
    return rows


def _is_by_target(raw: Any) -> bool:
    """Tell one matrix for each of several targets, which scikit-learn returns, from a list of rows."""
    return isinstance(raw, list) and bool(raw) and all(len(getattr(part, "shape", ())) > 1 for part in raw)


def _as_array(raw: Any, method: str) -> "np.ndarray[Any, Any]":
    """Return the values, exactly as they are, with their rows first."""
    array = raw if type(raw) is np.ndarray else _unpacked(raw, method)  # what plans and most models return
    _check_width(array.shape, method)
    if array.dtype.kind in "mM" and np.isnat(array).any():
        raise _missing(method)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise OutputNotFiniteError(f"The model's {method} is not a finite number for some rows")
    kind, longest = array.dtype.kind, array.dtype.char == "g"  # a float of more than 64 bits
    if longest or (kind not in DTYPES and kind != "O"):
        raise BrokenSignatureError(
            f"The model's {method} has the dtype {array.dtype}, which JSON cannot carry",
            "JSON has text, numbers, true and false: fit it on such targets. y.astype(str) makes text of dates.",
        )
    return array


def _unpacked(raw: Any, method: str) -> "np.ndarray[Any, Any]":
    """Make an array of a sparse one, a table, a list, or what numpy knows how to read."""
    if not isinstance(raw, list | tuple) and not hasattr(type(raw), "__array__") and not sparse.issparse(raw):
        raise BrokenSignatureError(f"The model's {method} is a {type_name(raw)}, not an array or a list of rows")
    if sparse.issparse(raw):
        _check_width(raw.shape, method)  # before it is made dense
        raw = raw.toarray()
    if _is_masked(raw):
        raise PredictionError(f"The model's {method} has no answer for some rows: they are masked")
    if isinstance(raw, ExtensionArray | pd.Index):
        raw = pd.Series(raw)
    if isinstance(raw, pd.DataFrame | pd.Series):
        raw = _values_of(raw, method)
    # Of a list numpy makes one type: text of the number beside a text, and a fraction of the integer beside a fraction.
    return np.array(raw, dtype=object) if isinstance(raw, list | tuple) else np.asarray(raw)


def _is_masked(raw: Any) -> bool:
    """Tell whether values are masked: numpy would give what lies under the mask of a row in a list."""
    if isinstance(raw, list | tuple):
        return any(isinstance(part, list | tuple | np.ma.MaskedArray) and _is_masked(part) for part in raw)
    return isinstance(raw, np.ma.MaskedArray) and bool(np.ma.getmaskarray(raw).any())


def _values_of(table: "pd.DataFrame | pd.Series[Any]", method: str) -> "np.ndarray[Any, Any]":
    """Return the values of a table; as objects where an integer would be rounded beside the fractions.

    Raises PredictionError where a column has a gap: numpy would make NaN of it, which is a number.
    """
    frame = table if isinstance(table, pd.DataFrame) else table.to_frame()
    columns = (frame.iloc[:, place] for place, dtype in enumerate(frame.dtypes) if not _is_plain(dtype))
    if any(map(_has_gap, columns)):
        raise _missing(method)
    values = table.to_numpy()
    if isinstance(table, pd.DataFrame) and values.dtype.kind == "f":
        others = (table.iloc[:, place] for place, dtype in enumerate(table.dtypes) if not _is_float(dtype))
        if any(map(_has_large, others)):
            return table.astype(object).to_numpy()
    return values


def _is_plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def _has_gap(column: "pd.Series[Any]") -> bool:
    """Tell whether a value is missing; among objects NaN may be a number, if no text is beside it."""
    if not column.isna().any():
        return False
    return column.dtype != object or any(isinstance(value, str) for value in column)


def _is_float(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "f"


def _has_large(column: "pd.Series[Any]") -> bool:
    integers = column.to_numpy()
    if integers.dtype.kind not in "iuO" or not integers.size:
        return False
    return max(abs(int(integers.min())), abs(int(integers.max()))) > EXACT_FLOAT


def _missing(method: str) -> PredictionError:
    return PredictionError(f"The model's {method} has no answer for some rows: it is missing")


def _rows_of(array: "np.ndarray[Any, Any]", method: str) -> list[Any]:
    values: list[Any] = array.tolist()
    if array.dtype.kind in DTYPES or PLAIN.issuperset(map(type, values)):
        return values
    return [_item(value, method) for value in values]


def _check_width(shape: tuple[int, ...], method: str) -> None:
    if not shape:
        raise BrokenSignatureError(f"The model's {method} is a single value, not one for each row")
    if (width := math.prod(shape[1:])) > MOST_VALUES:
        raise PredictionError(
            f"The model's {method} has {width} values for each row, and {MOST_VALUES} are served",
            "Register it in a pipeline with the estimator that uses these values, or let it make fewer: "
            "n_features, max_features or n_components.",
        )


def _item(value: Any, method: str) -> Any:
    if value is np.ma.masked or (isinstance(value, np.datetime64 | np.timedelta64) and np.isnat(value)):
        raise _missing(method)
    if isinstance(value, list | np.ndarray):
        return [_item(part, method) for part in value]
    value = value.item() if isinstance(value, np.generic) and value.dtype.kind in DTYPES else value
    if value is None or value is pd.NA or value is pd.NaT:
        raise _missing(method)
    if type(value) not in KINDS:
        raise BrokenSignatureError(f"The model's {method} holds a {type(value).__name__}, which JSON cannot carry")
    if isinstance(value, float) and not math.isfinite(value):
        raise OutputNotFiniteError(f"The model's {method} is not a finite number for some rows")
    return value


def _check_carried(rows: list[Any], method: str) -> None:
    """Raise PredictionError for texts that are not Unicode, and for integers beyond 64 bits."""
    values = values_of(rows)
    if any(type(value) is int and value not in INTEGERS for value in values):
        raise PredictionError(f"The model's {method} holds an integer beyond 64 bits, which answers cannot carry")
    text = "".join(value for value in values if type(value) is str)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise PredictionError(f"The model's {method} holds text with half of a surrogate pair, which is no Unicode")


def _check_forms(rows: list[Any], method: str, contract: Contract | None) -> None:
    if contract is not None:
        contract.check_rows(rows)
    elif not have_one_form(rows):
        raise BrokenSignatureError(f"The model's {method} answers rows of unlike shapes")


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


def _is_ragged(row: Any) -> bool:
    return isinstance(row, list) and len({np.shape(part) for part in row}) > 1


def _choices(model: Any) -> str:
    return f"It has: {', '.join(m for m in METHODS if has(model, m))}."
