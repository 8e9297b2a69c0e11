"""Missing values over HTTP: a null is the one that the model was trained with, in every form and on every path."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bodega_api.http.media.kinds import Medium
from bodega_db.records import Version
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_model.loading.runner import Runner
from bodega_model.plans import check_plan, compile_plan
from conftest import Api, create_database, running_api
from gallery import problem_of
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, TargetEncoder
from sklearn.tree import DecisionTreeClassifier

pytestmark = pytest.mark.filterwarnings("ignore")
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Shelf:
    """A store and an API over it, for models of many tests."""

    store: ModelStore
    api: Api

    def register(self, model: Any, example: Any) -> Version:
        """Register a model under a name of its own."""
        return self.store.register(model, f"m{len(self.store.models())}", example=example)

    def answers(self, version: Version, columns: Columns, **parameters: str) -> dict[str, Any]:
        """Ask for the same rows in each form; all must be answered alike, with the same warnings."""
        found = {form: self.ask(version, form, columns, **parameters) for form in FORMS}
        for form, response in found.items():
            assert response.status_code == 200, (form, response.text)
        first, *others = [response.json() for response in found.values()]
        assert all(other == first for other in others), found
        return first  # type: ignore[no-any-return]

    def ask(self, version: Version, form: str, columns: Columns, **parameters: str) -> Any:
        """Ask in one form."""
        medium, write = FORMS[form]
        asked = {"model": version.model} | parameters
        return self.api.client.post("/predict", params=asked, content=write(columns), headers={"Content-Type": medium})


@pytest.fixture(scope="module")
def shelf(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """A store and an API over a database of their own."""
    folder: Path = tmp_path_factory.mktemp("missing") / "models"
    settings = Settings.read(database_url=create_database(postgres_url, "missing", template), models=folder)
    with closing(ModelStore.connect(settings)) as store, running_api(settings) as api:
        yield Shelf(store, api)


# --- the forms -------------------------------------------------------------------------------------------


def in_rows(columns: Columns) -> bytes:
    """Write rows in JSON."""
    return json.dumps(
        {"rows": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}
    ).encode()


def in_columns(columns: Columns) -> bytes:
    """Write columns in JSON."""
    return json.dumps({"columns": columns}).encode()


def in_csv(columns: Columns) -> bytes:
    """Write CSV as pandas does."""
    return pd.DataFrame(columns, dtype=object).to_csv(index=False).encode()


def in_arrow(columns: Columns) -> bytes:
    """Write a stream of Arrow."""
    table, sink = pa.table(columns), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def in_parquet(columns: Columns) -> bytes:
    """Write Parquet as pandas does."""
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()}).to_parquet(
        index=False
    )


FORMS: dict[str, tuple[str, Callable[[Columns], bytes]]] = {
    "rows": (Medium.JSON, in_rows),
    "columns": (Medium.JSON, in_columns),
    "csv": (Medium.CSV, in_csv),
    "arrow": (Medium.ARROW, in_arrow),
    "parquet": (Medium.PARQUET, in_parquet),
}


def test_a_model_that_fills_in_the_missing_value_of_pandas_is_registered_and_answers(shelf: Shelf) -> None:
    """Text and integers of pandas' own dtypes have pd.NA, and an imputer that is told so; skops cannot write it."""
    frame = pd.DataFrame(
        {
            "word": pd.array(["a", "b", None, "b"] * 10, dtype="string"),
            "count": pd.array([1, None, 3, 4] * 10, dtype="Int64"),
        }
    )
    filled = make_column_transformer(
        (
            make_pipeline(SimpleImputer(missing_values=pd.NA, strategy="constant", fill_value="none"), one_hot()),
            ["word"],
        ),
        (SimpleImputer(missing_values=pd.NA, strategy="constant", fill_value=-7), ["count"]),
    )
    model = make_pipeline(filled, DecisionTreeClassifier(random_state=0)).fit(frame, ["w", "x", "y", "z"] * 10)

    version = shelf.register(model, frame)

    columns = {"word": ["a", None, "b", None], "count": [None, 3, 4, None]}
    asked = pd.DataFrame({name: pd.array(values, dtype=frame[name].dtype) for name, values in columns.items()})
    assert shelf.answers(version, columns)["predictions"] == model.predict(asked).tolist()


