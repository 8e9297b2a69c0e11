"""The commands that look into the catalog: what they write for people, and that programs get what HTTP answers."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from bodega import cli
from conftest import Api
from fitting import Fitted

Run = Callable[..., str]


@pytest.fixture
def run(database_url: str, volume: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the `bodega` command on this test's catalog and return what it writes to standard output."""
    monkeypatch.setenv("BODEGA_DATABASE_URL", database_url)
    monkeypatch.setenv("BODEGA_MODELS", str(volume))

    def run_command(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["bodega", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    return run_command


@pytest.fixture
def registered(lab: ModuleType, fitted: Fitted) -> ModuleType:
    """The module `bodega`, with two versions of one model and one of another."""
    lab.register(fitted.model, "penguins", example=fitted.X, metrics={"accuracy": 0.9}, note="[red]first[/red]")
    lab.register(fitted.model, "penguins", example=fitted.X, metrics={"log_loss": 0.25}, tags={"team": "birds"})
    lab.register(fitted.model, "others", example=fitted.X)
    return lab


def test_one_version_as_json_is_what_http_answers(run: Run, registered: ModuleType, api: Api) -> None:
    """`show --json` writes exactly the body of GET /models/{name}/versions/{n}."""
    written = json.loads(run("show", "penguins@1", "--json"))

    assert written == api.client.get("/models/penguins/versions/1").json()


def test_versions_as_json_are_what_http_answers(run: Run, registered: ModuleType, api: Api) -> None:
    """`versions --json` writes exactly the body of GET /models?model=NAME."""
    written = json.loads(run("versions", "penguins", "--json"))

    assert [version["version"] for version in written["versions"]] == [2, 1]
    assert written == api.client.get("/models", params={"model": "penguins"}).json()


def test_models_as_json_have_the_names_of_http(run: Run, registered: ModuleType, api: Api) -> None:
    """`models --json` writes each model as GET /models/{name} does, with a count in place of the versions."""
    written = json.loads(run("models", "--json"))
    answers = [api.client.get(f"/models/{name}").json() for name in ("others", "penguins")]

    for answer in answers:
        answer["version_count"] = len(answer.pop("versions"))
    assert written == {"models": answers}


def test_tables_show_what_people_compare(run: Run, registered: ModuleType) -> None:
    """The table of versions has numbers, status, every metric, the sha256's beginning, and notes as they were written."""
    table = run("versions", "penguins")
    models = run("models")

    for words in ("version", "status", "accuracy", "log_loss", "0.25", registered.get("penguins@1").sha256[:12]):
        assert words in table
    assert "[red]first[/red]" in table
    assert models.index("others") < models.index("penguins")


def test_a_pipe_gets_the_whole_table(run: Run, lab: ModuleType, fitted: Fitted) -> None:
    """What goes into a pipe is neither cut nor folded, however long a note is."""
    lab.register(fitted.model, "penguins", example=fitted.X, note="long " * 100)

    assert ("long " * 100).strip() in run("versions", "penguins")


def test_a_table_obeys_no_control_character(run: Run, lab: ModuleType, fitted: Fitted) -> None:
    """A note that would clear the terminal is shown with its escape."""
    lab.register(fitted.model, "penguins", example=fitted.X, note="\x1b[2Jgone")

    written = run("versions", "penguins") + run("show", "penguins@1")

    assert "\x1b" not in written
    assert written.count("\\x1b[2Jgone") == 2


@pytest.mark.parametrize(("reference", "number"), [("penguins@1", 1), ("penguins", 2), ("penguins@best:accuracy", 1)])
def test_show_takes_every_reference(run: Run, registered: ModuleType, reference: str, number: int) -> None:
    """`show` writes the text of the version that a reference means, as a notebook shows it."""
    assert run("show", reference).strip() == str(registered.get(f"penguins@{number}"))


def test_show_shows_a_version_in_quarantine(
    run: Run, registered: ModuleType, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A version in quarantine is not served, and can be looked at."""
    sql_connection.execute("UPDATE version SET status = 'quarantined' WHERE number = 1")

    assert "penguins@1  quarantined" in run("show", "penguins@1")


def test_an_empty_catalog_says_how_to_begin(run: Run) -> None:
    """Without any model, the list of models says how one gets there; as JSON it is an empty list."""
    assert "bodega.register" in run("models")
    assert json.loads(run("models", "--json")) == {"models": []}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["versions", "penguins"], "There is no model named penguins"),
        (["show", "penguins@7"], "There is no model named penguins"),
        (["show", "penguins@seven seas"], "NAME@VERSION"),
        (["show", "penguins@"], "Nothing follows the '@'"),
    ],
)
def test_what_is_not_there_ends_with_status_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    """What is not there ends the command with status 1 and a message that says what to do."""
    monkeypatch.setattr(sys, "argv", ["bodega", *arguments])

    with pytest.raises(SystemExit, match=words) as ended:
        cli.main()
    assert str(ended.value.code).startswith("bodega: ")


def test_the_commands_are_listed_without_heavy_imports() -> None:
    """`bodega --help` knows these commands and imports neither pandas nor scikit-learn nor SQLAlchemy."""
    code = (
        "import sys; sys.argv = ['bodega', '--help']\n"
        "from bodega import cli\n"
        "try: cli.main()\n"
        "finally: print(sorted({'pandas', 'sklearn', 'sqlalchemy', 'nbclient', 'rich.table'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {"models", "versions", "show", "demo"} <= set(done.stdout.split())
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_search_on_the_command_line(run: Run, registered: ModuleType) -> None:
    """`versions` filters, orders, limits, and shows the fields that were asked for; as JSON it names the next page."""
    filtered = run("versions", "--filter", "metrics.accuracy>=0.5", "--fields", "model,version,metrics.accuracy")
    ordered = json.loads(
        run("versions", "--order", "created", "--limit", "1", "--fields", "model,params.ccp_alpha", "--json")
    )
    worded = run("versions", "--text", "birds")

    assert [line.split() for line in filtered.splitlines() if line.strip()][::2] == [
        ["model", "version", "metrics.accuracy"],
        ["penguins", "1", "0.9"],
    ]
    assert ordered["versions"] == [{"model": "penguins", "params.ccp_alpha": 0.0}]
    assert ordered["next"]
    assert "team" not in worded
    assert run("versions", "--text", "nobody wrote this") == "No version is like that.\n"


def test_what_serves_and_what_happened(run: Run, registered: ModuleType) -> None:
    """`resolve` tells why a version serves, `history` what happened to a model, newest first."""
    registered.promote("penguins@1", reason="the only one with an accuracy")

    assert run("resolve", "penguins@best:accuracy") == "penguins@1: the highest accuracy: 0.9\n"
    assert json.loads(run("resolve", "penguins", "--json")) == {
        "model": "penguins",
        "version": 1,
        "chosen": "in production",
    }
    newest = next(line for line in run("history", "penguins").splitlines() if "status" in line)
    assert "candidate → production" in newest
    assert newest.rstrip().endswith("the only one with an accuracy")
    events = json.loads(run("history", "penguins", "--json"))["events"]
    assert [event["event"] for event in events] == ["status", "registered", "registered", "model created"]
