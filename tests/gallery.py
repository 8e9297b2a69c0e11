"""The models that the tests of the API ask, and how they ask: fitted once, registered once for all that only read."""

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
from bodega_db.records import Version
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from conftest import Api, create_database, running_api
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from zoo import data
from zoo.data import NUMBERS, WORDS

PROBLEM_TYPE = "urn:bodega:problem:"
MOST_PROBLEM_BYTES = 16 * 1024
MARKER = "s3cr3t-patient-4711"
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_ROWS = 2000
GENTOO = {
    "island": "Biscoe",
    "bill_length_mm": 50.0,
    "bill_depth_mm": 16.3,
    "flipper_length_mm": 230.0,
    "body_mass_g": 5700.0,
    "sex": "male",
    "year": 2007,
}
KINDS = {
    "year": 2008,
    "small": 8,
    "huge": 2**63 + 5,
    "ratio": 0.5,
    "weight": 4000.0,
    "heavy": True,
    "island": "Biscoe",
    "remark": "none",
    "seen": "2026-01-31T12:00:00",
    "seen_utc": "2026-01-31T12:00:00+01:00",
    "count": None,
}


@dataclass(frozen=True)
class Exhibit:
    """A fitted model, the rows to register it with, and what else is said of it."""

    model: Any
    example: Any
    said: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)  # hypothesis would print all of it
class Gallery:
    """An API over a catalog with every exhibit; whoever uses it changes nothing."""

    api: Api
    exhibits: dict[str, Exhibit]
    versions: dict[str, Version]

    def predict(self, rows: Any, model: str = "penguins", **parameters: str) -> Any:
        """Send rows to a model and return the HTTP response."""
        return ask(self.api, {"rows": rows}, model=model, **parameters)


def ask(api: Api, document: Any, **parameters: str) -> Any:
    """Send a JSON document to /predict and return the HTTP response."""
    return api.client.post("/predict", params=parameters, json=document)


def send(api: Api, body: bytes, content_type: str = "application/json", **parameters: str) -> Any:
    """Send bytes to /predict and return the HTTP response."""
    return api.client.post("/predict", params=parameters, content=body, headers={"Content-Type": content_type})


