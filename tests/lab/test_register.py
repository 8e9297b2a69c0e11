"""Registering, listing and loading from a notebook, through the verbs that a person uses."""

import hashlib
import importlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import bodega
import numpy as np
import psycopg
import pytest
from bodega.local.ports import find_port
from bodega_db import errors
from bodega_model import errors as model_errors
from fitting import Fitted, fit_tree
from sklearn.cluster import BisectingKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

SCRIPT = """
import bodega
import numpy as np
from sklearn.base import BaseEstimator

class Mine(BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self
    def predict(self, X):
        return np.ones(len(X))

bodega.register(Mine().fit([[1.0]]), "mine", example=[[1.0], [2.0]])
"""


def stored_files(volume: Path) -> list[Path]:
    return [path for path in (volume / "objects").rglob("*") if path.is_file()]


# --- what a registration gives ---------------------------------------------------------------------------


def test_a_version_is_the_bytes_on_the_volume(lab: ModuleType, fitted: Fitted, volume: Path) -> None:
    """A registered version names the file on the volume by the sha256 of its bytes."""
    version = lab.register(fitted.model, "penguins", example=fitted.X, metrics={"accuracy": 0.97})

    (file,) = stored_files(volume)
    assert version.reference == "penguins@1"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == version.sha256 == file.name
    assert file.stat().st_size == version.size_bytes
    assert version.metrics == {"accuracy": 0.97}


def test_a_loaded_model_is_the_estimator_itself(lab: ModuleType, fitted: Fitted) -> None:
    """What load returns is the estimator, and it predicts what the registered one predicts."""
    version = lab.register(fitted.model, "penguins", example=fitted.X)

    for loaded in (lab.load("penguins@1"), lab.load("penguins"), lab.load(version)):
        assert isinstance(loaded, DecisionTreeClassifier)
        np.testing.assert_array_equal(loaded.predict_proba(fitted.X), fitted.model.predict_proba(fitted.X))


