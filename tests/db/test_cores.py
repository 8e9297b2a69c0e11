"""What is stored of searches and tuned thresholds: what answers, and nothing of what only trained it."""

import copy
import functools
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import searches
from bodega_db.store import ModelStore
from bodega_model.errors import NotFittedError, NotServableError, RegistrationError
from bodega_model.formats import codecs
from bodega_model.formats.cores import find_core
from bodega_model.formats.policy import Policy
from bodega_model.signature.outputs import METHODS
from model_files import read, written
from reaching import READERS, of_several_labels
from searches import SEARCHES, fit, scorer, search, table, tuned
from sklearn.cluster import BisectingKMeans, KMeans
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

pytestmark = pytest.mark.filterwarnings("ignore")
AT_ONCE = (  # of each kind one in the first tier
    *(
        "grid",
        "read-by-a-selection",
        "halving-grid",
        "several-metrics",
        "transformer",
        "threshold-of-the-other-class",
        "in-a-pipeline",
    ),
    *("soft-voting", "calibrated", "one-vs-rest", "logistic-with-scorer", "boosting-with-scorer"),
)
READ_AT_ONCE = ("function", "deep", "threshold", "elimination", "own-class", "own-threshold", "own-pipeline", "shared")
every_search = pytest.mark.parametrize(
    "name", [name if name in AT_ONCE else pytest.param(name, marks=pytest.mark.sweep) for name in SEARCHES]
)


def differing(one: Any, other: Any, X: pd.DataFrame) -> list[str]:
    """Return the methods that one of two models has alone, or that answer otherwise, be it by a bit."""
    return [
        method
        for method in METHODS
        if hasattr(one, method) != hasattr(other, method)
        or (hasattr(one, method) and not np.array_equal(getattr(one, method)(X), getattr(other, method)(X)))
    ]


def held(value: Any) -> dict[int, Any]:
    """Return what a model's parameters hold, by its address, with the attributes that each had."""
    return {id(part): dict(vars(part)) for part in value.get_params().values() if hasattr(part, "__dict__")}


@every_search
def test_the_core_answers_bit_for_bit_as_the_model(name: str) -> None:
    """Every method of the model answers every row alike from the file, twice written it is the same bytes."""
    X, _ = table()
    model = fit(name)

    core = find_core(model)

    content = written(core.model)
    assert core.model is not model
    assert differing(model, core.model, X) == []
    assert differing(model, read(content), X) == []
    assert written(find_core(model).model) == content


@every_search
def test_finding_the_core_changes_nothing_of_the_model(name: str) -> None:
    """The model in the notebook is what it was: the same parts at the same places, and it can be fitted again."""
    model = fit(name)
    attributes, parts = dict(vars(model)), held(model)

    find_core(model)

    assert vars(model).keys() == attributes.keys()
    assert all(vars(model)[name] is part for name, part in attributes.items())
    assert held(model).keys() == parts.keys()
    assert all(held(model)[key][name] is part for key, its in parts.items() for name, part in its.items())


def test_models_without_a_search_are_stored_as_they_are() -> None:
    """Where nothing is left out, the core is the model itself."""
    X, y = table()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)

    assert find_core(model).model is model
    assert find_core(model).stored == ()
    assert find_core(3).model == 3


@pytest.mark.parametrize(
    "name", [name if name in READ_AT_ONCE else pytest.param(name, marks=pytest.mark.sweep) for name in READERS]
)
def test_what_reads_a_search_finds_it_in_the_file(name: str) -> None:
    """A getter, a function or a class of a person's own reads what a search found, and answers bit for bit."""
    X, y = table()
    model = READERS[name]().fit(X, y)

    core = find_core(model)

    content = written(core.model, "joblib")
    assert core.model is not model
    assert b"_Scorer" not in content
    assert b"Halves" not in content
    assert differing(model, core.model, X) == []
    assert differing(model, read(content, "joblib"), X) == []


def test_several_labels_of_which_each_reads_a_search() -> None:
    """Lists of probabilities too are the same from the file."""
    model, X = of_several_labels()

    assert differing(model, read(written(find_core(model).model)), X) == []


def test_a_search_that_is_read_keeps_what_it_found_and_nothing_that_found_it(store: ModelStore) -> None:
    """Its estimator, plain parameters and results stay; scorers, folds, and the grid, which may hold anything, do not."""
    X, y = table()
    model = READERS["randomized"]().fit(X, y)

    version = store.register(model, "read", example=X)

    kept, was = store.open(version).model[0].estimator_, model[0].estimator_
    assert type(kept) is type(was)
    assert kept.best_params_ == was.best_params_
    assert kept.best_estimator_.coef_.tolist() == was.best_estimator_.coef_.tolist()
    assert (kept.scoring, kept.cv, kept.param_distributions, hasattr(kept, "scorer_")) == ("f1", None, {}, False)
    [told] = version.lineage["stored_as"]
    assert told["what"] == "all but scorers, folds and grid"
    assert told["best_params"] == {"C": was.best_params_["C"]}


