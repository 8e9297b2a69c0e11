"""Models that need a setting of `sklearn.set_config`: refused with its name and a way out that is true, or served."""

import io
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict
import cloudpickle
import numpy as np
import pandas as pd
import pytest
import sklearn
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_model.errors import RegistrationError, SerialiseError
from bodega_model.formats.cores import find_core
from bodega_model.loading.environment import capture_environment
from bodega_model.loading.runner import start_runner
from bodega_model.signature.configuration import DEFAULTS
from bodega_model.signature.infer import learn
from model_files import BOTH, read, written
from rows_beside import Beside
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import Binarizer, FunctionTransformer, OneHotEncoder, StandardScaler, binarize

ROOT = Path(__file__).parents[2]
random = np.random.default_rng(3)
X = pd.DataFrame(random.normal(size=(60, 3)), columns=["a", "b", "c"])
Y = (X["a"] + X["b"] > 0).astype(int)
WORDS = pd.DataFrame({"word": list("abcabcabca") * 6})
PANDAS = {"transform_output": "pandas"}
CUSTOM = {"formats": ["skops", "joblib"]}


def named(scaler: Any = None, container: str | None = None) -> Any:
    """Return a pipeline whose second step asks for columns by name."""
    scaler = scaler or StandardScaler()
    if container:
        scaler.set_output(transform=container)
    return make_pipeline(scaler, ColumnTransformer([("few", "passthrough", ["a", "b"])]), LogisticRegression())


class Selecting(BaseEstimator, TransformerMixin):
    """A step as people write them: it cannot be told by set_output, for it names no features."""

    def fit(self, X: Any, y: Any = None) -> "Selecting":
        """Learn nothing."""
        return self

    def transform(self, X: Any) -> Any:
        """Keep two columns."""
        return X[["a", "b"]]


class Bare:
    """The same without a base class."""

    def fit(self, X: Any, y: Any = None) -> "Bare":
        """Learn nothing."""
        return self

    def transform(self, X: Any) -> Any:
        """Keep two columns."""
        return X[["a", "b"]]


def refused(model: Any, example: Any) -> RegistrationError:
    """Learn what cannot be learned and return why."""
    core = find_core(model)
    with pytest.raises(RegistrationError) as caught:
        learn(core.model, example, core.name())
    return caught.value


def followed(advice: str, model: Any) -> None:
    """Run the line of code that an advice gives."""
    exec(advice.partition("register it then: ")[2].rstrip("."), {"model": model})  # noqa: S102


def loaded(store: ModelStore, name: str) -> Any:
    """Return the newest version of a model as it is loaded."""
    return store.open(store.resolve(name).version).model


WHOLE: dict[str, Callable[[], Any]] = {
    "pipeline": named,
    "search": lambda: GridSearchCV(named(), {"logisticregression__C": [0.1, 10.0]}, cv=2),
    "search-of-a-search": lambda: GridSearchCV(
        GridSearchCV(named(), {"logisticregression__C": [0.1, 10.0]}, cv=2), {"error_score": [0, 1]}, cv=2
    ),
    "transformer": lambda: named()[:2],
    "union": lambda: make_pipeline(
        FeatureUnion([("plain", StandardScaler()), ("named", named()[:2])]), LogisticRegression()
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("pipeline", "search", "union") else pytest.param(name, marks=pytest.mark.sweep)
        for name in WHOLE
    ],
)
def test_a_model_that_needs_dataframes_between_its_steps_is_told_to_say_so_itself(name: str, store: ModelStore) -> None:
    """The line that the advice gives is run, and the model is registered and answers as it did under the setting."""
    with config_context(**PANDAS):
        model = WHOLE[name]().fit(X, Y)
        method = "predict_proba" if hasattr(model, "predict_proba") else "transform"
        expected = np.asarray(getattr(model, method)(X))
        with pytest.raises(RegistrationError) as caught:
            store.register(model, "named", example=X)

        assert "sklearn.set_config(transform_output='pandas')" in caught.value.message
        assert "ColumnTransformer says ValueError" in caught.value.message
        followed(caught.value.advice, model)
        version = store.register(model, "named", example=X)
    assert version.environment["libraries"]["pandas"] == pd.__version__
    assert np.asarray(getattr(loaded(store, "named"), method)(X)).tolist() == expected.tolist()


