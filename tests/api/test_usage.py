"""Which outputs were asked is noted in the catalog, and a promotion knows, whoever makes it."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
from bodega_db.errors import IncompatibleSignatureError
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from conftest import Api
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

pytestmark = pytest.mark.filterwarnings("ignore")
SOON = 10.0
ROW = {"rows": [{"a": 0.5, "b": -0.5}]}


def fill(store: ModelStore) -> None:
    """Register what `swap` stands for."""
    random = np.random.default_rng(3)
    X = pd.DataFrame(random.normal(size=(60, 2)), columns=["a", "b"])
    y = (X["a"] > 0).to_numpy().astype(int)
    for model in (LogisticRegression(), RandomForestClassifier(5, random_state=0), SVC()):
        store.register(model.fit(X, y), "swap", example=X)
    store.promote("swap@1")


@pytest.fixture
def swap(store: ModelStore) -> ModelStore:
    """A logistic regression in production, then a forest and an SVC."""
    return store


FURNISHED = {"swap": fill}


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


BODIES: dict[str, dict[str, Any]] = {
    "a row, the fast way": {"json": ROW},
    "columns": {"json": {"columns": {"a": [0.5, 1.0], "b": [0.0, 1.0]}}},
    "many rows": {"json": {"rows": ROW["rows"] * 400}},
    "CSV": {"content": b"a,b\n1,2\n", "headers": {"Content-Type": "text/csv"}},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_promotion_from_a_notebook_knows_what_was_asked_over_http(body: Any, swap: ModelStore, api: Api) -> None:
    """On every path an answered output counts within a second or so: without it the SVC is refused."""
    assert swap.diff("swap@1", "swap@3").compatible
    api.client.post("/predict", params={"output": "predict_proba"}, **body).raise_for_status()

    wait_for(lambda: "predict_proba" in swap.diff("swap@1", "swap@3").relied)

    with pytest.raises(IncompatibleSignatureError, match="predict_proba was asked over HTTP"):
        swap.promote("swap@3")
    assert swap.promote("swap@2").number == 2


def test_what_was_refused_or_asked_by_default_binds_nobody(swap: ModelStore, api: Api) -> None:
    """A request that got no answer was not served, and the default output is relied on anyway."""
    assert api.client.post("/predict", params={"output": "predict_proba"}, json={"rows": [{}]}).status_code == 422
    assert api.client.post("/predict", params={"output": "transform"}, json=ROW).status_code == 422
    api.client.post("/predict", json=ROW).raise_for_status()
    api.services.usage.tell()

    assert swap.diff("swap@1", "swap@3").relied == {"predict": "answers where no output is named"}
    assert swap.promote("swap@3").number == 3


def test_a_promotion_over_http_knows_of_the_last_request(
    swap: ModelStore, start_api: Callable[..., Api], tmp_path: Path
) -> None:
    """It tells the catalog first what this copy answered a moment ago, and so does a comparison."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    api = start_api(admin_token_file=str(token))
    api.client.post("/predict", params={"output": "predict_proba"}, json=ROW).raise_for_status()

    told = api.client.get("/models/swap/diff", params={"before": 1, "after": 3}).json()
    refused = api.client.post(
        "/models/swap/versions/3/promote", headers={"Authorization": f"Bearer {token.read_text()}"}
    )

    assert (told["verdict"], told["compatible"]) == ("breaking", False)
    assert told["relied"]["predict_proba"].startswith("was asked over HTTP, last on ")
    assert {change["grade"] for change in told["signature"]} <= {"same", "note", "breaking"}
    assert refused.status_code == 409
    assert "output predict_proba: is gone" in refused.json()["detail"]


def test_what_the_catalog_did_not_take_is_told_later(
    swap: ModelStore, api: Api, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """Where the role may not write, answers go on, and what was asked is not forgotten."""
    usage = api.services.usage
    sql_connection.execute("ALTER TABLE asked_output RENAME TO elsewhere")
    api.client.post("/predict", params={"output": "predict_proba"}, json=ROW).raise_for_status()
    assert not usage.tell_if_possible()

    sql_connection.execute("ALTER TABLE elsewhere RENAME TO asked_output")
    assert usage.tell_if_possible()

    assert "predict_proba" in swap.diff("swap@1", "swap@3").relied


def test_a_thousand_requests_write_one_row(
    swap: ModelStore, api: Api, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """The catalog is written to when something new is asked, or an hour later."""
    for _ in range(50):
        api.client.post("/predict", params={"output": "predict_proba"}, json=ROW).raise_for_status()
        api.services.usage.tell()

    rows = sql_connection.execute("SELECT output, xmin::text FROM asked_output").fetchall()
    api.client.post("/predict", params={"output": "predict_proba"}, json=ROW).raise_for_status()
    api.services.usage.tell()

    assert [output for output, _ in rows] == ["predict_proba"]
    assert sql_connection.execute("SELECT output, xmin::text FROM asked_output").fetchall() == rows


def test_what_was_asked_last_is_told_at_the_end(
    swap: ModelStore, make_settings: Callable[..., Settings], start_api: Callable[..., Api]
) -> None:
    """A process that ends tells first what it answered."""
    from conftest import running_api

    with running_api(make_settings()) as api:
        api.client.post("/predict", params={"output": "decision_function"}, json=ROW).raise_for_status()

    assert "decision_function" in swap.diff("swap@1", "swap@3").relied
