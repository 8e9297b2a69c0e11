"""The commands that keep a store in order, on a real store: what they print, what they change, and their status."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from bodega_db.catalog.tables import HEAD
from bodega_db.errors import CatalogBehindError, ProgramOlderError
from fitting import fit_tree
from outages import lose_version

Run = Callable[..., "tuple[int | str, str]"]


def delete(lab: ModuleType, reference: str) -> None:
    """Take a version out of the catalog."""
    lab.archive(reference)
    lab.delete(reference, reason="not wanted")


@pytest.mark.usefixtures("two")
def test_a_store_in_order_is_told_to_be(run: Run) -> None:
    """With and without reading, for people and for programs."""
    assert run("fsck") == (0, "No trouble was found.\n2 versions, 1 artifacts, none of them hashed.\n")
    status, told = run("fsck", "--read-data", "--json")
    answer = json.loads(told)

    assert (status, answer["status"], answer["troubles"]) == (0, 0, [])
    assert (answer["versions"], answer["artifacts"], answer["hashed"]) == (2, 1, 1)


def test_trouble_is_the_status(two: ModuleType, volume: Path, run: Run) -> None:
    """A missing file that two versions share is one trouble, told with both; an orphan adds its bit."""
    (volume / str(two.get("penguins@1").path)).unlink()
    (volume / "tmp" / "1234.part").write_bytes(b"half")

    status, told = run("fsck", "--json")
    assert status == 9
    assert [(t["state"], t["subject"]) for t in json.loads(told)["troubles"]] == [
        ("corrupt", "penguins@1, penguins@2"),
        ("orphan", "tmp/1234.part"),
    ]


@pytest.mark.usefixtures("two")
def test_a_check_that_is_not_possible_is_status_4(volume: Path, run: Run) -> None:
    """Another store's volume is neither sound nor corrupt."""
    volume.rename(volume.with_name("elsewhere"))
    volume.mkdir()

    assert run("fsck") == (4, "")


@pytest.mark.usefixtures("two")
def test_missing_manifests_are_written_on_request(volume: Path, run: Run) -> None:
    """A check alone only tells of them."""
    manifest = volume / "manifests" / "penguins" / "2.json"
    manifest.unlink()

    status, told = run("fsck")
    assert (status, "--write-manifests" in told, manifest.exists()) == (0, True, False)
    assert run("fsck", "--write-manifests")[1].startswith("Wrote the manifests of 1 versions.\nNo trouble")
    assert manifest.exists()


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    "arguments",
    [
        ("fsck", "--read-data-subset", "5"),
        ("fsck", "--read-data-subset", "0%"),
        ("fsck", "--read-data-subset", "101%"),
        ("gc", "--grace", "7"),
        ("gc", "--grace", "-1d"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused(arguments: tuple[str, ...], run: Run) -> None:
    """Nothing is guessed, and nothing happens."""
    assert run(*arguments) == (2, "")


def test_a_collection_shows_first_and_then_does(two: ModuleType, volume: Path, run: Run) -> None:
    """Without --apply nothing changes; more than a tenth needs --force; with a grace of nothing the trash is emptied."""
    path = volume / str(two.get("penguins@1").path)
    for number in (1, 2):
        delete(two, f"penguins@{number}")

    status, told = run("gc")
    assert (status, "into the trash" in told, "Nothing was changed" in told, path.exists()) == (0, True, True, True)
    status, _ = run("gc", "--apply")
    assert ("1 of 1 artifacts would be removed" in str(status), path.exists()) == (True, True)
    assert json.loads(run("gc", "--apply", "--force", "--json")[1])["applied"] is True
    assert not path.exists()
    assert "stay in the trash" in run("gc", "--grace", "1h")[1]
    assert "out of the trash, for good" in run("gc", "--grace", "0s", "--apply")[1]
    assert run("gc") == (0, "Nothing to collect among 0 artifacts.\n")


def test_a_lost_version_is_restored(two: ModuleType, run: Run, sql_connection: "psycopg.Connection[Any]") -> None:
    """What somebody deleted around Bodega, without an event, comes back from its manifest."""
    sql_connection.execute("ALTER TABLE version DISABLE TRIGGER USER")
    sql_connection.execute("DELETE FROM version WHERE number = 2")
    sql_connection.execute("ALTER TABLE version ENABLE TRIGGER USER")

    status, told = run("rebuild")
    assert (status, "can be restored" in told, len(two.versions("penguins"))) == (0, True, 1)
    assert "restored, archived" in run("rebuild", "--apply")[1]
    assert two.get("penguins@2").status == "archived"
    assert run("rebuild") == (0, "The catalog lacks nothing that the volume knows.\n")


def test_the_command_says_that_the_program_is_the_older_one(
    two: ModuleType, run: Run, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """`migrate` and each command that changes something refuse; `versions` lists as ever."""
    sql_connection.execute("UPDATE alembic_version SET version_num = '9999'")
    said = f"bodega: This program is older than the database (9999 > {HEAD}): upgrade the program"

    for command in (("migrate",), ("promote", "penguins@1"), ("gc",), ("rebuild", "--apply")):
        told, written = run(*command)
        assert (str(told).splitlines()[0], written) == (said, "")
    assert run("versions", "penguins")[0] == 0
    with pytest.raises(ProgramOlderError):
        two.promote("penguins@1")


def test_a_downgrade_on_the_command_line_asks_first(
    two: ModuleType, run: Run, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """It says what would be lost, and does it with --lose."""
    two.set_alias("penguins@1", "stable")
    two.protect_alias("penguins", "stable")

    told, _ = run("migrate", "--down-to", "0003")
    assert "That downgrade loses for good: protections of aliases: 1" in str(told)
    assert "--lose" in str(told)
    assert run("migrate", "--down-to", "0003", "--lose")[0] == 0
    assert run("migrate")[0] == 0
    assert two.aliases("penguins") == {"stable": 1}


def test_a_catalog_that_is_behind_is_told_where_one_registers_and_imports(
    two: ModuleType, run: Run, tmp_path: Path, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A notebook and `bodega import` are refused in the same words, and the command that these name mends it."""
    said = r"1 version is on the volume and not in the catalog: run `bodega rebuild` \(penguins@3\)"
    for name in ("penguins", "others"):
        two.register(fit_tree().model, name, example=fit_tree().X)
    two.export(["others@1"], tmp_path / "moved.bodega")
    lose_version(sql_connection, "penguins", 3)
    fitted = fit_tree()

    with pytest.raises(CatalogBehindError, match=said):
        two.register(fitted.model, "penguins", example=fitted.X)
    assert re.search(said, str(run("import", str(tmp_path / "moved.bodega"), "--as", "penguins")[0]))
    run("rebuild", "--apply")

    assert two.register(fitted.model, "penguins", example=fitted.X).number == 4