def test_params_are_the_estimators_own(lab: ModuleType, fitted: Fitted) -> None:
    """Without params a version keeps those of get_params, inner estimators as a readable line."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.25)).fit(fitted.X, fitted.y)

    params = lab.register(model, "penguins", example=fitted.X).params

    assert params["logisticregression__C"] == 0.25
    assert params["standardscaler"] == "StandardScaler()"
    assert params["steps"] == [
        ["standardscaler", "StandardScaler()"],
        ["logisticregression", "LogisticRegression(C=0.25)"],
    ]


def test_given_params_take_the_place_of_the_estimators(lab: ModuleType, fitted: Fitted) -> None:
    """Params that a person gives are kept as they are, and nothing is added."""
    version = lab.register(fitted.model, "penguins", example=fitted.X, params={"trial": 7})

    assert version.params == {"trial": 7}


def test_training_data_leave_a_fingerprint(lab: ModuleType, fitted: Fitted) -> None:
    """Of the training data the lineage keeps type, shape and a sha256 that the same data give again."""
    first = lab.register(fitted.model, "penguins", example=fitted.X, data=(fitted.X, fitted.y))
    second = lab.register(fitted.model, "penguins", example=fitted.X, data=(fitted.X.copy(), fitted.y.copy()))
    other = lab.register(fitted.model, "penguins", example=fitted.X, data=(fitted.X.iloc[::-1], fitted.y))

    assert first.lineage["data"]["type"] == "(DataFrame, Series)"
    assert first.lineage["data"]["shape"] == [[333, 4], [333]]
    assert first.lineage["data"] == second.lineage["data"]
    assert first.lineage["data"]["sha256"] != other.lineage["data"]["sha256"]


def test_the_second_registration_is_quick(lab: ModuleType, fitted: Fitted, capsys: pytest.CaptureFixture[str]) -> None:
    """Once the rehearsal process runs, a small model is registered in a moment; the figure is printed."""
    lab.register(fitted.model, "penguins", example=fitted.X)
    began = time.perf_counter()
    version = lab.register(fitted.model, "penguins", example=fitted.X)
    seconds = time.perf_counter() - began
    with capsys.disabled():
        print(f"\nthe second registration of a small model took {seconds:.3f} s")

    assert version.number == 2


# --- the same registration twice -------------------------------------------------------------------------


def test_the_same_key_registers_once(lab: ModuleType, fitted: Fitted) -> None:
    """A cell that is run again with its idempotency key gets the version it made the first time."""
    first = lab.register(fitted.model, "penguins", example=fitted.X, idempotency_key="run-7")
    again = lab.register(fitted.model, "penguins", example=fitted.X, idempotency_key="run-7")

    assert again == first
    assert len(lab.versions("penguins")) == 1


def test_a_key_of_another_model_is_a_conflict(lab: ModuleType, fitted: Fitted) -> None:
    """An idempotency key that belongs to other bytes is refused, and the version it belongs to is named."""
    lab.register(fitted.model, "penguins", example=fitted.X, idempotency_key="run-7")
    with pytest.raises(errors.IdempotencyConflictError, match="penguins@1"):
        lab.register(fit_tree(depth=1).model, "penguins", example=fitted.X, idempotency_key="run-7")
    assert len(lab.versions("penguins")) == 1


def test_threads_get_one_connection_and_numbers_without_gaps(
    database_url: str, volume: Path, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads whose first verb comes at the same time share a connection, and their versions have no gaps."""
    monkeypatch.setenv("BODEGA_DATABASE_URL", database_url)
    monkeypatch.setenv("BODEGA_MODELS", str(volume))
    bodega.disconnect()
    connections, numbers = set(), []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        connections.add(id(importlib.import_module("bodega.verbs.connection").current()))
        numbers.append(bodega.register(fitted.model, "penguins", example=fitted.X).number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bodega.disconnect()

    assert len(connections) == 1
    assert sorted(numbers) == [1, 2, 3, 4]


# --- what is refused -------------------------------------------------------------------------------------


def unfitted(fitted: Fitted) -> dict[str, Any]:
    return {"model": LogisticRegression()}


def wrong_columns(fitted: Fitted) -> dict[str, Any]:
    return {"example": fitted.X.rename(columns={"bill_length_mm": "bill"})}


def columns_twice(fitted: Fitted) -> dict[str, Any]:
    return {"example": fitted.X.set_axis(["a", "b", "b", "c"], axis="columns")}


def with_lambda(fitted: Fitted) -> dict[str, Any]:
    model = make_pipeline(FunctionTransformer(lambda X: X * 2), DecisionTreeClassifier())
    return {"model": model.fit(fitted.X, fitted.y)}


def with_compiled_function(fitted: Fitted) -> dict[str, Any]:
    return {"model": BisectingKMeans(2, random_state=0).fit(fitted.X)}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        pytest.param(
            unfitted, model_errors.NotFittedError, ["LogisticRegression is not fitted", "fit()"], id="unfitted"
        ),
        pytest.param(
            wrong_columns, model_errors.ExampleError, ["predict fails on the example", "bill"], id="wrong-columns"
        ),
        pytest.param(columns_twice, model_errors.ExampleError, ["'b' is there twice"], id="columns-twice"),
        pytest.param(with_lambda, model_errors.SerialiseError, ["<lambda>", "module"], id="lambda"),
        pytest.param(
            with_compiled_function, model_errors.NotServableError, ["_kmeans_single_lloyd"], id="untrusted-type"
        ),
        pytest.param(
            lambda _: {"metrics": {"accuracy": float("nan")}},
            errors.InvalidMetadataError,
            ["accuracy is nan", "leave it out"],
            id="nan-metric",
        ),
        pytest.param(
            lambda _: {"metrics": {"accuracy": np.array([0.9, 0.8])}},
            errors.InvalidMetadataError,
            ["accuracy is a ndarray", "single number"],
            id="metric-array",
        ),
        pytest.param(lambda _: {"tags": {"n": 3}}, errors.InvalidMetadataError, ["tag n"], id="tag-number"),
        pytest.param(lambda _: {"data": object()}, errors.InvalidMetadataError, ["object", "DataFrame"], id="data"),
        pytest.param(
            lambda _: {"format": "joblib"},
            model_errors.FormatNotAllowedError,
            ["joblib", "BODEGA_FORMATS"],
            id="format",
        ),
        pytest.param(lambda _: {"name": "Penguins"}, errors.InvalidNameError, ["a-z"], id="capital"),
        pytest.param(lambda _: {"name": "../etc"}, errors.InvalidNameError, ["a-z"], id="path"),
        pytest.param(lambda _: {"name": ""}, errors.InvalidNameError, ["a-z"], id="no-name"),
        pytest.param(lambda _: {"name": None}, errors.InvalidNameError, ["a-z"], id="none-name"),
    ],
)
@pytest.mark.filterwarnings("ignore:X has feature names")
def test_what_could_not_be_served_is_refused(
    lab: ModuleType, fitted: Fitted, volume: Path, change: Any, error: type[Exception], words: list[str]
) -> None:
    """A registration that is refused says what is wrong and what to do, and leaves neither row nor file."""
    arguments = {"model": fitted.model, "name": "penguins", "example": fitted.X} | change(fitted)

    with pytest.raises(error) as caught:
        lab.register(**arguments)
    assert [word for word in words if word not in str(caught.value)] == []
    assert len(lab.versions()) == 0
    assert stored_files(volume) == []


