"""`bodega doctor`: each part of a store that is not well is named, with what to do, and the others are checked as well."""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import migrate
from bodega_db.catalog.roles import ADMIN, API, LAB, RIGHTS, apply_roles
from bodega_db.catalog.tables import HEAD
from bodega_db.doctor.catalog import judge_server
from bodega_db.doctor.findings import State
from bodega_db.doctor.run import CHECKS, examine
from bodega_db.doctor.volume import Space, judge_space
from bodega_db.postgres.embedded import EmbeddedPostgres
from conftest import create_database
from sqlalchemy.engine import make_url

Findings = dict[str, dict[str, Any]]
AskDoctor = Callable[..., "tuple[int, Findings]"]
Run = Callable[..., "tuple[int | str, str]"]

READ_ONLY = Path("/sys")  # nobody makes a folder there, not even root
NOWHERE = "postgresql://bodega:hush-hush@127.0.0.1:1/bodega"
OF_CATALOG = ("clock", "migrations", "rights", "public", "marker", "manifests", "registered with")
_numbers = count(1)


@pytest.fixture
def ask_doctor(run: Run, monkeypatch: pytest.MonkeyPatch) -> AskDoctor:
    """Run `bodega doctor --json`, with some variables set or taken away; return its status and findings by name."""

    def examine_store(**variables: str | None) -> tuple[int, Findings]:
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name)
            else:
                monkeypatch.setenv(name, value)
        status, written = run("doctor", "--json")
        assert isinstance(status, int), status
        assert "hush-hush" not in written
        return status, {finding["name"]: finding for finding in json.loads(written)["findings"]}

    return examine_store


def states(findings: Findings) -> dict[str, str]:
    """Return the state of each finding that is not well."""
    return {name: finding["state"] for name, finding in findings.items() if finding["state"] != "ok"}


def test_a_store_that_is_well(two: ModuleType, ask_doctor: AskDoctor, volume: Path) -> None:
    """In a store that is well every check is ok, with its figures; the status is 0, and nothing is left on the volume."""
    files = sorted(path for path in volume.rglob("*") if path.is_file())

    status, findings = ask_doctor()

    assert (status, states(findings)) == (0, {})
    assert list(findings) == ["settings", *CHECKS]
    assert findings["database"]["figures"]["major"] >= 15
    assert 0 < findings["database"]["figures"]["round_trip_ms"] < 1000
    assert abs(findings["clock"]["figures"]["ahead_s"]) < 1
    assert findings["migrations"]["figures"] == {"found": HEAD, "expected": HEAD}
    assert findings["rights"]["figures"]["role"] == "owner"
    assert findings["volume"]["figures"]["uid"] == os.geteuid()
    assert findings["marker"]["figures"]["store"] in (volume / "bodega-store.json").read_text()
    assert findings["writing"]["figures"]["fsync_ms"] > 0
    assert 0 < findings["space"]["figures"]["free_bytes"] <= findings["space"]["figures"]["total_bytes"]
    assert findings["libraries"]["figures"]["skops"] == version("skops")
    assert findings["registered with"]["found"] == "penguins@2 with the same as here."
    assert sorted(path for path in volume.rglob("*") if path.is_file()) == files


def test_people_get_a_table(two: ModuleType, run: Run) -> None:
    """Without --json there is a table with a line for each check."""
    status, written = run("doctor")
    lines = [line.split() for line in written.splitlines() if line.strip()]

    assert status == 0
    assert lines[0] == ["check", "state", "found", "what", "to", "do"]
    assert [line[0] for line in lines[2:]] == ["settings", *(name.split()[0] for name in CHECKS)]


def test_a_new_store_has_warnings_only(ask_doctor: AskDoctor, volume: Path) -> None:
    """Before the first registration makes the volume there is a warning, the status is 0, and no folder is made."""
    status, findings = ask_doctor()

    assert status == 0
    assert states(findings) == {"volume": "warning", "writing": "not checked", "space": "not checked"}
    assert not volume.exists()


# --- database and schema -------------------------------------------------------------------------------------


def test_a_database_that_is_away(two: ModuleType, ask_doctor: AskDoctor) -> None:
    """A Postgres that does not answer is the one fault, with the reason; the volume and libraries are checked."""
    status, findings = ask_doctor(BODEGA_DATABASE_URL=NOWHERE)

    assert status == 1
    assert states(findings) == {"database": "fault"} | dict.fromkeys(OF_CATALOG, "not checked")
    assert "port 1 failed: Connection refused" in findings["database"]["found"]
    assert "BODEGA_DATABASE_URL" in findings["database"]["advice"]


