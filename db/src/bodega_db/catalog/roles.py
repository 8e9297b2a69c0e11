"""The login roles that work with the catalog: what each may do, as data, and how a database is brought to that."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal, cast

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from bodega_db.catalog.connections import create_catalog_engine
from bodega_db.catalog.failures import translate_errors
from bodega_db.catalog.sessions import ADMIN, API, CONNECTIONS, LAB, TIMEOUTS
from bodega_db.errors import CatalogNotMigratedError, CatalogUnavailableError, RolesError, SettingsError

__all__ = ["ADMIN", "API", "CONNECTIONS", "LAB", "RIGHTS", "ROUTINES", "apply_roles"]

Connection = psycopg.Connection[Any]
Verb = Literal["SELECT", "INSERT", "UPDATE", "DELETE"]
Columns = tuple[str, ...]

WHOLE: Columns = ()  # the row with all its columns
READ: Mapping[Verb, Columns] = {"SELECT": WHOLE}
REGISTERED: Columns = (
    *("model_id", "number", "sha256", "size_bytes", "format", "signature", "golden", "metrics", "params", "tags"),
    *("environment", "lineage", "note", "idempotency_key", "created_by"),
)

LABS: Mapping[str, Mapping[Verb, Columns]] = {
    "model": {
        **READ,
        "INSERT": ("name", "description", "last_version", "created_by"),
        "UPDATE": ("description", "last_version"),
    },
    "version": {**READ, "INSERT": REGISTERED, "UPDATE": ("status", "tags", "note")},
    "metric": READ,
    "alias": {
        **READ,
        "INSERT": ("model_id", "name", "version_id"),
        "UPDATE": ("version_id",),
        "DELETE": WHOLE,
    },
    "asked_output": READ,
    "event": READ,
    "generation": READ,
    "store": READ,
    "alembic_version": READ,
}

# Role, table, verb, columns. What does not stand here is not allowed, and every table stands here, if with nothing.
RIGHTS: Mapping[str, Mapping[str, Mapping[Verb, Columns]]] = {
    LAB: LABS,
    ADMIN: {
        **LABS,
        "version": {**LABS["version"], "DELETE": WHOLE},
        # Whoever may write `protected` may move what is protected: a trigger asks for this right.
        "alias": {**LABS["alias"], "UPDATE": ("version_id", "protected")},
    },
    API: {
        "model": READ,
        "version": READ,
        "metric": READ,
        "alias": READ,
        # What its callers asked; the one thing that it writes, but for a quarantine.
        "asked_output": {**READ, "INSERT": ("version_id", "output"), "UPDATE": ("asked_at",)},
        "event": READ,
        "generation": READ,
        "store": READ,
        "alembic_version": READ,
    },
}
# What all may call: the one move that a reader may make, the words of a version, which a search looks for, and who has
# the locks that one waits for.
ROUTINES = ("quarantine_version", "version_words", "lock_holders")

ADVISORY_LOCK = 0x626F6465676102  # "bodega", 2; the migrations have 1
ATTEMPTS = 5
# Roles belong to the whole cluster, and an advisory lock to one database: who works on another database at the same
# moment is met here. Postgres says "tuple concurrently updated" with the code of an internal error.
MEETINGS = (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation, psycopg.errors.InternalError_)

POWERS = ("SUPERUSER", "CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS")
ROLE = """
    SELECT ARRAY[rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls],
           ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid),
           ARRAY(SELECT split_part(setting, '=', 1) FROM unnest(rolconfig) setting)
    FROM pg_roles r WHERE rolname = %s
"""
NEEDED = {
    "may not make roles": "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user",
    "does not own the database": (
        "SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()"
    ),
    "does not own the schema public": (
        "SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'public'"
    ),
}
# An extension's objects keep their rights: they are not the catalog's, and mostly a superuser's.
OWN = """
    SELECT {name} FROM {catalog} WHERE {namespace} = 'public'::regnamespace AND pg_has_role({owner}, 'USAGE')
    AND NOT EXISTS (SELECT FROM pg_depend
                    WHERE classid = '{catalog}'::regclass AND objid = {catalog}.oid AND deptype = 'e')