PARTS: dict[str, tuple[Callable[[str | None], Any], str]] = {
    "voting": (
        lambda to: VotingClassifier([("named", named(None, to)), ("plain", LogisticRegression())]),
        "StandardScaler",
    ),
    "one-vs-rest": (lambda to: OneVsRestClassifier(named(None, to)), "StandardScaler"),
    "own-step": (lambda to: make_pipeline(*named(None, to)[:1], Selecting(), Ridge()), "StandardScaler"),
    "bare-step": (lambda to: make_pipeline(SimpleImputer().set_output(transform=to), Bare(), Ridge()), "SimpleImputer"),
}


@pytest.mark.parametrize("name", PARTS)
def test_where_the_whole_cannot_say_it_its_parts_are_named(name: str) -> None:
    """Those that must be told and no others; a model whose parts were told so is learned and answers the same."""
    make, part = PARTS[name]
    with config_context(**PANDAS):
        model = make(None).fit(X, Y)
        expected = model.predict(X)

        error = refused(model, X)

    assert f".set_output(transform='pandas') of {part}; then fit without" in error.advice
    told = make("pandas").fit(X, Y)
    assert learn(told, X)[0].default_output == "predict"
    assert told.predict(X).tolist() == expected.tolist()


def test_a_setting_that_changes_nothing_is_not_spoken_of(store: ModelStore) -> None:
    """Under each of them an ordinary model is registered, and gives the same signature and answers as without."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    plain = learn(model, X)

    with config_context(
        assume_finite=True, transform_output="pandas", enable_metadata_routing=True, sparse_interface="sparray",
        skip_parameter_validation=True, working_memory=1,
    ):  # fmt: skip
        here = sklearn.get_config()
        assert learn(model, X) == plain
        store.register(model, "plain", example=X)
        assert sklearn.get_config() == here


def test_missing_values_that_only_unchecked_models_answer() -> None:
    """assume_finite answers rows with gaps: without those, or with a step that fills them, the model is learned."""
    gaps = X.copy()
    gaps.iloc[3, 0] = np.nan
    with config_context(assume_finite=True):
        model = KNeighborsClassifier().fit(X, Y)
        expected = model.predict(X)
        error = refused(model, gaps)

        assert "only under sklearn.set_config(assume_finite=True)" in error.message
        assert "Input X contains NaN" in error.message
        assert "leave them out of the example" in error.advice
        assert learn(model, X)[1].outputs["predict"] == expected[np.linspace(0, 59, 20).astype(int)].tolist()
        assert not any(column.nullable for column in learn(model, X)[0].columns)
    assert all(
        c.nullable for c in learn(make_pipeline(SimpleImputer(), KNeighborsClassifier()).fit(X, Y), gaps)[0].columns
    )


def multiplied(matrix: Any) -> Any:
    """Multiply each value with its weight, or multiply matrices: that depends on the kind of sparse data."""
    return matrix * np.ones((matrix.shape[1], 2)) if type(matrix).__name__ == "csr_matrix" else matrix * 3.0


def scaled_by(matrix: Any) -> Any:
    """Multiply each value, whatever the kind."""
    return matrix.multiply(np.full((1, matrix.shape[1]), 3.0))


def portable(model: Any) -> Beside:
    """Return a model that brings the code of this module along."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return Beside(model.predict)


def weighing(function: Any) -> Any:
    """Return a pipeline with a function over sparse data, which pickles."""
    return make_pipeline(OneHotEncoder(), FunctionTransformer(function), Ridge()).fit(WORDS, np.arange(60.0))


