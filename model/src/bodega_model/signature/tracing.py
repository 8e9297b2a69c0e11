"""What the encoders and imputers inside of a model are given while it answers, wherever they sit.

Which input column an encoder sees, and what the steps before it make of a value, no list of estimators tells for all
models. So the model is asked, and its parts are watched: each fitted encoder (`categories_`) and each imputer
(`missing_values`) notes what it is given and what it makes of it.
"""

import copy
import operator
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types as pandas_types

from bodega_model.foreign import known, read
from bodega_model.signature.columns import null_kind

Array = npt.NDArray[Any]
LEAVES = (str, bytes, int, float, type, ModuleType, type(None))
MOST_OBJECTS = 100_000  # of a model that are looked through: a forest has some tens for each tree


@dataclass(slots=True)
class Call:
    """What a part was given, as it came and as objects, what it made of it, and which rows it refused."""

    part: Any
    raw: Any
    given: Array
    made: Any
    refused: Array

    @property
    def is_encoder(self) -> bool:
        """Whether the part knows categories; else it fills in what is missing."""
        return is_encoder(vars(self.part))

    def changes(self, usual: "Call", rows: slice) -> Iterator[tuple[int, Any]]:
        """Go through the places where some rows have another value than usual, with the first of those."""
        given, before = self.given[rows], usual.given[rows]
        missing, was_missing = is_missing(given), is_missing(before)
        present = ~(missing | was_missing)
        new = missing & ~was_missing
        new[present] = given[present] != before[present]
        for place in np.flatnonzero(new.any(axis=0)).tolist():
            yield place, given[new[:, place].argmax(), place]

    def knows(self, place: int, value: Any) -> bool:
        """Tell whether an encoder learned a value as a category of a column, or an imputer fills it in."""
        if not self.is_encoder:
            return _is_missing(value) and fills(self.part, null_kind(value))
        if place >= len(self.part.categories_):
            return False
        learned = self.part.categories_[place]
        return null_kind(value) in nulls_of(learned) if _is_missing(value) else value in learned.tolist()

    def made_of(self, rows: slice) -> pd.DataFrame:
        """Return what it made of some rows."""
        if isinstance(self.made, pd.DataFrame):
            return self.made.iloc[rows].reset_index(drop=True)
        made = self.made[rows]
        return pd.DataFrame(made.toarray() if hasattr(made, "toarray") else made)


Trace = list[Call]


def parts_of(model: Any) -> list[Any]:
    """Return the fitted encoders and the imputers inside of a model, each once."""
    return [item for item in objects_of(model) if _is_watched(item)]


def _is_watched(item: Any) -> bool:
    attributes = read(item, "__dict__")
    if not isinstance(attributes, dict) or not attributes or not hasattr(type(item), "transform"):
        return False
    return is_encoder(attributes) or "missing_values" in attributes


def objects_of(model: Any) -> Iterator[Any]:
    """Go through a model and what it holds, each object once."""
    seen: set[int] = set()
    left: list[Any] = [model]
    while left and len(seen) < MOST_OBJECTS:
        item = left.pop()
        if id(item) in seen or isinstance(item, LEAVES):
            continue
        seen.add(id(item))
        left.extend(_inside(item))
        yield item


def _inside(item: Any) -> list[Any]:
    """Return what an object holds, read past what a class of its own may make of reading."""
    if isinstance(item, list):
        return list(list.__iter__(item))
    if isinstance(item, tuple):
        return list(tuple.__iter__(item))
    if isinstance(item, dict):
        return list(dict.values(item))
    if isinstance(item, np.ndarray):
        return np.asarray(item).ravel().tolist() if item.dtype == object else []
    attributes = read(item, "__dict__")
    return list(dict.values(attributes)) if isinstance(attributes, dict) else []


def pairs(usual: Trace, trace: Trace) -> Iterator[tuple[Call, Call]]:
    """Go through the calls of two traces of the same rows, each part's in order."""
    earlier: dict[int, Trace] = {}
    for call in usual:
        earlier.setdefault(id(call.part), []).append(call)
    for call in trace:
        before = earlier.get(id(call.part))
        if before and before[0].given.shape == call.given.shape:
            yield before.pop(0), call


def is_encoder(attributes: dict[str, Any]) -> bool:
    """Tell by its attributes whether an object learned categories, as scikit-learn's encoders do."""
    categories = attributes.get("categories_")
    return isinstance(categories, list) and all(isinstance(learned, np.ndarray) for learned in categories)


def nulls_of(categories: Any) -> set[str]:
    """Return which missing values are among categories."""
    return {null_kind(value) for value in np.asarray(categories, dtype=object).tolist() if _is_missing(value)}


def fills(imputer: Any, null: str) -> bool:
    """Tell whether an imputer takes a missing value for one; for pd.NA scikit-learn takes all kinds."""
    wanted = vars(imputer)["missing_values"]
    return wanted is pd.NA or (_is_missing(wanted) and null_kind(wanted) == null)


