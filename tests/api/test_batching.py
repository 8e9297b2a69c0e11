"""Batches: requests that wait for a model are computed together, each gets its own answer, and not too many may wait."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import numpy as np
import pandas as pd
import pytest
from bodega_api.http.media.reading import ROWS_AT_ONCE
from bodega_api.serving.batcher import Waiting, _take
from bodega_db.store import ModelStore
from conftest import Api
from fitting import fit_tree
from gallery import problem_of, send
from misdeeds import Misbehaving
from outages import wait_for
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, scale

CROWD = 16
ROW = {"bill_length_mm": 40.0, "bill_depth_mm": 18.0, "flipper_length_mm": 190.0, "body_mass_g": 3700.0}


def ask(api: Api, *rows: dict[str, Any], output: str = "predict") -> httpx2.Response:
    """Ask the only model there is."""
    return api.client.post("/predict", params={"output": output}, json={"rows": list(rows)})


def warm(api: Api) -> Api:
    """Have the API load the only model, and know that it is chosen."""
    for _ in range(2):
        ask(api, ROW).raise_for_status()
    wait_for(lambda: api.services.routes.age_seconds is not None)
    ask(api, ROW).raise_for_status()
    return api


def fill(store: ModelStore) -> Pipeline:
    """Register what `neighbours` stands for."""
    fitted = fit_tree()
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), KNeighborsClassifier())
    model.fit(fitted.X, fitted.model.predict(fitted.X))
    store.register(model, "neighbours", example=fitted.X)
    return model


@pytest.fixture
def neighbours(furnished: Any) -> Pipeline:
    """A model without a plan, which the catalog has."""
    made: Pipeline = furnished.made
    return made


FURNISHED = {"neighbours": fill}


@contextmanager
def held_up(api: Api, output: str = "predict", row: dict[str, Any] = ROW) -> Iterator[None]:
    """Hold up the first call of the model until the end of the block; the calls behind it are as ever."""
    (kept,) = api.services.loaded._kept.values()
    engine, begun, go_on = kept.model, threading.Event(), threading.Event()
    predict = engine.predict

    def wait_first(*arguments: Any) -> Any:
        engine.predict = predict
        begun.set()
        assert go_on.wait(30)
        return predict(*arguments)

    engine.predict = wait_first
    with ThreadPoolExecutor(1) as one:
        first = one.submit(ask, api, row, output=output)
        assert begun.wait(30)
        try:
            yield
        finally:
            go_on.set()
        assert first.result().status_code == 200


def variant(number: int) -> dict[str, Any]:
    """Return a penguin that is unlike all others."""
    return ROW | {"bill_length_mm": 32.0 + 0.37 * number, "body_mass_g": 2700.0 + 31.0 * number}


def test_those_who_wait_are_computed_together(neighbours: Pipeline, api: Api) -> None:
    """While the model is busy 80 requests gather; one call answers them, each with its own."""
    warm(api)
    tally = api.services.tallies.of("neighbours", 1)

    def one(number: int) -> None:
        rows = [variant(number), variant(number + 1)][: 1 + number % 3 % 2]
        answers = ask(api, *rows, output="predict_proba").raise_for_status().json()["predictions"]
        assert answers == neighbours.predict_proba(pd.DataFrame(rows)).tolist()

    with ThreadPoolExecutor(80) as crowd, held_up(api, "predict_proba"):
        before = tally.native
        waiting = [crowd.submit(one, number) for number in range(80)]
        wait_for(lambda: api.services.calls.waiting == 81)
    for each in waiting:
        each.result()

    assert tally.native - before == 2  # the one that was held up, and all others
    told = api.client.get("/metrics").text
    assert 'bodega_batch_rows_bucket{le="256.0",model="neighbours",version="1"}' in told
    assert f'bodega_batch_rows_count{{model="neighbours",version="1"}} {float(tally.native)}' in told
    assert tally.rows.sum > 100


def test_a_row_that_the_model_refuses_fails_alone(store: ModelStore, api: Api) -> None:
    """The call of all who wait fails because of one of them; it alone is told so, and the others are answered."""
    X = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]})
    model = make_pipeline(FunctionTransformer(np.exp).set_output(transform="pandas"), KNeighborsRegressor(2)).fit(
        X, X["x"] * 2
    )
    store.register(model, "powers", example=X)
    for _ in range(3):
        ask(api, {"x": 1.0}).raise_for_status()
    native = api.services.tallies.total("native")

    with ThreadPoolExecutor(CROWD) as crowd, held_up(api, row={"x": 1.0}):
        waiting = [crowd.submit(ask, api, {"x": 1e6 if number == 5 else number / 4}) for number in range(CROWD)]
        wait_for(lambda: api.services.calls.waiting == CROWD + 1)

    problem_of(waiting[5].result(), 422, "prediction-failed")
    right = {number: model.predict(pd.DataFrame({"x": [number / 4]})).tolist() for number in range(CROWD)}
    others = {number: each.result().json()["predictions"] for number, each in enumerate(waiting) if number != 5}
    assert others == {number: right[number] for number in others}
    # The one that was held up, and each of the batch by itself but the one that is refused.
    assert api.services.tallies.total("native") - native == CROWD


@pytest.mark.parametrize(("misdeed", "status"), [(101.0, 500), (102.0, 500), (112.0, 500), (201.0, 422)])
def test_an_answer_that_breaks_the_signature_fails_alone(
    misdeed: float, status: int, connect: Callable[..., ModelStore], start_api: Callable[..., Api]
) -> None:
    """One row makes the model answer a row too many, or what is none; the rows beside are not shifted by it."""
    formats = {"formats": ["skops", "joblib"]}
    example = pd.DataFrame({"x": [1.0, 12.0, 5.0, 30.0], "y": 0.0})
    connect(**formats).register(Misbehaving(), "misbehaving", example=example, format="joblib")
    api = start_api(**formats)
    for _ in range(3):
        ask(api, {"x": 1.0, "y": 0.0}).raise_for_status()
        wait_for(lambda: api.services.routes.age_seconds is not None)

    with ThreadPoolExecutor(CROWD) as crowd, held_up(api, row={"x": 1.0, "y": 0.0}):
        rows = [{"x": misdeed if number == 5 else number * 1.5, "y": 0.0} for number in range(CROWD)]
        waiting = [crowd.submit(ask, api, row) for row in rows]
        wait_for(lambda: api.services.calls.waiting == CROWD + 1)

    problem_of(waiting[5].result(), status, "prediction-failed")
    found = [each.result().json()["predictions"] for number, each in enumerate(waiting) if number != 5]
    assert found == [["high" if row["x"] > 10 else "low"] for number, row in enumerate(rows) if number != 5]


def test_what_is_wrong_fails_alone(neighbours: Pipeline, api: Api) -> None:
    """Of those who wait together one cannot be answered; it alone is told why, by the model."""
    warm(api)
    wrong = ROW | {"bill_depth_mm": None}  # the signature allows no gap, so it never is in a batch
    with ThreadPoolExecutor(CROWD) as crowd, held_up(api):
        waiting = [crowd.submit(ask, api, wrong if number == 5 else variant(number)) for number in range(CROWD)]
        wait_for(lambda: api.services.calls.waiting == CROWD)

    assert [each.result().status_code for each in waiting] == [422 if n == 5 else 200 for n in range(CROWD)]
    problem_of(waiting[5].result(), 422, "input")


def test_whoever_comes_when_too_many_wait_is_sent_away(neighbours: Pipeline, start_api: Callable[..., Api]) -> None:
    """Beyond the limit a request is refused at once, with the time to come again; those who wait are answered."""
    api = warm(start_api(max_waiting=CROWD))
    with ThreadPoolExecutor(CROWD) as crowd, held_up(api):
        waiting = [crowd.submit(ask, api, ROW) for _ in range(CROWD - 1)]
        wait_for(lambda: api.services.calls.waiting == CROWD)
        refused = ask(api, ROW)
        # The long way, for a body that the fast one does not read.
        too = ask(api, ROW | {"bill_length_mm": 2.0**60})

    for response in (refused, too):
        problem = problem_of(response, 503, "model-busy")
        assert f"{CROWD} requests wait for neighbours@1" in problem["detail"]
        assert response.headers["Retry-After"]
    assert [each.result().status_code for each in waiting] == [200] * (CROWD - 1)
    assert ask(api, ROW).status_code == 200


def test_a_model_that_looks_at_the_rows_beside_is_asked_for_each_request(
    connect: Callable[..., ModelStore], start_api: Callable[..., Api]
) -> None:
    """Its answers for the golden rows are others alone than together, so no request may share a call with another."""
    trusted = {"trusted_types": ["sklearn.preprocessing._data.scale"]}
    store, api = connect(**trusted), start_api(**trusted)
    fitted = fit_tree()
    species = fitted.model.predict(fitted.X)
    model = make_pipeline(FunctionTransformer(scale), LogisticRegression()).fit(fitted.X, species)
    store.register(model, "scaled", example=fitted.X)
    warm(api)
    before = api.services.tallies.total("native")

    with ThreadPoolExecutor(CROWD) as crowd:
        answers = list(crowd.map(lambda number: ask(api, variant(number)).json()["predictions"], range(CROWD)))

    assert api.services.tallies.total("native") - before == CROWD
    assert answers == [model.predict(fitted.X[:1]).tolist()] * CROWD  # each is the mean of its own request
    many = "\n".join([",".join(ROW), *[",".join(map(str, ROW.values()))] * (ROWS_AT_ONCE + 1)])
    refused = send(api, many.encode(), "text/csv")
    problem_of(refused, 413, "too-many-rows")  # nor may the rows of one be taken apart
    serving = api.client.get("/models/scaled/versions/1").json()["serving"]
    assert (serving["plan"], serving["batched"]) == (False, False)


def test_a_model_of_chance_is_not_batched(store: ModelStore, api: Api) -> None:
    """Scikit-learn's own, with a quick plan: what it answers for a row depends on how many are before it."""
    fitted = fit_tree()
    model = DummyClassifier(strategy="uniform", random_state=1)
    store.register(model.fit(fitted.X, fitted.model.predict(fitted.X)), "dummy", example=fitted.X)
    warm(api)

    with ThreadPoolExecutor(CROWD) as crowd:
        answers = list(crowd.map(lambda _: ask(api, ROW).json()["predictions"], range(CROWD)))

    assert answers == [model.predict(fitted.X[:1]).tolist()] * CROWD
    assert api.client.get("/models/dummy/versions/1").json()["serving"] == {"plan": True, "batched": False}


def test_a_version_says_how_it_is_asked(neighbours: Pipeline, api: Api) -> None:
    """Without a plan, and together with others."""
    warm(api)

    serving = api.client.get("/models/neighbours/versions/1").json()["serving"]

    assert serving == {"plan": False, "batched": True, "why_no_plan": "StandardScaler answers with DataFrames"}


@pytest.mark.parametrize(
    ("rows", "most", "sizes"),
    [([1, 1, 1], 10, [3]), ([1, 1, 1], 2, [2, 1]), ([5, 1], 2, [1, 1]), ([2, 2, 1, 3], 4, [2, 2]), ([1], 1, [1])],
)
def test_batches_are_bounded_in_rows_and_never_empty(rows: list[int], most: int, sizes: list[int]) -> None:
    """The first of those who wait go first; one that has more rows than a batch may have goes by itself."""
    waiting: list[Any] = [Waiting({}, count, None) for count in rows]  # type: ignore[arg-type]
    batches = []
    while waiting:
        batches.append(_take(waiting, most))

    assert [len(batch) for batch in batches] == sizes
    assert [each.rows for batch in batches for each in batch] == rows
