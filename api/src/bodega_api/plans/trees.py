"""Trees and forests of them: scikit-learn's compiled trees, on float32 as it makes it."""

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

from bodega_api.plans.composition import to_matrix
from bodega_api.plans.registry import Array, Block, Method, Methods, NoPlanError, bounded, finite, predictor


def singles(block: Block, *, gaps: bool) -> Array:
    """Return a block as the trees take it: float32 in C order; step aside for NaN, unless the tree allows gaps."""
    matrix = np.ascontiguousarray(to_matrix(block), dtype=np.float32)
    return bounded(matrix) if gaps else finite(matrix)


def _allows_gaps(tree: Any) -> bool:
    return bool(tree._support_missing_values(np.zeros((1, 1), dtype=np.float32)))


@predictor(DecisionTreeClassifier, ExtraTreeClassifier)
def plan_tree_classifier(model: Any) -> Methods:
    """Take the shares of the classes in the leaf."""
    _refuse_targets(model)
    tree, gaps, classes, count = model.tree_, _allows_gaps(model), model.classes_, model.n_classes_

    def predict_proba(block: Block) -> Array:
        return tree.predict(singles(block, gaps=gaps))[:, :count]  # type: ignore[no-any-return]

    return {"predict": lambda block: classes.take(predict_proba(block).argmax(axis=1)), "predict_proba": predict_proba}


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
    _refuse_targets(model)
    trees, gaps, classes = [e.tree_ for e in model.estimators_], _allows_gaps(model.estimators_[0]), model.classes_
    count = model.n_classes_

    def predict_proba(block: Block) -> Array:
        matrix = singles(block, gaps=gaps)
        total = np.zeros((len(matrix), count))
        for tree in trees:
            total += tree.predict(matrix)[:, :count]
        total /= len(trees)
        return total

    return {"predict": lambda block: classes.take(predict_proba(block).argmax(axis=1)), "predict_proba": predict_proba}


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


def _refuse_targets(model: Any) -> None:
    if model.n_outputs_ > 1:
        raise NoPlanError(f"{type(model).__name__} has several targets")


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