def test_a_wrong_password(database_url: str, ask_doctor: AskDoctor) -> None:
    """A password that is wrong is told apart from a Postgres that is away, and is not written anywhere."""
    wrong = make_url(database_url).set(password="hush-hush").render_as_string(hide_password=False)

    status, findings = ask_doctor(BODEGA_DATABASE_URL=wrong)

    assert status == 1
    assert "password authentication failed" in findings["database"]["found"]


@pytest.mark.parametrize("url", ["nonsense", "mysql://bodega@catalog.example/bodega", "postgresql://host:port/bodega"])
def test_a_database_url_that_is_none(two: ModuleType, ask_doctor: AskDoctor, url: str) -> None:
    """What is no URL of a Postgres is the database's fault, and says so."""
    status, findings = ask_doctor(BODEGA_DATABASE_URL=url)

    assert status == 1
    assert findings["database"]["state"] == "fault"
    assert "BODEGA_DATABASE_URL" in findings["database"]["found"]
    assert findings["writing"]["state"] == "ok"


@pytest.mark.parametrize(
    ("variables", "words", "known"),
    [
        ({"BODEGA_MODELS": None}, "BODEGA_MODELS", "database"),
        ({"BODEGA_DATABASE_URL": "", "BODEGA_HOME": "/nowhere/at/all"}, "/nowhere/at/all", "libraries"),
        ({"BODEGA_CACHE_BYTES": "much"}, "BODEGA_CACHE_BYTES", "libraries"),
        ({"BODEGA_FORMATS": "skops"}, "list", "libraries"),
    ],
)
def test_settings_that_are_wrong(
    ask_doctor: AskDoctor, variables: dict[str, str | None], words: str, known: str
) -> None:
    """A setting that is wrong or missing is a fault with its name; what the others name is checked all the same."""
    status, findings = ask_doctor(**variables)

    assert status == 1
    assert findings["settings"]["state"] == "fault"
    assert words in findings["settings"]["found"]
    assert findings["settings"]["advice"]
    assert findings[known]["state"] == "ok"
    assert findings["writing"]["state"] == "not checked"


def test_a_checkout_without_a_catalog(ask_doctor: AskDoctor) -> None:
    """Where nobody has started anything the doctor says how to, and makes nothing."""
    with tempfile.TemporaryDirectory(prefix="bodega-home-") as home:
        status, findings = ask_doctor(BODEGA_DATABASE_URL=None, BODEGA_MODELS=None, BODEGA_HOME=home)
        made = list(Path(home).iterdir())

    assert (status, made) == (1, [])
    assert "./bodega up" in findings["settings"]["advice"]


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ("UPDATE alembic_version SET version_num = '0003'", "bodega migrate"),
        ("UPDATE alembic_version SET version_num = '9999'", "`git pull`"),
        ("DROP TABLE alembic_version", "bodega migrate"),
        ("DELETE FROM alembic_version", "bodega migrate"),
    ],
)
def test_another_schema(
    two: ModuleType, ask_doctor: AskDoctor, sql_connection: "psycopg.Connection[Any]", change: str, advice: str
) -> None:
    """A schema that is older, newer or none is a fault with the way out; rights and the volume are checked as well."""
    sql_connection.execute(change)

    status, findings = ask_doctor()

    assert status == 1
    waiting = dict.fromkeys(("marker", "manifests", "registered with"), "not checked")
    assert states(findings) == {"migrations": "fault"} | waiting
    assert advice in findings["migrations"]["advice"]
    if "9999" in change:
        said = f"This program is older than the database (9999 > {HEAD}): upgrade the program."
        assert findings["migrations"]["found"] == said


def test_a_database_without_tables(empty_database_url: str, ask_doctor: AskDoctor) -> None:
    """A database in which nothing was migrated has no migration and no rights."""
    status, findings = ask_doctor(BODEGA_DATABASE_URL=empty_database_url)

    assert status == 1
    assert findings["migrations"]["state"] == findings["rights"]["state"] == "fault"
    assert "bodega migrate" in findings["migrations"]["advice"]


