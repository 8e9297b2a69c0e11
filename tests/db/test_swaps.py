"""Swapping the algorithm under the same clients: what they were shown, promised or asked decides, and nothing else."""

from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodega_db.catalog.diff import compare
from bodega_db.catalog.usage import AskedOutput
from bodega_db.errors import IncompatibleSignatureError
from bodega_db.store import ModelStore
from bodega_model.errors import RegistrationError
from bodega_model.signature.compatibility import compare_signatures
from bodega_model.signature.differences import Grade
from bodega_model.signature.infer import learn
from bodega_model.signature.types import Signature
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC, SVR

pytestmark = pytest.mark.filterwarnings("ignore")
CLASSIFIERS = {
    "logistic": LogisticRegression(max_iter=200),
    "forest": RandomForestClassifier(5, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=3),
    "svc": SVC(),
}
REGRESSORS = {
    "ridge": Ridge(),
    "forest": RandomForestRegressor(5, random_state=0),
    "boosting": HistGradientBoostingRegressor(max_iter=3),
    "svr": SVR(),
}
DIRECTIONS = list(permutations(CLASSIFIERS, 2))


@cache
def table() -> pd.DataFrame:
    """Return numbers, integers, a flag and a word, none of which is missing."""
    random = np.random.default_rng(10)
    frame = pd.DataFrame(random.normal(size=(90, 4)), columns=["a", "b", "c", "d"])
    return frame.assign(
        year=random.integers(2000, 2010, 90), flag=random.random(90) < 0.5, word=random.choice(["x", "y", "z"], 90)
    )


def labels(X: pd.DataFrame) -> Any:
    """Return one of three labels for each row."""
    return np.select([X["a"] > 0.5, X["b"] > 0], ["high", "middle"], "low")


def piped(model: Any) -> Any:
    """Return the model behind what any of them needs: words as numbers."""
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(make_column_transformer((words, ["word"]), remainder="passthrough"), model)


@cache
def signature(name: str, data: str) -> Signature:
    """Learn what a classifier takes and gives: on the table, on its numbers, or on those as an array."""
    X = table()
    y = labels(X)
    if data == "table":
        return learn(piped(CLASSIFIERS[name]).fit(X, y), X)[0]
    numbers: Any = X[["a", "b", "c", "d"]]
    numbers = numbers if data == "frame" else numbers.to_numpy()
    return learn(CLASSIFIERS[name].fit(numbers, y), numbers)[0]


def grade(before: Signature, after: Signature) -> Grade:
    """Return the verdict on two signatures."""
    return Grade.worst([change.grade for change in compare_signatures(before, after)])


@pytest.mark.parametrize("data", ["table", "frame", "array"])
@pytest.mark.parametrize(("before", "after"), DIRECTIONS)
def test_another_algorithm_on_the_same_data_breaks_nobody(before: str, after: str, data: str) -> None:
    """Of twelve directions none is breaking: nobody asked for scores, and no value was missing."""
    assert grade(signature(before, data), signature(after, data)) is not Grade.BREAKING


@pytest.mark.parametrize(("before", "after"), list(permutations(REGRESSORS, 2)))
def test_another_regressor_breaks_nobody(before: str, after: str) -> None:
    """The same holds of numbers that are predicted."""
    X = table()[["a", "b", "year"]]
    was, now = (learn(REGRESSORS[name].fit(X, X["a"] * 2), X)[0] for name in (before, after))

    assert grade(was, now) is not Grade.BREAKING


def test_what_is_given_up_is_still_said() -> None:
    """A note tells what the other algorithm cannot, and why that breaks nobody."""
    told = [
        (change.what, change.detail, change.grade)
        for change in compare_signatures(signature("boosting", "frame"), signature("svc", "frame"))
    ]

    assert ("column a", "no longer takes missing values, of which the example had none", "note") in told
    assert ("output predict_proba", "is gone; it was neither promised nor asked", "note") in told


def test_a_missing_value_of_the_example_must_go_on_being_taken() -> None:
    """Also one far behind the golden rows: what was shown once is relied on."""
    X, y = table()[["a", "b"]], labels(table())
    gap = X.copy()
    gap.loc[77, "b"] = np.nan
    before, _ = learn(HistGradientBoostingClassifier(max_iter=3).fit(gap, y), gap)
    after, _ = learn(LogisticRegression().fit(X, y), X)

    changes = compare_signatures(before, after)

    assert [change.what for change in changes if change.breaking] == ["column b"]
    assert "of which the example had some" in next(change.detail for change in changes if change.breaking)
    assert "column a" in [change.what for change in changes if change.grade is Grade.NOTE]


def changed(X: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, Any]]:
    """Return data that differ in what callers rely on."""
    y = labels(X)
    return {
        "a column is gone": (X.drop(columns="d"), y),
        "a column is new": (X.assign(e=X["a"] * 2), y),
        "a column is named otherwise": (X.rename(columns={"a": "A"}), y),
        "text became a number": (X.assign(word=X["word"].map({"x": 0, "y": 1, "z": 2})), y),
        "a number became an integer": (X.assign(a=X["a"].round().astype(int)), y),
        "a class vanished": (X, np.where(y == "high", "middle", y)),
        "a class is named otherwise": (X, np.where(y == "high", "High", y)),
        "labels became numbers": (X, np.where(y == "high", 1, 0)),
        "a label became two": (X, np.column_stack([y == "high", y == "low"]).astype(int)),
    }


@pytest.mark.parametrize("name", changed(table()))
def test_what_breaks_callers_does_so_with_any_algorithm(name: str) -> None:
    """Columns, kinds, labels and the form of the default output are what every caller relies on."""
    X, y = changed(table())[name]
    after, _ = learn(piped(RandomForestClassifier(5, random_state=0)).fit(X, y), X)

    assert grade(signature("forest", "table"), after) is Grade.BREAKING


