"""The embedded Postgres: made once, found by others, healed after every way to die, and gone with its parent."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from bodega_db.errors import EmbeddedPostgresError
from bodega_db.postgres import binaries, embedded
from bodega_db.postgres.embedded import EmbeddedPostgres, find_running, visit_running

AS_ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not AS_ROOT, reason="only root has to run Postgres as somebody else")

# Another process with a Postgres: prints its URL, then waits to be ended.
OWNER = """
import pathlib, sys, time
from bodega_db.postgres.embedded import EmbeddedPostgres
with EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False) as postgres:
    print(postgres.url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder that everybody can enter, which pytest's own is not: as root Postgres runs as nobody."""
    with tempfile.TemporaryDirectory(prefix="bodega test ") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A home whose data folder has been made, to copy."""
    with tempfile.TemporaryDirectory(prefix="bodega-") as path:
        Path(path).chmod(0o755)
        with EmbeddedPostgres(Path(path) / "postgres", durable=False):
            pass
        yield Path(path) / "postgres"


@pytest.fixture
def home(made: Path, folder: Path) -> Path:
    """A home with data that no Postgres runs on."""
    # `cp -a` keeps the owner, which is nobody when root runs the tests.
    subprocess.run(["cp", "-a", str(made), str(folder / "postgres")], check=True)
    return folder / "postgres"


def ask(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def count_penguins(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE penguin AS SELECT 344 AS count")


def tell_nothing(message: str) -> None:
    raise AssertionError(f"unexpected: {message}")


def start_owner(home: Path) -> tuple[subprocess.Popen[str], str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    return owner, owner.stdout.readline().strip()


def end_owner(owner: subprocess.Popen[str]) -> None:
    owner.communicate("")


def find_servers(home: Path) -> list[psutil.Process]:
    data = str((home / "cluster").resolve())
    found = [p for p in psutil.process_iter(["cmdline"]) if data in (p.info["cmdline"] or [])]
    return [process for process in found if "guard.py" not in " ".join(process.info["cmdline"])]


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_first_start_makes_a_database(folder: Path) -> None:
    """The first start in an empty folder gives a Postgres 18 in UTF-8 with checksums, durable, on loopback only."""
    with EmbeddedPostgres(folder / "new" / "postgres", tell=tell_nothing) as postgres:
        facts = {name: ask(postgres.url, f"SHOW {name}") for name in ("data_checksums", "fsync", "server_encoding")}
        facts |= {name: ask(postgres.url, f"SHOW {name}") for name in ("listen_addresses", "unix_socket_directories")}
        database = ask(postgres.url, "SELECT current_database() || ' of ' || current_user")
        method = ask(postgres.url, "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules")

    assert facts == {
        "data_checksums": "on",
        "fsync": "on",
        "server_encoding": "UTF8",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
    }
    assert (database, method) == ("bodega of bodega", "scram-sha-256")


def test_a_warm_start_is_quick_and_keeps_the_data(home: Path) -> None:
    """What one run has written the next one finds, in well under a second and with the same password."""
    with EmbeddedPostgres(home) as postgres:
        count_penguins(postgres.url)
        first = postgres.url.split("@")[0]

    began = time.monotonic()
    with EmbeddedPostgres(home) as postgres:
        seconds = time.monotonic() - began
        count = ask(postgres.url, "SELECT count FROM penguin")
        second = postgres.url.split("@")[0]

    assert (count, first) == (344, second)
    assert seconds < 1


def test_a_wrong_password_is_refused(home: Path) -> None:
    """Whoever reaches the port without the password does not get in."""
    with EmbeddedPostgres(home, durable=False) as postgres:
        stranger = postgres.url.replace((home / "password").read_text(), "guess")

        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(stranger)


def test_secrets_are_for_their_owner_alone(home: Path) -> None:
    """The password, the note with the URL and the logs cannot be read by other users."""
    with EmbeddedPostgres(home, durable=False):
        modes = {path.name: path.stat().st_mode & 0o077 for path in home.iterdir()}

    assert {"password", "postgres.json", "postgres.log", "cluster"} <= modes.keys()
    assert set(modes.values()) == {0}


def test_nothing_runs_after_the_end(home: Path) -> None:
    """After the block no process is left, nobody finds a Postgres, and the URL is gone."""
    with EmbeddedPostgres(home, durable=False) as postgres:
        running = find_servers(home)

    assert running
    assert (find_servers(home), find_running(home)) == ([], None)
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        _ = postgres.url


def test_starting_twice_is_refused(home: Path) -> None:
    """Starting what runs already is refused, and what runs goes on."""
    with EmbeddedPostgres(home, durable=False) as postgres:
        with pytest.raises(EmbeddedPostgresError, match="is running already"):
            postgres.start()
        answer = ask(postgres.url, "SELECT 1")

    assert answer == 1


def test_an_interrupted_first_start_heals(folder: Path) -> None:
    """A start that is killed while it makes the data folder does not stop the next one."""
    home = folder / "postgres"
    for _ in range(3):
        owner = subprocess.Popen([sys.executable, "-c", OWNER, str(home)], stdin=subprocess.PIPE)
        wait_for((home / "cluster.new" / "data" / "base").exists)
        owner.kill()
        owner.communicate()
        assert not (home / "cluster").exists()

    with EmbeddedPostgres(home, durable=False) as postgres:
        answer = ask(postgres.url, "SELECT 1")

    assert answer == 1
    assert not (home / "cluster.new").exists()


def test_a_killed_parent_takes_postgres_along(home: Path) -> None:
    """After kill -9 of the parent no Postgres is left, and the next start finds what was committed."""
    owner, url = start_owner(home)
    count_penguins(url)

    owner.kill()
    end_owner(owner)
    with EmbeddedPostgres(home, durable=False) as postgres:
        count = ask(postgres.url, "SELECT count FROM penguin")

    assert count == 344
    wait_for(lambda: not find_servers(home))


def test_a_crash_of_the_server_heals(home: Path) -> None:
    """After kill -9 of Postgres itself, which leaves postmaster.pid behind, it starts again with its data."""
    with EmbeddedPostgres(home) as postgres:
        count_penguins(postgres.url)
        os.kill(json.loads((home / "postgres.json").read_text())["server"], signal.SIGKILL)
        end = postgres.child.wait()
    stale = (home / "cluster" / "postmaster.pid").exists()

    with EmbeddedPostgres(home) as postgres:
        count = ask(postgres.url, "SELECT count FROM penguin")

    assert (end, stale, count) == (128 + signal.SIGKILL, True, 344)


def test_a_reused_process_number_does_not_stop_a_start(home: Path) -> None:
    """A stale postmaster.pid whose number now belongs to an unrelated process of the same user is healed."""
    sleeper = subprocess.Popen(["/bin/sleep", "600"], user="nobody" if AS_ROOT else None)
    pid_file = home / "cluster" / "postmaster.pid"
    pid_file.write_text(
        f"{sleeper.pid}\n{home / 'cluster'}\n1760000000\n5432\n\n127.0.0.1\n  5432001         0\nready\n"
    )
    if AS_ROOT:
        shutil.chown(pid_file, "nobody")

    with EmbeddedPostgres(home, durable=False) as postgres:
        answer = ask(postgres.url, "SELECT 1")
    sleeper.kill()
    sleeper.wait()

    assert answer == 1


def test_a_second_start_says_who_runs_the_first(home: Path) -> None:
    """A start on data that another process runs is refused, with that process's number, and leaves it alone."""
    owner, url = start_owner(home)

    with pytest.raises(EmbeddedPostgresError, match=rf"process {owner.pid} \(-c .*\) runs it"):
        EmbeddedPostgres(home).start()

    assert ask(url, "SELECT 1") == 1
    end_owner(owner)


def test_a_start_can_wait_for_another_to_end(home: Path) -> None:
    """With `wait`, a start takes over when the other process is done."""
    owner, url = start_owner(home)
    waiting = subprocess.Popen(
        [sys.executable, "-c", OWNER.replace("durable=False", "wait=60"), str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    end_owner(owner)
    taken_over = waiting.communicate("")[0].strip()

    assert waiting.returncode == 0
    assert taken_over.startswith("postgresql://bodega:")
    assert taken_over != url


def test_another_process_finds_what_runs(home: Path) -> None:
    """While another process runs the Postgres its URL is found; after kill -9 of that process it is not."""
    owner, url = start_owner(home)

    found = find_running(home)
    owner.kill()
    end_owner(owner)
    wait_for(lambda: find_running(home) is None)

    assert found == url
    assert (home / "postgres.json").exists()  # the note is still there, and not believed


def test_nothing_is_found_where_nothing_ever_ran(folder: Path) -> None:
    """Looking for a Postgres in a folder that does not exist finds none and makes nothing."""
    assert find_running(folder / "postgres") is None
    with visit_running(folder / "postgres") as url:
        assert url is None
    assert list(folder.iterdir()) == []


def test_a_short_lived_owner_waits_for_its_guests(home: Path) -> None:
    """A Postgres that lingers goes on until the guests who use it are done."""
    lingering = OWNER.replace("durable=False", "durable=False, linger=60")
    owner = subprocess.Popen(
        [sys.executable, "-c", lingering, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    owner.stdout.readline()

    with visit_running(home) as url:
        owner.stdin.close()
        time.sleep(0.5)
        answer = ask(str(url), "SELECT 1")
        still_there = owner.poll() is None
    owner.wait()
    owner.stdout.close()

    assert (answer, still_there) == (1, True)
    assert find_running(home) is None


def test_a_port_that_is_taken_in_between_costs_a_retry(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody takes the chosen port before Postgres does, another one is chosen."""
    choose, choices = embedded.find_free_port, []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(
            embedded,
            "find_free_port",
            lambda: choices.append(1) or (choose() if choices[1:] else taken.getsockname()[1]),
        )

        with EmbeddedPostgres(home, durable=False) as postgres:
            answer = ask(postgres.url, "SELECT 1")

    assert (answer, len(choices)) == (1, 2)


def test_data_of_another_major_version_is_refused(home: Path) -> None:
    """Data of another Postgres is refused with both versions and the way out, and is not touched."""
    (home / "cluster" / "PG_VERSION").write_text("17\n")

    with pytest.raises(EmbeddedPostgresError, match="is of Postgres 17, and this program runs Postgres 18") as caught:
        EmbeddedPostgres(home).start()

    assert "pg_dump" in caught.value.advice
    assert (home / "cluster" / "PG_VERSION").read_text() == "17\n"


def test_a_failed_start_shows_the_last_lines_of_the_log(home: Path) -> None:
    """When Postgres cannot start, the error quotes its reason and names the log; nothing stays claimed."""
    (home / "cluster" / "postgresql.conf").write_text("no_such_setting = 1\n")

    with pytest.raises(EmbeddedPostgresError, match='unrecognized configuration parameter "no_such_setting"') as caught:
        EmbeddedPostgres(home).start()

    assert str(home / "postgres.log") in caught.value.advice
    assert not EmbeddedPostgres(home).claim.is_held()


def test_a_lost_password_is_replaced(home: Path) -> None:
    """When the password file is gone, the next start sets a new password and keeps the data."""
    before = (home / "password").read_text()
    (home / "password").unlink()

    with EmbeddedPostgres(home, durable=False) as postgres:
        answer = ask(postgres.url, "SELECT 1")

    assert answer == 1
    assert (home / "password").read_text() != before


def test_a_missing_wheel_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra 'embedded' the error says what to install."""
    monkeypatch.setattr(binaries, "WHEEL", "no_such_wheel")

    with pytest.raises(EmbeddedPostgresError, match="'embedded' is not installed") as caught:
        EmbeddedPostgres(folder / "postgres").start()

    assert "bodega-db[embedded]" in caught.value.advice


def test_a_file_in_place_of_the_folder_is_named(folder: Path) -> None:
    """A path that is no folder gives an error that names it."""
    (folder / "postgres").write_text("")

    with pytest.raises(EmbeddedPostgresError, match=r"postgres cannot be used: File exists"):
        EmbeddedPostgres(folder / "postgres").start()


@as_root
def test_root_hands_postgres_to_nobody(home: Path) -> None:
    """Started by root, Postgres and its data belong to nobody, and the password to root."""
    with EmbeddedPostgres(home, durable=False):
        users = {process.username() for process in find_servers(home)}

    assert users == {"nobody"}
    assert ((home / "cluster").owner(), (home / "password").owner()) == ("nobody", "root")


@as_root
def test_what_nobody_cannot_reach_is_kept_outside(folder: Path) -> None:
    """Below a closed folder the data goes outside, root is told so once, and the next start finds it there."""
    closed, told = folder / "closed", list[str]()
    closed.mkdir(mode=0o700)
    home, outside = closed / "postgres", folder / "outside"

    with EmbeddedPostgres(home, outside=outside, tell=told.append) as postgres:
        count_penguins(postgres.url)
    with EmbeddedPostgres(home, outside=outside, tell=told.append) as postgres:
        count = ask(postgres.url, "SELECT count FROM penguin")

    data = (home / "cluster").resolve()
    assert count == 344
    assert data.is_relative_to(outside)
    assert [str(data.parent) in message for message in told] == [True]


@as_root
def test_what_is_not_durable_leaves_nothing_outside(folder: Path) -> None:
    """A test's Postgres below a closed folder takes its data outside, and takes it away at the end."""
    (folder / "closed").mkdir(mode=0o700)
    home = folder / "closed" / "postgres"

    with EmbeddedPostgres(home, durable=False, outside=folder / "outside", tell=tell_nothing):
        data = (home / "cluster").resolve()
        before = data.is_dir()

    assert (before, data.parent.exists(), (home / "cluster").is_symlink()) == (True, False, False)
    assert not (folder / "outside").exists()


@as_root
def test_data_that_was_outside_and_is_gone_is_not_made_anew(folder: Path) -> None:
    """When the folder outside was removed, an error says so: an empty catalog would look like a loss of models."""
    (folder / "closed").mkdir(mode=0o700)
    home, outside = folder / "closed" / "postgres", folder / "outside"
    with EmbeddedPostgres(home, outside=outside, tell=str):
        pass
    shutil.rmtree((home / "cluster").resolve().parent)

    with pytest.raises(EmbeddedPostgresError, match="which is gone"):
        EmbeddedPostgres(home, outside=outside).start()


@as_root
def test_binaries_nobody_can_reach_are_copied_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs below a closed folder are copied to where nobody can run them, and the copy is used again."""
    site, outside = folder / "closed" / "site", folder / "outside"
    for name in (binaries.WHEEL, f"{binaries.WHEEL}.libs"):
        shutil.copytree(binaries.wheel_folder().parent / name, site / name, symlinks=True)
    (folder / "closed").chmod(0o700)
    monkeypatch.setattr(binaries, "wheel_folder", lambda: site / binaries.WHEEL)

    found = [binaries.find_binaries(outside).folder for _ in range(2)]
    with EmbeddedPostgres(folder / "postgres", durable=False, outside=outside) as postgres:
        answer = ask(postgres.url, "SELECT 1")

    assert found[0] == found[1]
    assert found[0].is_relative_to(outside)
    assert len(list(outside.iterdir())) == 1
    assert answer == 1
