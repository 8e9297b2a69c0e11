"""What a version must pass before it answers: registered bytes that would harm whoever loads them, and models that do."""

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bodega_db.records import Digest
from bodega_db.store import ModelStore
from bodega_model.formats.codecs import dump
from fitting import fit_tree
from gallery import problem_of
from harmful import ARCHIVES, MIB, MOST_MODEL_BYTES, a_trust_list, an_unknown_type, crashing_tree, sound
from processes import ApiProcess, api_process
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier

# Beyond what the process has once it answers: nothing of what it refuses is inflated, and the artifacts are small.
MOST_MEMORY_FOR_REFUSALS = 96 * MIB
ROW = {"bill_length_mm": 40.0, "bill_depth_mm": 18.0, "flipper_length_mm": 190.0, "body_mass_g": 3700.0}
HARM = "/tmp/bodega-test-harm"  # noqa: S108 (no such file is ever made)
Plant = Callable[..., str]


@pytest.fixture
def plant(store: ModelStore, sql_connection: "psycopg.Connection[Any]", volume: Path) -> Plant:
    """Register bytes as whoever owns the database and the volume can, with a hash and size that fit; return the name."""
    fitted = fit_tree()
    store.register(fitted.model, "harmless", example=fitted.X)
    sql_connection.execute("ALTER TABLE version DISABLE TRIGGER version_is_immutable")

    def put(content: bytes, fmt: str = "skops") -> str:
        name = f"harmful-{len(store.models())}"
        store.register(fitted.model, name, example=fitted.X)
        digest = Digest.of(content)
        path = volume / digest.path
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        change = "UPDATE version SET sha256 = %s, size_bytes = %s, format = %s FROM model"
        where = "WHERE model.id = model_id AND name = %s"
        sql_connection.execute(f"{change} {where}", (digest.hex, len(content), fmt, name))
        return name

    return put


@pytest.fixture
def api(plant: Plant, database_url: str, volume: Path) -> Iterator[ApiProcess]:
    """The API in a process of its own, which has answered for the harmless model."""
    limits = {"max_model_bytes": MOST_MODEL_BYTES, "load_seconds": 5, "predict_seconds": 2}
    with api_process(database_url, volume, formats='["skops", "joblib"]', **limits) as api:
        api.predict({"rows": [ROW]}, model="harmless").raise_for_status()
        yield api


def test_what_would_harm_is_refused_before_anything_runs(
    plant: Plant, api: ApiProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind is refused at its step, runs nothing, and costs the process next to no memory; others answer on."""
    trace = tmp_path / "trace"
    expected = [(make, "archive", "archive") for make in ARCHIVES]
    expected += [(make, "untrusted-type", "types") for make in (an_unknown_type, a_trust_list)]
    before = api.peak_bytes
    for make, slug, step in expected:
        name = plant(make(trace))
        problem = problem_of(api.predict({"rows": [ROW]}, model=name), 503, slug)
        assert problem["step"] == step, make.__name__
        shown = api.client.get(f"/models/{name}/versions/1").raise_for_status().json()["problem"]
        assert (shown["step"], shown["detail"]) == (step, problem["detail"])
        assert api.predict({"rows": [ROW]}, model="harmless").status_code == 200
    grown = api.peak_bytes - before

    assert not trace.exists()
    with capsys.disabled():
        print(f"\n{len(expected)} kinds of harm refused; the API's peak grew by {grown / MIB:.0f} MiB")
    assert grown < MOST_MEMORY_FOR_REFUSALS


def test_a_tree_that_crashes_its_process_costs_one_load(plant: Plant, api: ApiProcess) -> None:
    """The process that tried it is gone, the API is not, and the problem says what happened."""
    name = plant(crashing_tree())

    for _ in range(2):
        problem = problem_of(api.predict({"rows": [ROW]}, model=name), 503, "load-ended")
        assert "was ended by signal 11" in problem["detail"]
        assert problem["step"] == "load"
    assert api.predict({"rows": [ROW]}, model="harmless").status_code == 200


class Acts(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Loaded or asked, it does something that no model should."""

    def __init__(self, when: str, what: str) -> None:
        self.when, self.what = when, what

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (self.what,)) if self.when == "load" else super().__reduce__()


def loading(what: str) -> bytes:
    """Return a joblib artifact that evaluates an expression where it is loaded."""
    file = io.BytesIO()
    dump(Acts("load", what), "joblib", file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("__import__('os')._exit(3)", "ended with status 3"),
        ("__import__('os').abort()", "was ended by signal 6"),
        ("__import__('time').sleep(60)", "took more than 5 s and was ended"),
        ("[0] * 2**40", "needed more than the"),
        ("__import__('sys').exit(3)", "raised SystemExit"),
        ("__import__('socket').create_connection(('127.0.0.1', 1))", "Operation not permitted"),
        ("__import__('subprocess').run(['true'])", "Operation not permitted"),
        (f"open('{HARM}', 'w')", "Operation not permitted"),
        ("__import__('os').kill(__import__('os').getppid(), 9)", "Operation not permitted"),
    ],
)
def test_a_loader_that_does_harm_costs_one_load(what: str, said: str, plant: Plant, api: ApiProcess) -> None:
    """Where joblib is allowed, its code runs in a process first that cannot do much; while it hangs, others answer."""
    name = plant(loading(what), "joblib")

    with ThreadPoolExecutor(1) as asking:
        answer = asking.submit(api.predict, {"rows": [ROW]}, model=name)
        begun = time.monotonic()
        for _ in range(20):
            assert api.predict({"rows": [ROW]}, model="harmless").status_code == 200
        took = time.monotonic() - begun
        problem = answer.result().json()

    assert said in problem["detail"]
    assert (answer.result().status_code, problem["step"]) == (503, "load")
    assert took < 4  # 20 answers while the load of the other one may go on for 5 s
    assert not Path(HARM).exists()


def test_a_model_that_passes_is_loaded_once_more(plant: Plant, api: ApiProcess) -> None:
    """What harms nobody answers: a sound artifact put in the same place."""
    assert api.predict({"rows": [ROW]}, model=plant(sound())).status_code == 200


def test_what_cannot_be_loaded_is_refused_in_the_notebook(connect: Callable[..., ModelStore]) -> None:
    """The same limits hold where a model is registered: too large there is too large here."""
    from bodega_model.errors import NotServableError

    store = connect(max_model_bytes=1000)
    X, y = fit_tree().X, fit_tree().y
    with pytest.raises(NotServableError, match="would inflate to"):
        store.register(DummyClassifier().fit(X, y), "dummy", example=X)
    assert store.models() == []