# --- kinds of missing value, encoders and imputers, examples ---------------------------------------------


def coupons(values: tuple[Any, Any], missing: Any) -> tuple[pd.DataFrame, Any]:
    """Return rows of which those without a coupon are bought, and the others go by their number."""
    frame = pd.DataFrame({"coupon": pd.Series([*values, missing, missing] * 10, dtype=object), "n": np.arange(40.0)})
    return frame, np.where(frame["coupon"].isna(), "bought", np.where(frame["n"] > 20, "left", "stayed"))


def one_hot() -> Any:
    """Return the encoder that ignores what it does not know."""
    return OneHotEncoder(handle_unknown="ignore")


def ordinal() -> Any:
    """Return the encoder that has numbers of their own for what it does not know, and for NaN."""
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)


def table(encoder: Any) -> Any:
    """Encode the coupon and pass the number on."""
    return make_column_transformer((encoder, ["coupon"]), remainder="passthrough")


def linear(encoder: Any) -> Any:
    """Return a linear classifier behind an encoder."""
    return make_pipeline(table(encoder), LogisticRegression(max_iter=5000))


MODELS: dict[str, Callable[[], Any]] = {
    "one-hot": lambda: linear(one_hot()),
    "one-hot-refusing": lambda: linear(OneHotEncoder()),
    "ordinal": lambda: make_pipeline(table(ordinal()), DecisionTreeClassifier(random_state=0)),
    "target": lambda: make_pipeline(table(TargetEncoder(cv=2)), DecisionTreeClassifier(random_state=0)),
    "imputer": lambda: linear(
        make_pipeline(SimpleImputer(strategy="constant", fill_value=0), FunctionTransformer(), one_hot())
    ),
    "imputer-of-none": lambda: linear(
        make_pipeline(SimpleImputer(missing_values=None, strategy="most_frequent"), one_hot())
    ),
    "union": lambda: linear(FeatureUnion([("one", one_hot()), ("two", ordinal())])),
    "indicator": lambda: linear(
        FeatureUnion(
            [
                ("gap", MissingIndicator(features="all")),
                ("word", make_pipeline(SimpleImputer(strategy="most_frequent"), one_hot())),
            ]
        )
    ),
    "voting": lambda: VotingClassifier([("one", linear(one_hot())), ("two", linear(ordinal()))], voting="soft"),
    "stacking": lambda: StackingClassifier([("one", linear(one_hot()))], cv=2),
    "calibrated": lambda: CalibratedClassifierCV(linear(one_hot()), cv=2),
    "search": lambda: GridSearchCV(linear(one_hot()), {"logisticregression__C": [0.5, 1.0]}, cv=2),
}
EXAMPLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "all": lambda X: X,
    "no-gap": lambda X: X.dropna(),
    "csv": lambda X: pd.read_csv(io.StringIO(X.to_csv(index=False))),
    "category": lambda X: X.astype({"coupon": "category"}),
    "string": lambda X: X.astype({"coupon": "string"}),
}
VALUES = {"text": ("a", "b"), "booleans": (True, False), "integers": (1, 2), "numbers": (1.5, 2.5)}
QUICK = {("text", "None", "no-gap"), ("booleans", "None", "no-gap")}
QUICK_SEARCHES = {("text", "None", "csv"), ("text", "NaN", "string")}  # what is stored of a search is compared with it


def cases() -> Iterator[Any]:
    """Go through all that fit together; the first tier takes what once went wrong."""
    for model in MODELS:
        for values in VALUES:
            for missing in ("None", "NaN"):
                for example in EXAMPLES if values == "text" else ("all", "no-gap"):
                    quick = (values, missing, example) in QUICK and (values == "text" or model == "one-hot")
                    quick = quick or (model == "search" and (values, missing, example) in QUICK_SEARCHES)
                    case = (model, values, missing, example)
                    yield pytest.param(*case, marks=() if quick else (pytest.mark.sweep,), id="-".join(case))


