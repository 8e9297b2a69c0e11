"""The roles of the database: what each may do, statement by statement, on a catalog made as a container makes it."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import migrate
from bodega_db.catalog.roles import RIGHTS, apply_roles
from bodega_db.catalog.sessions import TIMEOUTS
from bodega_db.errors import (
    AliasProtectedError,
    CatalogLockedError,
    CatalogNotMigratedError,
    CatalogUnavailableError,
    NotPermittedError,
    RolesError,
    SettingsError,
)
from bodega_db.store import ModelStore
from bodega_model.loading.environment import default_actor
from conftest import create_database
from penguins import classifier, example
from psycopg.errors import CheckViolation, ForeignKeyViolation, InsufficientPrivilege
from sqlalchemy.engine import make_url

Connection = psycopg.Connection[Any]
Connect = Callable[..., ModelStore]
LogIn = Callable[[str], Connection]

OWNER, LAB, API, ADMIN = "bodega_owner", "bodega_lab", "bodega_api", "bodega_admin"
PASSWORDS = {LAB: 'lab\'s %s "word"; \\', API: "päßwörd of the API", ADMIN: "who may delete"}
OWNER_PASSWORD = "owner"
TEMPLATE = "template_roles"

# --- a catalog as a container makes it -----------------------------------------------------------------------


def as_role(url: str, role: str, password: str) -> str:
    """Return a database's URL with another login."""
    return change_url(url, username=role, password=password)


def change_url(url: str, **changes: str) -> str:
    """Return a database's URL with some parts of it changed."""
    changed = make_url(url).set(**changes)  # type: ignore[arg-type]
    return changed.render_as_string(hide_password=False).replace(" ", "%20")  # libpq takes no space


def execute(url: str, *statements: str) -> None:
    """Execute statements, each committed."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def query(url: str, statement: str) -> list[Any]:
    """Return the rows that a statement answers."""
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchall()


@pytest.fixture(scope="module")
def template(postgres_url: str) -> str:
    """A database that belongs to a role of its own, migrated by it, as the container's first start makes it."""
    execute(
        postgres_url,
        f"CREATE ROLE {OWNER} LOGIN CREATEROLE NOSUPERUSER PASSWORD '{OWNER_PASSWORD}'",
        f"CREATE DATABASE {TEMPLATE} OWNER {OWNER}",
    )
    url = as_role(change_url(postgres_url, database=TEMPLATE), OWNER, OWNER_PASSWORD)
    migrate.upgrade(url)
    apply_roles(url, PASSWORDS)
    return TEMPLATE


@pytest.fixture
def make_database(postgres_url: str, template: str) -> Iterator[Callable[..., str]]:
    """Clone databases that the owner owns, without the roles' rights on them, and drop them at the end."""
    made: list[str] = []

    def make(template: str = template) -> str:
        name = f"roles_{len(made)}"
        made.append(name)
        create_database(postgres_url, name, template)
        execute(postgres_url, f"ALTER DATABASE {name} OWNER TO {OWNER}")
        return as_role(change_url(postgres_url, database=name), OWNER, OWNER_PASSWORD)

    yield make
    for name in made:
        execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(make_database: Callable[..., str]) -> str:
    """The owner's way into a database of this test, where the roles have their rights."""
    url = make_database()
    apply_roles(url, PASSWORDS)
    return url


@pytest.fixture
def log_in(database_url: str) -> Iterator[LogIn]:
    """Log in to this test's database as a role."""
    opened: list[Connection] = []

    def log_in(role: str) -> Connection:
        password = (PASSWORDS | {OWNER: OWNER_PASSWORD})[role]
        opened.append(psycopg.connect(as_role(database_url, role, password), autocommit=True))
        return opened[-1]

    yield log_in
    for connection in opened:
        connection.close()


@pytest.fixture
def stores(connect: Connect, database_url: str) -> Callable[[str], ModelStore]:
    """Connect a store as a role."""
    return lambda role: connect(database_url=as_role(database_url, role, PASSWORDS[role]))


@pytest.fixture
def penguins(stores: Callable[[str], ModelStore]) -> None:
    """One version, registered by the lab."""
    stores(LAB).register(classifier(), "penguins", example=example(), metrics={"accuracy": 0.9})


# --- every verb on every table -------------------------------------------------------------------------------

ALL = "every column"
TABLES = {"model", "version", "metric", "alias", "asked_output", "event", "generation", "store", "alembic_version"}
REGISTERED = {
    *("model_id", "number", "sha256", "size_bytes", "format", "signature", "golden", "metrics", "params", "tags"),
    *("environment", "lineage", "note", "idempotency_key", "created_by"),
}
INSERTED = {
    "model": {"name", "description", "last_version", "created_by"},
    "version": REGISTERED,
    "alias": {"model_id", "name", "version_id"},
}
ALLOWED: dict[tuple[str, str], dict[str, Any]] = {
    (ADMIN, "SELECT"): dict.fromkeys(TABLES, ALL),
    (ADMIN, "INSERT"): INSERTED,
    (ADMIN, "UPDATE"): {
        "model": {"description", "last_version"},
        "version": {"status", "tags", "note"},
        "alias": {"version_id", "protected"},
    },
    (ADMIN, "DELETE"): {"version": ALL, "alias": ALL},
    (ADMIN, "TRUNCATE"): {},
    (LAB, "SELECT"): dict.fromkeys(TABLES, ALL),
    (LAB, "INSERT"): INSERTED,
    (LAB, "UPDATE"): {
        "model": {"description", "last_version"},
        "version": {"status", "tags", "note"},
        "alias": {"version_id"},
    },
    (LAB, "DELETE"): {"alias": ALL},
    (LAB, "TRUNCATE"): {},
    (API, "SELECT"): dict.fromkeys(TABLES, ALL),
    (API, "INSERT"): {"asked_output": {"version_id", "output"}},
    (API, "UPDATE"): {"asked_output": {"asked_at"}},
    (API, "DELETE"): {},
    (API, "TRUNCATE"): {},
}
STATEMENTS = {
    "SELECT": "SELECT {column} FROM {table}",
    "INSERT": "INSERT INTO {table} ({column}) VALUES (DEFAULT)",
    "UPDATE": "UPDATE {table} SET {column} = DEFAULT",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table} CASCADE",
}


