"""Large arrays of a version: in memory once for all workers, after they were compared."""

import fcntl
import gc
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest
from bodega_api.serving.counters import Tally
from bodega_api.serving.engine import Engine
from bodega_api.workers.ipc import Siblings
from bodega_api.workers.malloc import Allocator
from bodega_api.workers.shared_arrays import Pages, SharedArrays, Span, find_spans, make_pages
from bodega_db.records import Version
from bodega_db.store import ModelStore
from bodega_db.volume.files import SEALS
from fitting import bytes_of_trees, fit_noise
from processes import api_process
from prometheus_client.parser import text_string_to_metric_families
from sklearn.neighbors import KNeighborsRegressor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is one worker elsewhere")
ARRAYS = re.compile(r"^\w+-\w+ r\w-p \w+ \w+:\w+ (\d+) +/memfd:bodega-arrays.*\nSize: +(\d+) kB", re.MULTILINE)


def shared_by(process: int) -> dict[str, int]:
    """Return how many bytes of each file of arrays a process has mapped, by the file's number."""
    found: dict[str, int] = {}
    for inode, kilobytes in ARRAYS.findall(Path(f"/proc/{process}/smaps").read_text()):
        found[inode] = found.get(inode, 0) + int(kilobytes) * 1024
    return found


# --- between workers -----------------------------------------------------------------------------------------


def test_a_forest_is_in_memory_once_for_all_workers(store: ModelStore, database_url: str, volume: Path) -> None:
    forest, noise = fit_noise()
    store.register(forest, "forest", example=noise.head(20))
    rows = noise.tail(50)
    expected = forest.predict_proba(rows).tolist()
    with api_process(database_url, volume, workers=2, share_arrays="true") as api:
        while loaded_everywhere(api.url) < 2:
            body = {"rows": rows.to_dict(orient="records")}
            answer = httpx2.post(f"{api.url}/predict?model=forest&output=predict_proba", json=body, timeout=60)
            assert answer.json()["predictions"] == expected
        children = psutil.Process(api.process.pid).children()
        shared = [each for each in (shared_by(one.pid) for one in children) if each]
    assert len(shared) == 2
    assert shared[0].keys() == shared[1].keys()  # one file
    for each in shared:
        assert 0.95 * bytes_of_trees(forest) < sum(each.values()) <= bytes_of_trees(forest)


def loaded_everywhere(url: str) -> float:
    """Return how many workers have loaded a version."""
    families = text_string_to_metric_families(httpx2.get(f"{url}/metrics", timeout=60).text)
    return sum(s.value for family in families for s in family.samples if s.name == "bodega_loaded_versions")


# --- what a sibling hands over -------------------------------------------------------------------------------


@contextmanager
def sibling(answer: int | None, questions: list[str]) -> Iterator[Siblings]:
    """Be a worker whose only sibling answers each question with one file, or says nothing."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ended = threading.Event()

    def reply() -> None:
        while True:
            question, descriptors, _, _ = socket.recv_fds(theirs, 256, 1)
            if not descriptors:
                return
            questions.append(question.decode())
            with socket.socket(fileno=descriptors[0]) as line:
                if answer is not None:
                    socket.send_fds(line, [b"+"], [answer])

    thread = threading.Thread(target=reply)
    thread.start()
    siblings = Siblings()
    turns = os.memfd_create("turns")
    siblings.join(1, ours, turns, orphaned=ended.set)
    try:
        yield siblings
    finally:
        ours.shutdown(socket.SHUT_RDWR)
        thread.join()
        assert ended.wait(10)
        ours.close()
        theirs.close()
        os.close(turns)


@pytest.fixture(autouse=True)
def no_pages_before() -> None:
    """What earlier tests loaded is gone."""
    gc.collect()
    assert not shared_by(os.getpid())


def fill(store: ModelStore) -> Version:
    """Register what `neighbours` stands for."""
    rows = np.random.default_rng(1).random((20_000, 100))
    model = KNeighborsRegressor(algorithm="brute").fit(rows, rows[:, :50])
    return store.register(model, "neighbours", example=rows[:20])


@pytest.fixture
def neighbours(furnished: Any) -> Version:
    """A version that keeps its rows and what they mean: arrays larger than what may be free in this process's heap."""
    made: Version = furnished.made
    return made


FURNISHED = {"neighbours": fill}


def loader(store: ModelStore, version: Version) -> Callable[[bool], Engine]:
    """Return what loads a version as the API does, into arrays that have a mapping of their own each.

    What tests have freed before lies in this process's heap, and an array may find room there: such ones are kept, so
    that the next has less to choose from.
    """

    def load(tried: bool) -> Engine:
        kept = []
        for _ in range(100):
            engine = Engine.start(store.open(version, rehearse=not tried), version.golden, Tally())
            if all(span.size for span in spans_of(engine)):
                return engine
            kept.append(engine)
        raise AssertionError("there is no end to what is free")

    return load


