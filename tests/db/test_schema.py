"""A program and a database of different ages: the older program says so and writes nothing; what a downgrade loses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import migrate
from bodega_db.catalog.schema import is_newer
from bodega_db.catalog.tables import HEAD
from bodega_db.errors import CatalogNotMigratedError, DowngradeError, ProgramOlderError, SettingsError
from bodega_db.store import ModelStore
from penguins import classifier, example

Connection = psycopg.Connection[Any]
NEWER = f"{int(HEAD) + 1:04}"
SAID = rf"This program is older than the database \({NEWER} > {HEAD}\): upgrade the program"


@pytest.fixture
def newer(store: ModelStore, sql_connection: Connection) -> ModelStore:
    """A store with a version, whose database a newer program has migrated."""
    store.register(classifier(), "penguins", example=example())
    sql_connection.execute("UPDATE alembic_version SET version_num = %s", [NEWER])
    return store


@pytest.mark.parametrize(
    ("found", "newer"),
    [(None, False), (HEAD, False), ("0001", False), (NEWER, True), ("0012_words", True), ("ae1027a6acf", True)],
)
def test_migrations_are_ordered_by_their_number(found: str | None, newer: bool) -> None:
    """A migration that this program does not know is of another program, and not an older one."""
    assert is_newer(found) == newer


def test_every_writer_refuses(newer: ModelStore, tmp_path: Path, sql_connection: Connection) -> None:
    """Nothing is written to a catalog or a volume of a newer program, whichever verb is asked."""
    before = sql_connection.execute("SELECT value FROM generation").fetchone()
    files = sorted(newer.artifacts.root.rglob("*"))
    newer.export(["penguins@1"], tmp_path / "moved.bodega")
    writers: dict[str, Callable[[], object]] = {
        "register": lambda: newer.register(classifier(2.0), "penguins", example=example()),
        "register anew": lambda: newer.register(classifier(2.0), "others", example=example()),
        "import": lambda: newer.import_bundle(tmp_path / "moved.bodega", name="moved"),
        "promote": lambda: newer.promote("penguins@1"),
        "rollback": lambda: newer.rollback("penguins", to=1),
        "archive": lambda: newer.archive("penguins@1"),
        "quarantine": lambda: newer.quarantine("penguins@1", reason="x"),
        "describe": lambda: newer.describe("penguins@1", note="x"),
        "describe the model": lambda: newer.describe_model("penguins", "x"),
        "alias": lambda: newer.set_alias("penguins@1", "stable"),
        "prune": lambda: newer.prune("penguins", keep=1),
        "collect": newer.gc,
        "rebuild": newer.rebuild,
        "write manifests": newer.write_manifests,
        "connect": newer.check_catalog,
    }

    for act in writers.values():
        with pytest.raises(ProgramOlderError, match=SAID):
            act()

    assert sql_connection.execute("SELECT value FROM generation").fetchone() == before
    assert sorted(newer.artifacts.root.rglob("*")) == files


def test_readers_go_on(newer: ModelStore) -> None:
    """What can be read is read: a list, a choice, the bytes of a version."""
    assert [version.number for version in newer.versions("penguins")] == [1]
    assert newer.open(newer.resolve("penguins").version).model is not None


def test_a_schema_that_is_older_is_told_with_the_way_out(store: ModelStore, sql_connection: Connection) -> None:
    """The program is the newer one: the database is to be migrated, and nothing is written before."""
    sql_connection.execute("UPDATE alembic_version SET version_num = '0003'")

    with pytest.raises(CatalogNotMigratedError, match=r"at migration 0003(.|\n)*bodega migrate") as refused:
        store.register(classifier(), "penguins", example=example())

    assert not isinstance(refused.value, ProgramOlderError)


@pytest.mark.parametrize(
    "act", [migrate.upgrade, lambda url: migrate.downgrade(url, "0003"), migrate.check], ids=["up", "down", "check"]
)
def test_no_migration_of_an_older_program_touches_it(
    newer: ModelStore, database_url: str, act: Callable[[str], None]
) -> None:
    """Instead of Alembic's own words, which name a revision that it cannot locate."""
    with pytest.raises(ProgramOlderError, match=SAID):
        act(database_url)

    assert migrate.current_revision(database_url) == NEWER


def test_a_migration_that_is_none_is_told(database_url: str) -> None:
    """A name that was mistyped is an error of ours that repeats it."""
    for act in (migrate.upgrade, migrate.downgrade):
        with pytest.raises(SettingsError, match="There is no way to the migration 0099"):
            act(database_url, "0099")


def test_a_downgrade_tells_what_it_loses_and_waits_for_a_yes(store: ModelStore, database_url: str) -> None:
    """Protections of aliases do not come back with the next upgrade; what is derived from other rows does."""
    store.register(classifier(), "penguins", example=example(), metrics={"f1": 0.5})
    store.set_alias("penguins@1", "stable")
    migrate.downgrade(database_url, "0003")
    migrate.upgrade(database_url)
    store.protect_alias("penguins", "stable")

    with pytest.raises(DowngradeError, match=r"loses for good: protections of aliases: 1\n.*--lose"):
        migrate.downgrade(database_url, "0003")
    assert (migrate.current_revision(database_url), store.protected_aliases("penguins")) == (HEAD, ["stable"])
    with pytest.raises(DowngradeError, match=r"protections of aliases: 1, models: 1, versions: 1, aliases: 1, events"):
        migrate.downgrade(database_url, "base")

    migrate.downgrade(database_url, "0003", lose=True)
    migrate.upgrade(database_url)

    assert (store.aliases("penguins"), store.protected_aliases("penguins")) == ({"stable": 1}, [])
    assert store.resolve("penguins@best:f1").version.number == 1


def test_alembic_by_itself_asks_too(store: ModelStore, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who calls Alembic without Bodega meets the same refusal, and says `-x lose=yes`."""
    from alembic.config import CommandLine

    store.register(classifier(), "penguins", example=example())
    monkeypatch.setenv("BODEGA_DATABASE_URL", database_url)
    folder = str(migrate.migrations_folder().parent)
    monkeypatch.chdir(folder)

    with pytest.raises(DowngradeError, match="versions: 1"):
        CommandLine().main(["downgrade", "base"])
    assert migrate.current_revision(database_url) == HEAD
    CommandLine().main(["-x", "lose=yes", "downgrade", "base"])

    assert migrate.current_revision(database_url) is None