def columns_of(url: str) -> dict[str, set[str]]:
    """Return the tables that the database has, with their columns."""
    columns: dict[str, set[str]] = {}
    for table, column in query(
        url,
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped",
    ):
        columns.setdefault(table, set()).add(column)
    return columns


def may(connection: Connection, statement: str) -> bool:
    """Execute a statement, take it back, and tell whether the role was allowed to.

    Rights are looked at before constraints and triggers, so a row that those refuse was allowed.
    """
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except InsufficientPrivilege:
        return False
    except psycopg.IntegrityError:
        return True
    return True


def try_all(connection: Connection, verb: str, columns: dict[str, set[str]]) -> dict[str, set[str]]:
    """Execute a verb on each column of each table and return those where it was allowed."""
    permitted = {
        table: {name for name in names if may(connection, STATEMENTS[verb].format(table=table, column=name))}
        for table, names in columns.items()
    }
    return {table: names for table, names in permitted.items() if names}


@pytest.mark.parametrize(("role", "verb"), ALLOWED)
@pytest.mark.usefixtures("penguins")
def test_a_role_may_do_what_the_table_says_and_nothing_else(
    role: str, verb: str, log_in: LogIn, database_url: str
) -> None:
    """Each verb on each column of each table works for the role, or is refused for want of a right."""
    columns = columns_of(database_url)

    permitted = try_all(log_in(role), verb, columns)

    assert permitted == {
        table: columns[table] if names == ALL else names for table, names in ALLOWED[role, verb].items()
    }


@pytest.mark.parametrize("verb", STATEMENTS)
@pytest.mark.usefixtures("penguins")
def test_what_is_refused_is_refused_for_want_of_a_right(verb: str, log_in: LogIn, database_url: str) -> None:
    """The owner may execute each of those statements: nothing but the role makes the difference."""
    columns = columns_of(database_url)

    assert try_all(log_in(OWNER), verb, columns) == columns


def test_every_table_is_named_for_every_role(database_url: str) -> None:
    """A table that a migration adds must be named in RIGHTS, if with nothing, and so do the columns exist."""
    columns = columns_of(database_url)
    named = {
        (table, column)
        for tables in RIGHTS.values()
        for table, verbs in tables.items()
        for listed in verbs.values()
        for column in listed
    }

    assert set(RIGHTS) == {LAB, API, ADMIN}
    assert [set(tables) for tables in RIGHTS.values()] == [set(columns)] * 3
    assert {column for table, column in named if column not in columns[table]} == set()


# --- the work that each role is there for ----------------------------------------------------------------------


def test_the_lab_registers_lists_and_loads(stores: Callable[[str], ModelStore]) -> None:
    """A notebook needs no more than the lab's role."""
    store = stores(LAB)
    first = store.register(classifier(), "penguins", example=example(), metrics={"accuracy": 0.9}, tags={"a": "b"})
    second = store.register(classifier(2.0), "penguins", example=example(), note="stronger")

    runner = store.open(store.resolve("penguins@1").version)

    assert [version.number for version in store.versions("penguins")] == [second.number, first.number] == [2, 1]
    assert [model.name for model in store.models()] == ["penguins"]
    assert list(runner.model.predict(example())) == list(classifier().predict(example()))


def test_a_registration_of_the_lab_writes_the_events_it_always_wrote(stores: Callable[[str], ModelStore]) -> None:
    """Who, what and the generation stand in the history, although the lab may not write there."""
    store = stores(LAB)
    before = store.check_catalog()
    version = store.register(classifier(), "penguins", example=example())

    registered, created = store.history("penguins")

    assert (created.kind, created.number, created.actor) == ("model created", None, default_actor())
    assert (registered.kind, registered.number, registered.actor) == ("registered", 1, default_actor())
    assert (registered.before, registered.after) == (None, {"status": "candidate", "sha256": version.digest.hex})
    assert [created.generation, registered.generation, version.generation] == [before + 1, before + 2, before + 2]
    assert store.check_catalog() == before + 2


def test_the_lab_moves_versions_through_their_life(stores: Callable[[str], ModelStore]) -> None:
    """Every verb of a version's life works with the lab's role, locks included."""
    store = stores(LAB)
    for strength in (1.0, 2.0):
        store.register(classifier(strength), "penguins", example=example())

    store.promote("penguins@1", reason="the first")
    store.set_alias("penguins@2", "next")
    store.set_alias("penguins@1", "next")
    store.promote("penguins@2")
    store.rollback("penguins")
    store.quarantine("penguins@2", reason="a drill")
    store.release("penguins@2", reason="it was one")
    store.archive("penguins@2")
    store.remove_alias("penguins", "next")

    assert [version.status for version in store.versions("penguins")] == ["archived", "production"]
    assert store.as_of("penguins", store.history("penguins")[0].at).number == 1  # type: ignore[union-attr]


