"""The migrations: up, down, with rows in them, and in step with the tables and with the program."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from bodega_db.catalog import migrate
from bodega_db.catalog.tables import HEAD
from bodega_db.errors import CatalogNotMigratedError, CatalogUnavailableError
from bodega_db.store import ModelStore
from penguins import classifier, example


def leftovers(url: str) -> list[Any]:
    """Return what the catalog's schema holds beside Alembic's own table."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname !~ '^alembic_'"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall()


def test_up_down_up_with_rows(database_url: str, store: ModelStore) -> None:
    """A database with versions in it can be taken down and up again, and nothing of the schema stays behind."""
    store.register(classifier(), "penguins", example=example())

    migrate.downgrade(database_url, "base", lose=True)
    emptied = leftovers(database_url)
    migrate.upgrade(database_url)

    assert emptied == []
    assert store.models() == []


def test_tables_and_migrations_agree(database_url: str) -> None:
    """What SQLAlchemy believes is what the migrations make: Alembic finds nothing to change."""
    migrate.check(database_url)


def test_the_program_expects_the_newest_migration() -> None:
    """There is one head, and the program is written for it."""
    config = Config()
    config.set_main_option("script_location", str(migrate.migrations_folder()))

    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_an_upgrade_without_anything_to_do_changes_nothing(database_url: str) -> None:
    """Every start of a deployment may migrate."""
    before = leftovers(database_url)

    migrate.upgrade(database_url)

    assert leftovers(database_url) == before
    assert migrate.current_revision(database_url) == HEAD


def start_upgrade(url: str) -> "subprocess.Popen[bytes]":
    """Migrate in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from bodega_db.catalog import migrate; migrate.upgrade(sys.argv[1])", url]
    )


def test_two_deployments_may_migrate_at_the_same_moment(empty_database_url: str) -> None:
    """One does the work, the other waits and finds it done."""
    deployments = [start_upgrade(empty_database_url) for _ in range(2)]

    assert [deployment.wait(60) for deployment in deployments] == [0, 0]
    assert migrate.current_revision(empty_database_url) == HEAD


def test_a_migration_may_take_longer_than_a_statement_may(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit on statements is for somebody who waits for a list, and not for the work of a migration."""
    monkeypatch.setattr("bodega_db.catalog.connections.STATEMENT_SECONDS", 1)
    with psycopg.connect(empty_database_url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [0x626F6465676101])  # as another deployment's migration

        migration = pool.submit(migrate.upgrade, empty_database_url)
        assert wait([migration], timeout=2.5).done == set()
        other.rollback()

        migration.result(timeout=60)
    assert migrate.current_revision(empty_database_url) == HEAD


def test_a_database_that_was_not_migrated_is_told_from_one_that_is_away(
    empty_database_url: str, connect: Callable[..., ModelStore]
) -> None:
    """The message says which of the two it is."""
    unmigrated = connect(database_url=empty_database_url)
    away = connect(database_url="postgresql://x:x@127.0.0.1:1/x")

    with pytest.raises(CatalogNotMigratedError, match="bodega migrate"):
        unmigrated.models()
    with pytest.raises(CatalogUnavailableError):
        away.models()
