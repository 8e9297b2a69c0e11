"""The process that rehearses a load: it leaves nothing behind, and what keeps it from starting is said."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from bodega_db.records import Version
from bodega_db.store import ModelStore
from bodega_model.errors import LoadEndedError
from bodega_model.loading.sandbox import Rehearsal
from fitting import fit_tree


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    """A process of this test's own."""
    with closing(Rehearsal()) as made:
        yield made


@pytest.fixture
def version(store: ModelStore) -> Version:
    """A registered version."""
    fitted = fit_tree()
    return store.register(fitted.model, "penguins", example=fitted.X)


def rehearse(rehearsal: Rehearsal, store: ModelStore, its: Version) -> None:
    with store.artifacts.open_verified(its.digest, its.size_bytes) as file:
        rehearsal.run(file, its.format, its.signature, its.golden, its.environment, store.policy)


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_zombie_stays_behind(rehearsal: Rehearsal, store: ModelStore, version: Version) -> None:
    """Once a rehearsal is over, the processes it took are gone and not only dead."""
    before = set(psutil.Process().children())
    rehearse(rehearsal, store, version)
    (kept,) = set(psutil.Process().children()) - before

    until = time.monotonic() + 10
    while kept.children():
        assert time.monotonic() < until, kept.children()
        time.sleep(0.01)


def test_what_keeps_it_from_starting_is_said(rehearsal: Rehearsal, store: ModelStore, version: Version) -> None:
    """A process that may open no further file says so, and does not call the model bad."""
    its = version
    with (
        store.artifacts.open_verified(its.digest, its.size_bytes) as file,
        no_more_files(),
        pytest.raises(LoadEndedError, match=r"could be started.*Too many open files") as caught,
    ):
        rehearsal.run(file, its.format, its.signature, its.golden, its.environment, store.policy)

    assert "ulimit" in caught.value.advice
    rehearse(rehearsal, store, version)


def test_a_fork_shares_the_process_and_survives_its_end(
    rehearsal: Rehearsal, store: ModelStore, version: Version
) -> None:
    """Children ask their parent's process, many at once; one that finds it dead starts its own."""
    rehearse(rehearsal, store, version)
    parents = list(children())

    assert in_forks(8, lambda: rehearse(rehearsal, store, version)) == [0] * 8
    assert list(children()) == parents
    rehearsal.close()
    assert in_forks(1, lambda: rehearse(rehearsal, store, version)) == [0]


@pytest.mark.skipif(sys.platform != "linux", reason="where forking is not safe the process is started")
def test_a_program_that_begins_forks_the_process_from_itself(database_url: str, volume: Path, version: Version) -> None:
    """It answers at once, is told nothing of the program's folders and files, and is replaced when it dies."""
    script = FORKING.format(url=database_url, volume=str(volume), model=version.model)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(volume)},
        cwd=volume,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (
        0,
        ["alike", "served", "refused", "served", "gone"],
        "",
    )


FORKING = """
import os, signal, time
from contextlib import closing
from pathlib import Path

import psutil
from bodega_model.errors import NotServableError
from bodega_model.loading.sandbox import shared_rehearsal
from bodega_db.settings import Settings
from bodega_db.store import ModelStore

file = open("here", "w")
shared_rehearsal().fork()
(kept,) = psutil.Process().children()
while kept.cwd() != "/":
    time.sleep(0.01)
assert os.getsid(kept.pid) == os.getpgid(kept.pid) == kept.pid
assert "here" not in [Path(each.path).name for each in kept.open_files()]
assert kept.exe() == psutil.Process().exe() and kept.cmdline() == psutil.Process().cmdline()
print("alike")

def connect(**settings):
    return closing(ModelStore.connect(Settings.read(database_url="{url}", models=Path("{volume}"), **settings)))

def serve():
    with connect() as store:
        store.open(store.resolve("{model}").version, rehearse=True)
    print("served")

serve()
Path("beside.py").write_text("from sklearn.dummy import DummyClassifier\\nclass Own(DummyClassifier): pass")
import beside
try:
    with connect(formats=["joblib"]) as store:
        store.register(beside.Own().fit([[0.0], [1.0]], [0, 1]), "own", example=[[0.0], [1.0]], format="joblib")
except NotServableError as exc:
    assert "beside" in exc.message, exc
    print("refused")
os.kill(kept.pid, signal.SIGKILL)
kept.wait(10)
serve()
(kept,) = psutil.Process().children()
shared_rehearsal().close()
print("gone" if not kept.is_running() else "there")
"""


def children() -> Iterator[psutil.Process]:
    """Go through the processes that this one has started."""
    yield from psutil.Process().children()


def in_forks(count: int, work: Callable[[], None]) -> list[int]:
    """Do something in many forks at once, and return their exit statuses."""
    forks = []
    for _ in range(count):
        fork = os.fork()
        if fork == 0:
            with suppress(BaseException):
                work()
                os._exit(0)
            os._exit(1)
        forks.append(fork)
    return [os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) for fork in forks]
