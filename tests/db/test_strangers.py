"""Estimators that do anything when they are asked: they are registered and answer right, or are refused with a reason."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodega_db.metadata import check_params
from bodega_db.store import ModelStore
from bodega_model import foreign
from bodega_model.errors import BodegaError, ExampleError, RegistrationError
from bodega_model.loading.environment import capture_environment
from bodega_model.signature.infer import learn
from bodega_model.signature.inputs import build_input
from bodega_model.signature.outputs import call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_files import written
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.feature_selection import SelectFdr, SelectFpr, SelectFwe
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

X = np.arange(40.0).reshape(20, 2)


class Speechless(Exception):  # noqa: N818
    """An exception that fails when it is asked what it says."""

    def __str__(self) -> str:
        raise ValueError("no words")


class Everything:
    """An object that has every attribute, and each is one of these again."""

    def __getattr__(self, name: str) -> "Everything":
        return Everything()

    def __call__(self, *args: Any, **kwargs: Any) -> "Everything":
        return Everything()


class Loop:
    """An object that holds itself wherever parts may be."""

    def __init__(self) -> None:
        self.estimators_ = [self, self]
        self.estimator_ = self.best_estimator_ = self

    def fit(self, X: Any) -> "Loop":
        return self


class Dumb:
    """An object that cannot say what it is."""

    def __repr__(self) -> str:
        raise RuntimeError("nothing to say")


class Printing(LinearRegression):  # type: ignore[misc]
    """A model whose property prints when it is read."""

    @property
    def classes_(self) -> Any:
        print("read")
        return None


ERRORS: list[Callable[[], BaseException]] = [
    *(AttributeError, ValueError, KeyError, RecursionError, MemoryError, NotImplementedError, IndexError, StopIteration),
    *(SystemExit, GeneratorExit, Speechless, lambda: OSError(13, "closed"), lambda: UnicodeDecodeError("a", b"", 0, 1, "")),
]  # fmt: skip
VALUES: list[Callable[[], Any]] = [
    *(lambda: None, lambda: 3, lambda: "text", list, dict, object, lambda: [[]], lambda: [None], lambda: np.array(0)),
    *(itertools.count, lambda: itertools.repeat(("a", "b", "c")), lambda: iter(()), lambda: float("nan")),
    *(Everything, Loop, Dumb, lambda: LinearRegression, lambda: lambda *_: None, lambda: [Dumb()], lambda: {1: Dumb()}),
    *(lambda: np.zeros((0, 0)), lambda: np.zeros((3, 0)), lambda: np.zeros((2, 2, 2)), lambda: np.array([None, "a"], object)),
    *(lambda: [[1, 2], [3]], pd.DataFrame, lambda: pd.Series([1, 2]), lambda: sparse.eye(3).tocsr()),
    *(lambda: [np.zeros((20, 1)), np.zeros((3, 1))], lambda: (1, 2), lambda: {"a": (1, 2)}, lambda: b"bytes", lambda: 10**400),
    *(lambda: np.array(["2020-01-01"], "M8[D]"), lambda: [1j], lambda: "\ud800", lambda: ["a"] * 20, lambda: [True, "a"] * 10),
]  # fmt: skip
ATTRIBUTES = [
    *("feature_names_in_", "n_features_in_", "classes_", "categories_", "transformers_", "steps", "transformer_list"),
    *("estimators_", "estimator_", "best_estimator_", "calibrated_classifiers_", "estimator", "fit", "transform"),
    *("get_params", "get_feature_names_out", "__sklearn_tags__", "__sklearn_is_fitted__", "predict", "predict_proba"),
    *("decision_function", "score_samples", "steps_", "toarray", "input", "__module__", "__class__", "__dict__"),
]


def odd(behaviour: dict[str, tuple[bool, int, bool]], *, whole: bool) -> Any:
    """Return an estimator whose attributes raise, or are values or methods, as the behaviour says."""
    namespace: dict[str, Any] = (
        {} if whole else {"predict": lambda self, X: np.asarray(X)[:, 0], "fit": lambda self, X: self}
    )
    for name, (raises, number, method) in behaviour.items():
        namespace[name] = _raising(number, method) if raises else _giving(number, method)
    return type("Odd", (LinearRegression if whole else object,), namespace)


def _raising(number: int, method: bool) -> Any:
    def fail(self: Any, *_: Any, **__: Any) -> Any:
        raise ERRORS[number % len(ERRORS)]()

    return fail if method else property(fail)


def _giving(number: int, method: bool) -> Any:
    def give(self: Any, *_: Any, **__: Any) -> Any:
        return VALUES[number % len(VALUES)]()

    return give if method else property(give)


behaviours = st.dictionaries(
    st.sampled_from(ATTRIBUTES), st.tuples(st.booleans(), st.integers(0, 60), st.booleans()), max_size=4
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(behaviours, st.booleans(), st.booleans())
def test_whatever_an_estimator_does_it_answers_right_or_is_refused_with_a_reason(
    behaviour: dict[str, tuple[bool, int, bool]], whole: bool, framed: bool
) -> None:
    """Its attributes and methods raise, are of any type and do not end: what is learned is what it answers, or no."""
    rows = pd.DataFrame(X, columns=["a", "b"]) if framed else X
    cls = odd(behaviour, whole=whole)
    try:
        model = cls()
        if whole:
            LinearRegression.fit(model, rows, X[:, 0])
    except BaseException:
        return  # it could not be made at all

    try:
        signature, golden = learn(model, rows)
        capture_environment(model)
        check_params({"model": model, "dict": getattr(type(model), "__dict__", {})})
    except BodegaError as refusal:
        assert len(refusal.message) > 20
        return
    for output, expected in golden.outputs.items():
        assert call(model, output, build_input(signature, golden.inputs)) == expected
    assert all(len(answers) == len(X) for answers in golden.outputs.values())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(behaviour=behaviours, whole=st.booleans())
def test_whatever_an_estimator_does_its_registration_ends_in_a_reason(
    store: ModelStore, behaviour: dict[str, tuple[bool, int, bool]], whole: bool
) -> None:
    """On the whole way, from its parameters to the file: a class that no other process can import is refused last."""
    try:
        model = odd(behaviour, whole=whole)()
        if whole:
            LinearRegression.fit(model, X, X[:, 0])
    except BaseException:
        return

    parameters = pytest.importorskip("bodega.capture.parameters")
    with pytest.raises(BodegaError) as refusal:
        store.register(model, "odd", example=X, params=parameters.read_parameters(model))

    assert len(refusal.value.message) > 20


def fitted(cls: type[LinearRegression]) -> Any:
    """Return an estimator of the class that is fitted, without asking it anything."""
    model = cls()
    model.__dict__.update(LinearRegression().fit(X, X[:, 0]).__dict__)
    return model


def test_a_refusal_names_the_part_and_the_cause() -> None:
    """The step of a pipeline that fails is named, and what it said, whatever stands around it."""

    class Failing(StandardScaler):  # type: ignore[misc]
        def transform(self, X: Any, copy: Any = None) -> Any:
            raise RuntimeError("cannot be done")

    model = make_pipeline(StandardScaler(), FeatureUnion([("f", Failing())]), LinearRegression())
    model.steps[1][1].transformer_list[0][1].fit(X)
    model.steps[0][1].fit(X)
    model.steps[2][1].fit(X, X[:, 0])

    with pytest.raises(ExampleError, match=r"Failing says RuntimeError: cannot be done"):
        learn(model, X)


class Unready(LinearRegression):  # type: ignore[misc]
    """A model of another library that wants one more call before it predicts."""

    def predict(self, X: Any) -> Any:
        raise LookupError("call conformalize before predict")


def test_what_a_model_itself_raises_is_told_once() -> None:
    """Its name and the type of the error are in the message already; the advice begins with what it says."""
    with pytest.raises(ExampleError) as caught:
        learn(fitted(Unready), X)

    assert caught.value.message.endswith("Unready.predict raised LookupError: call conformalize before predict")
    assert caught.value.advice.startswith("Mend what it says, or pass as example the rows")


@pytest.mark.parametrize("labels", [np.array([b"a", b"b"]), np.array(["2020-01-01", "2021-01-01"], "datetime64[D]")])
def test_labels_that_json_does_not_have_are_told_how_to_become_such(labels: Any) -> None:
    """Bytes and dates as text are learned, and the model tells them apart as before."""
    y = labels[np.arange(20) % 2]

    with pytest.raises(ExampleError, match=r"which JSON cannot carry\n.*y\.astype\(str\)"):
        learn(DecisionTreeClassifier().fit(X, y), X)

    _, golden = learn(DecisionTreeClassifier().fit(X, y.astype(str)), X)
    assert golden.outputs["predict"] == y.astype(str).tolist()


def test_an_answer_with_gaps_is_told_what_takes_them() -> None:
    """A step that keeps missing values is no model by itself, and is one with an imputer behind it."""
    frame = pd.DataFrame({"a": [1.0, np.nan, 3.0, 5.0], "b": [1.0, 2.0, 3.0, 4.0]})
    alone = StandardScaler().fit(frame)

    with pytest.raises(ExampleError, match=r"not a finite number for some rows\n.*an imputer behind it"):
        learn(alone, frame)

    assert list(learn(make_pipeline(StandardScaler(), SimpleImputer()).fit(frame), frame)[0].outputs) == ["transform"]


def test_a_property_that_raises_is_named() -> None:
    """The type of the estimator, and the error of the attribute."""

    class Hiding(LinearRegression):  # type: ignore[misc]
        def get_params(self, deep: bool = True) -> Any:
            raise LookupError("lost")

    with pytest.raises(RegistrationError, match="Hiding raised LookupError: lost"):
        learn(fitted(Hiding), X)


@pytest.mark.parametrize("make", [SelectFpr, SelectFdr, SelectFwe], ids=lambda make: make.__name__)
def test_a_selector_that_keeps_no_column_is_refused(store: ModelStore, make: Any) -> None:
    """On noise it may keep none: the message says so, and no error of an index comes out."""
    random_rows = np.random.default_rng(0).normal(size=(60, 4))
    selector = make(alpha=1e-9).fit(random_rows, np.arange(60) % 2)

    with pytest.raises(ExampleError, match=r"rows without a single value\n.*keeps none"):
        store.register(selector, "noise", example=random_rows)


class Keyed(OneHotEncoder):  # type: ignore[misc]
    """A table of transformers by name, as other libraries have it."""

    categories_ = property()  # type: ignore[assignment]

    def fit(self, X: Any, y: Any = None) -> "Keyed":
        self.transformers_ = {"words": OneHotEncoder(sparse_output=False).fit(X)}
        return self

    def transform(self, X: Any) -> Any:
        return self.transformers_["words"].transform(X)


def test_transformers_that_are_a_dictionary_are_asked_no_further() -> None:
    """What their encoders know is then not known, and the model is asked all the same."""
    frame = pd.DataFrame({"word": ["a", "b"] * 10})

    signature, golden = learn(Keyed().fit(frame), frame)

    assert signature.column("word").categories is None
    assert golden.outputs["transform"][:2] == [[1.0, 0.0], [0.0, 1.0]]


def test_a_class_without_the_base_of_scikit_learn_is_registered_by_what_it_answers() -> None:
    """It has no tags and no parameters: whether it predicts is seen on the example."""

    class Plain:
        def fit(self, X: Any, y: Any) -> "Plain":
            return self

        def predict(self, X: Any) -> Any:
            return np.asarray(X).sum(axis=1)

    signature, golden = learn(Plain(), X)

    assert list(signature.outputs) == ["predict"]
    assert golden.outputs["predict"] == X.sum(axis=1).tolist()


def test_an_estimator_that_holds_itself_is_looked_at_in_bounded_time() -> None:
    """The parts that are looked at are counted."""

    model = LinearRegression().fit(X, X[:, 0])
    model.__dict__.update(Loop().__dict__)

    assert "predict" in learn(model, X)[0].outputs


@pytest.mark.parametrize("error", [*ERRORS[:4], *ERRORS[8:11]], ids=str)
def test_what_cannot_be_written_is_refused_with_the_cause(error: Any) -> None:
    """An estimator whose state raises when it is asked for, whatever it raises."""

    class Stateless(LinearRegression):  # type: ignore[misc]
        def __getstate__(self) -> Any:
            raise error()

    with pytest.raises(BodegaError, match=type(error()).__name__):
        written(fitted(Stateless))


def test_an_answer_as_wide_as_a_million_is_refused_at_once(store: ModelStore) -> None:
    """Before it is made dense, and before any process is asked for it."""
    with pytest.raises(
        ExampleError, match=r"transform has 1048576 values for each row, and 65536 are served\n.*n_features"
    ):
        store.register(HashingVectorizer(), "words", example=["some words", "others"])


def test_the_advice_for_a_wide_answer_is_true() -> None:
    """With fewer features, or in a pipeline with the estimator that uses them, it is learned."""
    texts = ["some words", "others"] * 4

    assert list(learn(HashingVectorizer(n_features=64), texts)[0].outputs) == ["transform"]
    model = make_pipeline(HashingVectorizer(), LinearRegression()).fit(texts, range(8))
    assert list(learn(model, texts)[0].outputs) == ["predict"]


def test_questions_to_a_stranger_end() -> None:
    """What has no end in sight is cut off, and what raises is not known."""
    assert foreign.known(lambda: foreign.members(itertools.repeat(1)), "not known") == "not known"
    assert foreign.read(odd({"steps": (True, 8, False)}, whole=False)(), "steps") is None
    with pytest.raises(KeyboardInterrupt):
        foreign.known(_interrupt, None)


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_parameters_that_hold_themselves_or_cannot_speak_are_kept_as_what_they_are() -> None:
    """A list in itself ends after some levels; an object without a repr is kept by its type."""
    ring: list[Any] = []
    ring.extend([ring, ring])

    found = check_params({"ring": ring, "dumb": Dumb(), "inner": [Dumb()]})

    assert found["dumb"] == "<Dumb>"
    assert found["inner"] == "<list>"
    assert isinstance(found["ring"], list)
