"""Models made of models that were fitted side by side: votes, stacks, one for each target, and calibration."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor

from bodega_model.plans.matrices import Array, Block, NoPlanError, like, unchecked
from bodega_model.plans.registry import (
    Method,
    Methods,
    ask_itself_all,
    plan_methods,
    predictor,
)


def ask_each(estimators: Sequence[Any], name: str) -> Callable[[Block], list[Any]]:
    """Plan a method of several models: the answer of each."""
    methods = [_method(estimator, name) for estimator in estimators]
    return lambda block: [method(block) for method in methods]


def _method(estimator: Any, name: str) -> Method:
    methods = plan_methods(estimator)
    if name not in methods:
        raise NoPlanError(f"{type(estimator).__name__} has no plan for {name}")
    return methods[name]


@predictor(VotingRegressor)
def plan_voting_regressor(model: VotingRegressor) -> Methods:
    """Take the mean of the answers, by their weights."""
    each, weights = ask_each(model.estimators_, "predict"), model._weights_not_none

    def collect(block: Block) -> Array:
        return np.asarray(each(block)).T

    return {"predict": lambda block: np.average(collect(block), axis=1, weights=weights), "transform": collect}


@predictor(VotingClassifier)
def plan_voting_classifier(model: VotingClassifier) -> Methods:
    """Take the class with the largest mean probability, or with most of the votes."""
    return _plan_soft(model) if model.voting == "soft" else _plan_hard(model)


def _plan_soft(model: VotingClassifier) -> Methods:
    each, weights, classes = ask_each(model.estimators_, "predict_proba"), model._weights_not_none, model.le_.classes_
    flat = model.flatten_transform

    def predict_proba(block: Block) -> Array:
        return np.average(np.asarray(each(block)), axis=0, weights=weights)

    def transform(block: Block) -> Array:
        return np.hstack(each(block)) if flat else np.asarray(each(block))

    return {
        "predict": lambda block: classes.take(predict_proba(block).argmax(axis=1)),
        "predict_proba": predict_proba,
        "transform": transform,
    }


def _plan_hard(model: VotingClassifier) -> Methods:
    each, weights, classes = ask_each(model.estimators_, "predict"), model._weights_not_none, model.le_.classes_
    share = np.ones(len(model.estimators_)) if weights is None else np.asarray(weights, dtype=np.float64)
    numbers = np.arange(len(classes))

    def collect(block: Block) -> Array:
        return np.asarray(each(block)).T

    def predict(block: Block) -> Array:
        # Each class gets the weights of those who are for it, added up in their order; the first of the largest wins.
        votes = (collect(block)[:, :, np.newaxis] == numbers).astype(np.float64) * share[:, np.newaxis]
        return classes.take(votes.sum(axis=1).argmax(axis=1))  # type: ignore[no-any-return]

    return {"predict": predict, "transform": collect}


@predictor(StackingClassifier, StackingRegressor)
def plan_stacking(model: Any) -> Methods:
    """Let the last model predict from the predictions of the others."""
    if isinstance(getattr(model, "_label_encoder", None), list):
        return ask_itself_all(model)  # several targets
    transform = _stack(model)
    last = plan_methods(model.final_estimator_)
    methods: Methods = {name: _after(transform, method) for name, method in last.items()}
    if isinstance(model, StackingClassifier):
        classes, predict = model.classes_, methods["predict"]
        methods["predict"] = lambda block: classes.take(predict(block))
    return methods | {"transform": lambda block: unchecked(transform(block))}


def _after(transform: Method, method: Method) -> Method:
    return lambda block: method(transform(block))


def _stack(model: Any) -> Method:
    asked = list(zip(model.estimators_, model.stack_method_, strict=True))
    methods = [_method(estimator, name) for estimator, name in asked]
    # The probabilities of two classes tell the same twice.
    halves = [name == "predict_proba" and len(model.classes_) == 2 for _, name in asked]
    passes = model.passthrough

    def transform(block: Block) -> Block:
        columns = [_columns(method(block), half) for method, half in zip(methods, halves, strict=True)]
        return like(block, np.hstack([*columns, unchecked(block)])) if passes else np.hstack(columns)

    return transform


def _columns(answers: Array, half: bool) -> Array:
    if answers.ndim == 1:
        return answers.reshape(-1, 1)
    return answers[:, 1:] if half else answers


@predictor(MultiOutputClassifier, MultiOutputRegressor)
def plan_multi_output(model: Any) -> Methods:
    """Ask a model for each target."""
    predict = ask_each(model.estimators_, "predict")
    methods: Methods = {"predict": lambda block: np.asarray(predict(block)).T}
    if isinstance(model, MultiOutputClassifier) and hasattr(model, "predict_proba"):
        methods["predict_proba"] = ask_each(model.estimators_, "predict_proba")
    return methods


@predictor(CalibratedClassifierCV)
def plan_calibrated(model: CalibratedClassifierCV) -> Methods:
    """Take the mean of the calibrated probabilities."""
    if not all(part.method in ("sigmoid", "isotonic") for part in model.calibrated_classifiers_):
        return ask_itself_all(model)
    parts, classes = [_calibrated(part) for part in model.calibrated_classifiers_], model.classes_

    def predict_proba(block: Block) -> Array:
        first, *others = parts
        total = first(block)
        for part in others:
            total += part(block)
        return total / len(parts)  # type: ignore[no-any-return]

    return {"predict": lambda block: classes[predict_proba(block).argmax(axis=1)], "predict_proba": predict_proba}


def _calibrated(part: Any) -> Method:
    score, count, calibrators = _score(part.estimator), len(part.classes), part.calibrators
    # Of two classes only the second one has a score.
    places = [1] if count == 2 else np.searchsorted(part.classes, part.estimator.classes_).tolist()

    def probabilities(block: Block) -> Array:
        scores = score(block)
        found = np.zeros((len(scores), count))
        for place, column, calibrator in zip(places, scores.T, calibrators, strict=True):
            found[:, place] = calibrator.predict(column)
        if count == 2:
            found[:, 0] = 1.0 - found[:, 1]
        else:
            total = found.sum(axis=1)[:, np.newaxis]
            found = np.divide(found, total, out=np.full_like(found, 1 / count), where=total != 0)
        found[(found > 1.0) & (found <= 1.0 + 1e-5)] = 1.0
        return found

    return probabilities


def _score(estimator: Any) -> Method:
    """Return what a classifier is calibrated by, as a matrix: its decision or its probabilities, of two classes one."""
    methods = plan_methods(estimator)
    if "decision_function" in methods:
        decide = methods["decision_function"]
        return lambda block: _columns(decide(block), half=False)
    predict_proba = _method(estimator, "predict_proba")
    return lambda block: _columns(predict_proba(block), half=len(estimator.classes_) == 2)