def spans_of(engine: Engine) -> list[Span]:
    """Return where the large arrays of an engine lie."""
    return find_spans(engine.runner.model, engine.plan)


def in_a_file(content: bytes, seals: int = SEALS) -> int:
    """Return a file in memory."""
    fd = os.memfd_create("bodega-arrays", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(content)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


PAGE = 4096  # of which the first is the table of what the file holds


def first_byte_changed(content: bytes) -> bytes:
    """Return another content of the same size."""
    return content[:PAGE] + bytes([content[PAGE] ^ 1]) + content[PAGE + 1 :]


@pytest.mark.parametrize(
    ("change", "seals", "taken"),
    [
        pytest.param(lambda content: content, SEALS, "all", id="the same"),
        pytest.param(first_byte_changed, SEALS, "all but the first", id="one byte differs"),
        pytest.param(lambda content: content[:PAGE] + bytes(len(content) - PAGE), SEALS, "nothing", id="all is 0"),
        pytest.param(lambda content: content[:-PAGE], SEALS, "another", id="too short"),
        pytest.param(lambda _: b"", SEALS, "another", id="empty"),
        pytest.param(lambda content: bytes(len(content)), SEALS, "another", id="no table"),
        pytest.param(lambda content: content, 0, "another", id="not sealed"),
    ],
)
def test_only_pages_that_are_equal_are_taken_from_a_sibling(
    store: ModelStore, neighbours: Version, change: Callable[[bytes], bytes], seals: int, taken: str
) -> None:
    with Allocator().apart():
        before = loader(store, neighbours)(True)
        theirs = spans_of(before)
        file = in_a_file(change(read(make_pages("", theirs))), seals)
        questions: list[str] = []
        with sibling(file, questions) as siblings:
            engine = SharedArrays(siblings).load(neighbours, loader(store, neighbours))
    spans = spans_of(engine)
    assert [span.size for span in spans] == [span.size for span in theirs]
    assert min(span.size for span in spans) > 0.99 * engine.runner.model._y.nbytes
    assert len(spans) == 2
    assert questions == [f"pages {neighbours.digest.hex}"]
    mapped = shared_by(os.getpid())
    total = sum(span.size for span in spans)
    expected = {"all": total, "all but the first": total - spans[0].size}.get(taken, 0)
    assert mapped.pop(str(os.fstat(file).st_ino), 0) == expected
    # Where a sibling's file cannot serve, one of this worker's own does.
    assert list(mapped.values()) == ([total] if taken == "another" else [])
    rows = before.runner.model._fit_X[:20]
    assert (engine.runner.model.predict(rows) == before.runner.model.predict(rows)).all()
    assert (engine.runner.model._fit_X == before.runner.model._fit_X).all()
    os.close(file)


def read(pages: Pages) -> bytes:
    """Return all that is in a file."""
    return os.pread(pages.fd, os.fstat(pages.fd).st_size, 0)


def test_shared_arrays_can_be_written_to_by_one_worker_alone(store: ModelStore, neighbours: Version) -> None:
    with Allocator().apart(), sibling(None, []) as siblings:
        shared = SharedArrays(siblings)
        first = shared.load(neighbours, loader(store, neighbours))
        second = shared.load(neighbours, loader(store, neighbours))
    assert len(shared_by(os.getpid())) == 1
    first.runner.model._fit_X[:] = -1
    assert (second.runner.model._fit_X >= 0).all()


def test_pages_are_given_back_with_their_version(store: ModelStore, neighbours: Version) -> None:
    with Allocator().apart(), sibling(None, []) as siblings:
        engine = SharedArrays(siblings).load(neighbours, loader(store, neighbours))
    assert shared_by(os.getpid())
    del engine
    gc.collect()
    assert not shared_by(os.getpid())


def test_one_after_another_loads_the_same_version() -> None:
    questions: list[str] = []
    with sibling(None, questions) as siblings:
        assert siblings.number == 1
        turns = siblings._turns
        assert turns is not None
        inside, leave = os.pipe(), os.pipe()
        if (child := os.fork()) == 0:  # a lock is a process's, not a thread's
            with siblings.in_turn(7):
                os.write(inside[1], b"!")
                os.read(leave[0], 1)
            os._exit(0)
        os.read(inside[0], 1)
        with siblings.in_turn(8):
            pass
        with pytest.raises(BlockingIOError):
            fcntl.lockf(turns, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 7)
        os.write(leave[1], b"!")
        os.waitpid(child, 0)
        with siblings.in_turn(7):
            pass
        for descriptor in (*inside, *leave):
            os.close(descriptor)