def test_several_labels_at_once() -> None:
    """A chain of searches answers its lists from the file."""
    model, X = searches.chain()

    assert differing(model, read(written(find_core(model).model)), X) == []


class Loop(LogisticRegression):
    """An estimator that holds itself, and a search."""


def test_a_model_that_holds_itself_ends() -> None:
    """A walk through parts that lead back to themselves ends."""
    X, y = table()
    model = Loop().fit(X, y)
    model.own, model.search = model, search().fit(X, y)  # type: ignore[attr-defined]

    kept = find_core(model).model.search
    assert type(kept.best_estimator_) is LogisticRegression
    assert kept.scoring is None


class MySearch(GridSearchCV):
    """A search of another library that answers by itself."""

    def predict(self, X: Any) -> Any:
        """Answer the opposite."""
        return 1 - super().predict(X)


class QuietSearch(GridSearchCV):
    """A search of another library that leaves every answer to its best estimator."""


def test_a_search_of_another_library_counts_if_it_leaves_the_answers_to_its_best_estimator() -> None:
    """A class that answers by itself is no search to store by half."""
    X, y = table()
    grid = {"C": [0.1, 1.0]}

    assert type(find_core(QuietSearch(LogisticRegression(), grid).fit(X, y)).model) is LogisticRegression
    assert type(find_core(MySearch(LogisticRegression(), grid).fit(X, y)).model) is MySearch


# --- registered --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("randomized", "read-by-a-selection", "halving-grid", "threshold-of-the-other-class", "stacking")
        else pytest.param(name, marks=pytest.mark.sweep)
        for name in SEARCHES
    ],
)  # fmt: skip
def test_a_search_is_registered_and_answers_as_in_memory(name: str, store: ModelStore) -> None:
    """Its golden rows are the model's own answers, and what is loaded gives those of all rows."""
    X, _ = table()
    model = fit(name)

    version = store.register(model, "searched", example=X)

    loaded = store.open(version).model
    assert differing(model, loaded, X) == []


def test_lineage_says_what_is_stored(store: ModelStore) -> None:
    """The row tells what was registered and what of it lies on the volume, with what the search found."""
    X, y = table()
    found = search().fit(X, y)
    threshold = tuned().fit(X, y)
    voting = fit("soft-voting")

    def stored(model: Any) -> Any:
        return store.register(model, "searched", example=X, lineage={"host": "here"}).lineage["stored_as"]

    assert stored(found) == [
        {"place": "", "type": "GridSearchCV", "what": "best_estimator_", "best_params": found.best_params_}
    ]
    assert stored(threshold) == [
        {
            "place": "",
            "type": "TunedThresholdClassifierCV",
            "what": "estimator_ and best_threshold_",
            "threshold": threshold.best_threshold_,
        }
    ]
    assert [(part["place"], part["type"]) for part in stored(voting)] == [
        ("estimators_.0", "GridSearchCV"),
        ("estimators_.1", "TunedThresholdClassifierCV"),
    ]
    assert stored(make_pipeline(StandardScaler(), search()).fit(X, y))[0]["place"] == "steps.gridsearchcv"


def test_the_same_search_registered_again_is_the_same_version(store: ModelStore) -> None:
    """An idempotency key is checked against the bytes of the core, which are the same each time."""
    X, y = table()
    model = search().fit(X, y)

    first, again = (store.register(model, "searched", example=X, idempotency_key="one") for _ in range(2))

    assert (first.number, again.number) == (1, 1)
    assert store.register(model.best_estimator_, "searched", example=X).digest == first.digest


def test_joblib_keeps_the_core_too(connect: Callable[..., ModelStore]) -> None:
    """What is stored does not depend on the format: no pickle could hold the lambda of the scorer."""
    X, y = table()
    model = search().fit(X, y)
    store = connect(formats=["skops", "joblib"])

    version = store.register(model, "searched", example=X, format="joblib")

    with pytest.raises(Exception, match="lambda"):
        pickle.dumps(model)
    assert type(store.open(version).model) is LogisticRegression


def test_a_file_with_a_whole_search_is_still_read() -> None:
    """A version that was registered as a whole search, before cores were stored, loads and answers as it did."""
    X, y = table()
    model = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(X, y)
    file = io.BytesIO(written(model))

    assert differing(model, codecs.load(file, "skops", Policy()), X) == []


# --- refused, with advice that is true ---------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: make_pipeline(StandardScaler(), model)])
def test_a_search_that_refitted_nothing_is_refused_and_the_advice_helps(wrap: Any, store: ModelStore) -> None:
    """With refit=False there is no model: fitted with refit=True, or its estimator with chosen parameters, it is served."""
    X, y = table()
    model = wrap(search(refit=False)).fit(X, y)

    with pytest.raises(RegistrationError, match="GridSearchCV was fitted with refit=False") as caught:
        store.register(model, "searched", example=X)

    assert "refit=True" in caught.value.advice
    assert "refit='METRIC'" in caught.value.advice
    assert store.versions() == []
    chosen = LogisticRegression(C=0.01)
    for advised in (search(), search(scoring={"f1": "f1"}, refit="f1"), chosen):
        store.register(wrap(advised).fit(X, y), "searched", example=X)


