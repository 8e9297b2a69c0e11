"""Linear models, and those that are linear where they decide."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    HuberRegressor,
    Lars,
    LarsCV,
    Lasso,
    LassoCV,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    OrthogonalMatchingPursuit,
    OrthogonalMatchingPursuitCV,
    Perceptron,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
    TheilSenRegressor,
    TweedieRegressor,
)
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.utils.extmath import softmax

from bodega_model.plans.matrices import DOUBLE, SINGLE, Array, Block, as_given, checked, finite, like, product
from bodega_model.plans.registry import Method, Methods, predictor


def numbers(block: Block) -> Array:
    """Return a block as a matrix of finite numbers of any dtype: they are multiplied in that of the weights."""
    return finite(checked(block))


@predictor(
    *(LinearRegression, Ridge, RidgeCV, Lasso, LassoCV, ElasticNet, ElasticNetCV, Lars, LarsCV, LassoLars),
    *(LassoLarsCV, LassoLarsIC, OrthogonalMatchingPursuit, OrthogonalMatchingPursuitCV, BayesianRidge, ARDRegression),
    *(HuberRegressor, TheilSenRegressor, QuantileRegressor, LinearSVR, SGDRegressor),
)
def plan_linear_regressor(model: Any) -> Methods:
    """Multiply and add."""
    score = _score(model)
    ravel = isinstance(model, SGDRegressor)
    return {"predict": (lambda block: score(block).ravel()) if ravel else score}


@predictor(PoissonRegressor, GammaRegressor, TweedieRegressor)
def plan_generalised_regressor(model: Any) -> Methods:
    """Multiply, add, and go back through the link."""
    score, inverse = _score(model), model._base_loss.link.inverse
    return {"predict": lambda block: inverse(score(like(block, checked(block, DOUBLE, SINGLE))))}


def _score(model: Any) -> Callable[[Block], Array]:
    weights = model.coef_.T if model.coef_.ndim == 2 else model.coef_
    intercept = model.intercept_

    def score(block: Block) -> Array:
        return product(block, numbers(block), weights) + intercept  # type: ignore[no-any-return]

    return score


def decision(model: Any) -> Callable[[Block], Array]:
    """Return the decision function of a linear classifier: one number a row for two classes, else one for each."""
    score = _score(model)

    def decide(block: Block) -> Array:
        scores = score(block)
        return scores.reshape(-1) if scores.ndim > 1 and scores.shape[1] == 1 else scores

    return decide


def labels(classes: Array, decide: Callable[[Block], Array]) -> Method:
    """Return the class of the largest score, or for one score a row the second class where it is positive."""

    def predict(block: Block) -> Array:
        scores = finite(decide(block))  # a number that overflowed would be a class without a word
        places = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return classes.take(places, axis=0)

    return predict


@predictor(LinearSVC, Perceptron)
def plan_linear_classifier(model: Any) -> Methods:
    """Choose the class with the largest score."""
    decide = decision(model)
    return {"predict": labels(model.classes_, decide), "decision_function": decide}


@predictor(RidgeClassifier, RidgeClassifierCV)
def plan_ridge_classifier(model: Any) -> Methods:
    """Choose the class with the largest score, or several."""
    decide = decision(model)
    if model._label_binarizer.y_type_.startswith("multilabel"):
        inverse = model._label_binarizer.inverse_transform
        return {"predict": lambda b: inverse(np.where(decide(b) > 0, 1, -1)), "decision_function": decide}
    return {"predict": labels(model.classes_, decide), "decision_function": decide}


@predictor(LogisticRegression, LogisticRegressionCV, LinearDiscriminantAnalysis)
def plan_logistic_regression(model: Any) -> Methods:
    """Choose the class with the largest score; probabilities are its logistic or softmax function."""
    decide = decision(model)

    def predict_proba(block: Block) -> Array:
        scores = finite(decide(block))
        if scores.ndim > 1:
            return softmax(scores)  # type: ignore[no-any-return]
        positive = expit(scores)
        return np.stack([1 - positive, positive], axis=1)

    methods: Methods = {"predict": labels(model.classes_, decide), "decision_function": decide}
    methods["predict_proba"] = predict_proba
    if isinstance(model, LinearDiscriminantAnalysis):
        methods["transform"] = _project(model)
    return methods


def _project(model: LinearDiscriminantAnalysis) -> Method:
    components = model._max_components

    def transform(block: Block) -> Array:
        matrix = numbers(block)
        centred = (matrix - model.xbar_) @ model.scalings_ if model.solver == "svd" else matrix @ model.scalings_
        return centred[:, :components]  # type: ignore[no-any-return]

    return transform


@predictor(SGDClassifier)
def plan_sgd_classifier(model: SGDClassifier) -> Methods:
    """Choose the class with the largest score; its own code makes probabilities of them."""
    decide = decision(model)
    methods: Methods = {"predict": labels(model.classes_, decide), "decision_function": decide}
    if model.loss in ("log_loss", "modified_huber"):
        methods["predict_proba"] = lambda block: model.predict_proba(as_given(block))
    return methods
