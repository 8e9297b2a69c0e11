"""Models that a registration must refuse."""

import functools
from typing import Any

import numpy as np
from bodega_model.errors import (
    ExampleError,
    NotFittedError,
    NotServableError,
    RegistrationError,
    SerialiseError,
    UntrustedTypeError,
)
from sklearn import (
    cluster,
    model_selection,
)
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from zoo import data
from zoo.parts import (
    Fitted,
    Refused,
    fit,
    logistic,
    scaled,
)


class NotebookShift(TransformerMixin, BaseEstimator):
    """A transformer as a notebook cell defines it: its module is `__main__`, which no other process has."""

    __module__ = "__main__"

    def fit(self, X: Any, y: Any = None) -> "NotebookShift":
        """Learn the smallest value of each column."""
        self.low_ = np.asarray(X).min(axis=0)
        return self

    def transform(self, X: Any) -> Any:
        """Return X without the smallest values."""
        return np.asarray(X) - self.low_


def _unfitted() -> Fitted:
    return Fitted(scaled(logistic()), data.sample(data.iris()[0]))


def _unseen_category() -> Fitted:
    X, y = data.whole_penguins()
    model = make_pipeline(OneHotEncoder(handle_unknown="error"), logistic()).fit(X[["island"]], y)
    return Fitted(model, X[["island"]].head(5).replace("Torgersen", "Hispaniola"))


def _search() -> Any:
    return model_selection.GridSearchCV(scaled(logistic()), {"logisticregression__C": [0.1, 1.0]}, cv=3, refit=False)


# Found when the file is loaded back, in a fresh process.
UNTRUSTED = (UntrustedTypeError, NotServableError)

REFUSED: list[Refused] = [
    Refused("unfitted", _unfitted, (NotFittedError,), "fit"),
    Refused(
        "lambda",
        fit(lambda: make_pipeline(FunctionTransformer(lambda X: X * 2), logistic()), data.iris),
        (SerialiseError,),
        "lambda",
    ),
    Refused(
        "notebook-class",
        fit(lambda: make_pipeline(NotebookShift(), logistic()), data.iris),
        (SerialiseError,),
        "__main__",
    ),
    Refused(
        "partial",
        fit(
            lambda: make_pipeline(FunctionTransformer(functools.partial(np.power, 2.0)), logistic()),
            data.iris,
        ),
        UNTRUSTED,
        "functools.partial",
    ),
    Refused("search-that-refitted-nothing", fit(_search, data.cancer), (RegistrationError,), "refit=True"),
    Refused(
        "bisecting-k-means",
        fit(lambda: cluster.BisectingKMeans(3, random_state=0), data.iris),
        UNTRUSTED,
        "KMeans",
    ),
    Refused("birch", fit(cluster.Birch, data.iris), (SerialiseError,), "Birch"),
    Refused("dbscan", fit(cluster.DBSCAN, data.iris), (RegistrationError,), "predict"),
    Refused("unseen-category", _unseen_category, (ExampleError,), "example"),
]
