"""The review of types: complete for what is public in scikit-learn, true in what it refuses, and exact in what it takes."""

import contextlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import zoo
from bodega_model.errors import UntrustedTypeError
from bodega_model.formats import trusted_types
from bodega_model.formats.trusted_types import TRUSTED_TYPES, advise, turned_down
from bodega_model.signature.infer import learn
from model_files import read, same, written
from scipy import stats
from scipy.spatial.distance import cosine
from siblings import SIBLINGS, Sibling
from sklearn import svm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import chi2_kernel
from sklearn.model_selection import RandomizedSearchCV
from sklearn.neighbors import KNeighborsRegressor

TOOL = Path(__file__).parents[2] / "tools" / "review_types.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The script that goes through scikit-learn."""
    spec = importlib.util.spec_from_file_location("review_types", TOOL)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_class_and_function_was_reviewed(tool: ModuleType) -> None:
    """Each is trusted, by skops or by Bodega, or turned down with a reason; and so is each sibling of one that is."""
    found = tool.public() | tool.siblings()

    assert len(found) > 700
    assert sorted(name for name in found if tool.verdict(name) is None) == []


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore")
def test_what_scikit_learns_own_test_models_hold_was_reviewed(tool: ModuleType) -> None:
    """Every estimator, fitted in the ways in which scikit-learn tests it, holds nothing that was not reviewed."""
    held, fitted = tool.held(seconds=20)

    assert fitted > 200
    assert {name: models for name, models in held.items() if tool.verdict(name) is None} == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sibling", SIBLINGS, ids=lambda sibling: sibling.name)
def test_a_sibling_is_learned_and_answers_exactly_as_before(sibling: Sibling) -> None:
    """What is loaded under the ordinary policy answers bit for bit what was answered before."""
    signature, _ = learn(sibling.model, sibling.rows)
    loaded = read(written(sibling.model))

    before, after = (zoo.answer(model, sibling.rows) for model in (sibling.model, loaded))
    assert signature.outputs
    assert before.keys() == after.keys()
    assert [name for name in before if not same(before[name], after[name])] == []


def test_no_type_is_both_trusted_and_turned_down_by_its_own_name() -> None:
    """A pattern may cover what is trusted; a name stands in one table alone."""
    named = [name for group in trusted_types._REVIEW["refused"] for name in group["types"]]
    every = [name for group in trusted_types._REVIEW["trusted"] for name in group["types"]]

    assert set(named).isdisjoint(every)
    assert len(set(every)) == len(every)
    assert all(
        len(group["because"]) > 8 for group in (*trusted_types._REVIEW["refused"], *trusted_types._REVIEW["trusted"])
    )


def test_a_distribution_of_scipy_is_turned_down_because_it_runs_code() -> None:
    """Its state holds text that is executed when it is set; a file could hold any."""
    distribution = stats.norm.__class__.__new__(stats.norm.__class__)
    state = stats.norm.__getstate__() | {"_parse_arg_template": "import sys; sys.modules['bodega_ran'] = 1"}

    with contextlib.suppress(Exception):  # what comes behind the code that ran does not matter
        distribution.__setstate__(state)

    assert sys.modules.pop("bodega_ran", None) == 1
    with pytest.raises(UntrustedTypeError, match="runs, when it is loaded, text"):
        read(written({"C": stats.loguniform(1, 2)}))


def test_the_advice_for_a_search_over_distributions_is_true() -> None:
    """Its best estimator holds none, and gives the same answers."""
    rows = SIBLINGS[0].rows
    labels = (rows[:, 0] > 0.5).astype(int)
    search = RandomizedSearchCV(LogisticRegression(), {"C": stats.loguniform(0.1, 10)}, n_iter=2, random_state=0, cv=2)
    search.fit(rows, labels)

    loaded = read(written(search.best_estimator_))

    assert same(loaded.predict_proba(rows), search.predict_proba(rows))


def test_the_advice_of_a_metric_by_its_name_is_true() -> None:
    """A function of Python for each pair is refused; the same metric by its name is not, and answers the same."""
    rows = SIBLINGS[0].rows
    by_function = KNeighborsRegressor(metric=cosine).fit(rows, rows[:, 0])
    by_name = KNeighborsRegressor(metric="cosine", algorithm="brute").fit(rows, rows[:, 0])

    with pytest.raises(UntrustedTypeError, match="metric='cosine' with algorithm='brute'"):
        read(written(by_function))
    assert same(read(written(by_name)).predict(rows), by_name.predict(rows))
    assert abs(by_name.predict(rows) - by_function.predict(rows)).max() < 1e-12


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("sklearn.datasets._base.load_files", "files"),
        ("sklearn.datasets._openml.fetch_openml", "network"),
        ("sklearn.metrics.pairwise.pairwise_distances", "calls it"),
        ("sklearn.utils.estimator_checks.check_estimator", "tests estimators"),
        ("sklearn.tree._export.export_graphviz", "writes"),
    ],
)
def test_what_was_turned_down_is_refused_with_its_reason(name: str, word: str) -> None:
    """The sentence says what the type could do in a file."""
    assert name not in TRUSTED_TYPES
    assert word in "\n".join(advise([name], {}))
    assert turned_down("somewhere.else.Type") is None


def test_a_kernel_function_that_was_reviewed_is_taken_by_other_estimators_too() -> None:
    """The list is of functions, not of places where they stand."""
    rows = SIBLINGS[0].rows
    model: Any = svm.SVC(kernel=chi2_kernel).fit(rows, rows[:, 0] > 0.5)

    assert same(read(written(model)).decision_function(rows), model.decision_function(rows))
