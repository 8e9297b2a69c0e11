"""A Postgres that goes away at each step of a registration.

A step is a message that the program sends and whose answer it waits for. The connection breaks before Postgres hears
of it, or after it did what it was told, or falls silent; or Postgres itself is killed. Here the rarer ones meet a sample
of the steps; `./bodega test --all tests/faults` takes them all.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest
from bodega_db.catalog import migrate
from bodega_db.errors import CatalogUnavailableError
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_db.store import register as registering
from conftest import create_database
from extent import ALL
from outages import (
    Forwarder,
    Link,
    Meet,
    MortalPostgres,
    forwarder_before,
    lose_answer,
    lose_question,
    mortal_postgres,
    swallow_answer,
    swallow_question,
)

from .conftest import Fresh
from .invariant import check_invariant
from .registrar import NAME, register

KEY = "the key"
PATIENCE_SECONDS = 2
pytestmark = pytest.mark.slow


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for a catalog that does not come back."""
    monkeypatch.setattr(registering, "RECONNECT_SECONDS", 1.0)


@contextmanager
def connected(url: str, volume: Path) -> Iterator[ModelStore]:
    """Connect a store with one connection, so that each message is one step."""
    settings = Settings.read(database_url=url, models=volume, pool_size=1)
    with closing(ModelStore.connect(settings, patience=PATIENCE_SECONDS)) as store:
        yield store


def try_to_register(url: str, volume: Path) -> str:
    """Register, and return what came of it."""
    with connected(url, volume) as store:
        try:
            return register(store, KEY, 1.0).reference
        except CatalogUnavailableError as exc:
            return exc.message


def held_back(seconds: float) -> Meet:
    """Let a message through, but late."""

    def meet(_link: Link, _message: bytes) -> bool:
        time.sleep(seconds)
        return True

    meet.__name__ = "held_back"
    return meet


def shut(forwarder: Forwarder) -> Meet:
    """Break all off, and let nobody connect again."""

    def meet(_link: Link, _message: bytes) -> bool:
        forwarder.shut()
        return False

    return meet


def check_after(outcome: str, url: str, volume: Path) -> None:
    """Check the store after a registration that met something, and that the same once more gives one version."""
    there = check_invariant(url, volume)
    assert there == 1 or outcome != f"{NAME}@1", "a version that was reported is not there"
    assert there == 0 or "nothing was" not in outcome, "a version is there that was reported as not registered"
    assert try_to_register(url, volume) == f"{NAME}@1"
    assert check_invariant(url, volume) == 1
    with connected(url, volume) as store:
        assert [trouble.detail for trouble in store.fsck(share=1.0).troubles] == []


def steps(every: int) -> Iterator[int]:
    """Go through the steps: the first, and each so many-th after it, or all."""
    return (step for step in count(1) if ALL or (step - 1) % every == 0)


@pytest.mark.parametrize(
    ("how", "every"), [(lose_answer, 1), (lose_question, 2), (swallow_answer, 4), (swallow_question, 6)]
)
def test_a_registration_loses_its_connection_at_each_step(
    how: Meet, every: int, fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the moment it writes, it is registered all the same; before, it says that it is not, and nothing is there."""
    outcomes: Counter[str] = Counter()
    for step in steps(every):
        url, volume = fresh()
        with forwarder_before(url) as forwarder:
            came_so_far = forwarder.strike(step, how)
            outcome = try_to_register(forwarder.url, volume)
        check_after(outcome, url, volume)
        if not came_so_far():
            break
        outcomes[outcome] += 1
    with capsys.disabled():
        print(f"\n{how.__name__} at {outcomes.total()} steps: {dict(outcomes)}")
    assert outcomes[f"{NAME}@1"] > 0
    assert outcomes.total() * every > 12


@pytest.mark.parametrize("how", [lose_answer, swallow_answer, swallow_question, held_back(3 * PATIENCE_SECONDS)])
def test_a_commit_without_an_answer_gives_one_version(how: Meet, fresh: Fresh) -> None:
    """Also where nobody gave a key: whether it happened, did not, or happens long after it was given up."""
    outcomes = []
    for step in count(1):
        url, volume = fresh()
        with forwarder_before(url) as forwarder, connected(forwarder.url, volume) as store:
            came_so_far = forwarder.strike(step, how, among=b"COMMIT")
            try:
                outcomes.append(register(store, None, 1.0).number)
            except CatalogUnavailableError:
                outcomes.append(0)
        assert check_invariant(url, volume) == outcomes[-1]
        if not came_so_far():
            break
    # The first COMMIT ends the look at whose volume it is, the second is that of the version; then there was none.
    assert outcomes == [0, 1, 1]


def test_what_is_not_known_is_said(fresh: Fresh, brief: None) -> None:
    """A catalog that stays away leaves open what became of a COMMIT, and nothing before it."""
    for step, among, said in ((1, b"INSERT INTO version ", "nothing was"), (2, b"COMMIT", "may be registered, or not")):
        url, volume = fresh()
        with forwarder_before(url) as forwarder, connected(forwarder.url, volume) as store:
            forwarder.strike(step, shut(forwarder), among)
            with pytest.raises(CatalogUnavailableError, match=said):
                register(store, None, 1.0)
        assert check_invariant(url, volume) == 0


def of(postgres: MortalPostgres, database: str) -> str:
    """Return where a database is now: a Postgres that was started again has another port."""
    return f"{postgres.url.rpartition('/')[0]}/{database}"


class Kill:
    """Kill Postgres, and start it again."""

    def __init__(self, postgres: MortalPostgres, forwarder: Forwarder, database: str) -> None:
        self._postgres, self._forwarder, self._database = postgres, forwarder, database
        self._over = threading.Event()

    def __call__(self, _link: Link, _message: bytes) -> bool:
        """Do it when a message comes, which Postgres does not get."""
        self._postgres.kill()
        self._postgres.start_again()
        self._forwarder.open(of(self._postgres, self._database))
        self._over.set()
        return False

    def wait(self) -> None:
        """Return when it runs again; the client may have given up before that."""
        assert self._over.wait(60)


@pytest.fixture(scope="module")
def postgres() -> Iterator[MortalPostgres]:
    """A Postgres to kill."""
    with mortal_postgres() as server:
        yield server


def test_postgres_is_killed_at_steps_of_a_registration(
    postgres: MortalPostgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is back in seconds, and the registration is finished or says that it is not; the retry gives one version."""
    outcomes: Counter[str] = Counter()
    for step in steps(7):
        name, volume = f"killed_{step}", tmp_path / f"volume-{step}"
        migrate.upgrade(create_database(postgres.url, name))
        with forwarder_before(of(postgres, name)) as forwarder:
            kill = Kill(postgres, forwarder, name)
            came_so_far = forwarder.strike(step, kill)
            outcome = try_to_register(forwarder.url, volume)
            if came_so_far():
                kill.wait()
        url = of(postgres, name)
        check_after(outcome, url, volume)
        if not came_so_far():
            break
        outcomes[outcome] += 1
    with capsys.disabled():
        print(f"\nPostgres killed at {outcomes.total()} steps: {dict(outcomes)}")
    assert outcomes.total() > 1
