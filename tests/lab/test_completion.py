"""TAB completes commands, options and what the catalog knows; it starts nothing, says nothing wrong, and does not wait."""

import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
from bodega.completion.scripts import SCRIPTS
from bodega_db.catalog import migrate
from bodega_db.postgres.embedded import EmbeddedPostgres, find_running

ROOT = Path(__file__).parents[2]
BODEGA = Path(sys.executable).with_name("bodega")
AWAY = "postgresql://bodega:hush-hush@127.0.0.1:1/bodega"
NEEDED = ("uv.lock", "pyproject.toml", *(f"{room}/pyproject.toml" for room in ("api", "db", "lab")), "tools/install")

Environment = dict[str, str]
Complete = Callable[..., dict[str, str]]


def plain_environment(**variables: str) -> Environment:
    """Return this process's environment with only these variables of Bodega's."""
    kept = {name: value for name, value in os.environ.items() if "BODEGA_" not in name}
    return kept | variables


def ask(line: str, environment: Environment, command: Path = BODEGA) -> "subprocess.CompletedProcess[str]":
    """Ask the command what could follow a line, as the scripts of the shells do."""
    protocol = {
        "_BODEGA_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": line,
    }
    return subprocess.run(
        [str(command)], env=environment | protocol, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def configured(database_url: str) -> Environment:
    """An environment that names this test's catalog."""
    return plain_environment(BODEGA_DATABASE_URL=database_url)


@pytest.fixture
def catalog(two: ModuleType) -> ModuleType:
    """A catalog with two models, of which one has a version in production and an alias."""
    two.promote("penguins@1")
    two.set_alias("penguins@2", "stable")
    two.register(two.load("penguins@1"), "others", example=[[1.0, 2.0, 3.0, 4.0]])
    return two


@pytest.fixture
def complete(catalog: ModuleType, configured: Environment) -> Complete:
    """Complete a line in this test's catalog: what could follow, and what is said of it."""

    def complete_line(line: str) -> dict[str, str]:
        done = ask(line, configured)
        assert (done.returncode, done.stderr) == (0, "")
        found = [answer.partition("\t") for answer in done.stdout.splitlines() if answer]
        return {name: known for name, _, known in found}

    return complete_line


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home, which everybody can enter: as root, Postgres runs as nobody."""
    with tempfile.TemporaryDirectory(prefix="bodega-home-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


# --- what is completed ---------------------------------------------------------------------------------------


def test_commands_and_options(complete: Complete) -> None:
    """Commands and options are completed, each with its help."""
    assert list(complete("bodega pr")) == ["promote", "prune", "protect-alias"]
    assert complete("bodega doc")["doctor"].startswith("Check settings")
    assert list(complete("bodega promote --")) == ["--reason", "--force", "--json", "--help"]
    assert list(complete("bodega completion ")) == ["bash", "zsh", "fish"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bodega versions ", ["others", "penguins"]),
        ("bodega history peng", ["penguins"]),
        ("bodega prune o", ["others"]),
        ("bodega history nothing", []),
        ("bodega show ", ["others", "penguins", "others@", "penguins@"]),
        ("bodega describe peng", ["penguins", "penguins@"]),
        ("bodega diff penguins@1 pe", ["penguins", "penguins@"]),
        ("bodega promote pe", ["penguins@"]),
        ("bodega promote --reason 'two words' pe", ["penguins@"]),
        ("bodega remove-alias penguins ", ["stable"]),
        ("bodega protect-alias penguins s", ["stable"]),
        ("bodega remove-alias others ", []),
        ("bodega set-alias penguins@1 ", ["stable"]),
        ("bodega as-of penguins --alias ", ["stable"]),
        ("bodega promote others@", ["others@latest", "others@1"]),
        ("bodega promote nothing@", []),
        ("bodega show penguins@pro", ["penguins@production"]),
    ],
)
def test_names_come_from_the_catalog(complete: Complete, line: str, expected: list[str]) -> None:
    """Models, references and aliases are completed where they stand; a model alone only where it is a reference."""
    assert list(complete(line)) == expected


def test_versions_are_told_apart(complete: Complete, catalog: ModuleType) -> None:
    """Behind the '@' stand places, aliases and numbers, the newest first, with what they are."""
    catalog.quarantine("penguins@2", reason="a drill")

    assert complete("bodega show penguins@") == {
        "penguins@latest": "version 1",
        "penguins@production": "version 1",
        "penguins@stable": "version 2",
        "penguins@2": "quarantined",
        "penguins@1": "production",
    }


# --- what TAB does not do ------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [AWAY, "nonsense", "mysql://bodega@catalog.example/bodega"])
def test_a_catalog_that_is_away_says_nothing(url: str) -> None:
    """Without a catalog that answers there are no names and no error, and commands are completed all the same."""
    environment = plain_environment(BODEGA_DATABASE_URL=url)

    names, commands = ask("bodega show ", environment), ask("bodega sho", environment)

    assert (names.returncode, names.stdout.strip(), names.stderr) == (0, "", "")
    assert commands.stdout.startswith("show\t")


def test_a_catalog_that_is_not_migrated_says_nothing(empty_database_url: str) -> None:
    """A database without the catalog's tables has no names, and makes no error."""
    done = ask("bodega show ", plain_environment(BODEGA_DATABASE_URL=empty_database_url))

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_a_catalog_that_is_silent_is_not_waited_for() -> None:
    """A server that takes connections and never answers costs a second, not the patience of a command."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://bodega@127.0.0.1:{silent.getsockname()[1]}/bodega"
        without, took = timed("bodega sho", url), timed("bodega show ", url)

    assert took - without < 2.0  # and what it takes to import the driver


def timed(line: str, url: str) -> float:
    """Return how many seconds a line takes to complete."""
    began = time.monotonic()
    done = ask(line, plain_environment(BODEGA_DATABASE_URL=url))
    assert (done.returncode, done.stderr) == (0, "")
    return time.monotonic() - began


def test_no_postgres_is_started(home: Path) -> None:
    """The catalog kept in a checkout is asked while it runs, and is not started for a TAB."""
    folder = home / "volumes" / "local" / "postgres"
    environment = plain_environment(BODEGA_HOME=str(home))
    with EmbeddedPostgres(folder, durable=False) as postgres:
        migrate.upgrade(postgres.url)
        with psycopg.connect(postgres.url) as connection:
            connection.execute("ALTER TABLE model DISABLE TRIGGER USER")
            connection.execute("INSERT INTO model (name, created_by) VALUES ('kept', 'ana')")
        running = ask("bodega history ", environment)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name.endswith((".log", ".json"))}

    stopped = ask("bodega history ", environment)

    assert running.stdout.split() == ["kept"]
    assert (stopped.returncode, stopped.stdout.strip(), stopped.stderr) == (0, "", "")
    assert find_running(folder) is None
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir() if path in before} == before


def test_a_home_without_a_catalog_stays_empty(home: Path) -> None:
    """Where there is no catalog yet TAB makes none."""
    done = ask("bodega show ", plain_environment(BODEGA_HOME=str(home)))

    assert (done.returncode, done.stdout.strip(), done.stderr, list(home.iterdir())) == (0, "", "", [])


# --- the shells ----------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the script `bodega`, whose installed command is the one of this test run."""
    root = tmp_path / "my checkout"
    for name in ("bodega", *NEEDED):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, root / name)
    (root / ".venv" / "bin").mkdir(parents=True)
    for name in ("bodega", "python"):
        (root / ".venv" / "bin" / name).symlink_to(BODEGA.with_name(name))
    return root


