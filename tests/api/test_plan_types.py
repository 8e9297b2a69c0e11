"""Plans compute in the types that the model computes in: integers that wrap do, and short numbers stay short."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodega_api.serving import batcher
from bodega_api.serving.batcher import Waiting
from bodega_api.serving.counters import Tally
from bodega_api.serving.engine import Engine, Ways
from bodega_model.loading.runner import Runner
from bodega_model.plans import NoPlanError, compile_plan, gate
from bodega_model.signature.infer import learn
from conftest import Api
from gallery import Exhibit, enter
from scipy.special import expit
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeRegressor

ROWS = 240
dice = np.random.default_rng(4)
pytestmark = pytest.mark.filterwarnings("ignore")


def frame(**dtypes: str) -> pd.DataFrame:
    """Return a frame with a column of each dtype, in the order that is given."""
    make: dict[str, Callable[[], Any]] = {
        "float64": lambda: dice.normal(size=ROWS),
        "float32": lambda: dice.normal(size=ROWS).astype("float32"),
        "int64": lambda: dice.integers(0, 100, ROWS),
        "bool": lambda: dice.random(ROWS) < 0.5,
        "str": lambda: dice.choice(["a", "b", "c"], ROWS),
    }
    return pd.DataFrame({name: make[dtype]() for name, dtype in dtypes.items()})


def wide(**others: str) -> pd.DataFrame:
    """Return a frame of twelve floating point columns and some others."""
    return frame(**{f"f{place}": "float64" for place in range(12)}, **others)


TREE = DecisionTreeRegressor(max_depth=8, random_state=0)
SQUARE = FunctionTransformer(np.square)
MIXED: dict[str, str] = {"x": "float64", "short": "float32", "n": "int64", "m": "int64"}
FLAGGED = MIXED | {"flag": "bool"}
SHORT: dict[str, str] = {"a": "float32", "b": "float32", "c": "float32"}
WHOLE: dict[str, str] = {"n": "int64", "m": "int64", "k": "int64"}


def target(X: pd.DataFrame) -> Any:
    """Return something that depends on all numbers."""
    return (
        X.select_dtypes(["number", "bool"]).astype(float).to_numpy()
        @ np.arange(1, X.select_dtypes(["number", "bool"]).shape[1] + 1) ** 2.0
    )


def two_ways(model: Any, X: Any) -> tuple[Runner, Any, Any]:
    """Return a fitted model's runner, its plan that was not checked, and its golden rows."""
    signature, golden = learn(model, X[:40])
    runner = Runner(model, signature, 0, golden)
    return runner, compile_plan(model, signature), golden


def differences(model: Any, X: Any) -> list[str]:
    """Ask both for all odd rows, each alone and unchecked; return the columns whose value the plan answered else."""
    runner, plan, golden = two_ways(model, X)
    found = []
    odd = gate.OddRows(runner.signature, golden.inputs)
    for output in runner.signature.outputs:
        for row in odd.alone(60):
            native = gate.answers_of(runner.predict, row, output)
            planned = gate.answers_of(plan.predict, row, output)
            if planned[0] is not gate.REFUSED and not (
                native[0] is not gate.REFUSED and gate.agrees(native[0], planned[0])
            ):
                found.append(f"{output} {row}")
    return found