@pytest.mark.parametrize("model", [search(), tuned(), make_pipeline(StandardScaler(), search())])
def test_a_search_that_was_not_fitted_is_named(model: Any, store: ModelStore) -> None:
    """Nothing of a search that was not fitted is stored, and the refusal names it."""
    with pytest.raises(NotFittedError, match=type(model).__name__):
        store.register(copy.deepcopy(model), "searched", example=table()[0])


def test_a_tuned_threshold_is_kept_and_its_estimator_alone_would_answer_otherwise(store: ModelStore) -> None:
    """The labels are those at the tuned threshold, which are not those of `estimator_` at one half."""
    X, y = table()
    model = tuned().fit(X, y)
    by_hand = FixedThresholdClassifier(FrozenEstimator(model.estimator_), threshold=model.best_threshold_).fit(X, y)

    loaded = store.open(store.register(model, "tuned", example=X)).model

    assert (model.predict(X) != model.estimator_.predict(X)).sum() > 5
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert np.array_equal(loaded.predict(X), by_hand.predict(X))
    assert isinstance(loaded, FixedThresholdClassifier)
    assert isinstance(model, TunedThresholdClassifierCV)


def test_a_core_that_answers_otherwise_is_refused(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose own method was replaced in the notebook answers by that, and no file would: it is refused."""
    X, y = table()
    model = search().fit(X, y)
    monkeypatch.setattr(model, "predict", lambda X: np.zeros(len(X), dtype=int), raising=False)

    with pytest.raises(RegistrationError, match="answers otherwise than what would be stored"):
        store.register(model, "searched", example=X)


def test_scorer_is_a_lambda() -> None:
    """The scorers of these tests could not be written at all."""
    with pytest.raises(Exception, match="lambda"):
        pickle.dumps(scorer())


# --- the ways out that other refusals name -----------------------------------------------------------------


def test_a_scorer_that_something_else_keeps_can_be_taken_away(store: ModelStore) -> None:
    """Advice is true: with that attribute set to None the model is registered, and answers as before."""
    X, y = table()
    model = LogisticRegression().fit(X, y)
    model.judges = {"f1": make_scorer(f1_score)}  # type: ignore[attr-defined]
    with pytest.raises(NotServableError, match="set that attribute to None"):
        store.register(model, "judged", example=X)
    before = model.predict_proba(X)

    model.judges = None  # type: ignore[attr-defined]

    assert np.array_equal(store.open(store.register(model, "judged", example=X)).model.predict_proba(X), before)


def test_the_keywords_of_a_partial_as_kw_args_compute_the_same(connect: Callable[..., ModelStore]) -> None:
    """Advice is true: the function with `kw_args` is registered, and answers as the partial did."""
    X, y = table()
    store = connect(trusted_types=["numpy.clip"])
    limits = {"a_min": -1, "a_max": 1}
    partial, advised = (
        make_pipeline(step, LogisticRegression()).fit(X, y)
        for step in (
            FunctionTransformer(functools.partial(np.clip, **limits)),
            FunctionTransformer(np.clip, kw_args=limits),
        )
    )
    with pytest.raises(NotServableError, match="kw_args"):
        store.register(partial, "clipped", example=X)

    loaded = store.open(store.register(advised, "clipped", example=X)).model

    assert differing(partial, loaded, X) == []


def test_file_names_and_their_texts_are_answered_alike(store: ModelStore, tmp_path: Path) -> None:
    """Advice is true: a vectorizer of texts answers for the texts what one of files answers for their files."""
    texts = ["red wine", "white wine", "green tea", "black tea"]
    files = [str(tmp_path / f"{number}.txt") for number in range(4)]
    for file, content in zip(files, texts, strict=True):
        Path(file).write_text(content)
    by_name = make_pipeline(CountVectorizer(input="filename"), LogisticRegression()).fit(files, [0, 0, 1, 1])
    with pytest.raises(RegistrationError, match="input='content'"):
        store.register(by_name, "drinks", example=files)

    advised = make_pipeline(CountVectorizer(input="content"), LogisticRegression()).fit(texts, [0, 0, 1, 1])

    loaded = store.open(store.register(advised, "drinks", example=texts)).model
    assert np.array_equal(loaded.predict_proba(texts), by_name.predict_proba(files))


def test_other_clusterings_are_said_to_be_other_models(store: ModelStore) -> None:
    """A refusal that names another estimator says that it is another model, and that one is served."""
    X, _ = table()
    with pytest.raises(NotServableError, match=r"other models with other clusters: compare them first"):
        store.register(BisectingKMeans(3, random_state=0).fit(X), "clusters", example=X)

    store.register(KMeans(3, random_state=0).fit(X), "clusters", example=X)