def test_own_functions_over_sparse_arrays(connect: Callable[..., ModelStore]) -> None:
    """`*` means another thing for sparse arrays than for matrices; written as the advice says, it does not."""
    store = connect(**CUSTOM)
    with config_context(sparse_interface="sparray"):
        model = weighing(multiplied)
        expected = model.predict(WORDS)
        with pytest.raises(RegistrationError) as caught:
            store.register(portable(model), "sparse", example=WORDS, format="joblib")

    assert "only under sklearn.set_config(sparse_interface='sparray')" in caught.value.message
    assert "X.multiply(Y)" in caught.value.advice
    store.register(portable(weighing(scaled_by)), "sparse", example=WORDS, format="joblib")
    assert loaded(store, "sparse").predict(WORDS) == pytest.approx(expected, rel=1e-12)


def test_parameters_that_scikit_learn_does_not_allow() -> None:
    """A part that is called with them fails in the API; one that scikit-learn allows answers the same."""
    bounds = np.array([[0.0, 0.0, 0.0]])
    with config_context(skip_parameter_validation=True):
        model = make_pipeline(FunctionTransformer(binarize, kw_args={"threshold": bounds}), Ridge()).fit(X, Y)
        expected = model.predict(X)
        error = refused(model, X)

    assert "set_config(skip_parameter_validation=True)" in error.message
    assert "The 'threshold' parameter of binarize must be a float" in error.message
    assert "parameters that scikit-learn allows" in error.advice
    allowed = make_pipeline(Binarizer(threshold=0.0), Ridge()).fit(X, Y)
    learn(allowed, X)
    assert allowed.predict(X).tolist() == expected.tolist()


def test_one_setting_of_several_is_named() -> None:
    """The setting that the model needs, and none beside it."""
    with config_context(assume_finite=True, working_memory=2, enable_metadata_routing=True, **PANDAS):
        error = refused(named().fit(X, Y), X)

    assert "set_config(transform_output='pandas'), which" in error.message


def test_a_model_that_fails_under_every_setting_is_refused_for_that() -> None:
    """Its own reason is told, and no setting."""
    with config_context(**PANDAS):
        error = refused(named().fit(X, Y), X.rename(columns={"a": "other"}))

    assert "set_config" not in error.message


@pytest.mark.parametrize(
    "wrap", [lambda m: m, lambda m: GridSearchCV(m, {"logisticregression__C": [1.0]}, cv=2)], ids=["alone", "search"]
)
def test_a_model_whose_metadata_are_routed_is_stored_without_that(wrap: Any, store: ModelStore) -> None:
    """It answers as in the notebook, be routing on or off where it is loaded; and the notebook's model keeps it."""
    weights = np.arange(1.0, 61.0)
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        model = wrap(
            make_pipeline(
                scaler, LogisticRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
            )
        )
        model.fit(X, Y, sample_weight=weights)
        expected = model.predict_proba(X)
        version = store.register(model, "routed", example=X)

        assert [told["what"] for told in version.lineage["stored_as"]][-1] == "all but the routing of metadata"
        assert loaded(store, "routed").predict_proba(X).tolist() == expected.tolist()
        model.fit(X, Y, sample_weight=weights)
    assert loaded(store, "routed").predict_proba(X).tolist() == expected.tolist()