def watched(model: Any, usual: Trace | None = None) -> tuple[Any, Trace]:
    """Return a twin of the model whose parts note in the trace what each of them is given.

    With the trace of a usual call, a part that refuses a missing value is given the usual row in its place, so that
    one call tells of all rows and all parts. The model itself is not changed: another thread may use or write it.
    """
    trace: Trace = []
    parts = {id(part) for part in parts_of(model) if "transform" not in vars(part)}

    def watch(part: Any, twin: Any) -> None:
        earlier = [call for call in usual or () if call.part is part]
        vars(twin)["transform"] = _watching(part, twin.transform, trace, earlier)

    return _Twins(parts, watch).of(model), trace


class _Twins:
    """Copies of the watched parts of a model and of what leads to them; all else is the model's own."""

    def __init__(self, parts: Set[int], watch: Callable[[Any, Any], None]) -> None:
        self._parts = parts
        self._watch = watch
        self._done: dict[int, Any] = {}

    def of(self, item: Any) -> Any:
        """Return the twin of an object, or the object itself where no watched part is in it."""
        if not self._parts or isinstance(item, LEAVES) or len(self._done) >= MOST_OBJECTS:
            return item
        if id(item) not in self._done:
            self._done[id(item)] = item  # what leads back to itself ends here
            self._done[id(item)] = known(lambda: self._copied(item), item)
        return self._done[id(item)]

    def _copied(self, item: Any) -> Any:
        if isinstance(item, dict):
            return self._with_values(item, dict(dict.items(item)), copy.copy)
        if isinstance(item, list | tuple | np.ndarray):
            inside = _inside(item)
            twins = [self.of(member) for member in inside]
            return item if all(map(operator.is_, twins, inside)) else _like(item, twins)
        attributes = read(item, "__dict__")
        if not isinstance(attributes, dict):
            return item
        return self._with_values(item, attributes, _shallow)

    def _with_values(self, item: Any, values: dict[Any, Any], copied: Callable[[Any], Any]) -> Any:
        changed = {name: twin for name, value in values.items() if (twin := self.of(value)) is not value}
        if not changed and id(item) not in self._parts:
            return item
        twin = copied(item)
        (twin if isinstance(twin, dict) else vars(twin)).update(changed)
        if id(item) in self._parts:
            self._watch(item, twin)
        return twin


def _like(item: Any, members: list[Any]) -> Any:
    if isinstance(item, np.ndarray):
        array = np.empty(item.size, dtype=object)
        array[:] = members
        return array.reshape(item.shape)
    kind: Any = type(item)
    return kind._make(members) if hasattr(kind, "_make") else kind(members)


def _shallow(item: Any) -> Any:
    # Not by `copy`, which asks the class how: that may do anything, such as copy what is large.
    twin = object.__new__(type(item))
    vars(twin).update(vars(item))
    return twin


def _watching(part: Any, transform: Callable[..., Any], trace: Trace, earlier: Trace) -> Callable[..., Any]:
    def watch(X: Any, *args: Any, **kwargs: Any) -> Any:
        given = _objects(X)
        if given is None:
            return transform(X, *args, **kwargs)
        refused: Array = np.zeros(len(given), dtype=bool)
        before = earlier.pop(0) if earlier else None
        try:
            made = transform(X, *args, **kwargs)
        except Exception:
            if before is None or before.given.shape != given.shape:
                raise
            refused = np.any(is_missing(given) & ~is_missing(before.given), axis=1)
            made = transform(_replaced(X, before.raw, refused), *args, **kwargs)
        trace.append(Call(part, X, given, made, refused))
        return made

    return watch


def _replaced(rows: Any, usual: Any, where: Array) -> Any:
    mixed = rows.copy()
    if isinstance(mixed, pd.DataFrame):
        mixed.iloc[where] = usual.iloc[where]
    else:
        mixed[where] = usual[where]
    return mixed


# --- what stands in a cell -------------------------------------------------------------------------------


def is_missing(values: Any) -> Array:
    """Tell of each value whether it is missing."""
    return np.asarray(pd.isna(values), dtype=bool)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)  # noqa: PLR0124


def _objects(rows: Any) -> Array | None:
    """Return rows as objects, of which missing ones are as scikit-learn sees them; None for what is no table."""
    if isinstance(rows, pd.DataFrame):
        columns = [_column(rows.iloc[:, place]) for place in range(rows.shape[1])]
        return np.stack(columns, axis=1) if columns else None
    return rows.astype(object) if isinstance(rows, np.ndarray) and rows.ndim == 2 else None


def _column(series: "pd.Series[Any]") -> Array:
    if isinstance(series.dtype, pd.api.extensions.ExtensionDtype) and pandas_types.is_numeric_dtype(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan).astype(object)  # so does scikit-learn
    return series.to_numpy(dtype=object)
