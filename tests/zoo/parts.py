"""The values of the zoo, and the parts from which its pipelines are built."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bodega_model.errors import BodegaError
from sklearn import (
    ensemble,
    linear_model,
)
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from zoo import data
from zoo.data import NUMBERS, WORDS

METHODS = ("predict", "predict_proba", "decision_function", "score_samples", "transform")


@dataclass(frozen=True)
class Fitted:
    """A fitted model and the rows that a person would pass as its example."""

    model: Any
    example: Any


@dataclass(frozen=True)
class Specimen:
    """A model that can be registered; `build` fits it on the first call and then returns the same one."""

    name: str
    build: Callable[[], Fitted]


@dataclass(frozen=True)
class Refused:
    """A model that a registration refuses with one of `errors`, whose text holds `word`."""

    name: str
    build: Callable[[], Fitted]
    errors: tuple[type[BodegaError], ...]
    word: str


def answer(model: Any, example: Any) -> dict[str, Any]:
    """Return what every output method of the model says about the example."""
    methods = {name: getattr(model, name, None) for name in METHODS}
    return {name: method(example) for name, method in methods.items() if method is not None}


def fit(make: Callable[[], Any], read: Callable[[], Any]) -> Callable[[], Fitted]:
    """Return a function that fits the model on the first call and remembers it."""

    @functools.cache
    def build() -> Fitted:
        X, y = read()
        return Fitted(make().fit(X, y), data.sample(X))

    return build


def specimen(name: str, read: Callable[[], Any], make: Callable[[], Any]) -> Specimen:
    """Return a specimen of the model that `make` makes, fitted on the data that `read` returns."""
    return Specimen(name, fit(make, read))


def numbers(*steps: Any, columns: list[str] = NUMBERS) -> tuple[str, Any, list[str]]:
    """Return the numeric branch of a table."""
    return ("numbers", make_pipeline(*(steps or (SimpleImputer(), StandardScaler()))), columns)


def words(encoder: Any, columns: list[str] = WORDS) -> tuple[str, Any, list[str]]:
    """Return the text branch of a table: the most frequent value for a gap, then the encoder."""
    return ("words", make_pipeline(SimpleImputer(strategy="most_frequent"), encoder), columns)


def table(*branches: tuple[str, Any, Any], **options: Any) -> ColumnTransformer:
    """Return a ColumnTransformer of the branches."""
    return ColumnTransformer(list(branches), **options)


def weighing(regressor: Any) -> Any:
    """Return a pipeline that tells a penguin's weight from the rest."""
    encoder = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(table(numbers(columns=NUMBERS[:3]), words(encoder, ["species", "sex"])), regressor)


def scaled(model: Any, *between: Any) -> Any:
    """Return the model behind a scaler."""
    return make_pipeline(StandardScaler(), *between, model)


def logistic() -> Any:
    """Return a logistic regression that converges on everything here."""
    return linear_model.LogisticRegression(max_iter=5000)


def forest() -> Any:
    """Return a small forest."""
    return ensemble.RandomForestClassifier(8, random_state=0)
