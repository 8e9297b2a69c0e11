"""A Postgres that goes away at each step of a request to the API, or has no connection left for it.

What is answered is right, or a problem that says the catalog does not answer; warm predictions never fail; and what was
refused is answered as soon as Postgres is there again.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import httpx2
import psycopg
import pytest
from bodega_api.serving.version_router import choice_of
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from conftest import Api
from extent import ALL
from gallery import GENTOO, ask, enter, penguins, problem_of, weaker_penguins
from outages import (
    Meet,
    forwarder_before,
    lose_answer,
    lose_question,
    mortal_postgres,
    swallow_answer,
    swallow_question,
    wait_for,
)

BODY = {"rows": [GENTOO]}
STEPS = 6
OF_BODEGA = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bodega%'"
LONGEST_SECONDS = 10
pytestmark = pytest.mark.slow


@pytest.fixture
def two(store: ModelStore) -> ModelStore:
    """Two versions of one model."""
    enter(store, "penguins", penguins(), metrics={"accuracy": 0.99})
    enter(store, "penguins", weaker_penguins(), metrics={"accuracy": 0.7})
    return store


@contextmanager
def asking(api: Api) -> Iterator[list[tuple[int, int]]]:
    """Predict with the version that was chosen before, for as long as the block lasts."""
    answers: list[tuple[int, int]] = []
    done = threading.Event()

    def work() -> None:
        with httpx2.Client(base_url=api.url, timeout=60) as client:
            while not done.is_set():
                answer = client.post("/predict", params={"model": "penguins"}, json=BODY)
                answers.append((answer.status_code, answer.json().get("version", 0)))

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield answers
    finally:
        done.set()
        worker.join(60)


def is_remembered(api: Api) -> bool:
    """Tell whether predictions need the catalog no more: the choice is kept, and changes are heard of."""
    routes = api.services.routes
    return routes.hear() is not None and routes.recall(choice_of("penguins", None)) is not None


def listed(api: Api) -> httpx2.Response:
    """List the versions."""
    answer: httpx2.Response = api.client.get("/models", params={"model": "penguins"})
    return answer


def chosen(api: Api) -> httpx2.Response:
    """Predict with a version that the catalog must choose, because errors and versions that are not known are not kept."""
    answer: httpx2.Response = ask(api, BODY, model="penguins", version="99")
    return answer


REQUESTS: dict[Callable[[Api], httpx2.Response], int] = {listed: 200, chosen: 404}


@pytest.mark.parametrize(
    ("how", "every"), [(lose_answer, 1), (lose_question, 1), (swallow_answer, 4), (swallow_question, 5)]
)
def test_a_request_loses_the_catalog_at_each_step(
    how: Meet,
    every: int,
    two: ModelStore,
    database_url: str,
    start_api: Callable[..., Api],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is answered right or as a 503 in good time, warm predictions go on, and the next one is answered."""
    outcomes: Counter[int] = Counter()
    with forwarder_before(database_url) as forwarder:
        api = start_api(database_url=forwarder.url)
        wait_for(lambda: ask(api, BODY, model="penguins").status_code == 200 and is_remembered(api))
        with asking(api) as warm:
            for request, right in REQUESTS.items():
                for step in range(1, STEPS + 1, 1 if ALL else every):
                    forwarder.strike(step, how)
                    for _ in range(3):
                        answer = request(api)
                        assert answer.elapsed.total_seconds() < LONGEST_SECONDS
                        outcomes[answer.status_code] += 1
                        if answer.status_code != right:
                            problem_of(answer, 503, "catalog-unavailable")
                    wait_for(lambda request=request, right=right: request(api).status_code == right)
    with capsys.disabled():
        print(f"\n{how.__name__}: {dict(outcomes)}, {len(warm)} warm predictions meanwhile")
    assert set(warm) == {(200, 2)}
    assert set(outcomes) <= {200, 404, 503}


def test_without_a_free_connection_warm_predictions_go_on(
    make_settings: Callable[..., Settings], start_api: Callable[..., Api]
) -> None:
    """A Postgres that takes no further connection is a 503 to what needs it, and heals with the first free one."""
    with mortal_postgres() as postgres, ExitStack() as taken:
        with closing(ModelStore.connect(make_settings(database_url=postgres.url))) as store:
            enter(store, "penguins", penguins())
        with forwarder_before(postgres.url) as forwarder:
            api = start_api(database_url=forwarder.url)
            wait_for(lambda: ask(api, BODY, model="penguins").status_code == 200 and is_remembered(api))
            operator = taken.enter_context(psycopg.connect(postgres.url, autocommit=True))
            forwarder.shut()
            wait_for(lambda: operator.execute(OF_BODEGA).fetchone() == (0,))
            take_all_connections(postgres.url, taken)
            forwarder.open()

            with asking(api) as warm:
                wait_for(lambda: len(warm) > 100)
                problem_of(listed(api), 503, "catalog-unavailable")
                problem_of(api.client.get("/readyz"), 503, "catalog-unavailable")
                taken.close()
                wait_for(lambda: listed(api).status_code == 200)
                wait_for(lambda: api.client.get("/readyz").status_code == 200)
            assert set(warm) == {(200, 1)}


def take_all_connections(url: str, taken: ExitStack) -> None:
    """Connect until Postgres takes no more, as a program does that forgets to give its connections back."""
    for _ in range(2000):
        try:
            taken.enter_context(psycopg.connect(url))
        except psycopg.OperationalError as exc:
            assert "too many clients" in str(exc)
            return
    pytest.fail("Postgres takes any number of connections")
