"""Models whose parts read attributes of a search, through a getter, a function or code of their own."""

from collections.abc import Callable
from typing import Any

import numpy as np
from searches import SEARCHES, scorer, search, table, tuned
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (importing it is what enables)
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

BEST = "best_estimator_.coef_"


def weights(fitted: Any) -> Any:
    """Return the importances that a search found."""
    return np.abs(fitted.best_estimator_.coef_).ravel()


def through(rows: Any, model: Any) -> Any:
    """Decide by the best estimator, and by how often it was tried."""
    return model.best_estimator_.decision_function(rows).reshape(-1, 1) * len(model.cv_results_["params"])


class Reader(ClassifierMixin, BaseEstimator):
    """A class of a person's own, which trains a search and asks what it found."""

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner

    def fit(self, X: Any, y: Any) -> "Reader":
        """Train the search."""
        self.found_ = self.inner.fit(X, y)
        self.classes_ = self.found_.classes_
        return self

    def predict(self, X: Any) -> Any:
        """Ask the best estimator."""
        return self.found_.best_estimator_.predict(X)

    def predict_proba(self, X: Any) -> Any:
        """Ask the search, and how it was found."""
        return self.found_.predict_proba(X) / len(self.found_.cv_results_["params"])


class Threshold(Reader):
    """The same with a tuned threshold."""

    def predict(self, X: Any) -> Any:
        """Compare with the threshold that was found."""
        return (self.found_.estimator_.predict_proba(X)[:, 1] > self.found_.best_threshold_).astype(int)

    def predict_proba(self, X: Any) -> Any:
        """Ask what it stands on."""
        return self.found_.estimator_.predict_proba(X)


class OwnPipeline(Pipeline):
    """A pipeline of another library, which asks its last step."""

    def score_samples(self, X: Any) -> Any:
        """Answer a parameter that was found."""
        return np.full(len(X), self.steps[-1][1].best_params_["C"])


def selected(estimator: Any, getter: Any = BEST, **options: Any) -> Any:
    """Return a pipeline that keeps two columns by what a search found."""
    by = SelectFromModel(estimator, importance_getter=getter, threshold=-np.inf, max_features=2, **options)
    return make_pipeline(by, LogisticRegression())


def shared() -> Any:
    """Return a union of which two parts stand on one search, which one of them reads."""
    fitted = search().fit(*table())
    asked = make_pipeline(FunctionTransformer(through, kw_args={"model": fitted}))
    return make_pipeline(FeatureUnion([("chosen", SelectFromModel(fitted, prefit=True, importance_getter=BEST)),
                                       ("asked", asked)]), search())  # fmt: skip


READERS: dict[str, Callable[[], Any]] = {
    "function": lambda: selected(search(), weights),
    "fitted-before": lambda: selected(search().fit(*table()), prefit=True),
    "frozen": lambda: selected(FrozenEstimator(search().fit(*table())), f"estimator.{BEST}"),
    "deep": lambda: selected(make_pipeline(StandardScaler(), search()), f"named_steps.gridsearchcv.{BEST}"),
    "twice": lambda: selected(search(search(), {"estimator__fit_intercept": [True, False]}), f"best_estimator_.{BEST}"),
    "randomized": lambda: selected(SEARCHES["randomized"]()),
    "halving": lambda: selected(SEARCHES["halving-random"]()),
    "by-a-function": lambda: selected(SEARCHES["chosen-by-a-function"]()),
    "several-metrics": lambda: selected(SEARCHES["several-metrics"]()),
    "threshold": lambda: selected(tuned(), "estimator_.coef_"),
    "threshold-of-a-search": lambda: selected(SEARCHES["threshold-of-a-search"](), f"estimator_.{BEST}"),
    "elimination": lambda: RFE(search(), importance_getter=BEST, n_features_to_select=2),
    "elimination-with-folds": lambda: make_pipeline(RFECV(search(), importance_getter=weights, cv=2), search()),
    "sequential": lambda: make_pipeline(
        SequentialFeatureSelector(search(), n_features_to_select=2, cv=2), LogisticRegression()
    ),
    "own-class": lambda: Reader(search()),
    "own-class-randomized": lambda: Reader(SEARCHES["randomized"]()),
    "own-class-halving": lambda: Reader(SEARCHES["halving-grid"]()),
    "own-class-over-estimators": lambda: Reader(
        search(
            make_pipeline(LogisticRegression()),
            {"logisticregression": [LogisticRegression(C=0.1), LogisticRegression()]},
        )
    ),
    "own-threshold": lambda: Threshold(tuned()),
    "own-pipeline": lambda: OwnPipeline([("scale", StandardScaler()), ("search", search())]),
    "in-an-own-class": lambda: Reader(search(selected(search()), {"logisticregression__C": [0.1, 1.0]})),
    "parameter": lambda: make_pipeline(
        FunctionTransformer(through, kw_args={"model": search().fit(*table())}), LogisticRegression()
    ),
    "shared": shared,
    "target": lambda: TransformedTargetRegressor(
        GridSearchCV(Ridge(), {"alpha": [1, 2]}, scoring=scorer()), func=np.log1p, inverse_func=np.expm1
    ),
    "imputer": lambda: make_pipeline(
        IterativeImputer(GridSearchCV(Ridge(), {"alpha": [1, 2]}, scoring=scorer(), cv=2), max_iter=2),
        LogisticRegression(),
    ),
}


def of_several_labels() -> tuple[Any, Any]:
    """Return a classifier of two labels, each by a selection that reads its search."""
    X, y = table()
    return MultiOutputClassifier(selected(search())).fit(X, np.column_stack([y, 1 - y])), X
