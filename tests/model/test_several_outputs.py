"""Several outputs of the same rows: a pipeline's earlier steps run once, and every answer is the pipeline's own."""

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import penguins
import pytest
from bodega_model.errors import OutputNotAvailableError, PredictionError
from bodega_model.signature.infer import learn
from bodega_model.signature.outputs import METHODS, call
from bodega_model.signature.several_outputs import Asked
from rows_beside import lags, ranks
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(5, 3, (60, 4)), columns=list("abcd"))
y = (X["a"] > 5).astype(int)
TEXTS = ["red fox", "blue whale", "red robin", "grey seal"]


class Counting(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step that counts how often it is run, and hands on what a function makes of the rows."""

    def __init__(self, hand_on: Any = None) -> None:
        self.hand_on = hand_on

    def fit(self, X: Any, y: Any = None) -> "Counting":
        """Learn nothing."""
        self.runs_ = 0
        return self

    def transform(self, X: Any) -> Any:
        """Count."""
        self.runs_ += 1
        return self.hand_on(X) if self.hand_on else X


class Wrapped:
    """Rows of a type that nobody knows how to copy."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self.shape = rows.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.rows, dtype=dtype)

    def __len__(self) -> int:
        return len(self.rows)


def answers(model: Any, rows: Any) -> dict[str, Any]:
    """Return what each output is when the model itself is asked, each time with rows of its own."""
    found = {}
    for method in METHODS:
        try:
            found[method] = call(model, method, rows.copy())
        except OutputNotAvailableError:
            found[method] = None
    return found


def asked(model: Any, rows: Any) -> dict[str, Any]:
    """Return the same from one question with several outputs."""
    question, found = Asked(model, rows.copy), {}
    for method in METHODS:
        try:
            found[method] = question.answer(method)
        except OutputNotAvailableError:
            found[method] = None
    return found


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(copy=False), LogisticRegression()),
        make_pipeline(StandardScaler().set_output(transform="pandas"), "passthrough", LogisticRegression()),
        make_pipeline(PCA(2), make_pipeline(StandardScaler(), LogisticRegression())),
        make_pipeline(StandardScaler(), PCA(2)),
        make_pipeline(StandardScaler(), "passthrough"),
        make_pipeline(Counting(), StandardScaler(copy=False)),
        make_pipeline(Counting(Wrapped), LogisticRegression()),
        make_pipeline(LogisticRegression()),
        LogisticRegression(),
    ],
    ids=lambda model: "-".join(str(step[1]) for step in getattr(model, "steps", [("", model)])),
)
def test_each_answer_is_the_models_own(model: Any) -> None:
    """Whatever the steps do to their rows, and whichever outputs the last one has."""
    model.fit(X.copy(), y)

    assert asked(model, X) == answers(model, X)


def test_sparse_rows_between_the_steps() -> None:
    """What a vectorizer makes of texts is kept, and copied, as it is."""
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(TEXTS, [0, 1, 0, 1])

    assert asked(model, TEXTS) == answers(model, TEXTS)


def test_the_penguins() -> None:
    """Imputers, scalers and encoders by column, then a classifier of three outputs."""
    rows = penguins.example().head(20)

    assert asked(penguins.classifier(), rows) == answers(penguins.classifier(), rows)


def test_the_steps_run_once() -> None:
    """Three outputs of a classifier take one run of the step before it; a pipeline of somebody's own is left to itself."""

    class Own(Pipeline):  # type: ignore[misc]
        pass

    for kind, runs in (Pipeline, 1), (Own, 3):
        model = kind([("count", Counting()), ("model", LogisticRegression())]).fit(X, y)
        model["count"].runs_ = 0  # fitting ran it too
        asked(model, X)

        assert model["count"].runs_ == runs


def test_metadata_is_routed_as_the_pipeline_routes_it() -> None:
    """Where steps may be told more than the rows, the pipeline tells them."""
    model = make_pipeline(Counting(), LogisticRegression()).fit(X, y)
    model[0].runs_ = 0
    with config_context(enable_metadata_routing=True):
        asked(model, X)

    assert model[0].runs_ == 3


def test_a_step_that_fails_is_an_error_of_the_output() -> None:
    """It is raised when an output is asked for, and again for the next one."""

    def fail(rows: Any) -> Any:
        raise KeyError("no")

    question = Asked(
        make_pipeline(Counting(), LogisticRegression()).fit(X, y).set_params(counting__hand_on=fail), X.copy
    )

    for output in ("predict", "predict_proba"):
        with pytest.raises(PredictionError, match="KeyError"):
            question.answer(output)


@pytest.mark.parametrize("look", [ranks, lags])
def test_a_step_that_looks_at_other_rows_is_found_out(look: Any) -> None:
    """Also behind a step that does not, and before the last one."""
    column = FunctionTransformer(lambda rows: look(rows).reshape(-1, 1))
    model = make_pipeline(StandardScaler(), column, LinearRegression()).fit(X, y)

    assert learn(model, X)[0].row_wise is False


def test_a_process_that_rehearses_has_imported_what_a_usual_model_needs() -> None:
    """What pandas and scikit-learn put off until they are used, each fork would import again; and no fork has threads."""
    done = subprocess.run([sys.executable, "-c", WARM], capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


WARM = """
import os, sys
import pandas as pd
from bodega_model.loading import sandbox_worker

sandbox_worker.import_what_models_need()
threads = os.listdir("/proc/self/task") if sys.platform == "linux" else None
from bodega_model.loading.warmup import warm_up
warm_up()
assert threads is None or os.listdir("/proc/self/task") == threads, threads

from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

before = set(sys.modules)
rows = pd.DataFrame({"size": [1.5, None, 2.0], "island": ["Dream", "Biscoe", None]})
words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), ["size"]), (words, ["island"])).fit_transform(rows)
print(*sorted(set(sys.modules) - before), end="")
"""