@pytest.mark.parametrize(("name", "values", "missing", "example"), list(cases()))
def test_a_null_is_answered_as_the_missing_value_of_the_training_data(
    shelf: Shelf, name: str, values: str, missing: str, example: str
) -> None:
    """For each encoder and imputer, wherever it sits, in each form, whatever the example has; without a warning."""
    X, y = coupons(VALUES[values], {"None": None, "NaN": np.nan}[missing])
    try:
        model = MODELS[name]().fit(X, y)
        expected = model.predict_proba(X.iloc[[2, 0, 3]])
        model.predict(EXAMPLES[example](X))
    except (ValueError, TypeError) as exc:
        pytest.skip(f"scikit-learn itself refuses this: {exc}")
    version = shelf.register(model, EXAMPLES[example](X))

    rows: Columns = {"coupon": [None, VALUES[values][0], None], "n": [2.0, 0.0, 3.0]}
    answer = shelf.answers(version, rows, output="predict_proba")
    alone = shelf.answers(version, {name: column[:1] for name, column in rows.items()}, output="predict_proba")

    np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(alone["predictions"], expected[:1], rtol=1e-12, atol=1e-12)
    assert "warnings" not in answer


@pytest.mark.parametrize("example", ["all", "no-gap", "csv"])
def test_who_has_no_coupon_buys(shelf: Shelf, example: str) -> None:
    """The encoder learned None, so a null is None, also where the example has none or another one; so is the plan's."""
    X = pd.DataFrame({"coupon": pd.Series(["a", "b", None, None] * 10, dtype=object), "n": range(40)})
    model = linear(one_hot()).fit(X, np.where(X["coupon"].isna(), "bought", "left"))
    version = shelf.register(model, EXAMPLES[example](X))

    columns: Columns = {"coupon": [None, "a"], "n": [2, 4]}
    assert shelf.answers(version, columns)["predictions"] == ["bought", "left"]
    assert shelf.answers(version, {"coupon": [None], "n": [2]})["predictions"] == ["bought"]
    plan = compile_plan(model, version.signature)
    check_plan(plan, Runner(model, version.signature, 0, version.golden), version.golden)
    assert plan.predict(columns, "predict") == ["bought", "left"]


# --- what no encoder knows -------------------------------------------------------------------------------


@pytest.mark.parametrize("values", VALUES)
def test_a_null_that_no_encoder_knows_is_warned_of_as_an_unknown_value(shelf: Shelf, values: str) -> None:
    """In each form, in one row and in many: the answer is that for an unknown value, and says so."""
    first, second = VALUES[values]
    X = pd.DataFrame({"coupon": [first, second] * 10, "n": np.arange(20.0)})
    version = shelf.register(linear(one_hot()).fit(X, X["coupon"] == first), X)

    many = shelf.answers(version, {"coupon": [first, None, None], "n": [1.0, 2.0, 3.0]})
    lone = shelf.answers(version, {"coupon": [None], "n": [1.0]})
    known = shelf.answers(version, {"coupon": [second], "n": [1.0]})

    says = "are not among the categories the model was trained on (first in row {}); it answers as for an unknown one"
    assert many["warnings"] == ["column coupon: 2 of 3 values " + says.format(1)]
    assert lone["warnings"] == ["column coupon: 1 of 1 values " + says.format(0)]
    assert "warnings" not in known


def test_a_number_that_no_encoder_knows_is_warned_of_in_each_form(shelf: Shelf) -> None:
    """Categories need not be text, and no form passes over them."""
    X = pd.DataFrame({"code": [1, 2] * 10, "size": [0.5, 1.5] * 10})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(X, X["code"] == 1)
    version = shelf.register(model, X)

    answer = shelf.answers(version, {"code": [1, 7], "size": [0.25, 0.5]})

    assert [warning.partition(" are")[0] for warning in answer["warnings"]] == [
        "column code: 1 of 2 values",
        "column size: 1 of 2 values",
    ]


# --- CSV of one column -----------------------------------------------------------------------------------


def alone(values: list[Any]) -> tuple[Any, pd.DataFrame]:
    """Return a model of one column that knows all of these values and tells the first, and its rows."""
    X = pd.DataFrame({"coupon": pd.Series(values * 10, dtype=object)})
    first = X["coupon"].isna() if pd.isna(values[0]) else X["coupon"] == values[0]
    return make_pipeline(one_hot(), LogisticRegression()).fit(X, first), X


