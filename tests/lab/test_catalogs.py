"""Which catalog is meant: the configured one, the one that runs here, the one kept here, or none."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from bodega.local.find_catalog import catalog_database, catalog_settings, is_configured
from bodega.local.home import Home, find_home
from bodega_db.errors import SettingsError
from bodega_db.postgres.embedded import EmbeddedPostgres, find_running

# Opens the catalog of its home, says its server's port, and stays until its input ends.
USER = """
import sys
from bodega.local.find_catalog import catalog_settings
with catalog_settings() as settings:
    print(settings.database_url.get_secret_value(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """An empty home that this process and its children take for theirs, with no catalog configured."""
    for name in [name for name in os.environ if name.startswith("BODEGA_")]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="bodega-home-") as path:
        Path(path).chmod(0o755)  # as root, Postgres runs as nobody, who has to enter it
        monkeypatch.setenv("BODEGA_HOME", path)
        yield Home(Path(path))


@pytest.fixture
def kept(home: Home) -> Home:
    """A home with a catalog that nobody runs."""
    with EmbeddedPostgres(home.postgres, durable=False):
        pass
    return home


def ask(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def start_user() -> tuple["subprocess.Popen[str]", str]:
    user = subprocess.Popen([sys.executable, "-c", USER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    return user, user.stdout.readline().strip()


def test_the_configured_catalog_comes_first(kept: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """With BODEGA_DATABASE_URL set, that catalog is meant, and no Postgres is started."""
    monkeypatch.setenv("BODEGA_DATABASE_URL", "postgresql://reader:secret@catalog.example/bodega")
    monkeypatch.setenv("BODEGA_MODELS", "/mnt/models")

    with catalog_settings() as settings:
        running = find_running(kept.postgres)

    assert settings.database_url.get_secret_value() == "postgresql://reader:secret@catalog.example/bodega"
    assert (settings.models, running) == (Path("/mnt/models"), None)


def test_a_configured_catalog_needs_its_volume(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database without a volume is refused by the variable's name; who only migrates needs no volume."""
    monkeypatch.setenv("BODEGA_DATABASE_URL", "postgresql://reader:secret@catalog.example/bodega")

    with pytest.raises(SettingsError, match="BODEGA_MODELS"), catalog_settings():
        pass
    with catalog_database() as url:
        assert url == "postgresql://reader:secret@catalog.example/bodega"


def test_a_kept_catalog_runs_for_the_moment(kept: Home) -> None:
    """The catalog kept in the checkout runs as long as the block, and not longer."""
    with catalog_settings() as settings:
        answer = ask(settings.database_url.get_secret_value(), "SELECT 1")

    assert (answer, settings.models) == (1, kept.models)
    assert find_running(kept.postgres) is None


def test_two_programs_share_one_postgres(kept: Home) -> None:
    """A second program uses the Postgres the first one runs, and the first one waits for it at its end."""
    first, url = start_user()

    with catalog_settings() as settings:
        shared = settings.database_url.get_secret_value()
        assert first.stdin is not None
        first.stdin.close()
        answers = [ask(shared, "SELECT 1") for _ in range(20)]
        waits = first.poll() is None
    first.wait()
    assert first.stdout is not None
    first.stdout.close()

    assert (shared, waits, set(answers)) == (url, True, {1})
    assert find_running(kept.postgres) is None


def test_many_programs_at_once_all_get_the_catalog(kept: Home) -> None:
    """Programs that come at the same moment, without a stack, all reach the catalog."""
    program = USER.replace("sys.stdin.read()", "pass") + (
        "import psycopg\n"
        "with catalog_settings() as settings:\n"
        "    with psycopg.connect(settings.database_url.get_secret_value()) as connection:\n"
        "        connection.execute('SELECT pg_sleep(0.2)')\n"
    )
    users = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]

    said = [user.communicate(timeout=120)[1] for user in users]

    assert [user.returncode for user in users] == [0, 0, 0, 0], said


def test_no_catalog_at_all_is_an_error_with_a_way_out(home: Home) -> None:
    """Where no catalog was ever made, the error says how to get one, and nothing is made."""
    with pytest.raises(SettingsError, match="There is no catalog") as caught, catalog_settings():
        pass

    assert "./bodega up" in caught.value.advice
    assert list(home.root.iterdir()) == []


def test_migrating_makes_the_catalog(home: Home) -> None:
    """The database is made where there is none, because that is what a migration begins with."""
    with catalog_database() as url:
        answer = ask(url, "SELECT current_database()")

    assert answer == "bodega"
    assert not is_configured()


def test_a_home_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A BODEGA_HOME that is no folder is refused by name."""
    monkeypatch.setenv("BODEGA_HOME", str(tmp_path / "nowhere"))

    with pytest.raises(SettingsError, match="nowhere, which is not a folder"):
        find_home()


def test_the_checkout_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without BODEGA_HOME the home is the checkout that the package is installed from."""
    monkeypatch.delenv("BODEGA_HOME", raising=False)

    assert find_home().root == Path(__file__).resolve().parents[2]