def test_a_class_of_the_notebook_is_refused(database_url: str, volume: Path, tmp_path: Path) -> None:
    """A model whose class only the running script has is refused, with where to move the class."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "BODEGA_DATABASE_URL": database_url, "BODEGA_MODELS": str(volume)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "SerialiseError" in done.stderr
    assert "__main__.Mine" in done.stderr
    assert "module" in done.stderr
    assert stored_files(volume) == []


def test_damaged_bytes_are_never_loaded(lab: ModuleType, fitted: Fitted, volume: Path) -> None:
    """A file that is not the registered one any more is refused before it is deserialised."""
    lab.register(fitted.model, "penguins", example=fitted.X)
    (file,) = stored_files(volume)
    file.chmod(0o640)
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)

    with pytest.raises(errors.ArtifactDigestError):
        lab.load("penguins@1")


# --- lists -----------------------------------------------------------------------------------------------


def test_versions_have_a_column_for_each_metric(lab: ModuleType, fitted: Fitted) -> None:
    """The table of versions is newest first, with every metric of any version as a column."""
    lab.register(fitted.model, "penguins", example=fitted.X, metrics={"accuracy": 0.9})
    lab.register(fitted.model, "penguins", example=fitted.X, metrics={"accuracy": 0.8, "log_loss": 0.3}, note="more")
    lab.register(fitted.model, "others", example=fitted.X)

    table = lab.versions("penguins")
    everything = lab.versions()

    assert table["version"].tolist() == [2, 1]
    assert table["accuracy"].tolist() == [0.8, 0.9]
    assert table["log_loss"].isna().tolist() == [False, True]
    assert table["note"].fillna("").tolist() == ["more", ""]
    assert everything["model"].tolist() == ["others", "penguins", "penguins"]
    assert lab.get("penguins@best:accuracy").number == 1


def test_a_metric_may_be_called_like_a_column(lab: ModuleType, fitted: Fitted) -> None:
    """A metric named 'version' or 'size_bytes' gets a column of its own beside the real one."""
    lab.register(fitted.model, "penguins", example=fitted.X, metrics={"version": 0.5, "size_bytes": 3})

    table = lab.versions("penguins")

    assert table.columns.is_unique
    assert table[["version", "metric:version", "metric:size_bytes"]].to_numpy().tolist() == [[1, 0.5, 3.0]]


def test_empty_lists_have_their_columns(lab: ModuleType) -> None:
    """An empty catalog gives empty tables, with the columns that people filter by."""
    assert {"model", "version", "status"} <= set(lab.versions().columns)
    assert {"model", "production"} <= set(lab.models().columns)
    with pytest.raises(errors.ModelNotFoundError):
        lab.versions("penguins")


def test_models_and_history(lab: ModuleType, fitted: Fitted, sql_connection: "psycopg.Connection[Any]") -> None:
    """The table of models names the version in production; the history says what led there, newest first."""
    lab.register(fitted.model, "penguins", example=fitted.X)
    before = lab.models()
    sql_connection.execute("UPDATE version SET status = 'production'")
    after = lab.models()
    history = lab.history("penguins")

    assert before["production"].isna().tolist() == [True]
    assert after[["model", "production", "last_version", "versions"]].to_numpy().tolist() == [["penguins", 1, 1, 1]]
    assert history["version"].iloc[0] == 1
    assert history["at"].is_monotonic_decreasing


def test_quarantine_shows_and_does_not_load(
    lab: ModuleType, fitted: Fitted, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A version in quarantine can be looked at, and not loaded."""
    lab.register(fitted.model, "penguins", example=fitted.X)
    sql_connection.execute("UPDATE version SET status = 'quarantined'")

    assert lab.get("penguins@1").status == "quarantined"
    with pytest.raises(errors.VersionQuarantinedError):
        lab.load("penguins@1")