def test_arrays_of_another_library_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """array_api_dispatch leaves them in the model; fitted on numpy's, it is written and answers the same."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    rows, labels = X.to_numpy(), Y.to_numpy()
    with config_context(array_api_dispatch=True):
        foreign = LinearDiscriminantAnalysis().fit(array_api_strict.asarray(rows), array_api_strict.asarray(labels))
        with pytest.raises(
            SerialiseError, match=r"because of LinearDiscriminantAnalysis\.\w+ \(of type Array\)"
        ) as caught:
            written(foreign)
        plain = LinearDiscriminantAnalysis().fit(rows, labels)
        learn(plain, rows)

    assert "an array of another library than numpy" in caught.value.advice
    assert "fit on numpy arrays" in caught.value.advice
    told = np.asarray(foreign.predict_proba(rows))
    assert read(written(plain)).predict_proba(rows) == pytest.approx(told, rel=1e-9)


def test_what_is_loaded_is_asked_under_the_default_settings() -> None:
    """A library that sets others while it is imported has no say: golden rows are asked as the API will ask."""
    model = Beside(lambda rows: np.full(len(rows), float(sklearn.get_config()["assume_finite"])))
    signature, golden = learn(model, X)

    with config_context(assume_finite=True):
        content = written(model, "joblib")
        runner = start_runner(io.BytesIO(content), "joblib", signature, golden, capture_environment(model), BOTH)
        assert runner.predict(golden.inputs) == [1.0] * 20
    assert golden.outputs["predict"] == [0.0] * 20


def test_the_settings_by_default_are_those_of_scikit_learn() -> None:
    """Each that a fresh process has; those that only show models are left out."""
    script = "import json, sklearn; print(json.dumps(sklearn.get_config()))"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SKLEARN")}
    fresh = subprocess.run([sys.executable, "-c", script], env=clean, check=True, capture_output=True, text=True).stdout

    shown = {"print_changed_only", "display"}
    assert {name: value for name, value in json.loads(fresh).items() if name not in shown} == DEFAULTS


def test_an_environment_variable_is_no_default() -> None:
    """SKLEARN_ASSUME_FINITE in the notebook's environment is a setting of that process too."""
    script = """
        import numpy as np
        from bodega_model.signature.infer import learn
        from sklearn.neighbors import KNeighborsClassifier
        rows = np.arange(40.0).reshape(20, 2)
        example = rows.copy()
        example[3, 0] = np.nan
        learn(KNeighborsClassifier().fit(rows, rows[:, 0] > 9), example)
    """
    environment = {**os.environ, "SKLEARN_ASSUME_FINITE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=False, env=environment, capture_output=True, text=True
    )

    assert "sklearn.set_config(assume_finite=True)" in done.stderr


IN_POLARS = """
    import json, sys
    import numpy as np
    import pandas as pd
    from bodega_model.errors import RegistrationError
    from bodega_db.settings import Settings
    from bodega_db.store import ModelStore
    from sklearn import config_context
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = pd.DataFrame(np.random.default_rng(3).normal(size=(60, 3)), columns=["a", "b", "c"])
    few = ColumnTransformer([("few", "passthrough", ["a", "b"])])
    store = ModelStore.connect(Settings.read(**json.loads(sys.argv[1])))
    with config_context(transform_output="polars"):
        model = make_pipeline(StandardScaler(), few, LogisticRegression()).fit(X, X["a"] > 0)
        expected = model.predict_proba(X).tolist()
        try:
            store.register(model, "frames", example=X)
        except RegistrationError as exc:
            print(exc.advice)
        model.set_output(transform="polars")
        version = store.register(model, "frames", example=X)
    print("polars" in version.environment["libraries"])
    print(store.open(version).model.predict_proba(X).tolist() == expected)
    store.close()
"""


@pytest.mark.sweep
def test_a_model_that_needs_frames_of_polars(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    """With polars installed: the advice is true, and the version says that it needs polars."""
    script, settings = tmp_path / "script.py", make_settings()
    script.write_text(textwrap.dedent(IN_POLARS))
    stated = json.dumps({"database_url": settings.database_url.get_secret_value(), "models": str(settings.models)})
    tool = [sys.executable, "-I", "-B", str(ROOT / "tools" / "install"), "uv"]
    uv = subprocess.run(tool, check=True, capture_output=True, text=True).stdout.strip()
    program = [uv, "run", "--frozen", "--project", str(ROOT), "--with", "polars", "python", str(script), stated]

    said = subprocess.run(program, check=True, capture_output=True, text=True).stdout.splitlines()

    assert said == [
        "Say it in the model itself, and register it then: model.set_output(transform='polars').",
        "True",
        "True",
    ]