@pytest.mark.parametrize(
    "values",
    [[None, "a", "b"], [np.nan, "a", "b"], [None, True, False], [None, 1, 2], [np.nan, 1.5, 2.5]],
    ids=["None", "NaN", "booleans", "integers", "numbers"],
)
def test_csv_of_one_column_is_answered_as_the_same_frame_in_json(shelf: Shelf, values: list[Any]) -> None:
    """Pandas writes a gap as "" where it would else write an empty line; both are a missing value."""
    version = shelf.register(*alone(values))
    columns = {"coupon": [None, values[1], None, values[2], None]}
    expected = shelf.answers(version, columns)

    assert expected["predictions"] == [True, False, True, False, True]
    csv = in_csv(columns)
    assert csv.count(b'""') == 3
    for written in (csv, csv.replace(b'""', b""), csv.replace(b"\n", b"\r\n"), csv.rstrip(b"\n")):
        answer = shelf.api.client.post(
            "/predict", params={"model": version.model}, content=written, headers={"Content-Type": "text/csv"}
        )
        assert answer.json() == expected


def test_csv_of_one_column_that_knows_empty_text_and_a_gap_is_refused(shelf: Shelf) -> None:
    """Nothing tells which of them "" is; an empty line is a missing value, and other forms tell them apart."""
    version = shelf.register(*alone([None, "", "b"]))
    columns: Columns = {"coupon": ["b", "", None]}

    problem = problem_of(shelf.ask(version, "csv", columns), 422, "input")
    assert [(error["row"], error["column"]) for error in problem["errors"]] == [(1, "coupon"), (2, "coupon")]
    assert problem["errors"][0]["detail"].endswith("send JSON, Arrow or Parquet")
    for form in ("rows", "columns", "arrow", "parquet"):
        assert shelf.ask(version, form, columns).json()["predictions"] == [False, False, True]
    answer = shelf.api.client.post(
        "/predict", params={"model": version.model}, content=b"coupon\nb\n\n", headers={"Content-Type": "text/csv"}
    )
    assert answer.json()["predictions"] == [False, True]


def test_csv_of_one_column_without_gaps_has_empty_text(shelf: Shelf) -> None:
    """Where nothing may be missing, "" is what it says: text without a letter; and a number is missing, not text."""
    words = pd.DataFrame({"text": ["good", "bad"] * 10})
    reader = make_pipeline(make_column_transformer((CountVectorizer(), "text")), LogisticRegression())
    texts = shelf.register(reader.fit(words, words["text"] == "good"), words)
    numbers = pd.DataFrame({"size": [1.0, 2.0] * 10})
    sizes = shelf.register(LogisticRegression().fit(numbers, numbers["size"] > 1), numbers)

    assert len(shelf.answers(texts, {"text": ["good", ""]})["predictions"]) == 2
    problem = problem_of(shelf.ask(sizes, "csv", {"size": [1.0, None]}), 422, "input")
    assert problem["errors"][0]["detail"] == "is null, and the model does not take missing values here"


def test_csv_of_several_columns_tells_empty_text_from_a_gap_or_refuses(shelf: Shelf) -> None:
    """Nothing between the commas is missing, "" is empty text; pandas writes nothing for both, which is refused."""
    X = pd.DataFrame({"coupon": pd.Series([None, "", "b"] * 10, dtype=object), "n": np.arange(30.0)})
    version = shelf.register(linear(one_hot()).fit(X, X["coupon"].isna()), X)

    def post(body: bytes) -> Any:
        return shelf.api.client.post(
            "/predict", params={"model": version.model}, content=body, headers={"Content-Type": "text/csv"}
        )

    assert post(b'coupon,n\n,1\n"",2\nb,3\n').json()["predictions"] == [True, False, False]
    assert post(b'coupon,n\n"",2\nb,3\n').json()["predictions"] == [False, False]
    problem = problem_of(post(in_csv({"coupon": [None, "", "b"], "n": [1, 2, 3]})), 422, "input")
    assert [error["row"] for error in problem["errors"]] == [0, 1]
    assert problem["errors"][0]["detail"].endswith("send JSON, Arrow or Parquet")
