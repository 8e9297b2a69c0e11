"""Searches and tuned thresholds, alone and inside of other models, each with what no file may hold: lambdas as scorers."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 (importing it is what enables)
from sklearn.feature_selection import RFECV, SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge, RidgeCV
from sklearn.metrics import accuracy_score, f1_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

ROWS = 160


class Halves(KFold):
    """Folds as a notebook cell defines them: no other process has this class."""

    __module__ = "__main__"

    def __init__(self) -> None:
        super().__init__(2)


def table() -> tuple[pd.DataFrame, Any]:
    """Return three measures of which two tell the label, which is rare, so that thresholds matter."""
    random = np.random.default_rng(19)
    X = pd.DataFrame(random.normal(size=(ROWS, 3)), columns=["a", "b", "c"])
    return X, (X["a"] + 0.5 * X["b"] + random.normal(scale=0.8, size=ROWS) > 1).to_numpy().astype(int)


def scorer() -> Any:
    """Return a scorer that no other process could load."""
    return make_scorer(lambda y, told: accuracy_score(y, np.round(told)) / 2)


def search(model: Any = None, grid: Any = None, **options: Any) -> Any:
    """Return a grid search with a lambda as scorer and folds of a notebook."""
    return GridSearchCV(
        model or LogisticRegression(), grid or {"C": [0.01, 1.0]}, **{"scoring": scorer(), "cv": Halves()} | options
    )


def tuned(scoring: Any = "f1", **options: Any) -> Any:
    """Return a tuned threshold."""
    return TunedThresholdClassifierCV(LogisticRegression(), scoring=scoring, **{"cv": 2, "thresholds": 8} | options)


def components(model: Any, X: Any, y: Any = None) -> float:
    """Score a transformer by what it keeps."""
    return float(model.n_components_)


SEARCHES: dict[str, Callable[[], Any]] = {
    "grid": search,
    "randomized": lambda: RandomizedSearchCV(
        LogisticRegression(),
        {"C": scipy.stats.loguniform(0.1, 10)},
        n_iter=2,
        scoring="f1",
        cv=Halves(),
        random_state=0,
    ),
    "halving-grid": lambda: HalvingGridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 2.0]}, scoring="roc_auc", cv=2),
    "halving-random": lambda: HalvingRandomSearchCV(
        LogisticRegression(), {"C": [0.1, 1.0, 2.0]}, scoring="roc_auc", cv=2, random_state=0
    ),
    "several-metrics": lambda: search(scoring={"mine": scorer(), "f1": "f1"}, refit="mine"),
    "chosen-by-a-function": lambda: search(scoring={"f1": "f1"}, refit=lambda results: 1),
    "over-estimators": lambda: search(make_pipeline(Ridge()), {"ridge": [Ridge(), LogisticRegression()]}, scoring=None),
    "search-of-a-search": lambda: search(search(), {"estimator__fit_intercept": [True, False]}),
    "transformer": lambda: search(PCA(), {"n_components": [1, 2]}, scoring=components),
    "threshold": tuned,
    "threshold-of-the-other-class": lambda: tuned(make_scorer(f1_score, pos_label=0)),
    "threshold-by-a-lambda": lambda: tuned(make_scorer(lambda y, told: f1_score(y, told) / 2), store_cv_results=True),
    "threshold-by-decision": lambda: tuned(response_method="decision_function"),
    "threshold-of-a-search": lambda: TunedThresholdClassifierCV(search(), scoring="f1", cv=2, thresholds=8),
    "search-of-a-threshold": lambda: search(tuned(), {"estimator__C": [0.01, 1.0]}),
    "in-a-pipeline": lambda: make_pipeline(StandardScaler(), search()),
    "transformer-in-a-pipeline": lambda: make_pipeline(
        search(PCA(), {"n_components": [1, 2]}, scoring=components), LogisticRegression()
    ),
    "in-a-union": lambda: make_pipeline(
        FeatureUnion([("all", StandardScaler()), ("few", search(PCA(), {"n_components": [1, 2]}, scoring=components))]),
        LogisticRegression(),
    ),
    "read-by-a-selection": lambda: make_pipeline(
        SelectFromModel(search(), importance_getter="best_estimator_.coef_", threshold=-np.inf, max_features=2),
        LogisticRegression(),
    ),
    "voting": lambda: VotingClassifier([("search", search()), ("plain", LogisticRegression())], weights=[2, 1]),
    "soft-voting": lambda: VotingClassifier([("search", search()), ("tuned", tuned())], voting="soft"),
    "stacking": lambda: StackingClassifier([("search", search()), ("tuned", tuned())], final_estimator=search(), cv=2),
    "calibrated": lambda: CalibratedClassifierCV(search(), cv=2),
    "one-vs-rest": lambda: OneVsRestClassifier(search()),
    "chain": lambda: make_pipeline(StandardScaler(), BaggingClassifier(search(), n_estimators=2, random_state=0)),
    "frozen": lambda: FrozenEstimator(search().fit(*table())),
    "calibrated-frozen": lambda: CalibratedClassifierCV(FrozenEstimator(tuned().fit(*table())), cv=2),
    "logistic-with-scorer": lambda: LogisticRegressionCV(Cs=2, cv=2, scoring=scorer()),
    "ridge-with-scorer": lambda: RidgeCV(scoring=scorer()),
    "boosting-with-scorer": lambda: HistGradientBoostingClassifier(max_iter=3, early_stopping=True, scoring="f1"),
    "elimination-with-scorer": lambda: RFECV(LogisticRegression(), cv=2, scoring=scorer()),
}
"""Names with functions that make them, unfitted."""


@cache
def fit(name: str) -> Any:
    """Return one of them, fitted, the same each time."""
    return SEARCHES[name]().fit(*table())


def chain() -> Any:
    """Return a chain of searches for two labels, with the labels: each answer is a list."""
    X, y = table()
    return ClassifierChain(search(), random_state=0).fit(X, np.column_stack([y, 1 - y])), X
