"""What a version must pass before it answers: registered bytes that would harm whoever loads them, and models that do."""

import gzip
import io
import json
import pickle
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from bodega_db.formats import dump
from bodega_db.records import Digest
from bodega_db.store import ModelStore
from fitting import fit_tree
from gallery import problem_of
from processes import ApiProcess, api_process
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier

MIB = 1024**2
MOST_MODEL_BYTES = 64 * MIB
# Beyond what the process has once it answers: nothing of what it refuses is inflated, and the artifacts are small.
MOST_MEMORY_FOR_REFUSALS = 96 * MIB
ROW = {"bill_length_mm": 40.0, "bill_depth_mm": 18.0, "flipper_length_mm": 190.0, "body_mass_g": 3700.0}
HARM = "/tmp/bodega-test-harm"  # noqa: S108 (no such file is ever made)
Make = Callable[[Path], bytes]


class Harmful:
    """Pickled, it leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def sound() -> bytes:
    """Return the artifact of a model that loads."""
    file = io.BytesIO()
    dump(fit_tree().model, "skops", file)
    return file.getvalue()


def repacked(change: Callable[[dict[str, bytes]], None]) -> bytes:
    """Return a sound artifact with some of its members changed."""
    with zipfile.ZipFile(io.BytesIO(sound())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    return packed(members)


def packed(members: dict[str, bytes]) -> bytes:
    """Pack members as skops does."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(shape: str, content: bytes = b"") -> bytes:
    """Write an array whose header claims a shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def a_bomb(_: Path) -> bytes:
    """One member that would take more memory than is allowed."""
    return repacked(lambda members: members.update({"0.npy": bytes(2 * MOST_MODEL_BYTES)}))


def many_bombs(_: Path) -> bytes:
    """Many members, of which each is small."""
    return repacked(lambda members: members.update({f"x{place}": bytes(MIB) for place in range(65)}))


def many_members(_: Path) -> bytes:
    """A directory that is itself what fills the memory."""
    return repacked(lambda members: members.update({str(place): b"" for place in range(200_001)}))


def a_large_array(_: Path) -> bytes:
    """A header of some bytes that claims eight terabytes."""
    return repacked(lambda members: members.update({"0.npy": npy("(1000000000000,)")}))


def an_endless_array(_: Path) -> bytes:
    """A product of numbers beyond what any machine counts in."""
    return repacked(lambda members: members.update({"0.npy": npy("(" + "9999999999, " * 50 + ")")}))


def an_array_of_objects(path: Path) -> bytes:
    """An array that numpy would have to unpickle."""
    file = io.BytesIO()
    np.save(file, np.array([Harmful(path)], dtype=object), allow_pickle=True)
    return repacked(lambda members: members.update({"0.npy": file.getvalue()}))


def a_deep_schema(_: Path) -> bytes:
    """A schema that runs a parser out of stack."""
    return repacked(lambda members: members.update({"schema.json": b'{"a":' * 100_000 + b"1" + b"}" * 100_000}))


def a_path(_: Path) -> bytes:
    """A member that would lie elsewhere if somebody unpacked it."""
    return repacked(lambda members: members.update({"../../etc/cron.d/x": b"x"}))


def a_pickle(path: Path) -> bytes:
    """Another format under the name of skops."""
    return pickle.dumps(Harmful(path))


def a_compressed_pickle(path: Path) -> bytes:
    """A format that joblib takes without asking."""
    return gzip.compress(pickle.dumps(Harmful(path)))


def a_zlib_pickle(path: Path) -> bytes:
    """Another one."""
    return zlib.compress(pickle.dumps(Harmful(path)))


def a_polyglot(path: Path) -> bytes:
    """A pickle to whoever reads from the front, and an archive to whoever reads from the end."""
    return pickle.dumps(Harmful(path)) + sound()


def a_comment(path: Path) -> bytes:
    """An archive with something behind it."""
    file = io.BytesIO(sound())
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = pickle.dumps(Harmful(path))
    return file.getvalue()


def a_half(_: Path) -> bytes:
    """An archive that was cut off before it was registered."""
    return sound()[:-100]


ARCHIVES = [
    *(a_bomb, many_bombs, many_members, a_large_array, an_endless_array, an_array_of_objects, a_deep_schema),
    *(a_path, a_pickle, a_compressed_pickle, a_zlib_pickle, a_polyglot, a_comment, a_half),
]


def with_type(name: str, loader: str = "ObjectNode") -> bytes:
    """Return an artifact that asks for a type."""
    module, _, cls = name.rpartition(".")

    def change(members: dict[str, bytes]) -> None:
        schema = json.loads(members["schema.json"])
        schema.update({"__module__": module, "__class__": cls, "__loader__": loader})
        members["schema.json"] = json.dumps(schema).encode()

    return repacked(change)


def an_unknown_type(_: Path) -> bytes:
    """A type that nobody reviewed."""
    return with_type("subprocess.Popen")


def a_trust_list(_: Path) -> bytes:
    """An artifact that says itself what is to be trusted."""

    def change(members: dict[str, bytes]) -> None:
        schema = json.loads(members["schema.json"])
        trusted = ["subprocess.Popen"]
        schema.update({"__module__": "subprocess", "__class__": "Popen", "trusted": trusted, "__trusted__": True})
        members |= {"schema.json": json.dumps(schema).encode(), "trusted.json": json.dumps(trusted).encode()}

    return repacked(change)


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


def crashing_tree() -> bytes:
    """Return a tree whose children lie far outside of its arrays: scikit-learn's compiled code follows them."""

    def change(members: dict[str, bytes]) -> None:
        for name, content in members.items():
            if name.endswith(".npy"):
                array = np.load(io.BytesIO(content))
                if array.dtype.names and "left_child" in array.dtype.names:
                    array["left_child"] = array["right_child"] = 2**40
                    file = io.BytesIO()
                    np.save(file, array)
                    members[name] = file.getvalue()

    return repacked(change)


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
    from bodega_db.errors import NotServableError

    store = connect(max_model_bytes=1000)
    X, y = fit_tree().X, fit_tree().y
    with pytest.raises(NotServableError, match="would inflate to"):
        store.register(DummyClassifier().fit(X, y), "dummy", example=X)
    assert store.models() == []
