"""The core of a fitted model: what answers, without what only its training needed.

A search answers by its `best_estimator_`, a tuned threshold by its estimator and one number; scorers, splitters,
distributions and `cv_results_` answer nothing. The core is made of the same fitted parts, in place of what holds them
and wherever that stands (in a pipeline, in an ensemble). The model that was given is not changed.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from inspect import getattr_static
from types import MethodType
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.model_selection._search import BaseSearchCV

from bodega_model.errors import BodegaError, RegistrationError
from bodega_model.golden import Golden
from bodega_model.signature.outputs import METHODS, answer_columns
from bodega_model.signature.types import Signature

BEST = "best_estimator_"
ROUTING = "_metadata_request"  # as scikit-learn names it
NAMES = "_transformers_feature_names_out"  # which a union of DataFrames keeps as pandas' Index, and skops cannot write
GRIDS = ("param_grid", "param_distributions")
PASSED_ON = ("kw_args", "inv_kw_args", "metric_params", "kernel_params")  # to functions, with what is in them
MOST_TOLD = 20  # an ensemble can hold a thousand searches
SKLEARN, SCORERS = "sklearn.", "sklearn.metrics._scorer"
LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of a part: its place in the model ('' is the model itself), its type, what of it, and facts."""

    place: str
    type: str
    what: str
    found: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as the lineage of a version keeps them."""
        return {"place": self.place, "type": self.type, "what": self.what, **self.found}


@dataclass(frozen=True, slots=True)
class Core:
    """The model to store, the given one itself where nothing had to be left out, and what it is of the given one."""

    model: Any
    stored: tuple[Stored, ...] = ()

    def name(self) -> str:
        """Return how the part that is stored is reached from the model that was given."""
        searches = [stored for stored in self.stored if (stored.place, stored.what) == ("", BEST)]
        return ".".join(["model", *(stored.what for stored in searches)])

    def lineage(self) -> dict[str, Any]:
        """Return what the lineage of a version says of it, under "stored_as": the first parts, if any."""
        told = [stored.to_dict() for stored in self.stored[:MOST_TOLD]]
        return {"stored_as": told} if told else {}


def find_core(model: Any) -> Core:
    """Return what of a model answers; raise RegistrationError for a search that kept nothing that could.

    Attributes are read where they lie, and nothing of the model is called: it may be anybody's.
    """
    last = _last_step(model)
    if not _is_fitted(last):
        _check_refitted(last)
        return Core(model)
    reduction = _Reduction()
    return Core(reduction.reduce(model, ""), tuple(reduction.stored))


def check_core(model: Any, core: Core, signature: Signature, golden: Golden) -> None:
    """Raise RegistrationError unless a model and its core give the same answers for the golden rows."""
    for method in golden.outputs:
        try:
            own = answer_columns(model, method, signature, golden.inputs)
        except BodegaError:
            own = []
        if own != answer_columns(core.model, method, signature, golden.inputs):
            kept = ", ".join(f"{stored.what} of {stored.type}" for stored in core.stored)
            raise RegistrationError(
                f"The {type(model).__name__} answers otherwise than what would be stored of it ({kept})",
                "Register the part that answers, and compare its predictions on your data first.",
            )


def _is_fitted(part: Any) -> bool:
    if _is_search(type(part)):
        return BEST in _attributes(part)
    return type(part) is not TunedThresholdClassifierCV or "estimator_" in _attributes(part)


def _last_step(model: Any) -> Any:
    steps = _attributes(model).get("steps")
    return steps[-1][1] if isinstance(steps, list) and steps and isinstance(steps[-1], tuple) else model


def _check_refitted(search: Any) -> None:
    if _is_search(type(search)) and "cv_results_" in _attributes(search):
        raise RegistrationError(
            f"The {type(search).__name__} was fitted with refit=False: it has results, and no model that could answer",
            "Fit it with refit=True, or with refit='METRIC' where it has several; or choose parameters, fit the "
            "estimator with them, and register that.",
        )


class _Reduction:
    """One walk through the parts of a model; what stands at several places is reduced once."""

    def __init__(self) -> None:
        self.stored: list[Stored] = []
        self._done: dict[tuple[int, bool], Any] = {}
        self._is_read = False  # whether code that is not scikit-learn's may read the attributes of what is met

    def reduce(self, value: Any, place: str) -> Any:
        """Return the core of a value: the value itself, where nothing in it is to be left out."""
        if not _may_hold_models(value):
            return value
        key = (id(value), self._is_read)
        if key not in self._done:
            self._done[key] = value  # what leads back to itself ends here
            self._done[key] = self._reduce(value, place)
        return self._done[key]

    def _reduce(self, value: Any, place: str) -> Any:
        if _is_search(type(value)):
            return self._lightened(value, place) if self._is_read else self._searched(value, place)
        if type(value) is TunedThresholdClassifierCV:
            return self._tuned(value, place)
        if isinstance(value, list | tuple):
            return self._members(value, place)
        if isinstance(value, dict):
            changed = self._changed(value.items(), place)
            return _with_items(value, changed) if changed else value
        if isinstance(value, np.ndarray):
            return self._cells(value, place)
        return self._object(value, place)

    def _searched(self, search: Any, place: str) -> Any:
        its = _attributes(search)
        if BEST not in its:
            # A parameter, such as an ensemble keeps beside what it fitted: it answers nothing.
            return self.reduce(its.get("estimator"), place)
        found = {name: _readable(value) for name, value in its.get("best_params_", {}).items()}
        self._note(search, place, BEST, best_params=found)
        return self.reduce(its[BEST], place)

    def _lightened(self, search: Any, place: str) -> Any:
        """Return a search that answers and reads as it did, without what steered it: scorers, folds, what was tried."""
        its = {name: value for name, value in _attributes(search).items() if name != "scorer_"}
        if BEST in its:
            found = {name: _readable(value) for name, value in its.get("best_params_", {}).items()}
            self._note(search, place, "all but scorers, folds and grid", best_params=found)
        kept = {name: value if _is_kept(name, value) else None for name, value in its.items()}
        kept |= {name: {} for name in GRIDS if name in its} | {"refit": bool(its.get("refit", True))}
        return _with_attributes(search, kept | self._changed(kept.items(), place))

    def _tuned(self, tuned: Any, place: str) -> Any:
        its = _attributes(tuned)
        if "estimator_" not in its:
            return self.reduce(its.get("estimator"), place)
        threshold = float(its["best_threshold_"])
        self._note(tuned, place, "estimator_ and best_threshold_", threshold=threshold)
        inside = self.reduce(its["estimator_"], place)
        fixed = FixedThresholdClassifier(
            inside,
            threshold=threshold,
            pos_label=its["_curve_scorer"]._get_pos_label(),
            response_method=its["response_method"],
        )
        fixed.estimator_ = inside
        fixed.best_threshold_ = threshold  # as it was called: other code may read it
        vars(fixed).update({name: its[name] for name in ("n_features_in_", "feature_names_in_") if name in its})
        return fixed

    def _members(self, values: Sequence[Any], place: str) -> Any:
        members = [self.reduce(value, _place(place, values, number)) for number, value in enumerate(values)]
        if all(map(_is, members, values)):
            return values
        kind: Any = type(values)
        return kind._make(members) if hasattr(kind, "_make") else kind(members)

    def _cells(self, array: "np.ndarray[Any, Any]", place: str) -> Any:
        cells = [self.reduce(value, _inside(place, str(number))) for number, value in enumerate(array.flat)]
        if all(map(_is, cells, array.flat)):
            return array
        changed = np.empty(array.size, dtype=object)
        changed[:] = cells
        return changed.reshape(array.shape)

    def _changed(self, parts: Iterable[tuple[Any, Any]], place: str) -> dict[Any, Any]:
        cores = [(name, part, self.reduce(part, _inside(place, str(name)))) for name, part in parts]
        return {name: core for name, part, core in cores if core is not part}

    def _object(self, value: Any, place: str) -> Any:
        its = {name: part for name, part in _attributes(value).items() if not _is_own_method(value, name, part)}
        outside, self._is_read = self._is_read, self._is_read or _reads_parts(value)
        core = its | self._changed(its.items(), place)
        self._is_read = outside
        if type(value).__module__.startswith(SKLEARN):
            # Its estimators score only while they are fitted, and some keep what they scored with.
            core |= dict.fromkeys(name for name, part in its.items() if _is_scorer(name, part))
            if isinstance(names := its.get(NAMES), list) and any(isinstance(one, pd.Index) for one in names):
                core[NAMES] = [np.asarray(one, dtype=object) for one in names]
        if core.pop(ROUTING, None) is not None:  # which metadata its methods want: over HTTP there is none
            self._note(value, place, "all but the routing of metadata")
        if its.get("scoring") is not core.get("scoring"):
            self._note(value, place, "all but the scorer")
        same = len(core) == len(_attributes(value)) and all(map(_is, core.values(), _attributes(value).values()))
        return value if same else _with_attributes(value, core)

    def _note(self, value: Any, place: str, what: str, **found: Any) -> None:
        self.stored.append(Stored(place, type(value).__name__, what, found))


# --- what values are ---------------------------------------------------------------------------------------


def _may_hold_models(value: Any) -> bool:
    kind = type(value)
    if issubclass(kind, np.ndarray):
        return bool(value.dtype == object)
    if issubclass(kind, list | tuple | dict):
        return True
    return not issubclass(kind, type) and (hasattr(kind, "get_params") or kind.__module__.startswith(SKLEARN))


def _is_search(kind: type) -> bool:
    """Tell a search, also one of another library, as long as it leaves every answer to its `best_estimator_`."""
    return issubclass(kind, BaseSearchCV) and all(
        getattr_static(kind, method, None) is getattr_static(BaseSearchCV, method, None) for method in METHODS
    )


def _reads_parts(holder: Any) -> bool:
    """Tell whether an estimator may read attributes of its parts: by a getter or functions, or by code of others."""
    its = _attributes(holder)
    if its.get("importance_getter", "auto") != "auto" or any(its.get(name) for name in PASSED_ON):
        return True
    return hasattr(type(holder), "get_params") and not type(holder).__module__.startswith(SKLEARN)


def _is_kept(name: str, value: Any) -> bool:
    """Tell what a search keeps: what it found, its estimator, and parameters that are plain values."""
    return name.endswith("_") or name == "estimator" or isinstance(value, bool | int | float | str)


def _is_scorer(name: Any, value: Any) -> bool:
    return type(value).__module__ == SCORERS or (name == "scoring" and callable(value))


def _is_own_method(value: Any, name: str, part: Any) -> bool:
    """Tell what gradient boosting leaves in itself after early stopping: a method that its class has anyway."""
    if type(part) is not MethodType or part.__self__ is not value:
        return False
    return part.__func__ is getattr_static(type(value), name, None)


def _attributes(value: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = vars(value)
    except TypeError:  # compiled
        return {}
    return found


def _is(one: Any, other: Any) -> bool:
    return one is other


# --- the same with other parts -------------------------------------------------------------------------------


def _with_items(value: dict[Any, Any], changed: dict[Any, Any]) -> Any:
    twin = copy.copy(value)
    for name, core in changed.items():
        twin[name] = core
    return twin


def _with_attributes(value: Any, attributes: dict[str, Any]) -> Any:
    # Not by `copy`, which asks the class how: that may do anything, such as copy what is large.
    twin = object.__new__(type(value))
    vars(twin).update(attributes)
    return twin


# --- how it is told ------------------------------------------------------------------------------------------


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _place(place: str, values: Sequence[Any], number: int) -> str:
    """Name a member by its number, or as people named it: steps.search for [("scale", …), ("search", …)]."""
    if _is_named(values):
        return place  # which has the name already
    return _inside(place, values[number][0] if _is_named(values[number]) else str(number))


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 1 and isinstance(value[0], str)


def _readable(value: Any) -> Any:
    """Return a parameter as JSON knows it, and an estimator as one line of its repr."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float | str | None):
        return value
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
