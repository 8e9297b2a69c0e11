"""Models that look at other rows: the rows of one request are answered together, up to a limit that is what it says."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from bodega_api.http.media.kinds import Medium
from bodega_api.serving import engine
from bodega_db.store import ModelStore
from bodega_model.signature.types import MOST_TOGETHER
from conftest import Api
from gallery import problem_of, send
from pyarrow import parquet
from rows_beside import Beside, ranks, scaled
from sklearn.linear_model import LinearRegression

FORMATS = {"formats": ["skops", "joblib"]}
random = np.random.default_rng(1)


def frame_of(rows: int, columns: int) -> pd.DataFrame:
    """Make numbers."""
    return pd.DataFrame(random.normal(size=(rows, columns)), columns=[f"c{n}" for n in range(columns)])


def in_each_form(frame: pd.DataFrame) -> dict[str, bytes]:
    """Write a frame in each form of a table, of which Arrow and Parquet have many small parts."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    arrow, file = io.BytesIO(), io.BytesIO()
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)
    parquet.write_table(table, file, row_group_size=900)
    return {
        Medium.CSV: frame.to_csv(index=False).encode(),
        Medium.ARROW: arrow.getvalue(),
        Medium.PARQUET: file.getvalue(),
    }


@pytest.fixture
def beside(connect: Callable[..., ModelStore]) -> Callable[..., pd.DataFrame]:
    """Register a model that looks at other rows, with so many columns, and return its example."""

    def register(look: Any, columns: int) -> pd.DataFrame:
        example = frame_of(30, columns)
        version = connect(**FORMATS).register(Beside(look), "beside", example=example, format="joblib")
        assert version.signature.row_wise is False
        return example

    return register


def test_a_table_of_several_batches_is_one_question(
    beside: Callable[..., pd.DataFrame], start_api: Callable[..., Api]
) -> None:
    """5 000 rows of 20 columns take more than a block of CSV, and the answer is the one in memory, in every form."""
    beside(ranks, 20)
    api, frame = start_api(**FORMATS), frame_of(5_000, 20)
    assert len(frame.to_csv()) > 1024**2

    for medium, body in in_each_form(frame).items():
        answer = send(api, body, medium)

        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"] == ranks(frame).tolist()
    assert api.client.get("/models/beside/versions/1").json()["signature"]["row_wise"] is False


@pytest.mark.parametrize("medium", [Medium.CSV, Medium.ARROW, Medium.PARQUET])
def test_the_limit_is_the_one_that_is_named(
    medium: Medium, beside: Callable[..., pd.DataFrame], start_api: Callable[..., Api]
) -> None:
    """As many rows as the refusal names are answered; one more is refused, for the reason that the signature says."""
    beside(scaled, 2)
    api, frame = start_api(**FORMATS), frame_of(MOST_TOGETHER + 1, 2)

    answered = send(api, in_each_form(frame[:-1])[medium], medium)
    refused = problem_of(send(api, in_each_form(frame)[medium], medium), 413, "too-many-rows")

    assert answered.json()["predictions"] == scaled(frame[:-1]).tolist()
    assert refused["detail"] == (
        "The answers of the model depend on all rows that are asked together, so at most 16384 rows of a table are answered"
    )
    assert "in parts" in refused["hint"]


def test_a_fault_in_a_later_batch_is_told_by_its_row(
    beside: Callable[..., pd.DataFrame], start_api: Callable[..., Api]
) -> None:
    """The rows are counted from the first of the table."""
    beside(ranks, 20)
    frame = frame_of(5_000, 20).astype(object)
    frame.iloc[4_321, 3] = "no number"

    refused = problem_of(send(start_api(**FORMATS), frame.to_csv(index=False).encode(), "text/csv"), 422, "input")

    assert refused["errors"][0] == {"row": 4321, "column": "c3", "detail": "is text, not a number"}


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No comparison of plan and model, and of rows alone and together, ends in time: the machine is busy."""
    monkeypatch.setattr(engine, "PLAN_SECONDS", 0.0)


@pytest.mark.usefixtures("in_a_hurry")
def test_a_comparison_that_did_not_end_says_nothing_of_the_model(store: ModelStore, api: Api) -> None:
    """A wide model is answered in every form by what its signature says, and its rows may be taken apart."""
    frame = frame_of(60, 2_000)
    model = LinearRegression().fit(frame, frame["c0"])
    version = store.register(model, "wide", example=frame.head(5))
    assert version.signature.row_wise is True

    for medium, body in in_each_form(frame).items():
        answer = send(api, body, medium)

        assert answer.status_code == 200, answer.text
        assert np.allclose(answer.json()["predictions"], model.predict(frame), rtol=1e-12)
    assert "30 s" not in api.client.get("/models/wide/versions/1").json()["serving"]["why_no_plan"]


@pytest.mark.usefixtures("in_a_hurry")
def test_what_nobody_knows_is_said_to_be_unknown(
    store: ModelStore, api: Api, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A version of before, whose comparison did not end: up to the limit its rows stay together, beyond it says why."""
    frame = frame_of(MOST_TOGETHER + 1, 2)
    store.register(LinearRegression().fit(frame, frame["c0"]), "old", example=frame.head(9))
    sql_connection.execute("ALTER TABLE version DISABLE TRIGGER version_is_immutable")
    sql_connection.execute("UPDATE version SET signature = signature - 'row_wise'")

    answered = send(api, in_each_form(frame[:-1])[Medium.CSV], Medium.CSV)
    refused = problem_of(send(api, in_each_form(frame)[Medium.CSV], Medium.CSV), 413, "too-many-rows")

    assert answered.status_code == 200
    assert refused["detail"].startswith("It is not known whether the answers of the model depend on the rows")