"""
OWN_TABLES = OWN.format(name="relname", catalog="pg_class", namespace="relnamespace", owner="relowner") + (
    "AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
)
OWN_ROUTINES = OWN.format(name="proname", catalog="pg_proc", namespace="pronamespace", owner="proowner")


def apply_roles(database_url: str, passwords: Mapping[str, str | None]) -> None:
    """Make the login roles unless they are there, with these passwords and with the rights of RIGHTS and no others.

    A role whose password is None must be there, and keeps the one it has. The URL is that of the role that owns the
    database and its tables and has CREATEROLE. All happens in one transaction, and once more changes nothing that a
    user notices. Raises SettingsError for a password that is missing or cannot be one, CatalogNotMigratedError, and
    RolesError where the roles cannot be made so.
    """
    _check_passwords(passwords)
    engine = create_catalog_engine(database_url, pool_size=1)
    try:
        for _ in range(ATTEMPTS):
            try:
                with _transaction(engine) as connection:
                    _apply(connection, passwords)
            except MEETINGS as exc:
                met = exc
            else:
                return
        raise RolesError(f"Postgres refused: {met.diag.message_primary}", "If others change roles, try again.") from met
    finally:
        engine.dispose()


def _check_passwords(passwords: Mapping[str, str | None]) -> None:
    if passwords.keys() != RIGHTS.keys():
        raise SettingsError(
            f"Passwords were given for {_listed(passwords) or 'no role'}, and the roles are {_listed(RIGHTS)}",
            "Give each of these roles its password, and no other.",
        )
    for role, password in passwords.items():
        if password is not None and (not password or "\0" in password):
            raise SettingsError(
                f"The password of {role} is empty or holds a NUL", "Postgres takes no such password: choose another."
            )


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    # The driver's own connection: SQLAlchemy's errors quote the statement, and here that holds a verifier.
    try:
        with translate_errors(), engine.begin() as connection:
            yield cast("Connection", connection.connection.driver_connection)
    except psycopg.errors.InsufficientPrivilege as exc:
        raise RolesError(f"Postgres refused: {exc.diag.message_primary}") from exc
    except psycopg.errors.LockNotAvailable as exc:
        raise RolesError("Another session holds a lock on the roles or tables", "Try again when it has ended.") from exc
    except psycopg.OperationalError as exc:
        raise CatalogUnavailableError("The catalog does not answer") from exc


def _apply(connection: Connection, passwords: Mapping[str, str | None]) -> None:
    connection.execute("SET LOCAL search_path = public, pg_temp; SET LOCAL lock_timeout = '20s'")
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
    _check_caller(connection)
    tables, routines = (_names(connection, query) for query in (OWN_TABLES, OWN_ROUTINES))
    if missing := set().union(*RIGHTS.values(), ROUTINES) - tables - routines:
        raise CatalogNotMigratedError(
            f"{connection.info.user} owns no {_listed(missing)} in this database",
            "Run `bodega migrate` as that role, then apply the roles.",
        )
    for role, password in passwords.items():
        _make_role(connection, role, password)
    _let_owner_see(connection)
    for statement in (*_revocations(connection.info.dbname, tables, routines), *_grants(connection.info.dbname)):
        connection.execute(statement)


def _check_caller(connection: Connection) -> None:
    lacking = [fault for fault, query in NEEDED.items() if _value(connection, query) is not True]
    if lacking:
        raise RolesError(f"The role {connection.info.user} {', '.join(lacking)}")


def _make_role(connection: Connection, role: str, password: str | None) -> None:
    name = sql.Identifier(role)
    found = connection.execute(ROLE, [role]).fetchone()
    if found is None and password is None:
        raise SettingsError(
            f"The role {role} is not there, and no password was given for it",
            f"Set the variable {role} to one, and so for the other roles that are to be made (docs/roles.md).",
        )
    if found is None:
        # NOINHERIT: a membership that somebody grants later gives nothing by itself. The limit of connections is
        # set here only, so that one which an operator chose stays.
        attributes = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT CONNECTION LIMIT {}"
        connection.execute(sql.SQL("CREATE ROLE {} " + attributes).format(name, sql.Literal(CONNECTIONS[role])))
    else:
        _check_harmless(role, *found[:2])
    try:
        # As with connections: a time that an operator chose stays.
        for setting in TIMEOUTS.keys() - set(found[2] if found else ()):
            connection.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(
                    name, sql.Identifier(setting), sql.Literal(TIMEOUTS[setting])
                )
            )
        if password is not None:
            _set_password(connection, role, password)
    except psycopg.errors.InsufficientPrivilege as exc:
        user = connection.info.user
        raise RolesError(
            f"The role {role} was made by somebody else, and {user} may not change it",
            f"As a superuser: GRANT {_listed(RIGHTS)} TO {user} WITH ADMIN OPTION",
        ) from exc


def _set_password(connection: Connection, role: str, password: str) -> None:
    # The server is given the verifier that it keeps, never the password: a statement can end in its log.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))


def _let_owner_see(connection: Connection) -> None:
    """Let the owner see since when a session of these roles holds a lock (`lock_holders`); a superuser sees all."""
    if _value(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        return
    inherit = sql.SQL(" WITH INHERIT TRUE" if connection.info.server_version >= 160000 else "")
    granted = sql.SQL("GRANT {} TO CURRENT_USER").format(_identifiers(RIGHTS)) + inherit
    with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
        connection.execute(granted)


def _check_harmless(role: str, has: list[bool], groups: list[str]) -> None:
    powers = [power for power, granted in zip(POWERS, has, strict=True) if granted]
    if powers:
        raise RolesError(
            f"The role {role} is there already, and is {_listed(powers)}",
            f"As a superuser: ALTER ROLE {role} {' '.join('NO' + power for power in powers)}",
        )
    if groups:
        raise RolesError(
            f"The role {role} is there already, and may act as {_listed(groups)}",
            f"As a superuser: REVOKE {_listed(groups)} FROM {role}",
        )


def _revocations(database: str, tables: Iterable[str], routines: Iterable[str]) -> list[sql.Composed]:
    roles = _identifiers(RIGHTS)
    return [
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(sql.Identifier(database), roles),
        sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC, {}").format(roles),
        # This takes the rights on single columns too, and takes sequences for tables.
        sql.SQL("REVOKE ALL ON TABLE {} FROM PUBLIC, {}").format(_identifiers(tables), roles),
        sql.SQL("REVOKE ALL ON ROUTINE {} FROM PUBLIC, {}").format(_identifiers(routines), roles),
    ]


def _grants(database: str) -> list[sql.Composed]:
    roles = _identifiers(RIGHTS)
    return [
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), roles),
        sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(roles),
        sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(_identifiers(ROUTINES), roles),
        *(
            sql.SQL("GRANT {} ON TABLE {} TO {}").format(_verbs(verbs), sql.Identifier(table), sql.Identifier(role))
            for role, tables in RIGHTS.items()
            for table, verbs in tables.items()
            if verbs
        ),
    ]


def _verbs(verbs: Mapping[Verb, Columns]) -> sql.Composed:
    allowed = [
        sql.SQL("{} ({})" if columns else "{}").format(sql.SQL(verb), _identifiers(columns))
        for verb, columns in verbs.items()
    ]
    return sql.SQL(", ").join(allowed)


def _identifiers(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, sorted(names)))


def _names(connection: Connection, query: str) -> set[str]:
    return {name for (name,) in connection.execute(query)}


def _value(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row and row[0]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