@pytest.mark.parametrize("reference", ["penguins@", "penguins@nine lives", 3, None])
def test_a_reference_that_cannot_be_read_says_how_to_write_it(lab: ModuleType, reference: Any) -> None:
    """What is no reference to a version is answered with the way to write one."""
    with pytest.raises(errors.InvalidReferenceError, match="NAME@VERSION"):
        lab.load(reference)
    with pytest.raises(errors.InvalidReferenceError, match="NAME@VERSION"):
        lab.get(reference)


# --- the connection --------------------------------------------------------------------------------------


def test_connect_says_where_and_keeps_the_password(lab: ModuleType, database_url: str, volume: Path) -> None:
    """A connection shows database, volume and API, and never the password."""
    shown = repr(lab.connect(database_url, volume, api_url="http://models.example"))
    password = urlsplit(database_url).password

    assert database_url.rpartition("/")[2] in shown
    assert str(volume) in shown
    assert "http://models.example" in shown
    assert password not in shown


def test_connect_names_a_setting_that_does_not_exist(lab: ModuleType, database_url: str, volume: Path) -> None:
    """A misspelt setting is named instead of ignored."""
    with pytest.raises(errors.SettingsError, match="trused_types"):
        lab.connect(database_url, volume, trused_types={"a.B"})


def test_connect_may_change_one_setting(
    database_url: str, volume: Path, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One setting given to connect joins those that are found in the environment."""
    monkeypatch.setenv("BODEGA_DATABASE_URL", database_url)
    monkeypatch.setenv("BODEGA_MODELS", str(volume))
    bodega.connect(formats={"skops", "joblib"})
    version = bodega.register(fitted.model, "penguins", example=fitted.X, format="joblib")
    bodega.disconnect()

    assert version.format == "joblib"


def test_connect_says_that_nobody_answers(volume: Path) -> None:
    """A database that does not answer is told at once, with what to check."""
    url = f"postgresql://bodega:secret@127.0.0.1:{find_port(20000)}/bodega"

    with pytest.raises(errors.CatalogUnavailableError, match="BODEGA_DATABASE_URL") as caught:
        bodega.connect(url, volume)
    assert "secret" not in str(caught.value)


def test_connect_says_that_the_schema_is_missing(empty_database_url: str, volume: Path) -> None:
    """A database without the catalog's tables is told at once, with the command that makes them."""
    with pytest.raises(errors.CatalogNotMigratedError, match="bodega migrate"):
        bodega.connect(empty_database_url, volume)


def test_a_reload_keeps_the_connection(lab: ModuleType, fitted: Fitted) -> None:
    """What %autoreload does to changed modules does not forget the connection."""
    lab.register(fitted.model, "penguins", example=fitted.X)
    before = importlib.import_module("bodega.verbs.connection").current()
    for name in ("bodega.verbs.connection", "bodega.display.receipts", "bodega.verbs.register", "bodega"):
        importlib.reload(sys.modules[name])

    assert importlib.import_module("bodega.verbs.connection").current() is before
    assert bodega.get("penguins@1").number == 1


def test_importing_bodega_is_light() -> None:
    """`import bodega` brings none of the libraries that take seconds; Tab still finds the verbs."""
    code = (
        "import bodega, sys; print(sorted({'pandas', 'numpy', 'sklearn', 'sqlalchemy', 'pydantic'} & set(sys.modules)));"
        "print('register' in dir(bodega))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["[]", "True"]


def test_an_unknown_verb_names_the_known_ones() -> None:
    """A verb that does not exist is answered with those that do."""
    with pytest.raises(AttributeError, match="register"):
        _ = bodega.regsiter  # type: ignore[attr-defined]