@pytest.mark.usefixtures("penguins")
def test_a_protected_alias_is_moved_by_the_administrator_alone(stores: Callable[[str], ModelStore]) -> None:
    """The lab can neither protect an alias nor move, remove or free one that is protected; the administrator can."""
    lab, admin = stores(LAB), stores(ADMIN)
    lab.register(classifier(2.0), "penguins", example=example())
    lab.set_alias("penguins@1", "stable")
    with pytest.raises(NotPermittedError):
        lab.protect_alias("penguins", "stable")
    admin.protect_alias("penguins", "stable", reason="customers call it")
    protected = lab.protected_aliases("penguins")

    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (AliasProtectedError, lambda: lab.set_alias("penguins@2", "stable")),
        (AliasProtectedError, lambda: lab.remove_alias("penguins", "stable")),
        (NotPermittedError, lambda: lab.unprotect_alias("penguins", "stable")),
    ]
    for error, act in refused:
        with pytest.raises(error):
            act()
    before = lab.aliases("penguins")
    admin.set_alias("penguins@2", "stable")
    moved = lab.aliases("penguins")
    admin.unprotect_alias("penguins", "stable")
    lab.remove_alias("penguins", "stable")

    kinds = [event.kind for event in lab.history("penguins")][:5]
    assert protected == ["stable"]
    assert (before, moved) == ({"stable": 1}, {"stable": 2})
    assert kinds == ["alias", "alias protection", "alias", "alias protection", "alias"]
    assert lab.protected_aliases("penguins") == []


@pytest.mark.usefixtures("penguins")
def test_versions_leave_by_the_administrator_alone(stores: Callable[[str], ModelStore]) -> None:
    """The lab retires a version, and only the administrator takes it, or many, out of the catalog."""
    lab, admin = stores(LAB), stores(ADMIN)
    for strength in (2.0, 3.0):
        lab.register(classifier(strength), "penguins", example=example())
    lab.archive("penguins@1")
    lab.archive("penguins@2")
    with pytest.raises(NotPermittedError):
        lab.delete("penguins@1", reason="of no use")
    with pytest.raises(NotPermittedError):
        lab.prune("penguins", keep=1)

    admin.delete("penguins@1", reason="of no use")
    pruned = admin.prune("penguins", keep=1)

    assert [version.number for version in pruned] == [2]
    assert [version.number for version in lab.versions("penguins")] == [3]


@pytest.mark.usefixtures("penguins")
def test_the_lab_moves_status_tags_note_and_aliases(log_in: LogIn, stores: Callable[[str], ModelStore]) -> None:
    """Each of these is an event whose actor is the role that logged in, and not the owner of the triggers."""
    lab = log_in(LAB)
    for statement in (
        "UPDATE model SET description = 'of Palmer'",
        "SELECT FROM version FOR UPDATE; UPDATE version SET status = 'production'",
        "UPDATE version SET note = 'seen', tags = '{\"team\": \"core\"}'",
        "INSERT INTO alias (model_id, name, version_id) SELECT m.id, 'stable', v.id FROM model m, version v",
        "INSERT INTO alias (model_id, name, version_id) SELECT m.id, 'stable', v.id FROM model m, version v"
        " ON CONFLICT (model_id, name) DO UPDATE SET version_id = excluded.version_id",
        "DELETE FROM alias",
    ):
        lab.execute(statement)

    history = stores(LAB).history("penguins")[:5]

    # An alias that is set to the version it names already is no change.
    assert [event.kind for event in reversed(history)] == ["model described", "status", "described", "alias", "alias"]
    assert {event.actor for event in history} == {LAB}


@pytest.mark.usefixtures("penguins")
def test_the_api_chooses_and_opens(stores: Callable[[str], ModelStore]) -> None:
    """Whoever serves reads the catalog and changes nothing in it."""
    store = stores(API)
    generation = store.check_catalog()

    chosen = store.choose(None, "best:accuracy").version
    found = store.versions(filter="metrics.accuracy>0.5 and status=candidate", text="penguins")
    runner = store.open(chosen)

    assert [version.reference for version in found] == [chosen.reference] == ["penguins@1"]
    assert list(runner.model.predict(example())) == list(classifier().predict(example()))
    assert store.check_catalog() == generation


def test_the_api_cannot_register(stores: Callable[[str], ModelStore], volume: Path) -> None:
    """A registration as the API's role is refused by Postgres, and leaves no row."""
    with pytest.raises(NotPermittedError, match="role may not do that"):
        stores(API).register(classifier(), "penguins", example=example())

    assert stores(API).models() == []


# --- quarantine ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [LAB, API])
@pytest.mark.parametrize("before", ["candidate", "production", "archived"])
@pytest.mark.usefixtures("penguins")
def test_a_version_is_quarantined_with_the_reason_in_its_event(
    role: str, before: str, log_in: LogIn, stores: Callable[[str], ModelStore]
) -> None:
    """The API may take a version out of service, and the history says who did and why."""
    if before != "candidate":
        log_in(OWNER).execute("UPDATE version SET status = %s", [before])

    moved = log_in(role).execute("SELECT quarantine_version('penguins', 1, 'its bytes are gone')").fetchone()

    event = stores(API).history("penguins")[0]
    assert moved == (True,)
    assert stores(API).get("penguins", 1).status == "quarantined"
    assert (event.kind, event.number, event.actor, event.reason) == ("status", 1, role, "its bytes are gone")
    assert (event.before, event.after) == ({"status": before}, {"status": "quarantined"})