def test_a_class_more_is_a_note() -> None:
    """A model that learned one more label answers as callers know it, and sometimes with that."""
    X = table()
    more = np.where(X["c"] > 1, "extra", labels(X))
    after, _ = learn(piped(CLASSIFIERS["logistic"]).fit(X, more), X)

    assert grade(signature("logistic", "table"), after) is Grade.NOTE


# --- promised ----------------------------------------------------------------------------------------------


def enter(store: ModelStore, name: str, **more: Any) -> None:
    """Register a classifier as the next version of one model."""
    X = table()[["a", "b", "c", "d"]]
    store.register(CLASSIFIERS[name].fit(X, labels(table())), "swap", example=X, **more)


def test_promotions_go_by_the_three_grades(store: ModelStore) -> None:
    """Without a promise the forest gives way to an SVC; a promised output must be there, unless forced with a reason."""
    enter(store, "forest")
    enter(store, "svc")
    enter(store, "logistic", outputs=["predict_proba"])
    store.promote("swap@1")

    assert store.promote("swap@2").number == 2
    assert store.promote("swap@3").number == 3
    with pytest.raises(
        IncompatibleSignatureError,
        match=r"swap@3 could not call swap@2: output predict_proba: is gone; predict_proba was promised when",
    ):
        store.promote("swap@2")
    assert store.promote("swap@2", force=True, reason="everybody was told").number == 2
    difference = store.diff("swap@3", "swap@1")
    assert (difference.verdict, difference.compatible) == ("note", True)
    assert store.diff("swap@3", "swap@3").verdict == "same"


def test_promises_stand_in_the_signature(store: ModelStore) -> None:
    """They are kept with the version, once each; one name needs no list, and other outputs are answered too."""
    enter(store, "logistic", outputs=("predict_proba", "predict", "predict_proba"))
    enter(store, "logistic", outputs="decision_function")
    enter(store, "logistic")

    kept = [store.get("swap", number).signature for number in (1, 2, 3)]

    assert [signature.promised for signature in kept] == [("predict_proba", "predict"), ("decision_function",), ()]
    assert {tuple(signature.outputs) for signature in kept} == {("predict", "predict_proba", "decision_function")}
    assert kept[0].to_dict()["promised"] == ["predict_proba", "predict"]


@pytest.mark.parametrize(
    ("outputs", "advice"),
    [
        (["predict_prob"], "Did you mean 'predict_proba'? It has: predict, predict_proba, decision_function."),
        ("probabilities", "It has: predict, predict_proba, decision_function."),
        (["predict", "transform"], "It has: predict, predict_proba, decision_function."),
        ([3], "It has: predict, predict_proba, decision_function."),
    ],
)
def test_only_what_there_is_can_be_promised(outputs: Any, advice: str, store: ModelStore) -> None:
    """Another name is refused with the ones there are, before anything is visible."""
    with pytest.raises(RegistrationError, match="has no output") as caught:
        enter(store, "logistic", outputs=outputs)

    assert advice in caught.value.advice
    assert store.versions() == []


def test_versions_from_before_there_were_promises_are_read() -> None:
    """A signature without them relies on its default output, and counts missing values as shown."""
    told = signature("boosting", "frame").to_dict()
    told.pop("promised")
    for column in told["columns"]:
        column.pop("null_shown")
    old = Signature.from_dict(told)

    changes = compare_signatures(old, signature("svc", "frame"))

    assert old.promised == ()
    assert {change.what for change in changes if change.breaking} == {"column a", "column b", "column c", "column d"}
    assert "is not known of a version that old" in changes[0].detail


# --- asked -------------------------------------------------------------------------------------------------


def test_what_was_asked_is_relied_on(store: ModelStore) -> None:
    """An output that was answered for callers of the version in production, or of one before it, must be there."""
    for name in ("logistic", "forest", "svc"):
        enter(store, name)
    store.promote("swap@1")
    store.note_asked([AskedOutput("swap", 1, "predict_proba"), AskedOutput("swap", 3, "decision_function")])
    store.promote("swap@2")

    with pytest.raises(IncompatibleSignatureError, match="predict_proba was asked over HTTP, last on 20"):
        store.promote("swap@3")

    assert set(store.diff("swap@1", "swap@3").relied) == {"predict", "predict_proba"}
    assert set(store.diff("swap@2", "swap@3").relied) == {"predict", "predict_proba"}
    assert set(store.diff("swap@3", "swap@1").relied) == {"predict", "decision_function"}
    assert compare(store.get("swap", 1), store.get("swap", 3)).compatible


def test_asking_changes_no_version_and_makes_no_event(store: ModelStore) -> None:
    """It is no change of the catalog: no generation, no event; of what is not there nothing is kept."""
    enter(store, "logistic")
    store.promote("swap@1")
    before = store.changes(None).generation, store.history("swap")

    for _ in range(2):
        store.note_asked(
            [AskedOutput("swap", 1, "predict"), AskedOutput("swap", 9, "predict"), AskedOutput("x", 1, "predict")]
        )
    store.note_asked([])

    assert (store.changes(None).generation, store.history("swap")) == before


def test_what_was_asked_goes_with_its_version(store: ModelStore) -> None:
    """A version that was asked can be deleted, and takes that with it."""
    enter(store, "logistic")
    store.note_asked([AskedOutput("swap", 1, "predict_proba")])
    store.archive("swap@1")

    store.delete("swap@1", reason="not needed")

    assert store.versions("swap") == []
