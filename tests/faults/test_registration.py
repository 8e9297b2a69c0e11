"""A registration that is killed, or refused by the system, at each of its system calls.

After each the invariant holds, a retry with the same key gives exactly one version, and the invariant holds again. Here
a sample of the calls is taken; `./bodega test --all tests/faults` takes them all.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest
from bodega_db.maintenance.fsck import Sort
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from extent import ALL

from .conftest import Fresh
from .invariant import check_invariant
from .registrar import NAME, Registrar, register, running_registrar

FILES = ("openat", "write", "fsync", "fchmod", "link", "linkat", "rename", "unlink", "mkdir", "close", "newfstatat")
READS = ("read", "lseek", "memfd_create", "fcntl", "getdents64")
LINES = ("socket", "connect", "sendto", "recvfrom", "sendmsg", "poll", "socketpair")
FAILING = {
    "EIO": ("openat", "read", "write", "fsync", "linkat", "link", "rename", "mkdir", "unlink", "fchmod", "newfstatat"),
    "ENOSPC": ("openat", "write", "fsync", "linkat", "link", "rename", "mkdir"),
    "EDQUOT": ("openat", "write", "fsync", "linkat", "link", "rename", "mkdir"),
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace injects the faults, and is not installed"),
]


@pytest.fixture(scope="module")
def registrar() -> Iterator[Registrar]:
    """A process that registers on request."""
    with running_registrar() as made:
        yield made


def points(call: str) -> Iterator[int]:
    """Go through the calls to be hit: the first ones of each sort and then some, or all."""
    dense = 4 if call in ("fsync", "link", "linkat", "rename", "sendto") else 1
    for number in count(1):
        if ALL or number <= dense or number % 9 == 0:
            yield number


def hit(registrar: Registrar, fresh: Fresh, fault: str) -> str:
    """Let a registration meet a fault, and check everything that must hold after it; return what came of it."""
    url, volume = fresh()
    outcome = registrar.register(url, volume, "the key", inject=fault)
    before = check_invariant(url, volume)
    with closing(ModelStore.connect(Settings.read(database_url=url, models=volume, pool_size=1))) as store:
        version = register(store, "the key", 1.0)
        assert (version.number, check_invariant(url, volume)) == (1, 1), fault
        found = store.fsck(share=1.0).troubles  # at most what a killed writer left behind
        assert [trouble for trouble in found if trouble.sort is not Sort.ORPHAN] == [], fault
        if outcome == "registered":
            assert before == 1, fault
    return outcome


def test_killed_at_any_call_it_leaves_a_whole_store(
    registrar: Registrar, fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing half-registered is ever visible, and nothing committed is lost, wherever the process ends."""
    hits: Counter[str] = Counter()
    for call in (*FILES, *READS, *LINES):
        for point in points(call):
            outcome = hit(registrar, fresh, f"{call}:signal=KILL:when={point}")
            if outcome == "registered":
                break
            assert outcome == "killed by SIGKILL", (call, point)
            hits[call] += 1
    with capsys.disabled():
        print(f"\nkilled at {hits.total()} system calls: {dict(hits)}")
    assert hits.total() >= 40
    assert min(hits[call] for call in ("fsync", "sendto", "linkat", "mkdir")) > 0


@pytest.mark.parametrize("error", FAILING)
def test_refused_at_any_call_it_leaves_a_whole_store(
    error: str, registrar: Registrar, fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call that fails ends the registration with an error of ours, or is made up for; a retry succeeds."""
    outcomes: Counter[str] = Counter()
    for call in FAILING[error]:
        for point in points(call):
            outcome = hit(registrar, fresh, f"{call}:error={error}:when={point}")
            assert "no error of ours" not in outcome, (call, point, outcome)
            outcomes[outcome] += 1
            if point > 200 or (outcome == "registered" and not injected(registrar, fresh, call, point)):
                break
    with capsys.disabled():
        print(f"\n{error} at {outcomes.total()} system calls: {dict(outcomes)}")
    assert outcomes.total() >= 10


def injected(registrar: Registrar, fresh: Fresh, call: str, point: int) -> bool:
    """Tell whether a registration makes so many of these calls: then one that succeeded made up for the fault."""
    url, volume = fresh()
    return registrar.register(url, volume, "the key", inject=f"{call}:signal=KILL:when={point}") != "registered"


def test_the_same_key_gives_the_same_version(registrar: Registrar, fresh: Fresh) -> None:
    """However often the same bytes come; other bytes under the key are refused."""
    url, volume = fresh()

    assert [registrar.register(url, volume, "the key") for _ in range(5)] == ["registered"] * 5
    assert registrar.register(url, volume, "the key", strength=2.0) == "IdempotencyConflictError"
    assert check_invariant(url, volume) == 1
    with closing(ModelStore.connect(Settings.read(database_url=url, models=volume))) as store:
        assert [version.number for version in store.versions(NAME)] == [1]
