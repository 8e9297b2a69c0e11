"""What a model returns is held to its signature: it is answered whole, or it is a problem, in every form and on every path."""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from bodega_api.http.media.kinds import Medium
from bodega_db.store import ModelStore
from bodega_model.errors import ExampleError
from bodega_model.signature.infer import learn
from conftest import Api
from gallery import problem_of
from misdeeds import FAULTS_OF_THE_MODEL, MISDEEDS, NOT_FINITE, Misbehaving
from outages import wait_for
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import StandardScaler

EXAMPLE = pd.DataFrame({"x": [1.0, 12.0, 5.0, 30.0, 3.0], "y": [1.0, 2.0, 3.0, 4.0, 5.0]})
FORMATS = ["skops", "joblib"]


@pytest.fixture(scope="module")
def misbehaving(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API with a model that misbehaves when it is asked to, warm; whoever uses it changes nothing."""
    from contextlib import closing

    from bodega_db.settings import Settings
    from conftest import create_database, running_api

    settings = Settings.read(
        database_url=create_database(postgres_url, "misdeeds", template),
        models=tmp_path_factory.mktemp("misdeeds") / "models",
        formats=FORMATS,
    )
    with closing(ModelStore.connect(settings)) as store:
        store.register(Misbehaving(), "misbehaving", example=EXAMPLE, format="joblib")
    with running_api(settings) as api:
        for _ in range(3):
            ask(api, 1.0).raise_for_status()
            wait_for(lambda: api.services.routes.age_seconds is not None)
        yield api


def ask(api: Api, *values: float, accept: str = "*/*", output: str = "predict") -> Any:
    """Ask the model, with the values that tell it what to do, by rows in JSON."""
    rows = [{"x": value, "y": 0.0} for value in values]
    return api.client.post("/predict", params={"output": output}, json={"rows": rows}, headers={"Accept": accept})


def bodies(values: list[float]) -> dict[str, bytes]:
    """Write rows in every form that a body has, by its media type; columns are JSON's second one."""
    frame = pd.DataFrame({"x": values, "y": 0.0})
    arrow, parquet = io.BytesIO(), io.BytesIO()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    frame.to_parquet(parquet, index=False)
    return {
        "application/json": orjson.dumps({"columns": frame.to_dict("list")}),
        Medium.CSV: frame.to_csv(index=False).encode(),
        Medium.ARROW: arrow.getvalue(),
        Medium.PARQUET: parquet.getvalue(),
    }


def expected(misdeed: float) -> tuple[int, str]:
    """Return status and type of the problem that a misdeed is."""
    slug = "output-not-finite" if misdeed in NOT_FINITE else "prediction-failed"
    return 500 if misdeed in FAULTS_OF_THE_MODEL else 422, slug


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_what_breaks_the_signature_is_a_problem_in_every_form(misdeed: float, misbehaving: Api) -> None:
    """Rows, columns and tables, answers in JSON, CSV and Arrow: never a cut answer, and never an unforeseen error."""
    values = [1.0, misdeed, 20.0]
    answers = [ask(misbehaving, *values, accept=accept) for accept in ("*/*", "text/csv", Medium.ARROW)]
    for medium, body in bodies(values).items():
        answers.append(misbehaving.client.post("/predict", content=body, headers={"Content-Type": medium}))

    for answer in answers:
        problem = problem_of(answer, *expected(misdeed))
        assert "predict" in problem["detail"]
        assert problem["hint"]
    assert ask(misbehaving, 1.0, 20.0).json()["predictions"] == ["low", "high"]


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_another_output_is_held_to_its_own_kind(misdeed: float, misbehaving: Api) -> None:
    """Where numbers are due, an integer is one, and the other misdeeds are problems."""
    answer = ask(misbehaving, misdeed, 20.0, output="score_samples")

    if misdeed in (113.0, 118.0):
        assert answer.json()["predictions"] == ([7, 20.0] if misdeed == 113.0 else [1.0, 1.0])
    else:
        problem = problem_of(answer, answer.status_code, expected(misdeed)[1])
        assert problem["status"] in (422, 500)


@pytest.mark.parametrize("count", [1, 2, 128, 129, 20_000])
def test_a_sound_answer_is_whole_however_long_it_is(count: int, misbehaving: Api) -> None:
    """One row, the most of the fast path, one more, and a table of several batches are answered as in memory."""
    values = [float(place % 20) for place in range(count)]
    body = bodies(values)
    for medium in (Medium.CSV, Medium.ARROW, Medium.PARQUET):
        answer = misbehaving.client.post("/predict", content=body[medium], headers={"Content-Type": medium})

        assert answer.json()["predictions"] == Misbehaving().predict(pd.DataFrame({"x": values}))
    if count < 10_000:
        assert ask(misbehaving, *values).json()["predictions"] == Misbehaving().predict(pd.DataFrame({"x": values}))


class Answering:
    """A model that answers what it is given, or what a function makes of the rows."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.answer = answer

    def predict(self, X: Any) -> Any:
        """Answer."""
        return self.answer(X)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (lambda X: [1.0], "1 answers for 5 rows"),
        (lambda X: [*X["x"], 1.0], "6 answers for 5 rows"),
        (lambda X: "abc", "is a str, not an array"),
        (lambda X: None, "is a NoneType, not an array"),
        (lambda X: X["x"].mean(), "a single value"),
        (lambda X: [None] * len(X), "no answer"),
        (lambda X: ["\ud800"] * len(X), "surrogate"),
        (lambda X: [10**400] * len(X), "64 bits"),
        (lambda X: [[1], [1, 2], [1], [1], [1]], "unlike shapes"),
        (lambda X: X.to_dict("list"), "is a dict, not an array"),
        (lambda X: np.array(X["x"], dtype="datetime64[s]"), "datetime64"),
        (lambda X: X["x"].where(X["x"] > 2).convert_dtypes(), "no answer"),
        (lambda X: X["x"].gt(2).map({True: "high"}), "no answer"),
    ],
)
def test_a_model_that_does_not_answer_its_own_example_is_refused(
    answer: Callable[[Any], Any], word: str, store: ModelStore
) -> None:
    """What no answer could carry gets no number, and the reason is named."""
    with pytest.raises(ExampleError, match=word):
        store.register(Answering(answer), "refused", example=EXAMPLE)

    assert store.versions() == []


LARGE = 2**60 + 1
WHOLE: dict[str, tuple[Callable[[int], Any], list[Any]]] = {
    "Int64": (lambda n: pd.Series(range(n), dtype="Int64"), [0, 1]),
    "Float64": (lambda n: pd.Series([0.5] * n, dtype="Float64"), [0.5, 0.5]),
    "boolean": (lambda n: pd.Series([True] * n, dtype="boolean"), [True, True]),
    "string": (lambda n: pd.Series(["a"] * n, dtype="string"), ["a", "a"]),
    "category": (lambda n: pd.Categorical(["a"] * n), ["a", "a"]),
    "index": (lambda n: pd.Index(range(n), dtype="UInt16"), [0, 1]),
    "categories-beside-fractions": (
        lambda n: pd.DataFrame({"a": pd.Categorical([LARGE] * n), "b": 0.5}),
        [[LARGE, 0.5]] * 2,
    ),
    "arrow-beside-fractions": (
        lambda n: pd.DataFrame({"a": pd.Series([LARGE] * n, dtype="int64[pyarrow]"), "b": 0.5}),
        [[LARGE, 0.5]] * 2,
    ),
    "sparse-beside-fractions": (
        lambda n: pd.DataFrame({"a": pd.arrays.SparseArray([LARGE] * n), "b": 0.5}),
        [[LARGE, 0.5]] * 2,
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_dtype_of_pandas_without_a_gap_is_answered_exactly(name: str) -> None:
    """Nullable ones, categories and those of Arrow, and integers beside fractions, to the last digit."""
    answer, expected = WHOLE[name]

    golden = learn(Answering(lambda X: answer(len(X))), EXAMPLE)[1]

    assert golden.outputs["predict"][:2] == expected


def test_a_row_of_several_kinds_is_held_place_by_place(store: ModelStore, api: Api) -> None:
    """A transformer that passes text on beside numbers: JSON, CSV and Arrow have a column of each kind."""
    frame = pd.DataFrame({"x": [1.5, 2.5, 3.0], "word": ["a", "b", "c"], "flag": [True, False, True]})
    model = ColumnTransformer([("x", StandardScaler(), ["x"])], remainder="passthrough").fit(frame)
    version = store.register(model, "mixed", example=frame)
    columns = {"columns": frame.to_dict("list")}

    said = api.client.post("/predict", json=columns).json()["predictions"]
    arrow = api.client.post("/predict", json=columns, headers={"Accept": Medium.ARROW})
    text = api.client.post("/predict", json=columns, headers={"Accept": "text/csv"}).text

    assert said == model.transform(frame).tolist() == version.golden.outputs["transform"]
    assert [list(row.values()) for row in pa.ipc.open_stream(arrow.content).read_all().to_pylist()] == said
    header, first, *_ = csv.reader(io.StringIO(text))
    assert header == ["x__x", "remainder__word", "remainder__flag"]
    assert [float(first[0]), *first[1:]] == [said[0][0], "a", "true"]


def test_a_list_of_rows_is_read_by_rows(misbehaving: Api) -> None:
    """A model that answers Python's lists, one for each row: they are not taken for one for each target."""
    output = misbehaving.client.get("/models/misbehaving/versions/1").json()["signature"]["outputs"]["predict_proba"]

    answer = ask(misbehaving, 1.0, 20.0, 3.0, output="predict_proba").json()

    assert output["shape"] == [2]
    assert answer["predictions"] == [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    assert answer["classes"] == ["high", "low"]