def pipelines() -> dict[str, tuple[Any, pd.DataFrame]]:
    """Return models that see several types of numbers, not fitted."""
    columns = ColumnTransformer([("square", SQUARE, ["n", "x"])], remainder="passthrough")
    union = FeatureUnion(
        [("as it is", "passthrough"), ("scaled", StandardScaler())], transformer_weights={"as it is": 3}
    )
    to_whole = make_pipeline(OrdinalEncoder(dtype=np.int64), SQUARE, TREE)
    return {
        "square": (make_pipeline(SQUARE, TREE), wide(n="int64")),
        "square of all types": (make_pipeline(SQUARE, TREE), frame(**FLAGGED)),
        "square root of short numbers": (
            make_pipeline(FunctionTransformer(np.sqrt), HistGradientBoostingClassifier(max_iter=5)),
            frame(**SHORT, n="int64"),
        ),
        "logarithm": (make_pipeline(FunctionTransformer(np.log1p), TREE), frame(**MIXED)),
        "negative": (make_pipeline(FunctionTransformer(np.negative), TREE), frame(**WHOLE)),
        "absolute": (make_pipeline(FunctionTransformer(np.absolute), TREE), frame(**WHOLE)),
        "sign": (make_pipeline(FunctionTransformer(np.sign), TREE), frame(**MIXED)),
        "logistic function": (make_pipeline(FunctionTransformer(expit), Ridge()), frame(**MIXED)),
        "is missing": (make_pipeline(FunctionTransformer(np.isnan), TREE), frame(**MIXED)),
        "checked square": (make_pipeline(FunctionTransformer(np.square, validate=True), TREE), frame(**MIXED)),
        "checked square of integers": (
            make_pipeline(FunctionTransformer(np.square, validate=True), TREE),
            frame(**WHOLE),
        ),
        "twice": (make_pipeline(SQUARE, SQUARE, TREE), frame(**WHOLE)),
        "square beside": (make_pipeline(columns, TREE), frame(**MIXED)),
        "integers beside": (make_pipeline(ColumnTransformer([("n", SQUARE, ["n", "m"])]), TREE), frame(**MIXED)),
        "passed on": (
            make_pipeline(ColumnTransformer([("n", "passthrough", ["n", "m"])]), SQUARE, TREE),
            frame(**MIXED),
        ),
        "flags passed on": (
            make_pipeline(ColumnTransformer([("n", "passthrough", ["n", "flag"])]), Ridge()),
            frame(**FLAGGED),
        ),
        "union": (make_pipeline(union, TREE), frame(**WHOLE)),
        "union of all types": (make_pipeline(union, TREE), frame(**MIXED)),
        "imputed": (make_pipeline(SimpleImputer(strategy="most_frequent"), SQUARE, TREE), frame(**WHOLE)),
        "imputed by the mean": (make_pipeline(SimpleImputer(), SQUARE, TREE), frame(**WHOLE)),
        "imputed by a constant": (
            make_pipeline(SimpleImputer(strategy="constant", fill_value=7), SQUARE, TREE),
            frame(**WHOLE),
        ),
        "selected": (make_pipeline(SelectKBest(k=2), SQUARE, TREE), frame(**WHOLE)),
        "ordinal": (to_whole, frame(**WHOLE)[["n"]] % 7),
        "scaled": (make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=5)), frame(**SHORT)),
        "scaled by the range": (make_pipeline(MinMaxScaler(), LogisticRegression()), frame(**SHORT)),
        "scaled by the median": (make_pipeline(RobustScaler(), LogisticRegression()), frame(**SHORT)),
        "scaled by the largest": (make_pipeline(MaxAbsScaler(), LogisticRegression()), frame(**SHORT)),
        "linear, short": (LinearRegression(), frame(**SHORT)),
        "linear, short and flags": (LinearRegression(), frame(**SHORT, flag="bool")),
        "logistic, short": (LogisticRegression(), frame(**SHORT)),
        "linear, whole": (LinearRegression(), frame(**WHOLE)),
        "linear, all types": (LinearRegression(), frame(**FLAGGED)),
        "poisson, short": (make_pipeline(MinMaxScaler(), PoissonRegressor()), frame(**SHORT)),
        "bayes, short": (GaussianNB(), frame(**SHORT)),
        "bayes, all types": (GaussianNB(), frame(**FLAGGED)),
        "components, short": (make_pipeline(PCA(2, whiten=True), LogisticRegression()), frame(**SHORT)),
        "components, whole": (make_pipeline(TruncatedSVD(2), TREE), frame(**WHOLE)),
        "forest, all types": (RandomForestClassifier(5, random_state=0), frame(**FLAGGED)),
        "trees, whole": (ExtraTreesRegressor(5, random_state=0), frame(**WHOLE)),
        "isolation, flags": (IsolationForest(n_estimators=5, random_state=0), frame(**FLAGGED)),
        "neighbours, whole": (KNeighborsRegressor(), frame(**WHOLE)),
        "polynomial": (make_pipeline(PolynomialFeatures(2), Ridge()), frame(**MIXED)),
        "bins, short": (make_pipeline(KBinsDiscretizer(3, encode="ordinal", dtype=np.float32), TREE), frame(**SHORT)),
        "norm": (make_pipeline(Normalizer(), TREE), frame(**WHOLE)),
        "binary": (make_pipeline(Binarizer(), TREE), frame(**FLAGGED)),
        "power": (make_pipeline(PowerTransformer(), TREE), frame(**SHORT)),
        "one-hot, short": (
            make_pipeline(
                OneHotEncoder(dtype=np.float32, handle_unknown="ignore", sparse_output=False), LogisticRegression()
            ),
            frame(a="str", b="str"),
        ),
        "target, whole": (make_pipeline(TargetEncoder(), TREE), frame(**WHOLE) % 5),
        "changed target": (
            TransformedTargetRegressor(
                make_pipeline(SQUARE, LinearRegression()), func=np.cbrt, inverse_func=lambda y: y**3
            ),
            frame(**WHOLE),
        ),
        "stacked with what was sent": (
            StackingRegressor([("ridge", Ridge())], TREE, passthrough=True, cv=2),
            frame(**FLAGGED),
        ),
        "union of selectors": (make_pipeline(make_union(SelectKBest(k=1), PCA(1)), TREE), frame(**WHOLE)),
    }