def test_a_postgres_that_is_too_old() -> None:
    """Postgres 15 and later are fine, and an earlier one is a fault."""
    assert [judge_server(major) for major in (14, 15, 18)] == [State.FAULT, State.OK, State.OK]


# --- roles ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres of its own, since roles belong to the whole server, with a migrated database that has the roles."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("roles") / "data", durable=False) as postgres:
        url = create_database(postgres.url, "template_roles")
        migrate.upgrade(url)
        apply_roles(url, dict.fromkeys(RIGHTS, "password"))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'password'")
            connection.execute("GRANT CONNECT ON DATABASE template_roles TO stranger")
        yield postgres.url


@pytest.fixture
def as_role(server: str) -> Callable[..., str]:
    """Make a database with the roles, change it with statements of its owner, and return a role's way into it."""

    def log_in(role: str, *statements: str) -> str:
        url = create_database(server, f"roles_{next(_numbers)}", "template_roles")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)
        return make_url(url).set(username=role, password="password").render_as_string(hide_password=False)

    return log_in


@pytest.mark.parametrize("role", [LAB, API, ADMIN])
def test_a_role_with_its_rights(as_role: Callable[..., str], ask_doctor: AskDoctor, role: str) -> None:
    """Each role of docs/roles.md is recognised, and has what it should have as it was made."""
    status, findings = ask_doctor(BODEGA_DATABASE_URL=as_role(role))

    assert (status, findings["rights"]["state"]) == (0, "ok")
    assert findings["rights"]["figures"] == {"role": role, "name": role, "lacks": [], "too_much": []}
    assert findings["database"]["figures"]["role"] == role


@pytest.mark.parametrize(
    ("role", "change", "state", "lacks", "too_much"),
    [
        (LAB, "REVOKE INSERT ON version FROM bodega_lab", "fault", "INSERT", None),
        (LAB, "REVOKE UPDATE (status) ON version FROM bodega_lab", "fault", "UPDATE (status) on version", None),
        (
            API,
            "REVOKE SELECT ON alembic_version FROM bodega_api",
            "fault",
            "SELECT (version_num) on alembic_version",
            None,
        ),
        (
            API,
            "REVOKE EXECUTE ON FUNCTION quarantine_version FROM bodega_api",
            "fault",
            "EXECUTE on quarantine_version",
            None,
        ),
        (LAB, "GRANT UPDATE (number) ON version TO bodega_lab", "warning", None, "UPDATE (number) on version"),
        (API, "GRANT DELETE ON event TO PUBLIC", "warning", None, "DELETE on event"),
        (LAB, "GRANT TRUNCATE ON event TO bodega_lab", "warning", None, "TRUNCATE on event"),
    ],
)
def test_rights_that_are_not_as_they_should_be(
    as_role: Callable[..., str],
    ask_doctor: AskDoctor,
    role: str,
    change: str,
    state: str,
    lacks: str | None,
    too_much: str | None,
) -> None:
    """A right that a role lacks is a fault, one that it has too much a warning; both are named as SQL has them."""
    status, findings = ask_doctor(BODEGA_DATABASE_URL=as_role(role, change))
    rights = findings["rights"]

    assert (rights["state"], status) == (state, 1 if lacks else 0)
    assert [right[: len(lacks or "")] for right in rights["figures"]["lacks"]] == ([lacks] if lacks else [])
    assert rights["figures"]["too_much"] == ([too_much] if too_much else [])
    assert (lacks or too_much or "nothing") in rights["found"]
    assert "docs/roles.md" in rights["advice"]