@pytest.mark.usefixtures("penguins")
def test_a_quarantined_version_is_quarantined_once(log_in: LogIn, stores: Callable[[str], ModelStore]) -> None:
    """Many replicas may find the same damage: the first one writes, the others change nothing."""
    log_in(API).execute("SELECT quarantine_version('penguins', 1, 'first')")
    before = stores(API).history("penguins")

    moved = log_in(API).execute("SELECT quarantine_version('penguins', 1, 'second')").fetchone()

    assert moved == (False,)
    assert stores(API).history("penguins") == before


@pytest.mark.usefixtures("penguins")
def test_two_replicas_may_quarantine_at_the_same_moment(log_in: LogIn, stores: Callable[[str], ModelStore]) -> None:
    """The second one waits for the first and then finds nothing to do."""
    first, second = log_in(API), log_in(API)
    answers: list[Any] = []

    def quarantine_too() -> None:
        answers.append(second.execute("SELECT quarantine_version('penguins', 1, 'second')").fetchone())

    thread = threading.Thread(target=quarantine_too)
    with first.transaction():
        first.execute("SELECT quarantine_version('penguins', 1, 'first')")
        thread.start()
        wait_for_lock(log_in(OWNER), second.info.backend_pid)
    thread.join(timeout=30)

    assert answers == [(False,)]
    assert [event.reason for event in stores(API).history("penguins")].count("first") == 1
    assert len(stores(API).history("penguins")) == 3


def wait_for_lock(watcher: Connection, backend: int) -> None:
    """Return when a backend waits for another one."""
    for _ in range(1000):
        if watcher.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [backend]).fetchone() == (True,):
            return
        watcher.execute("SELECT pg_sleep(0.01)")
    raise AssertionError("the second one never waited")


@pytest.mark.parametrize("reason", ["", "  \n", None])
@pytest.mark.usefixtures("penguins")
def test_a_quarantine_needs_a_reason(reason: str | None, log_in: LogIn, stores: Callable[[str], ModelStore]) -> None:
    """Without one it is refused, with the name of the rule."""
    with pytest.raises(CheckViolation) as caught:
        log_in(API).execute("SELECT quarantine_version('penguins', 1, %s)", [reason])

    assert caught.value.diag.constraint_name == "quarantine_has_a_reason"
    assert stores(API).get("penguins", 1).status == "candidate"


@pytest.mark.parametrize("named", [("penguins", 2), ("pinguins", 1), (None, 1), ("penguins", None)])
@pytest.mark.usefixtures("penguins")
def test_a_quarantine_names_a_version_that_is_there(named: tuple[Any, Any], log_in: LogIn) -> None:
    """A version that does not exist is refused, with the name of the rule."""
    with pytest.raises(ForeignKeyViolation) as caught:
        log_in(API).execute("SELECT quarantine_version(%s, %s::integer, 'gone')", named)

    assert caught.value.diag.constraint_name == "quarantine_names_a_version"


@pytest.mark.usefixtures("penguins")
def test_the_api_cannot_bring_a_version_back(log_in: LogIn) -> None:
    """Leaving quarantine is not among what the API may do."""
    api = log_in(API)
    api.execute("SELECT quarantine_version('penguins', 1, 'suspicious')")

    assert not may(api, "UPDATE version SET status = 'candidate'")


# --- ways around the rights ------------------------------------------------------------------------------------

