"""What a model's methods are called with: a DataFrame, an array or a list of texts, to JSON columns and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bodega_model.errors import ExampleError
from bodega_model.foreign import has, known, members
from bodega_model.signature.columns import Values, build_columns, describe_column, to_wire
from bodega_model.signature.types import Column, Container, Signature

TAKES = (
    "A pandas DataFrame, a 2-D numpy array, or a list of texts serves as example: the rows you would call predict with."
)
TEXT = "text"
MOST_GOLDEN_ROWS = 20

Wire = Mapping[str, Values]


@dataclass(frozen=True, slots=True)
class Example:
    """An example as the user holds it, as a frame to look at, and what was learned of its columns."""

    rows: Any
    frame: pd.DataFrame
    container: Container
    columns: tuple[Column, ...]
    array_dtype: str | None = None
    by_row: bool = False

    def golden_rows(self) -> tuple[Any, dict[str, list[Any]]]:
        """Take up to 20 rows, spread over the example: as the model takes them, and as JSON columns."""
        count = len(self.frame)
        picked = np.unique(np.linspace(0, count - 1, min(count, MOST_GOLDEN_ROWS)).astype(int))
        frame = self.frame.iloc[picked]
        wire = {column.name: to_wire(column, frame[column.name]) for column in self.columns}
        return self._take(picked), wire

    def _take(self, picked: "np.ndarray[Any, Any]") -> Any:
        if isinstance(self.rows, list):
            return [self.rows[place] for place in picked]
        if not isinstance(self.rows, pd.DataFrame):
            return self.rows[picked]
        taken = self.rows.iloc[picked]  # of all rows a view, which a step that works in place would write through
        if self.by_row:
            return pd.DataFrame(np.array(taken, order="C"), taken.index, taken.columns, copy=False)
        return taken.copy()


def read_example(example: Any, model: Any) -> Example:
    """Understand an example in the light of the model it is for; raise ExampleError naming what does not fit."""
    if isinstance(example, pd.Series):
        example = _texts_of(example.tolist())
    elif isinstance(example, list | tuple):
        example = _texts_of(list(example)) if _is_text(example) else _array_of(example)
    if isinstance(example, np.ndarray) and example.ndim == 1:
        example = _texts_of(example.tolist())
    if isinstance(example, pd.DataFrame):
        found = _read_frame(example, model)
    elif isinstance(example, np.ndarray):
        found = _read_array(example, model)
    elif isinstance(example, list):
        frame = pd.DataFrame({TEXT: pd.array(example, dtype="str")})
        found = Example(example, frame, Container.TEXTS, _describe(frame))
    else:
        raise _unusable(example)
    if found.frame.empty:
        raise ExampleError("The example has no rows or no columns", TAKES)
    return found


def _unusable(example: Any) -> ExampleError:
    """Name a type with its library: a DataFrame of pandas serves, and one of polars does not."""
    kind = type(example)
    library = str(kind.__module__).partition(".")[0]
    named = f"{library}.{kind.__name__}" if library != "builtins" else kind.__name__
    if has(example, "to_pandas"):
        return ExampleError(
            f"An example of type {named} cannot be used: the API gives a model a DataFrame of pandas",
            "Pass example.to_pandas(), and fit the model on data of pandas too.",
        )
    return ExampleError(f"An example of type {named} cannot be used", TAKES)


def build_input(signature: Signature, columns: Wire) -> Any:
    """Make what the model's methods take from JSON columns that fit the signature."""
    if signature.container is Container.TEXTS:
        return list(columns[signature.columns[0].name])
    built = build_columns(signature.columns, columns)
    if signature.container is Container.DATAFRAME:
        return _build_frame(built, by_row=signature.by_row)
    dtype = np.dtype(signature.array_dtype)
    if dtype != object:
        dtype = np.result_type(dtype, *(np.asarray(values).dtype for values in built.values()))
    array = np.empty((len(next(iter(built.values()))), len(built)), dtype=dtype)
    for place, values in enumerate(built.values()):
        array[:, place] = values
    return array


def _build_frame(columns: dict[str, Any], *, by_row: bool) -> pd.DataFrame:
    if by_row and len({values.dtype for values in columns.values()}) == 1:
        return pd.DataFrame(np.column_stack(list(columns.values())), columns=list(columns), copy=False)
    # With its dtype said: pandas would make `str` of an object column that holds text.
    return pd.DataFrame({name: pd.Series(values, dtype=values.dtype, copy=False) for name, values in columns.items()})


def _read_frame(frame: pd.DataFrame, model: Any) -> Example:
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ExampleError(f"The column {twice!r} is there twice", "Give every column its own name.")
    if not all(isinstance(name, str) for name in frame.columns) or _fitted_without_names(model):
        return _read_array(frame.to_numpy(), model, names=[str(name) for name in frame.columns])
    return Example(frame, frame, Container.DATAFRAME, _describe(frame), by_row=_lies_by_row(frame))


def _lies_by_row(frame: pd.DataFrame) -> bool:
    dtype, *others = set(frame.dtypes)
    if others or not isinstance(dtype, np.dtype) or dtype.kind not in "fiub":
        return False  # pandas' nullable dtypes have such a kind too, and lie column by column
    return frame.to_numpy().flags.c_contiguous


def _read_array(array: "np.ndarray[Any, Any]", model: Any, names: Sequence[str] | None = None) -> Example:
    if array.ndim != 2:
        raise ExampleError(f"The example has {array.ndim} dimensions", TAKES)
    fitted = known(lambda: [str(name) for name in members(model.feature_names_in_)], [])
    if len(fitted) == array.shape[1]:
        # The model was fitted on a DataFrame: it gets one, so that scikit-learn finds the names it knows.
        frame = pd.DataFrame(array, columns=fitted)
        return Example(frame, frame, Container.DATAFRAME, _describe(frame), by_row=_lies_by_row(frame))
    frame = pd.DataFrame(array, columns=list(names or (f"x{place}" for place in range(array.shape[1]))))
    return Example(array, frame, Container.ARRAY, _describe(frame), array_dtype=str(array.dtype))


def _fitted_without_names(model: Any) -> bool:
    return has(model, "n_features_in_") and not has(model, "feature_names_in_")


def _describe(frame: pd.DataFrame) -> tuple[Column, ...]:
    return tuple(describe_column(str(name), frame[name]) for name in frame.columns)


def _is_text(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, str) for value in values)


def _texts_of(values: list[Any]) -> list[str]:
    if not _is_text(values):
        of_dicts = bool(values) and all(isinstance(value, dict) for value in values)
        what = "The API passes no dictionaries to a model" if of_dicts else "A one-dimensional example is made of texts"
        raise ExampleError(what, TAKES)
    return [str(value) for value in values]


def _array_of(values: Sequence[Any]) -> "np.ndarray[Any, Any]":
    try:
        return np.array(values)
    except ValueError as exc:
        raise ExampleError("The rows of the example have different lengths", TAKES) from exc
