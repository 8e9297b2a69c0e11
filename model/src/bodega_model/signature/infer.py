"""Learning a signature from an example and the fitted model, by reading both and by asking the model.

Whether a column may be null, and whether a value that no encoder knows is answered, depends on every step of a
pipeline; so the model itself is asked, with example rows that have a null or an unheard-of value in one place.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.utils.validation import check_is_fitted

from bodega_model.errors import (
    BodegaError,
    ExampleError,
    NotFittedError,
    OutputNotAvailableError,
    OutputNotFiniteError,
    PredictionError,
    RegistrationError,
)
from bodega_model.foreign import asking, cause, has, known, members, part_of, read, type_name
from bodega_model.golden import Golden
from bodega_model.signature.columns import integer_bounds
from bodega_model.signature.configuration import answer_by_default, by_default
from bodega_model.signature.encoders import consumers, known_categories
from bodega_model.signature.inputs import build_input, read_example
from bodega_model.signature.missing import settle_nulls
from bodega_model.signature.outputs import METHODS, answer_columns, call, describe_output, same_answer
from bodega_model.signature.questions import taken
from bodega_model.signature.row_wise import answers_row_wise
from bodega_model.signature.types import Column, Container, Kind, Output, Signature

UNHEARD_OF = "bodega: a value nobody has seen"

_FAILS = (
    "Mend what it says, or pass as example the rows you would call it with, in the columns and dtypes it was fitted on."
)
_NOT_FINITE = (
    "Answers are finite numbers. Register a step that keeps missing values in a pipeline with an imputer behind it, "
    "or with the estimator that takes them."
)


def learn(model: Any, example: Any, name: str = "model") -> tuple[Signature, Golden]:
    """Learn what a fitted model takes and gives, with golden rows that were predicted on the way.

    An advice calls the model by `name`. All is asked under scikit-learn's default settings, as in the API.
    Raises NotFittedError, or ExampleError when the example cannot be understood, when the model fails on it, or
    when its rows do not survive the way through JSON; RegistrationError when the model cannot be looked at.
    """
    with asking(model), quiet():
        check_fitted(model)
        check_reads_no_files(model)
        found = read_example(example, model)
        answers = answer_by_default(model, lambda asked: _answer(asked, lambda: found.golden_rows()[0]), name)
    with asking(model), quiet(), by_default():
        _, wire = found.golden_rows()
        signature = Signature(
            found.container, found.columns, _describe(model, answers), found.array_dtype, found.by_row
        )
        signature = replace(signature, columns=_with_categories(model, signature, wire))
        settled = settle_nulls(model, signature, found)
        answers = _answer_anew(model, signature, settled, wire, answers)
        _check_round_trip(model, settled, wire, answers)
        golden = Golden(inputs=wire, outputs=answers)
        signature = replace(
            settled,
            columns=_ask(model, settled, wire),
            row_wise=answers_row_wise(model, settled, golden),
        )
    return signature, golden


def check_fitted(model: Any) -> None:
    """Raise NotFittedError for an estimator that was not fitted, RegistrationError for what is no model."""
    if isinstance(model, type):
        raise RegistrationError("That is a class, not a model", "Make an instance and fit it.")
    if not any(has(model, method) for method in (*METHODS, "fit")):
        raise RegistrationError(
            f"The {type_name(model)} has no predict or transform", "Register a fitted scikit-learn estimator."
        )
    if not known(lambda: _is_fitted(model), True):  # where that is not known, the example shows whether it predicts
        raise NotFittedError(f"The {type_name(model)} is not fitted")


def _is_fitted(model: Any) -> bool:
    try:
        check_is_fitted(model)
    except SklearnNotFittedError:
        return False
    return True


def check_reads_no_files(model: Any) -> None:
    """Raise RegistrationError for a text vectorizer that takes file names: a client could read the server's files."""
    params = model.get_params() if has(model, "get_params") else {}
    for name, value in members(params.items()):
        if name.rpartition("__")[2] == "input" and isinstance(value, str) and value in ("filename", "file"):
            raise RegistrationError(
                f"The model reads files: its parameter {name} is {value!r}",
                "Fit it with input='content', and pass the texts themselves.",
            )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings of rows that are made up here away from the person who registers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _answer(model: Any, rows: Callable[[], Any]) -> dict[str, list[Any]]:
    """Call every method there is; the first must work, one that fails beside it is no output of this model.

    Each is given rows of its own, for a step may work in place, as StandardScaler(copy=False) does.
    """
    answers: dict[str, list[Any]] = {}
    for method in METHODS:
        try:
            answer = call(model, method, rows())
            _check_answer(model, method, answer)
        except OutputNotAvailableError:
            continue
        except BodegaError as exc:
            if not answers:
                raise _failure(model, method, exc) from exc
        else:
            answers[method] = answer
    if not answers:
        raise RegistrationError(
            f"The {type_name(model)} cannot answer for new rows: it has no predict or transform",
            "Fit it with novelty=True: then it has predict, for new rows."
            if read(model, "novelty") is False
            else "Register an estimator that has one of them.",
        )
    return answers


def _check_answer(model: Any, method: str, answer: list[Any]) -> None:
    if _is_empty(answer[0]):
        raise PredictionError(
            f"{type_name(model)}.{method} returned rows without a single value",
            "A step that selects columns, such as SelectFpr or VarianceThreshold, keeps none: let it keep some.",
        )