def test_a_restored_database_lets_everybody_in(
    as_role: Callable[..., str], server: str, ask_doctor: AskDoctor, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a restore lost is a warning with the command that brings it back, which keeps the roles' passwords."""
    lab = as_role(LAB, "GRANT EXECUTE ON FUNCTION next_generation TO PUBLIC")
    status, findings = ask_doctor(BODEGA_DATABASE_URL=lab)
    owner = make_url(server).set(database=make_url(lab).database)

    assert (status, findings["public"]["state"]) == (0, "warning")
    rights = ["EXECUTE on next_generation", "CONNECT on the database", "TEMPORARY on the database"]
    assert findings["public"]["figures"]["public"] == rights
    said = "may do this here: CONNECT on the database, TEMPORARY on the database, EXECUTE on 1 function."
    assert findings["public"]["found"].endswith(said)
    assert "`bodega apply-roles`" in findings["public"]["advice"]

    monkeypatch.setenv("BODEGA_DATABASE_URL", owner.render_as_string(hide_password=False))
    said = "bodega_admin, bodega_api, bodega_lab have their rights, and no other role has any.\n"
    assert run("apply-roles") == (0, said)

    _, findings = ask_doctor(BODEGA_DATABASE_URL=lab)
    assert (findings["public"]["state"], findings["rights"]["state"]) == ("ok", "ok")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(make_url(lab).set(username="stranger").render_as_string(hide_password=False))


@pytest.mark.parametrize(
    ("grant", "state"), [("SELECT ON version", "fault"), ("ALL ON ALL TABLES IN SCHEMA public", "warning")]
)
def test_a_role_of_nobody(as_role: Callable[..., str], ask_doctor: AskDoctor, grant: str, state: str) -> None:
    """A role that Bodega does not know must be able to read all, and is a warning when it is."""
    calls = "GRANT EXECUTE ON FUNCTION quarantine_version, version_words, lock_holders TO stranger"
    _, findings = ask_doctor(BODEGA_DATABASE_URL=as_role("stranger", f"GRANT {grant} TO stranger", calls))

    assert (findings["rights"]["state"], findings["rights"]["figures"]["role"]) == (state, None)
    assert findings["rights"]["found"].startswith("stranger is none of bodega_admin, bodega_api, bodega_lab")


@pytest.mark.skipif(not READ_ONLY.is_dir(), reason="only Linux has a folder that nobody can write")
@pytest.mark.parametrize(
    ("role", "state", "said"), [(API, "ok", "is read-only here, as it should be"), (LAB, "fault", "cannot be written")]
)
def test_a_volume_that_is_read_only(
    as_role: Callable[..., str], ask_doctor: AskDoctor, role: str, state: str, said: str
) -> None:
    """A volume that cannot be written is as it should be for the API's role, and a fault for who registers."""
    status, findings = ask_doctor(BODEGA_DATABASE_URL=as_role(role), BODEGA_MODELS=str(READ_ONLY))

    assert (findings["writing"]["state"], status) == (state, 0 if state == "ok" else 1)
    assert said in findings["writing"]["found"]


# --- volume --------------------------------------------------------------------------------------------------


def test_the_volume_of_another_store(two: ModuleType, ask_doctor: AskDoctor, tmp_path: Path) -> None:
    """A marker that is not this catalog's is a fault, and nothing is written there."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "bodega-store.json").write_text('{"store": "00000000-0000-0000-0000-000000000000"}')

    status, findings = ask_doctor(BODEGA_MODELS=str(other))

    assert status == 1
    assert states(findings) == {"marker": "fault", "manifests": "not checked", "writing": "not checked"}
    assert [path.name for path in other.iterdir()] == ["bodega-store.json"]


def test_a_volume_that_was_lost(two: ModuleType, ask_doctor: AskDoctor, tmp_path: Path) -> None:
    """A folder that is not there although the catalog has versions is a fault."""
    status, findings = ask_doctor(BODEGA_MODELS=str(tmp_path / "lost"))

    assert (status, findings["marker"]["state"]) == (1, "fault")
    assert "has no marker, but the catalog has versions" in findings["marker"]["found"]


def test_a_file_in_place_of_the_volume(ask_doctor: AskDoctor, tmp_path: Path) -> None:
    """What is not a folder is no volume."""
    (tmp_path / "file").write_text("")

    status, findings = ask_doctor(BODEGA_MODELS=str(tmp_path / "file"))

    assert (status, findings["volume"]["state"]) == (1, "fault")
    assert "is not a folder" in findings["volume"]["found"]


def test_nothing_is_written_where_nobody_knows_whose_it_is(ask_doctor: AskDoctor, tmp_path: Path) -> None:
    """In a folder without tmp/ that no catalog vouches for, no tmp/ is made."""
    status, findings = ask_doctor(BODEGA_DATABASE_URL=NOWHERE, BODEGA_MODELS=str(tmp_path))

    assert (status, findings["writing"]["state"], list(tmp_path.iterdir())) == (1, "not checked", [])


def test_a_volume_that_takes_no_more(two: ModuleType, volume: Path) -> None:
    """A write that fails is a fault of the volume, and leaves nothing there."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        findings = {finding.name: finding for finding in examine(NOWHERE, volume)}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert findings["writing"].state is State.FAULT
    assert "File too large" in findings["writing"].found
    assert list((volume / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("space", "state"),
    [
        (Space(1000, 500, 1000, 500), State.OK),
        (Space(1000, 40, 1000, 500), State.WARNING),
        (Space(1000, 500, 1000, 40), State.WARNING),
        (Space(1000, 0, 1000, 500), State.FAULT),
        (Space(1000, 500, 1000, 0), State.FAULT),
        (Space(1000, 500, 0, 0), State.OK),  # a file system that makes inodes as they are needed
        (Space(0, 0, 0, 0), State.OK),  # one that says nothing
    ],
)
def test_the_space_that_is_left(space: Space, state: State) -> None:
    """Bytes or inodes that run short are a warning, and none left is a fault; both say what to do."""
    finding = judge_space(space)

    assert finding.state is state
    assert bool(finding.advice) is (state is not State.OK)


# --- clock and libraries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "state", "said"),
    [
        (0.5, "ok", "ms behind"),
        (5, "warning", "5.0 s behind"),
        (-5, "warning", "5.0 s ahead of"),
        (90, "fault", "90.0 s"),
    ],
)
def test_clocks_that_differ(
    ask_doctor: AskDoctor, monkeypatch: pytest.MonkeyPatch, seconds: float, state: str, said: str
) -> None:
    """A difference of more than a second between this machine and Postgres is a warning, of more than a minute a fault."""
    really = time.time
    monkeypatch.setattr(time, "time", lambda: really() + seconds)

    status, findings = ask_doctor()

    assert (findings["clock"]["state"], status) == (state, 1 if state == "fault" else 0)
    assert findings["clock"]["figures"]["ahead_s"] == pytest.approx(-seconds, abs=0.3)
    assert said in findings["clock"]["found"]


def make_with(connection: "psycopg.Connection[Any]", number: int, path: str, value: str) -> None:
    """Have a version say that it was made elsewhere."""
    connection.execute("ALTER TABLE version DISABLE TRIGGER version_is_immutable")
    connection.execute(
        "UPDATE version SET environment = jsonb_set(environment, %s, to_jsonb(%s::text)) WHERE number = %s",
        (path, value, number),
    )


def test_another_scikit_learn(
    two: ModuleType, ask_doctor: AskDoctor, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A version in production or newest that another scikit-learn minor made is a warning that names both versions."""
    two.promote("penguins@1")
    make_with(sql_connection, 1, "{libraries,scikit-learn}", "0.24.2")

    status, findings = ask_doctor()
    finding = findings["registered with"]

    assert (status, states(findings)) == (0, {"registered with": "warning"})
    assert finding["found"] == f"Here is scikit-learn {version('scikit-learn')}; penguins@1 with scikit-learn 0.24.2."
    assert [group["versions"] for group in finding["figures"]["environments"]] == [["penguins@1"], ["penguins@2"]]
    assert "BODEGA_ALLOW_SKLEARN_MISMATCH" in finding["advice"]


def test_other_differences_are_told(
    two: ModuleType, ask_doctor: AskDoctor, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A Python, numpy or patch of scikit-learn that differs is told and no warning; what no longer answers is left out."""
    make_with(sql_connection, 1, "{libraries,scikit-learn}", "0.24.2")
    make_with(sql_connection, 2, "{libraries,scikit-learn}", ".".join([*version("scikit-learn").split(".")[:2], "99"]))
    make_with(sql_connection, 2, "{python}", "3.11.0rc1")

    status, findings = ask_doctor()

    assert (status, states(findings)) == (0, {})
    assert "penguins@2 with python 3.11.0rc1, scikit-learn" in findings["registered with"]["found"]
    assert "penguins@1" not in findings["registered with"]["found"]
    assert findings["libraries"]["figures"]["python"] == platform.python_version()


def test_a_check_that_breaks_leaves_the_others(
    two: ModuleType, ask_doctor: AskDoctor, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A check that meets what nobody thought of is a fault of its own, and all the others are made."""
    sql_connection.execute("ALTER TABLE version DROP COLUMN environment")

    status, findings = ask_doctor()

    assert status == 1
    assert states(findings) == {"registered with": "fault"}