@pytest.mark.parametrize("name", pipelines())
def test_a_plan_keeps_the_types_that_the_model_computes_in(name: str) -> None:
    """Without the gate, which would hide it: each odd row alone is answered as by the model, or not by the plan."""
    model, X = pipelines()[name]
    y = target(X) if X.select_dtypes("number").shape[1] else X.iloc[:, 0] == "a"
    fitted = model.fit(
        X,
        y > np.median(y)
        if hasattr(model, "classes_")
        or "Classifier" in str(model)
        or any(word in str(model) for word in ("Logistic", "GaussianNB"))
        else (abs(y) if "Poisson" in str(model) else y),
    )

    try:
        assert differences(fitted, X) == []
    except NoPlanError:
        assert name in WITHOUT


# The model makes objects of these, or its booleans may be missing, or what it refuses is not known before.
WITHOUT = {"flags passed on", "square of all types", "forest, all types", "isolation, flags"}


@pytest.mark.parametrize("container", ["frame", "array"])
def test_integers_wrap_over_http_as_in_memory(api: Api, container: str) -> None:
    """A square of 2^33 is zero in 64 bits, and stays so beside twelve columns of floating point numbers."""
    X = wide(n="int64")
    data: Any = X if container == "frame" else frame(**WHOLE).to_numpy()
    model = make_pipeline(SQUARE, TREE).fit(data, target(X))
    enter(api.services.store, "square", Exhibit(model, data[:40]))
    row = data[:1].copy()
    if container == "frame":
        row.loc[:, "n"] = 2**33
        sent = row.to_dict("list")
        sent["n"] = [2**33]
    else:
        row[0, 0] = 2**33
        sent = {f"x{place}": [int(value)] for place, value in enumerate(row[0])}

    answer = api.client.post("/predict", json={"columns": sent}).raise_for_status().json()

    assert answer["predictions"] == model.predict(row).tolist()
    details = api.client.get("/models/square/versions/1").raise_for_status().json()
    assert details["serving"]["plan"] is True


def letters() -> pd.DataFrame:
    """Return four columns of text with thirty categories each: one-hot they are a sparse matrix."""
    return pd.DataFrame({f"k{place}": dice.choice([f"v{number}" for number in range(30)], 400) for place in range(4)})


def one_hot() -> OneHotEncoder:
    """Return an encoder that answers with a sparse matrix."""
    return OneHotEncoder(handle_unknown="ignore")


ALONE: dict[str, Callable[[], Any]] = {
    "kernel ridge": lambda: KernelRidge(kernel="rbf"),
    "one-hot, ridge": lambda: make_pipeline(one_hot(), Ridge()),
    "one-hot beside, ridge": lambda: make_pipeline(make_column_transformer((one_hot(), [0, 1, 2, 3])), Ridge()),
    "one-hot, scaled": lambda: make_pipeline(one_hot(), StandardScaler(with_mean=False), Ridge()),
    "one-hot, components": lambda: make_pipeline(one_hot(), TruncatedSVD(5), Ridge()),
    "one-hot, neighbours": lambda: make_pipeline(one_hot(), KNeighborsRegressor()),
    "union of encoders": lambda: make_pipeline(
        make_union(one_hot(), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)), Ridge()
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_row_alone_is_answered_to_the_last_digit(name: str) -> None:
    """Plans add in the order of the model, sparse matrices too: whether the plan or the model answers, is the same."""
    X = wide() if name == "kernel ridge" else letters()
    model = ALONE[name]().fit(X, dice.normal(size=len(X)))
    runner, plan, golden = two_ways(model, X)
    gate.check_plan(plan, runner, golden)

    for place in range(50):
        row = {column: [values[place]] for column, values in X.to_dict("list").items()}
        assert gate.is_same(runner.predict(row, "predict"), plan.predict(row, "predict"))


def test_an_integer_beside_the_missing_one_of_another_request_stays_an_integer() -> None:
    """Requests that come together are computed together, but not in a type that one of them alone would not have."""
    X = frame(**WHOLE)
    model = make_pipeline(SQUARE, HistGradientBoostingRegressor(max_iter=5)).fit(X, X["n"])
    runner, plan, _ = two_ways(model, X)
    engine = Engine(runner, Ways(plan, "", quick=True), Tally())
    rows: list[dict[str, Any]] = [{"n": [2**33], "m": [1], "k": [1]}, {"n": [None], "m": [1], "k": [1]}]
    answers: list[Future[Any]] = [Future(), Future()]

    together = [Waiting(row, 1, answer) for row, answer in zip(rows, answers, strict=True)]
    batcher._plan(engine, together, "predict")

    assert engine.gaps_turn == ("n", "m", "k")
    assert [answer.result() for answer in answers] == [runner.predict(row, "predict") for row in rows]
    both = {"n": [2**33, None], "m": [1, 1], "k": [1, 1]}
    assert runner.predict(both, "predict")[0] != runner.predict(rows[0], "predict")[0]
