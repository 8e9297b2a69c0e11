"""The `bodega` command: quick to answer, clear when it refuses, and faithful to the tests it runs."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bodega_db.catalog import migrate
from bodega_db.catalog.tables import HEAD

BODEGA = str(Path(sys.executable).with_name("bodega"))
HEAVY = {"alembic", "jupyterlab", "numpy", "pandas", "psycopg", "pydantic", "rich", "sklearn", "sqlalchemy"}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home, which everybody can enter: as root, Postgres runs as nobody."""
    with tempfile.TemporaryDirectory(prefix="bodega-home-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def bodega(home: Path) -> Run:
    """Runs `bodega` in an empty home, and in an environment that configures nothing."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BODEGA_")}
        return subprocess.run(
            [BODEGA, *arguments],
            env={**kept, "BODEGA_HOME": str(home), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_help_lists_the_commands(bodega: Run) -> None:
    """`bodega --help`, and `bodega` alone, list the commands with status 0."""
    asked, alone = bodega("--help"), bodega()

    assert (asked.returncode, alone.returncode) == (0, 0)
    assert asked.stdout == alone.stdout
    assert all(re.search(rf"^  {command} ", asked.stdout, re.MULTILINE) for command in ("up", "migrate", "test"))


def test_help_imports_nothing_heavy() -> None:
    """`bodega --help` answers at once, because nothing heavy is imported for it."""
    program = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); sys.argv[1:] = ['--help']\n"
    done = subprocess.run(
        [sys.executable, "-c", program + "from bodega.cli import main; main()"],
        capture_output=True,
        text=True,
        check=True,
    )

    imported = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}

    assert "typer" in imported
    assert imported & HEAVY == set()


def test_the_version_is_told(bodega: Run) -> None:
    """`bodega --version` tells the version of the package."""
    assert re.fullmatch(r"bodega \d+\.\d+\.\d+\n", bodega("--version").stdout)


@pytest.mark.parametrize(
    "arguments", [("nope",), ("up", "--api-port", "x"), ("up", "--lab-port", "0"), ("migrate", "x")]
)
def test_wrong_usage_has_status_2(bodega: Run, arguments: tuple[str, ...]) -> None:
    """A command, option or value that does not exist ends with status 2 and a hint at --help."""
    done = bodega(*arguments)

    assert done.returncode == 2
    assert "--help" in done.stderr


def test_an_error_ends_with_its_hint_and_status_1(bodega: Run, home: Path) -> None:
    """An error of Bodega goes to stderr with what to do next; no traceback, status 1."""
    done = bodega("migrate", BODEGA_DATABASE_URL="mysql://somewhere/bodega")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bodega: BODEGA_DATABASE_URL names mysql\n  ")
    assert "Traceback" not in done.stderr
    assert list(home.iterdir()) == []


def test_migrate_brings_a_configured_database_to_the_schema(bodega: Run, empty_database_url: str) -> None:
    """`bodega migrate` migrates the database that BODEGA_DATABASE_URL names, and twice is no harm."""
    runs = [bodega("migrate", BODEGA_DATABASE_URL=empty_database_url) for _ in range(2)]

    assert [done.returncode for done in runs] == [0, 0], runs
    assert migrate.current_revision(empty_database_url) == HEAD


def test_migrate_makes_the_catalog_of_a_checkout(bodega: Run, home: Path) -> None:
    """Without a configured database `bodega migrate` makes and migrates that of the checkout, and leaves no process."""
    done = bodega("migrate")
    note = home / "volumes" / "local" / "postgres" / "postgres.json"

    assert done.returncode == 0, done.stderr
    assert (home / "volumes" / "local" / "postgres" / "cluster" / "PG_VERSION").exists()
    assert not note.exists()


def test_migrate_says_that_a_database_is_away(bodega: Run) -> None:
    """A database that does not answer ends `bodega migrate` with status 1 and a hint, without the password."""
    done = bodega("migrate", BODEGA_DATABASE_URL="postgresql://bodega:hush-hush@127.0.0.1:1/bodega")

    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "hush-hush" not in done.stdout + done.stderr


@pytest.mark.parametrize(("body", "arguments", "status"), [("1", (), 0), ("0", (), 1), ("1", ("-k", "none"), 5)])
def test_tests_pass_on_arguments_and_status(
    bodega: Run, home: Path, body: str, arguments: tuple[str, ...], status: int
) -> None:
    """`bodega test` hands its arguments to pytest and ends with pytest's status."""
    (home / "tests").mkdir()
    (home / "tests" / "test_one.py").write_text(f"def test_one():\n    assert {body}\n")

    done = bodega("test", "-q", *arguments)

    assert done.returncode == status, done.stdout + done.stderr


def test_tests_do_not_see_the_catalog_at_work(bodega: Run, home: Path) -> None:
    """`bodega test` keeps the configured catalog from the tests."""
    (home / "tests").mkdir()
    (home / "tests" / "test_one.py").write_text(
        "import os\n\ndef test_one():\n    assert 'BODEGA_DATABASE_URL' not in os.environ\n"
    )

    done = bodega("test", BODEGA_DATABASE_URL="postgresql://bodega:bodega@catalog.example/bodega")

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("arguments", "tier"), [((), "None"), (("--all",), "'all'")])
def test_the_second_tier_is_asked_for(bodega: Run, home: Path, arguments: tuple[str, ...], tier: str) -> None:
    """`bodega test --all` tells the tests that the second tier is wanted; without it they run the first."""
    (home / "tests").mkdir()
    (home / "tests" / "test_one.py").write_text(
        f"import os\n\ndef test_one():\n    assert os.environ.get('TESTS') == {tier}\n"
    )

    done = bodega("test", *arguments)

    assert done.returncode == 0, done.stdout


def test_tests_need_a_checkout(bodega: Run) -> None:
    """`bodega test` where there are no tests says so."""
    done = bodega("test")

    assert (done.returncode, done.stdout) == (1, "")
    assert "There are no tests in" in done.stderr
