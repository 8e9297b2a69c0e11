"""Which estimators have a plan, and what a plan of one is.

A transformer's plan is a function from a block to a block; a predictor's is a dictionary of such functions by the name
of the method. A block is a `Table` (the columns of a request) or a matrix. To add an estimator, write

    @transformer(StandardScaler)
    def plan_standard_scaler(scaler: StandardScaler) -> Transform: ...

in the module of its family, or `@predictor(…)`, and a specimen to `tests/zoo`: the tests compare its plan with the
model itself on rows that are made to find a difference.
"""

import copy
from collections.abc import Callable
from typing import Any

from bodega_model.plans.matrices import Block, NoPlanError, Sparse, as_given, unchecked

Transform = Callable[[Block], Block]
Method = Callable[[Block], Any]
Methods = dict[str, Method]

_transformers: dict[type, Callable[[Any], Transform]] = {}
_predictors: dict[type, Callable[[Any], Methods]] = {}


def transformer(*types: type) -> Callable[[Callable[[Any], Transform]], Callable[[Any], Transform]]:
    """Register what plans transformers of these exact types."""

    def register(make: Callable[[Any], Transform]) -> Callable[[Any], Transform]:
        _transformers.update(dict.fromkeys(types, make))
        return make

    return register


def predictor(*types: type) -> Callable[[Callable[[Any], Methods]], Callable[[Any], Methods]]:
    """Register what plans predictors of these exact types."""

    def register(make: Callable[[Any], Methods]) -> Callable[[Any], Methods]:
        _predictors.update(dict.fromkeys(types, make))
        return make

    return register


def plan_transform(estimator: Any) -> Transform:
    """Plan a transformer; raise NoPlanError if there is no plan for it."""
    refuse_frames(estimator)
    make = _transformers.get(type(estimator))
    return make(estimator) if make is not None else ask_itself(estimator, "transform")


def plan_methods(estimator: Any) -> Methods:
    """Plan the methods of what ends a pipeline, be it a predictor or a transformer; raise NoPlanError."""
    refuse_frames(estimator)
    make = _predictors.get(type(estimator))
    if make is not None:
        return make(estimator)
    if type(estimator) in _transformers:
        transform = _transformers[type(estimator)](estimator)
        return {"transform": lambda block: unchecked(transform(block))} | ask_itself_all(estimator, but="transform")
    return ask_itself_all(estimator)


METHODS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")


def ask_itself(estimator: Any, name: str) -> Method:
    """Plan an estimator that has no plan of its own: its own method, which need not look at a frame for every row."""
    if not type(estimator).__module__.startswith("sklearn."):
        raise NoPlanError(f"{type(estimator).__name__} is not scikit-learn's own")
    method: Method = getattr(_without_names(estimator), name)

    def ask(block: Block) -> Any:
        try:
            given = as_given(block)
        except NoPlanError as exc:
            raise NoPlanError(f"{type(estimator).__name__} has no plan for text") from exc
        answer = method(given)
        return Sparse(answer.toarray()) if hasattr(answer, "toarray") else answer

    return ask


def ask_itself_all(estimator: Any, *, but: str = "") -> Methods:
    """Plan an estimator that has no plan of its own, or all of its methods but one."""
    names = [name for name in METHODS if name != but and hasattr(estimator, name)]
    return {name: _densely(ask_itself(estimator, name)) for name in names}


def _densely(method: Method) -> Method:
    def ask(block: Block) -> Any:
        answer = method(block)
        return answer.matrix if isinstance(answer, Sparse) else answer

    return ask


def _without_names(estimator: Any) -> Any:
    """Return an estimator that was fitted on a frame as if it had been on the frame's matrix.

    It is a copy that shares all it has learned. One with estimators inside, which know the names too, has no plan.
    """
    if not hasattr(estimator, "feature_names_in_"):
        return estimator
    inside = [part for value in vars(estimator).values() for part in (value if isinstance(value, list) else [value])]
    if any(hasattr(part, "feature_names_in_") for part in inside):
        raise NoPlanError(f"{type(estimator).__name__} has no plan")
    nameless = copy.copy(estimator)
    del nameless.feature_names_in_
    return nameless


def refuse_frames(estimator: Any) -> None:
    """Raise NoPlanError for an estimator that was told to answer with DataFrames: what follows may go by the names."""
    if getattr(estimator, "_sklearn_output_config", {}).get("transform", "default") != "default":
        raise NoPlanError(f"{type(estimator).__name__} answers with DataFrames")