def problem_of(response: Any, status: int, slug: str) -> dict[str, Any]:
    """Return the problem that a response is, after the checks that hold for every problem."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text[:500]
    )
    assert len(response.content) <= MOST_PROBLEM_BYTES
    assert MARKER not in response.text
    problem: dict[str, Any] = response.json()
    assert problem["type"] == PROBLEM_TYPE + slug, problem
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


def plain(answer: Any) -> Any:
    """Write what scikit-learn answered as JSON values, without the code under test."""
    if isinstance(answer, list):
        return [list(row) for row in zip(*(plain(target) for target in answer), strict=True)]
    return json.loads(json.dumps(np.asarray(answer).tolist()))


@functools.cache
def penguins() -> Exhibit:
    """Return a classifier of species that takes gaps and unknown islands."""
    X, y = data.penguins()
    table = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), [*NUMBERS, "year"]),
            (
                "words",
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
                WORDS,
            ),
        ]
    )
    return Exhibit(make_pipeline(table, LogisticRegression(max_iter=5000)).fit(X, y), data.sample(X))


@functools.cache
def weaker_penguins() -> Exhibit:
    """Return another model for the same columns, so that versions can be told apart by their answers."""
    X, y = data.penguins()
    return Exhibit(clone(penguins().model).set_params(logisticregression__C=0.001).fit(X, y), data.sample(X))


@functools.cache
def kinds() -> Exhibit:
    """Return a regressor over one column of each kind, none of which may be null unless the model drops it."""
    frame, mass = data.weights()
    count = len(frame)
    X = pd.DataFrame(
        {
            "year": frame["year"].astype("int64"),
            "small": (frame["year"] - 2000).astype("uint8"),
            "huge": np.arange(count, dtype="uint64") + np.uint64(2**63),
            "ratio": (frame["bill_length_mm"] / frame["flipper_length_mm"]).astype("float32"),
            "weight": mass.astype("float64"),
            "heavy": mass > 4000,
            "island": frame["island"].astype("str"),
            "remark": frame["sex"].fillna("unknown").astype("str"),
            "seen": pd.to_datetime("2026-01-31") + pd.to_timedelta(np.arange(count), unit="s"),
            "seen_utc": pd.to_datetime("2026-01-31", utc=True) + pd.to_timedelta(np.arange(count), unit="s"),
            "count": pd.array([None, *range(1, count)], dtype="Int64"),
        }
    )
    table = make_column_transformer(
        (StandardScaler(), ["year", "small", "ratio", "weight"]),
        (FunctionTransformer(), ["heavy"]),
        (OneHotEncoder(), ["island"]),
    )
    return Exhibit(make_pipeline(table, Ridge()).fit(X, frame["flipper_length_mm"]), X.head(30))


@functools.cache
def two_labels() -> Exhibit:
    """Return a classifier of two targets, species and sex."""
    X, y = data.two_labels()
    model = MultiOutputClassifier(make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)))
    return Exhibit(model.fit(X, y), data.sample(X))


@functools.cache
def texts() -> Exhibit:
    """Return a classifier of lines of text."""
    lines, names = data.lines()
    return Exhibit(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(lines, names), lines[:20])


@functools.cache
def wine() -> Exhibit:
    """Return a classifier that was fitted on a bare array."""
    X, y = data.wine()
    return Exhibit(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y), data.sample(X))


@functools.cache
def categories() -> Exhibit:
    """Return a classifier over columns of the category dtype."""
    X, y = data.category_penguins()
    return Exhibit(HistGradientBoostingClassifier(max_iter=8, random_state=0).fit(X, y), data.sample(X))


@functools.cache
def scaler() -> Exhibit:
    """Return a model that transforms and does not predict."""
    X, _ = data.measures()
    return Exhibit(StandardScaler().fit(X), data.sample(X))


EXHIBITS: dict[str, Callable[[], Exhibit]] = {
    "kinds": kinds,
    "two-labels": two_labels,
    "texts": texts,
    "wine": wine,
    "categories": categories,
    "scaler": scaler,
}


def enter(store: ModelStore, name: str, exhibit: Exhibit, **said: Any) -> Version:
    """Register an exhibit."""
    return store.register(exhibit.model, name, example=exhibit.example, **exhibit.said, **said)


@contextmanager
def open_gallery(server_url: str, template: str, name: str, volume: Path) -> Iterator[Gallery]:
    """Register every exhibit in a database of its own, and run an API over it."""
    settings = Settings.read(
        database_url=create_database(server_url, name, template),
        models=volume,
        max_body_bytes=MAX_BODY_BYTES,
        max_rows=MAX_ROWS,
    )
    exhibits = {"penguins": penguins()} | {name: make() for name, make in EXHIBITS.items()}
    with closing(ModelStore.connect(settings)) as store:
        versions = {name: enter(store, name, exhibits[name]) for name in EXHIBITS}
        enter(store, "penguins", penguins(), metrics={"accuracy": 0.99, "loss": 0.3}, actor="ana")
        versions["penguins"] = enter(store, "penguins", weaker_penguins(), metrics={"accuracy": 0.7, "loss": 0.1})
        enter(store, "penguins", weaker_penguins(), metrics={"accuracy": 1.0}, note="quarantined later")
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        connection.execute("UPDATE version SET status = 'quarantined' WHERE note = 'quarantined later'")
        name_version(connection, "penguins", 1, "champion")
        name_version(connection, "penguins", 3, "cursed")
    with running_api(settings) as api:
        yield Gallery(api, exhibits, versions)


def name_version(connection: "psycopg.Connection[Any]", model: str, number: int, alias: str) -> None:
    """Give a version an alias, as an operator would with SQL."""
    connection.execute(
        "INSERT INTO alias (model_id, name, version_id) SELECT m.id, %s, v.id FROM model m "
        "JOIN version v ON v.model_id = m.id WHERE m.name = %s AND v.number = %s",
        (alias, model, number),
    )
