"""Trees and forests of them: scikit-learn's compiled trees, on float32 as it makes it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.ensemble._gradient_boosting import predict_stages
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from bodega_model.plans.matrices import SINGLE, Array, Block, NoPlanError, bounded, checked, finite
from bodega_model.plans.registry import Method, Methods, predictor


def singles(block: Block, *, gaps: bool) -> Array:
    """Return a block as the trees take it: float32 in C order; step aside for NaN, unless the tree allows gaps."""
    matrix = np.ascontiguousarray(checked(block, SINGLE))
    return bounded(matrix) if gaps else finite(matrix)


def _allows_gaps(tree: Any) -> bool:
    return bool(tree._support_missing_values(np.zeros((1, 1), dtype=np.float32)))


@predictor(DecisionTreeClassifier, ExtraTreeClassifier)
def plan_tree_classifier(model: Any) -> Methods:
    """Take the shares of the classes in the leaf."""
    tree, gaps, counts = model.tree_, _allows_gaps(model), np.atleast_1d(model.n_classes_).tolist()
    return _classifier(model, lambda block: _by_target(tree.predict(singles(block, gaps=gaps)), counts))


def _by_target(values: Array, counts: list[int]) -> list[Array]:
    """Return the shares of the classes of each target."""
    if len(counts) == 1:
        return [values[:, : counts[0]]]
    return [values[:, place, :count] for place, count in enumerate(counts)]


def _classifier(model: Any, shares: Callable[[Block], list[Array]]) -> Methods:
    """Return the methods of a model of one target, or of several, from the shares of the classes of each."""
    if model.n_outputs_ == 1:
        classes = model.classes_
        return {
            "predict": lambda block: classes.take(shares(block)[0].argmax(axis=1)),
            "predict_proba": lambda block: shares(block)[0],
        }

    def predict(block: Block) -> Array:
        found = [of.take(share.argmax(axis=1)) for of, share in zip(model.classes_, shares(block), strict=True)]
        return np.stack(found, axis=1)

    return {"predict": predict, "predict_proba": shares}


@predictor(DecisionTreeRegressor, ExtraTreeRegressor)
def plan_tree_regressor(model: Any) -> Methods:
    """Take the value of the leaf, or one for each target."""
    tree, gaps, several = model.tree_, _allows_gaps(model), model.n_outputs_ > 1

    def predict(block: Block) -> Array:
        values = tree.predict(singles(block, gaps=gaps))
        return values[:, :, 0] if several else values[:, 0]  # type: ignore[no-any-return]

    return {"predict": predict}


@predictor(RandomForestClassifier, ExtraTreesClassifier)
def plan_forest_classifier(model: Any) -> Methods:
    """Take the mean of the trees' shares, added up in their order."""
    trees, gaps = [e.tree_ for e in model.estimators_], _allows_gaps(model.estimators_[0])
    counts = np.atleast_1d(model.n_classes_).tolist()
    shape = (max(counts),) if len(counts) == 1 else (len(counts), max(counts))

    def shares(block: Block) -> list[Array]:
        matrix = singles(block, gaps=gaps)
        total = np.zeros((len(matrix), *shape))
        for tree in trees:
            total += tree.predict(matrix)
        total /= len(trees)
        return _by_target(total, counts)

    return _classifier(model, shares)


@predictor(RandomForestRegressor, ExtraTreesRegressor)
def plan_forest_regressor(model: Any) -> Methods:
    """Take the mean of the trees' values, added up in their order."""
    trees, gaps, targets = [e.tree_ for e in model.estimators_], _allows_gaps(model.estimators_[0]), model.n_outputs_

    def predict(block: Block) -> Array:
        matrix = singles(block, gaps=gaps)
        total = np.zeros((len(matrix), targets))
        for tree in trees:
            total += tree.predict(matrix).reshape(len(matrix), targets)
        total /= len(trees)
        return total if targets > 1 else total[:, 0]

    return {"predict": predict}


@predictor(GradientBoostingClassifier, GradientBoostingRegressor)
def plan_gradient_boosting(model: Any) -> Methods:
    """Add the trees' values to where the model began, by its own kernel."""
    raw = _stages(model)
    if isinstance(model, GradientBoostingRegressor):
        return {"predict": lambda block: raw(block).ravel()}
    classes = model.classes_

    def decide(block: Block) -> Array:
        scores: Array = raw(block)
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(block: Block) -> Array:
        scores = decide(block)
        places = (scores >= 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return classes[places]  # type: ignore[no-any-return]

    return {
        "predict": predict,
        "predict_proba": lambda block: model._loss.predict_proba(raw(block)),
        "decision_function": decide,
    }


def _stages(model: Any) -> Method:
    stages, rate = model.estimators_, model.learning_rate
    if not isinstance(model.init_, str) and type(model.init_).__module__ != "sklearn.dummy":
        raise NoPlanError("gradient boosting begins with a model of its own")
    # Where it begins is the same for every row.
    width = stages.shape[1]
    first = stages[0, 0].tree_.n_features
    begin = model._raw_predict_init(np.zeros((1, first), dtype=np.float32))

    def raw(block: Block) -> Array:
        matrix = singles(block, gaps=False)
        scores = np.repeat(begin, len(matrix), axis=0).reshape(len(matrix), width)
        predict_stages(stages, matrix, rate, scores)
        return scores

    return raw