FORBIDDEN = [
    # forging history
    "SELECT next_generation()",
    "SELECT record_event('status', 'penguins', 1, NULL, NULL, 1)",
    "INSERT INTO event (kind, model, actor, generation) VALUES ('status', 'penguins', 'ada', 1)",
    "UPDATE generation SET value = value + 1",
    "SELECT setval('event_id_seq', 1)",
    "SELECT nextval('version_id_seq')",
    "CREATE TRIGGER mine BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE event DISABLE TRIGGER ALL",
    "ALTER TABLE event OWNER TO CURRENT_USER",
    "DROP TRIGGER event_is_append_only ON event",
    "CREATE OR REPLACE FUNCTION next_generation() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
    "ALTER FUNCTION quarantine_version OWNER TO CURRENT_USER",
    "SET session_replication_role = replica",
    "SELECT FROM event FOR UPDATE",
    # making things
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE event (id int)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE DATABASE mine",
    "DROP TABLE event",
    # more power
    "CREATE ROLE mine",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE CURRENT_USER CREATEROLE",
    "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
    "ALTER ROLE bodega_owner PASSWORD 'known'",
    "GRANT bodega_owner TO CURRENT_USER",
    "SET ROLE bodega_owner",
    "SET SESSION AUTHORIZATION bodega_owner",
    "ALTER DEFAULT PRIVILEGES FOR ROLE bodega_owner GRANT ALL ON TABLES TO PUBLIC",
    "BEGIN; LOCK TABLE model IN ACCESS EXCLUSIVE MODE",
    # the server's files and secrets
    "COPY alias FROM PROGRAM 'true'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT passwd FROM pg_shadow",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
@pytest.mark.parametrize("role", [LAB, API, ADMIN])
def test_there_is_no_way_around_the_rights(role: str, statement: str, log_in: LogIn) -> None:
    """No role can forge history, make things, grow, or reach the server's files."""
    with pytest.raises(InsufficientPrivilege):
        log_in(role).execute(statement)


@pytest.mark.parametrize("role", [LAB, API, ADMIN])
def test_a_role_cannot_change_its_rights(role: str, log_in: LogIn, database_url: str) -> None:
    """A GRANT of what one does not own is a warning to Postgres, and changes nothing."""
    before = rights(database_url)
    connection = log_in(role)
    for grant in ("GRANT ALL ON version TO", "GRANT ALL ON SCHEMA public TO", "GRANT ALL ON DATABASE roles_0 TO"):
        connection.execute(f"{grant} {role}")

    assert rights(database_url) == before


def rights(url: str) -> set[Any]:
    """Return every right on the database, its schema, tables, columns and functions, and every role's attributes."""
    return set(
        query(
            url,
            "SELECT 'database', datname::text, datacl::text FROM pg_database WHERE datname = current_database()"
            " UNION ALL SELECT 'schema', nspname, nspacl::text FROM pg_namespace WHERE nspname = 'public'"
            " UNION ALL SELECT 'table', relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " UNION ALL SELECT 'column', attrelid::regclass || '.' || attname, attacl::text FROM pg_attribute"
            "   JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace AND attnum > 0"
            " UNION ALL SELECT 'function', proname, proacl::text FROM pg_proc"
            "   WHERE pronamespace = 'public'::regnamespace"
            " UNION ALL SELECT 'role', rolname, to_jsonb(r)::text FROM pg_roles r WHERE rolname ~ '^bodega_'"
            " UNION ALL SELECT 'member', roleid::regrole::text, member::regrole::text FROM pg_auth_members",
        )
    )


@pytest.mark.usefixtures("penguins")
def test_a_temporary_table_does_not_stand_in_for_a_real_one(
    database_url: str, log_in: LogIn, stores: Callable[[str], ModelStore]
) -> None:
    """Even where a role may make temporary tables, the triggers write to the catalog's own."""
    execute(database_url, f"GRANT TEMPORARY ON DATABASE roles_0 TO {LAB}")
    lab, before = log_in(LAB), stores(LAB).check_catalog()
    for table in ("event", "generation", "model", "version"):
        lab.execute(f"CREATE TEMPORARY TABLE {table} AS SELECT * FROM public.{table}")
    lab.execute("UPDATE public.version SET status = 'production'")

    assert stores(LAB).check_catalog() == before + 1
    assert stores(LAB).history("penguins")[0].after == {"status": "production"}


@pytest.mark.usefixtures("penguins")
def test_an_alias_stays_in_its_model_whatever_the_search_path(
    database_url: str, log_in: LogIn, stores: Callable[[str], ModelStore]
) -> None:
    """The rule looks at the catalog's versions, and not at a table of the caller's of the same name."""
    stores(LAB).register(classifier(), "others", example=example())
    execute(database_url, f"GRANT TEMPORARY ON DATABASE roles_0 TO {LAB}")
    lab = log_in(LAB)
    lab.execute(
        "CREATE TEMPORARY TABLE version AS SELECT id, (SELECT max(id) FROM model) AS model_id FROM public.version"
    )

    with pytest.raises(CheckViolation) as caught:
        lab.execute(
            "INSERT INTO alias SELECT m.id, 'stolen', v.id FROM model m, public.version v"
            " JOIN model o ON o.id = v.model_id WHERE m.name = 'others' AND o.name = 'penguins'"
        )

    assert caught.value.diag.constraint_name == "alias_stays_in_its_model"


def test_every_function_with_the_owners_rights_is_closed(database_url: str) -> None:
    """Each has a fixed search_path, with temporary tables last, and nobody but the roles may call one of them."""
    definers = query(
        database_url,
        "SELECT proname, array_to_string(proconfig, ';'), has_function_privilege('bodega_lab', oid, 'EXECUTE')"
        " FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef",
    )

    assert {(path, name) for name, path, _ in definers if path != "search_path=public, pg_temp"} == set()
    assert {name for name, _, callable_ in definers if callable_} == {"lock_holders", "quarantine_version"}
    assert len(definers) == 9


# --- the migration ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["SELECT next_generation()", "SELECT quarantine_version('penguins', 1, 'gone')"])
def test_the_migration_alone_closes_the_functions(
    statement: str, empty_database_url: str, postgres_url: str, template: str
) -> None:
    """Also where nobody applied the roles, a stranger cannot forge history or quarantine."""
    migrate.upgrade(empty_database_url)
    execute(empty_database_url, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {OWNER}")

    with pytest.raises(InsufficientPrivilege, match="permission denied for function"):
        execute(as_role(empty_database_url, OWNER, OWNER_PASSWORD), statement)


def functions_of(url: str) -> list[Any]:
    """Return the functions with whose rights they run, their settings, and whether everybody may call them."""
    return query(
        url,
        "SELECT proname, prosecdef, proconfig, has_function_privilege('bodega_api', oid, 'EXECUTE')"
        " FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY proname",
    )


def test_the_migration_is_taken_back_completely(make_database: Callable[..., str], empty_database_url: str) -> None:
    """At 0001 the functions are as 0001 made them, and up again the roles can be applied."""
    url = make_database("template0")
    migrate.upgrade(url, "0001")
    before = functions_of(url)

    migrate.upgrade(url)
    migrate.downgrade(url, "0001")

    after = functions_of(url)
    migrate.upgrade(url)
    apply_roles(url, PASSWORDS)
    assert after == before
    assert query(as_role(url, API, PASSWORDS[API]), "SELECT count(*) FROM version") == [(0,)]


@pytest.mark.usefixtures("penguins")
def test_a_migration_down_and_up_asks_for_the_roles_again(database_url: str) -> None:
    """New tables have no rights until the roles are applied to them."""
    migrate.downgrade(database_url, "base", lose=True)
    migrate.upgrade(database_url)
    api = as_role(database_url, API, PASSWORDS[API])

    with pytest.raises(InsufficientPrivilege):
        query(api, "SELECT * FROM version")
    apply_roles(database_url, PASSWORDS)

    assert query(api, "SELECT * FROM version") == []


# --- applying the roles ------------------------------------------------------------------------------------------


def test_the_roles_can_log_in_and_do_little_else(database_url: str) -> None:
    """No attribute beyond LOGIN, no membership, and a limit of connections."""
    found = query(
        database_url,
        "SELECT rolname, rolcanlogin, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls,"
        " rolinherit, rolconnlimit, EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid)"
        f" FROM pg_roles r WHERE rolname IN ('{LAB}', '{API}', '{ADMIN}') ORDER BY rolname",
    )

    assert found == [
        (ADMIN, True, False, False, 10, False),
        (API, True, False, False, 60, False),
        (LAB, True, False, False, 25, False),
    ]


def test_nobody_else_may_connect(database_url: str, postgres_url: str) -> None:
    """The database is closed to roles that nobody let in."""
    execute(postgres_url, "DROP ROLE IF EXISTS stranger", "CREATE ROLE stranger LOGIN PASSWORD 'stranger'")

    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        query(as_role(database_url, "stranger", "stranger"), "SELECT 1")


def test_a_rotated_password_replaces_the_old_one(database_url: str) -> None:
    """After a second run a role logs in with its new password only."""
    apply_roles(database_url, PASSWORDS | {API: "new"})

    assert query(as_role(database_url, API, "new"), "SELECT current_user") == [(API,)]
    assert query(as_role(database_url, LAB, PASSWORDS[LAB]), "SELECT current_user") == [(LAB,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        query(as_role(database_url, API, PASSWORDS[API]), "SELECT 1")


@pytest.mark.usefixtures("penguins")
def test_applying_the_roles_again_changes_nothing_that_a_user_notices(database_url: str, log_in: LogIn) -> None:
    """Every start of a deployment may do it, while others are in the middle of a transaction."""
    before, lab = rights(database_url), log_in(LAB)
    with lab.transaction():
        lab.execute("UPDATE version SET note = 'before'")
        apply_roles(database_url, PASSWORDS)
        lab.execute("UPDATE version SET note = 'after'")

    assert rights(database_url) == before
    assert log_in(LAB).execute("SELECT note FROM version").fetchone() == ("after",)


def test_rights_that_were_granted_by_hand_are_taken_back(database_url: str) -> None:
    """Whatever somebody granted in between, on a table, a column, a sequence or a function, to all or to a role."""
    before = rights(database_url)
    execute(
        database_url,
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {API}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {LAB}",
        f"GRANT UPDATE (sha256) ON version TO {LAB}",
        "GRANT SELECT ON version TO PUBLIC",
        "GRANT EXECUTE ON FUNCTION record_event TO PUBLIC",
        f"GRANT EXECUTE ON FUNCTION next_generation TO {API}",
        f"GRANT CREATE ON SCHEMA public TO PUBLIC, {LAB}",
        f"GRANT ALL ON DATABASE roles_0 TO PUBLIC, {API}",
    )
    granted = rights(database_url)

    apply_roles(database_url, PASSWORDS)

    assert len(granted - before) > 5
    assert rights(database_url) == before


def test_what_an_operator_chose_stays(database_url: str, postgres_url: str) -> None:
    """A limit of connections is the operator's, also when a superuser applies the roles."""
    execute(postgres_url, f"ALTER ROLE {API} CONNECTION LIMIT 7")
    before = rights(database_url)

    apply_roles(database_url, PASSWORDS)
    apply_roles(change_url(postgres_url, database="roles_0"), PASSWORDS)

    after = rights(database_url)
    execute(postgres_url, f"ALTER ROLE {API} CONNECTION LIMIT 60")
    assert after == before


def test_a_role_has_limits_of_time_that_an_operator_may_change(database_url: str, postgres_url: str) -> None:
    """A session that is opened by hand ends when it is idle in a transaction; another value that was set stays."""
    execute(postgres_url, f"ALTER ROLE {API} SET lock_timeout = '3s'", f"ALTER ROLE {ADMIN} RESET ALL")

    apply_roles(database_url, PASSWORDS)

    shown = {
        role: [query(as_role(database_url, role, PASSWORDS[role]), f"SHOW {name}")[0][0] for name in TIMEOUTS]
        for role in (LAB, API, ADMIN)
    }
    execute(postgres_url, f"ALTER ROLE {API} SET lock_timeout = '20s'")
    assert shown == {LAB: ["1min", "20s", "5min"], API: ["1min", "3s", "5min"], ADMIN: ["1min", "20s", "5min"]}


def test_passwords_that_are_not_given_stay(database_url: str) -> None:
    """After a restore the roles get their rights back, and nobody needs to know their passwords."""
    apply_roles(database_url, dict.fromkeys(PASSWORDS) | {API: PASSWORDS[API]})

    assert query(as_role(database_url, LAB, PASSWORDS[LAB]), "SELECT 1") == [(1,)]


@pytest.mark.usefixtures("penguins")
def test_each_role_is_told_who_holds_a_lock(
    database_url: str, stores: Callable[[str], ModelStore], log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a session of another role it hears the process, the role and since when."""
    monkeypatch.setattr("bodega_db.catalog.connections.MOST_LOCK_SECONDS", 1)
    holder = log_in(LAB)
    pid = holder.info.backend_pid
    with holder.transaction():
        holder.execute("UPDATE version SET note = 'x'")
        for role in (LAB, ADMIN):
            with pytest.raises(
                CatalogLockedError, match=f"process {pid}, role {LAB}, .*, idle in transaction, since 2"
            ):
                stores(role).set_alias("penguins@1", "stable")

    assert stores(LAB).set_alias("penguins@1", "stable").number == 1


def test_a_role_at_its_limit_of_connections_is_told(
    database_url: str, postgres_url: str, log_in: LogIn, stores: Callable[[str], ModelStore]
) -> None:
    """The message names the role and what helps; the limit that is raised as it says lets the next one in."""
    execute(postgres_url, f"ALTER ROLE {ADMIN} CONNECTION LIMIT 2")
    for _ in range(2):
        log_in(ADMIN)

    said = f"The role {ADMIN} has as many connections as it may have, 10 unless it was changed"
    with pytest.raises(CatalogUnavailableError, match=said) as full:
        stores(ADMIN).models()
    statement = re.search(r"ALTER ROLE \w+ CONNECTION LIMIT \d+", full.value.advice)
    assert statement is not None
    execute(database_url, statement[0])

    assert stores(ADMIN).models() == []
    execute(postgres_url, f"ALTER ROLE {ADMIN} CONNECTION LIMIT 10")


def test_what_is_not_the_catalogs_keeps_its_rights(database_url: str, postgres_url: str) -> None:
    """An extension, and what somebody else has in the same schema, is left alone whoever applies the roles."""
    superuser = change_url(postgres_url, database="roles_0")
    execute(superuser, "CREATE EXTENSION vector", "CREATE TABLE others (id int)", "REVOKE ALL ON others FROM PUBLIC")

    apply_roles(database_url, PASSWORDS)
    apply_roles(superuser, PASSWORDS)

    lab = as_role(database_url, LAB, PASSWORDS[LAB])
    assert query(lab, "SELECT '[1,2]'::vector <-> '[1,3]'::vector, l2_normalize('[0,1]'::vector)::text") == [
        (1.0, "[0,1]")
    ]
    with pytest.raises(InsufficientPrivilege):
        query(lab, "SELECT * FROM others")


def server_log(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what the Postgres of the tests has logged."""
    (log,) = {log.resolve() for log in tmp_path_factory.getbasetemp().glob("postgres*/data/postgres.log")}
    return log.read_text()


def test_no_password_reaches_the_servers_log(
    database_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A server that logs every statement sees verifiers of SCRAM, and no password."""
    execute(postgres_url, f"ALTER ROLE {OWNER} SET log_statement = 'all'")
    apply_roles(database_url, PASSWORDS | {API: "unmistakable-4711"})
    execute(postgres_url, f"ALTER ROLE {OWNER} RESET log_statement")

    log = server_log(tmp_path_factory)

    assert re.search(r"ALTER ROLE \"bodega_api\" PASSWORD 'SCRAM-SHA-256\$", log)
    assert "unmistakable-4711" not in log


APPLY = "import sys, json; from bodega_db.catalog.roles import apply_roles; apply_roles(sys.argv[1], json.loads(sys.argv[2]))"


def start_applying(url: str) -> "subprocess.Popen[bytes]":
    """Apply the roles in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", APPLY, url, json.dumps(PASSWORDS)])


def test_two_deployments_may_apply_the_roles_at_the_same_moment(make_database: Callable[..., str]) -> None:
    """On one database and on two of the same cluster, which share the roles, everybody succeeds."""
    one, two = make_database(), make_database()

    deployments = [start_applying(url) for url in (one, one, two, two)]

    assert [deployment.wait(60) for deployment in deployments] == [0, 0, 0, 0]
    assert query(as_role(one, LAB, PASSWORDS[LAB]), "SELECT current_user") == [(LAB,)]
    assert query(as_role(two, API, PASSWORDS[API]), "SELECT current_user") == [(API,)]


def test_a_role_that_another_database_changes_meanwhile_is_waited_for(
    make_database: Callable[..., str], log_in: LogIn
) -> None:
    """Postgres then refuses the first attempt with an internal error of its own; the next one succeeds."""
    other, owner = make_database(), log_in(OWNER)
    with owner.transaction():
        owner.execute(f"ALTER ROLE {LAB} PASSWORD 'meanwhile'")
        deployment = start_applying(other)
        with psycopg.connect(other, autocommit=True) as watcher:
            wait_for_lock(watcher, waiting_backend(watcher))

    assert deployment.wait(60) == 0
    assert query(as_role(other, LAB, PASSWORDS[LAB]), "SELECT current_user") == [(LAB,)]


def waiting_backend(watcher: Connection) -> int:
    """Return the backend that changes a role in the watcher's database, once there is one."""
    for _ in range(1000):
        row = watcher.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^ALTER ROLE'"
        ).fetchone()
        if row:
            return int(row[0])
        watcher.execute("SELECT pg_sleep(0.01)")
    raise AssertionError("nobody changed a role")


# --- what is refused, and how ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passwords", "message"),
    [
        ({LAB: "l"}, f"given for {LAB}, and the roles are {ADMIN}, {API}, {LAB}"),
        ({}, "given for no role"),
        (
            PASSWORDS | {"bodega_owner": "o"},
            "Passwords were given for bodega_admin, bodega_api, bodega_lab, bodega_owner",
        ),
        (PASSWORDS | {API: ""}, f"The password of {API} is empty"),
        (PASSWORDS | {LAB: "half\0other half"}, f"The password of {LAB} is empty or holds a NUL"),
    ],
)
def test_passwords_that_cannot_be_used_are_refused(passwords: dict[str, str], message: str, database_url: str) -> None:
    """Each role needs a password; none is cut short silently, and the message quotes none."""
    before = rights(database_url)

    with pytest.raises(SettingsError, match=message) as caught:
        apply_roles(database_url, passwords)

    assert "half" not in str(caught.value)
    assert rights(database_url) == before
    assert query(as_role(database_url, LAB, PASSWORDS[LAB]), "SELECT 1") == [(1,)]


@pytest.mark.parametrize("revision", [None, "0001"])
def test_a_catalog_that_was_not_migrated_is_named_so(revision: str | None, make_database: Callable[..., str]) -> None:
    """The roles come after the migrations, and the error says which is missing."""
    url = make_database("template0")
    if revision:
        migrate.upgrade(url, revision)

    with pytest.raises(CatalogNotMigratedError, match=r"quarantine_version.*\n.*bodega migrate"):
        apply_roles(url, PASSWORDS)


def test_a_catalog_that_is_away_is_named_so() -> None:
    """A database that does not answer is no question of roles."""
    with pytest.raises(CatalogUnavailableError):
        apply_roles("postgresql://x:x@127.0.0.1:1/x", PASSWORDS)


def test_only_the_owner_applies_the_roles(database_url: str) -> None:
    """Postgres would only warn and do nothing; here it is an error that names everything that is lacking."""
    with pytest.raises(
        RolesError, match="bodega_lab may not make roles, does not own the database, does not own the sch"
    ):
        apply_roles(as_role(database_url, LAB, PASSWORDS[LAB]), PASSWORDS)


def test_tables_of_another_owner_are_refused(database_url: str, postgres_url: str) -> None:
    """A catalog that somebody else migrated is named, with what to do."""
    execute(change_url(postgres_url, database="roles_0"), "ALTER TABLE event OWNER TO CURRENT_USER")

    with pytest.raises(CatalogNotMigratedError, match="bodega_owner owns no event in this database"):
        apply_roles(database_url, PASSWORDS)


@pytest.fixture
def second_owner(make_database: Callable[..., str], postgres_url: str) -> Iterator[str]:
    """Another migrated catalog of the same Postgres, whose owner did not make the roles."""
    url = make_database("template0")
    name = make_url(url).database
    execute(
        postgres_url,
        f"CREATE ROLE second_owner LOGIN CREATEROLE PASSWORD '{OWNER_PASSWORD}'",
        f"ALTER DATABASE {name} OWNER TO second_owner",
    )
    url = as_role(url, "second_owner", OWNER_PASSWORD)
    migrate.upgrade(url)
    yield url
    execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)", "DROP ROLE second_owner", f"CREATE DATABASE {name}")


def test_roles_that_somebody_else_made_are_left_to_them_until_they_are_shared(
    second_owner: str, postgres_url: str
) -> None:
    """Since Postgres 16 a role may change only roles that it made; the hint is the statement that helps."""
    with pytest.raises(RolesError, match="made by somebody else, and second_owner may not change it") as caught:
        apply_roles(second_owner, PASSWORDS)

    execute(postgres_url, caught.value.advice.removeprefix("As a superuser: "))
    apply_roles(second_owner, PASSWORDS)

    assert query(as_role(second_owner, API, PASSWORDS[API]), "SELECT count(*) FROM version") == [(0,)]


@pytest.mark.parametrize(
    ("change", "message", "back"),
    [
        (f"ALTER ROLE {API} SUPERUSER", "is SUPERUSER", f"ALTER ROLE {API} NOSUPERUSER"),
        (f"ALTER ROLE {API} CREATEDB BYPASSRLS", "is BYPASSRLS, CREATEDB", f"ALTER ROLE {API} NOCREATEDB NOBYPASSRLS"),
        (f"GRANT pg_read_all_data TO {API}", "may act as pg_read_all_data", f"REVOKE pg_read_all_data FROM {API}"),
        (f"GRANT {LAB} TO {API}", f"may act as {LAB}", f"REVOKE {LAB} FROM {API}"),
    ],
)
def test_a_role_that_may_more_is_refused(
    change: str, message: str, back: str, database_url: str, postgres_url: str
) -> None:
    """Rights on tables would mean nothing then: the error says what it is and how to take it away."""
    execute(postgres_url, change)

    with pytest.raises(RolesError, match=f"The role {API} is there already, and {message}") as caught:
        apply_roles(database_url, PASSWORDS)

    execute(postgres_url, caught.value.advice.removeprefix("As a superuser: "))
    assert caught.value.advice == f"As a superuser: {back}"
    apply_roles(database_url, PASSWORDS)