def _is_empty(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_empty, value))


def _failure(model: Any, method: str, exc: BodegaError) -> ExampleError:
    general = _NOT_FINITE if isinstance(exc, OutputNotFiniteError) else _FAILS
    return ExampleError(
        f"The model's {method} fails on the example. {exc.message}{_reason(model, exc)}"[:600],
        exc.advice if exc.advice != type(exc).hint else general,
    )


def _reason(model: Any, exc: BodegaError) -> str:
    """Return what was raised, and by which part unless that is the model itself, to stand after the message."""
    if exc.__cause__ is None:
        return ""
    told, by, kind = cause(exc.__cause__), part_of(exc.__cause__), type_name(exc.__cause__)
    if by not in (None, type_name(model)):
        return f": {by} says {told}"
    if exc.message.endswith(kind):  # which the message named
        told = told.removeprefix(kind).removeprefix(": ")
    return f": {told}" if told else ""


def _describe(model: Any, answers: dict[str, list[Any]]) -> dict[str, Output]:
    return {method: describe_output(model, method, rows) for method, rows in answers.items()}


def _answer_anew(
    model: Any, signature: Signature, settled: Signature, wire: Any, answers: dict[str, list[Any]]
) -> dict[str, list[Any]]:
    """Answer the rows again that have a missing value which the example writes otherwise than the model knows it."""
    rewritten = [was.name for was, now in zip(signature.columns, settled.columns, strict=True) if was.null != now.null]
    gaps = [place for place, row in enumerate(zip(*(wire[name] for name in rewritten), strict=True)) if None in row]
    if not gaps:
        return answers
    columns = {name: [values[place] for place in gaps] for name, values in wire.items()}
    anew = {method: list(answered) for method, answered in answers.items()}
    for method, answered in _answer(model, lambda: build_input(settled, columns)).items():
        for place, value in zip(gaps, answered, strict=True):
            anew[method][place] = value
    return anew


def _check_round_trip(model: Any, signature: Signature, wire: Any, answers: dict[str, list[Any]]) -> None:
    try:
        again = {method: answer_columns(model, method, signature, wire) for method in answers}
    except (BodegaError, ValueError, TypeError) as exc:
        raise ExampleError(
            f"The model fails on its example once that went through JSON: {exc}",
            "Use plain dtypes: float64, int64, bool, str, category or datetime64.",
        ) from exc
    for method, expected in answers.items():
        if not same_answer(expected, again[method]):
            raise ExampleError(
                f"The model's {method} gives two answers for the same rows",
                "It depends on chance, or on a dtype that JSON cannot carry; fix random_state or the dtypes.",
            )


def _ask(model: Any, signature: Signature, wire: Any) -> tuple[Column, ...]:
    columns = signature.columns
    seen_by = consumers(model, [column.name for column in columns])
    alike = {c.name: (c.kind, c.dtype, c.null, c.categories is None, seen_by[c.name]) for c in columns}

    def answered(values: dict[str, Any]) -> set[str]:
        def answers(names: list[str]) -> bool:
            return _answers(model, signature, wire, {name: values[name] for name in names})

        return taken({name: alike[name] for name in values}, len(columns), answers)

    has_null = signature.container is not Container.TEXTS
    null = answered({column.name: None for column in columns if has_null and not column.nullable})
    unknown = answered({c.name: value for c in columns if c.categories and (value := _unheard_of(c)) is not None})
    return tuple(
        replace(
            column,
            nullable=column.nullable or column.name in null,
            accepts_unknown=column.categories is None or column.name in unknown,
        )
        for column in columns
    )


def _with_categories(model: Any, signature: Signature, wire: Any) -> tuple[Column, ...]:
    """Add what encoders know; text that an encoder reads becomes a category.

    An encoder that does not know the example's own values stands behind a step that changes them (a scaler, a
    function that lowers the case): what it knows is then not what may be sent.
    """
    known = known_categories(model, [column.name for column in signature.columns])
    columns = []
    for column in signature.columns:
        values = known.get(column.name)
        if values and column.categories is None and set(wire[column.name]) <= {*values, None}:
            kind = Kind.CATEGORY if column.kind is Kind.STRING else column.kind
            column = replace(column, kind=kind, categories=values)  # noqa: PLW2901
        columns.append(column)
    return tuple(columns)


def _unheard_of(column: Column) -> Any:
    """Make a value of the column's type that is none of its categories; None where there is none."""
    categories = column.categories or (UNHEARD_OF,)
    if isinstance(categories[0], str):
        return UNHEARD_OF
    if isinstance(categories[0], bool):
        return next(iter({True, False} - set(categories)), None)
    highest = max(categories) + 1  # type: ignore[operator]
    if column.kind is Kind.INTEGER and highest > integer_bounds(column)[1]:
        return None
    return highest


def _answers(model: Any, signature: Signature, wire: Any, first_row: dict[str, Any]) -> bool:
    """Tell whether the model answers when the first example row holds these values."""
    columns = {name: [first_row.get(name, values[0]), *values[1:]] for name, values in wire.items()}
    try:
        answer_columns(model, signature.default_output, signature, columns)
    except (BodegaError, ValueError, TypeError):
        return False
    return True
