"""A transaction that a person leaves open: writers are told who holds what they need, and Postgres ends it in time."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import connections, migrate
from bodega_db.catalog.sessions import TIMEOUTS
from bodega_db.errors import CatalogLockedError, CatalogUnavailableError
from bodega_db.store import ModelStore
from conftest import Api
from gallery import problem_of
from penguins import classifier, example
from sqlalchemy import text

Connection = psycopg.Connection[Any]


@pytest.fixture
def impatient(store: ModelStore, connect: Callable[..., ModelStore], monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """A store with a version in it that waits one second for a lock."""
    store.register(classifier(), "penguins", example=example())
    monkeypatch.setattr(connections, "MOST_LOCK_SECONDS", 1)
    return connect()


@pytest.fixture
def holder(database_url: str) -> Any:
    """A session of psycopg that changed something and has neither committed nor rolled back."""
    with closing(psycopg.connect(database_url, application_name="a notebook")) as connection:
        connection.execute("SELECT 1")  # psycopg begins a transaction by itself
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT value FROM generation FOR UPDATE",
        "UPDATE version SET note = 'x'",
        "SELECT id FROM model FOR UPDATE",
        "LOCK TABLE alias IN EXCLUSIVE MODE",
    ],
)
def test_a_writer_is_told_who_holds_the_lock(impatient: ModelStore, holder: Connection, statement: str) -> None:
    """Process, role, application, state and since when; nothing was changed, and the advice helps."""
    holder.execute(statement)
    pid = holder.info.backend_pid
    verbs: list[Callable[[], object]] = [
        lambda: impatient.set_alias("penguins@1", "stable"),
        lambda: impatient.register(classifier(2.0), "penguins", example=example()),
    ]

    for verb in verbs if "alias" not in statement else verbs[:1]:
        began = time.monotonic()
        with pytest.raises(CatalogLockedError) as refused:
            verb()
        assert time.monotonic() - began < 15
        said = refused.value.message
        assert said.startswith(f"Another session holds a lock that this needs: process {pid}, role bodega, ")
        assert "application a notebook, idle in transaction, since 20" in said
        assert f"SELECT pg_terminate_backend({pid})" in refused.value.advice
    assert [version.number for version in impatient.versions("penguins")] == [1]
    assert list(impatient.manifests.list_unfinished()) == []

    with psycopg.connect(holder.info.dsn, password=holder.info.password, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
    for verb in verbs:
        verb()
    assert impatient.resolve("penguins@stable").version.number == 1


def test_who_waits_too_is_not_named(impatient: ModelStore, holder: Connection) -> None:
    """Of several writers that wait for one session each names that one."""
    holder.execute("SELECT value FROM generation FOR UPDATE")

    def write(alias: str) -> str:
        with pytest.raises(CatalogLockedError) as refused:
            impatient.set_alias("penguins@1", alias)
        return refused.value.message

    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(write, ["a", "b", "c"]))

    assert all(f"process {holder.info.backend_pid}," in words for words in said)
    assert sum(words.count("process ") for words in said) == 3


def test_readers_do_not_wait(impatient: ModelStore, holder: Connection) -> None:
    """What is only read is read as ever."""
    holder.execute("SELECT value FROM generation FOR UPDATE")

    assert impatient.resolve("penguins").version.number == 1


def test_a_session_that_is_idle_in_a_transaction_ends(impatient: ModelStore, holder: Connection) -> None:
    """The embedded Postgres has the times of the roles for its one role: here shortened to be seen."""
    shown = {name: holder.execute(f"SHOW {name}").fetchone()[0] for name in TIMEOUTS}  # type: ignore[index]
    assert shown == {
        "idle_in_transaction_session_timeout": "1min",
        "lock_timeout": "20s",
        "statement_timeout": "5min",
    }
    holder.execute("SET idle_in_transaction_session_timeout = '500ms'")
    holder.execute("SELECT value FROM generation FOR UPDATE")

    impatient.set_alias("penguins@1", "stable")

    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        holder.execute("SELECT 1")


def test_the_sessions_of_a_program_are_shorter(impatient: ModelStore) -> None:
    """Its transactions wait for nobody: idle they end after a minute, and before a statement ends a lock is given up."""
    with impatient.catalog.transaction() as session:
        shown = [session.execute(text(f"SHOW {name}")).scalar_one() for name in TIMEOUTS]

    assert shown == ["1min", "1s", "30s"]


def test_a_transaction_of_a_program_that_stood_still_is_told(impatient: ModelStore) -> None:
    """Postgres ends it, and says so in words of ours."""

    def stand_still() -> None:
        with impatient.catalog.transaction() as session:
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '100ms'"))
            time.sleep(0.5)
            session.execute(text("SELECT 1"))

    with pytest.raises(CatalogUnavailableError, match="its next statement did not come in time"):
        stand_still()


def test_a_migration_names_who_keeps_it_waiting(store: ModelStore, database_url: str, holder: Connection) -> None:
    """Also one that only reads, if its transaction is open."""
    holder.execute("LOCK TABLE event IN ROW EXCLUSIVE MODE")

    with pytest.raises(CatalogLockedError, match=f"process {holder.info.backend_pid}, role bodega, application a note"):
        migrate.downgrade(database_url, "0005")


def test_over_http_it_is_a_problem_of_its_own(
    store: ModelStore, start_api: Callable[..., Api], tmp_path: Any, holder: Connection
) -> None:
    """A change over HTTP waits a second and a half, and says who holds the lock."""
    store.register(classifier(), "penguins", example=example())
    token = tmp_path / "token"
    token.write_text("4fQ0-secret-of-the-administrator-7Zk1\n")
    token.chmod(0o600)
    api = start_api(admin_token_file=token)
    holder.execute("SELECT value FROM generation FOR UPDATE")

    answer = api.client.post(
        "/models/penguins/versions/1/promote",
        json={},
        headers={"Authorization": f"Bearer {token.read_text().strip()}"},
    )

    problem = problem_of(answer, 503, "catalog-locked")
    assert f"process {holder.info.backend_pid}, role bodega, application a notebook" in problem["detail"]