def settle(checkout: Path) -> None:
    """Say of a checkout that what it needs is installed, as tools/install does."""
    state = 'printf "%s\\n" "$PWD"; export LC_ALL=C; cksum uv.lock pyproject.toml */pyproject.toml tools/install/*.py'
    told = subprocess.run(["sh", "-c", state], cwd=checkout, capture_output=True, text=True, check=True).stdout
    (checkout / ".venv" / ".bodega-state").write_text(told)


def test_the_command_prints_the_scripts() -> None:
    """`bodega completion SHELL` prints the script of that shell, and of no other."""
    done = {
        shell: subprocess.run([str(BODEGA), "completion", shell], capture_output=True, text=True, check=False)
        for shell in (*SCRIPTS, "tcsh")
    }

    assert {shell: done[shell].stdout for shell in SCRIPTS} == {name: f"{text}\n" for name, text in SCRIPTS.items()}
    assert (done["tcsh"].returncode, "'tcsh'" in done["tcsh"].stderr) == (2, True)


@pytest.mark.parametrize(("shell", "check"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_the_scripts_are_read_by_their_shells(shell: str, check: list[str]) -> None:
    """Each script is one in the language of its shell."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")

    done = subprocess.run([program, *check], input=SCRIPTS[shell], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def bash() -> str:
    """Return where bash is, or leave the test out."""
    program = shutil.which("bash")
    if program is None:
        pytest.skip("bash is not installed")
    return program


def reply(line: str, environment: Environment, folder: Path) -> list[str]:
    """Return what the function of the bash script puts into COMPREPLY for a line."""
    program = (
        'eval "$1"; COMP_LINE=$2; COMP_POINT=${#2}; _bodega_completion "$3" "" ""; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [bash(), "--norc", "-c", program, "bash", SCRIPTS["bash"], line, line.partition(" ")[0]],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("doct", ["doctor"]),
        ("show pen", ["penguins", "penguins@"]),
        ("show penguins@", ["latest", "production", "stable", "2", "1"]),
        ("show penguins@st", ["stable"]),
        ("promote --reason 'two words' penguins@pro", ["production"]),
        ("as-of penguins --alias=", ["stable"]),
        ("show --js", ["--json"]),
        ("show nothing", []),
    ],
)
def test_bash_gets_what_it_shall_insert(
    catalog: ModuleType, configured: Environment, tmp_path: Path, typed: str, expected: list[str]
) -> None:
    """Bash takes 'penguins@st' for three words: what it inserts begins behind the '@'."""
    assert reply(f"{BODEGA} {typed}", configured, tmp_path) == expected


def test_bash_completes_the_script_of_a_checkout(catalog: ModuleType, configured: Environment, checkout: Path) -> None:
    """`./bodega` completes as the installed command does, also by a path from the home."""
    settle(checkout)

    assert reply("./bodega aliases pe", configured, checkout) == ["penguins"]
    assert reply("~/bodega aliases pe", configured | {"HOME": str(checkout)}, checkout.parent) == ["penguins"]


def test_tab_installs_nothing(configured: Environment, checkout: Path) -> None:
    """In a checkout that is not installed TAB has no answer, and installs nothing."""
    before = sorted(checkout.rglob("*"))

    done = ask("./bodega sho", configured, checkout / "bodega")

    assert (done.stdout, done.stderr) == ("", "")
    assert sorted(checkout.rglob("*")) == before


def test_tab_in_a_terminal(catalog: ModuleType, configured: Environment, checkout: Path) -> None:
    """In a terminal TAB after TAB writes the whole line, with a blank behind what is complete and none behind '@'."""
    settle(checkout)
    told = {**configured, "TERM": "dumb", "PS1": "> ", "HISTFILE": "/dev/null"}

    with terminal([bash(), "--noprofile", "--norc", "-i"], told, checkout) as typing:
        typing('eval "$(./bodega completion bash)"\n', "> ")
        typing("./bodega promo\t", "./bodega promote ")
        typing("pe\t", "penguins@")
        typing("st\t", "stable ")
        typing("--forc\t", "--force ")


class terminal:  # noqa: N801 (it reads as a `with` block does)
    """A program in a terminal of its own: type something, and wait for what appears."""

    def __init__(self, command: list[str], environment: Environment, folder: Path) -> None:
        self.command, self.environment, self.folder = command, environment, folder

    def __enter__(self) -> Callable[[str, str], None]:
        ours, theirs = pty.openpty()
        self.screen = ours
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            cwd=self.folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._wait("> ")
        return self._type

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.screen)

    def _type(self, keys: str, expected: str) -> None:
        os.write(self.screen, keys.encode())
        self._wait(expected)

    def _wait(self, expected: str) -> None:
        seen, deadline = "", time.monotonic() + 30
        while not seen.endswith(expected):
            assert time.monotonic() < deadline, f"{seen!r} does not end with {expected!r}"
            if select.select([self.screen], [], [], 0.1)[0]:
                seen += os.read(self.screen, 65536).decode()


def test_fish_gets_candidates_with_their_descriptions(
    catalog: ModuleType, configured: Environment, checkout: Path
) -> None:
    """Fish completes `./bodega`, and falls back to files where the command has nothing to say."""
    program = shutil.which("fish")
    if program is None:
        pytest.skip("fish is not installed")
    settle(checkout)

    def complete(line: str) -> list[str]:
        told = f"{SCRIPTS['fish']}\ncomplete --do-complete='{line}'"
        done = subprocess.run(
            [program, "--no-config", "-c", told],
            env=configured,
            cwd=checkout,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    assert complete("./bodega promote penguins@s") == ["penguins@stable\tversion 2"]
    assert complete("./bodega import uv.l") == ["uv.lock"]
