"""Models that hang, exit, raise or answer nothing: each its own problem, and others go on."""

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import httpx2
import joblib
import moods
import psycopg
import pytest
from bodega_db.records import Digest
from bodega_db.store import ModelStore
from fitting import fit_tree
from gallery import problem_of
from processes import ApiProcess, api_process

SECONDS = 1.5
CROWD = 80  # more than any pool of threads here is wide
ROW = {"bill_length_mm": 40.0, "bill_depth_mm": 18.0, "flipper_length_mm": 190.0, "body_mass_g": 3700.0}


class ByValue:
    """Pickled, it is another object with all of its code."""

    def __init__(self, model: Any) -> None:
        cloudpickle.register_pickle_by_value(moods)
        self.content = cloudpickle.dumps(model)

    def __reduce__(self) -> tuple[Any, ...]:
        return (cloudpickle.loads, (self.content,))


@pytest.fixture
def stop(tmp_path: Path) -> Path:
    """The file that ends hanging calls."""
    return tmp_path / "stop"


@pytest.fixture
def api(
    store: ModelStore, sql_connection: "psycopg.Connection[Any]", database_url: str, volume: Path, stop: Path
) -> Iterator[ApiProcess]:
    """The API in a process of its own, with a steady model and a moody one, of which both have answered."""
    fitted = fit_tree()
    for name in ("steady", "moody"):
        store.register(fitted.model, name, example=fitted.X)
    file = io.BytesIO()
    joblib.dump(ByValue(moods.Moody(fitted.model, str(stop))), file)
    digest = Digest.of(file.getvalue())
    (volume / digest.path).parent.mkdir(exist_ok=True)
    (volume / digest.path).write_bytes(file.getvalue())
    sql_connection.execute("ALTER TABLE version DISABLE TRIGGER version_is_immutable")
    change = "UPDATE version SET sha256 = %s, size_bytes = %s, format = 'joblib' FROM model"
    where = "WHERE model.id = model_id AND name = 'moody'"
    sql_connection.execute(f"{change} {where}", (digest.hex, len(file.getvalue())))
    with api_process(database_url, volume, formats='["skops", "joblib"]', predict_seconds=SECONDS) as api:
        for name in ("steady", "moody"):
            ask(api, name).raise_for_status()
        yield api
        stop.touch()


def ask(api: ApiProcess, model: str, mood: float = 40.0) -> httpx2.Response:
    """Ask a model, with the value that tells the moody one what to do."""
    return api.predict({"rows": [ROW | {"bill_length_mm": mood}]}, model=model)


def test_garbage_is_collected_once_the_api_serves(api: ApiProcess) -> None:
    """While it imports, none is looked for."""
    ask(api, "moody", moods.TIDY).raise_for_status()


@pytest.mark.parametrize(
    ("mood", "status", "slug"),
    [
        (moods.RAISE, 422, "prediction-failed"),
        (moods.EXIT, 422, "prediction-failed"),
        (moods.NAN, 422, "output-not-finite"),
        (moods.HANG, 504, "prediction-timeout"),
    ],
)
def test_each_mood_has_its_own_problem_and_others_go_on(mood: float, status: int, slug: str, api: ApiProcess) -> None:
    """The problem comes soon, the process lives, and both a steady model and the process's health are as before."""
    begun = time.monotonic()
    problem_of(ask(api, "moody", mood), status, slug)

    assert time.monotonic() - begun < SECONDS + 5
    assert ask(api, "steady").status_code == 200
    api.client.get("/readyz").raise_for_status()
    told = api.client.get("/metrics").text
    assert 'bodega_failures_total{model="moody",version="1"} 1.0' in told
    assert f'problem="{slug}",route="/predict",status="{status // 100}xx"' in told


def test_a_model_that_hangs_is_not_called_again_until_it_returns(api: ApiProcess, stop: Path) -> None:
    """Whoever comes meanwhile hears so at once; after the call has returned, the version answers as before."""
    problem_of(ask(api, "moody", moods.HANG), 504, "prediction-timeout")
    begun = time.monotonic()
    refused = ask(api, "moody")
    took = time.monotonic() - begun

    problem_of(refused, 503, "model-hangs")
    assert refused.headers["Retry-After"]
    assert took < SECONDS
    stop.touch()
    assert wait_until(lambda: ask(api, "moody").status_code == 200)


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait for something to become true."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def test_a_crowd_before_a_hanging_model_holds_up_nobody(api: ApiProcess) -> None:
    """While more requests wait for it than there are threads, a steady model answers each of a hundred."""
    with ThreadPoolExecutor(CROWD) as crowd:
        begun = time.monotonic()
        waiting = [crowd.submit(ask, api, "moody", moods.HANG) for _ in range(CROWD)]
        time.sleep(0.5)
        steady = [ask(api, "steady").status_code for _ in range(20)]
        meanwhile = sum(not future.done() for future in waiting)
        took = time.monotonic() - begun
        slugs = {future.result().json()["type"].rpartition(":")[2] for future in waiting}

    assert steady == [200] * 20
    assert meanwhile > CROWD / 2 or took > SECONDS
    assert slugs <= {"prediction-timeout", "model-busy", "model-hangs"}
    assert "prediction-timeout" in slugs
    assert ask(api, "steady").status_code == 200
