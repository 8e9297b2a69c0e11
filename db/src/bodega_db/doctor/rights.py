"""What the role that one is logged in as may do in the catalog, held against what it should."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import NamedTuple, cast

from sqlalchemy import text
from sqlalchemy.orm import Session

from bodega_db.catalog.roles import API, RIGHTS, ROUTINES, Columns, Verb
from bodega_db.doctor.findings import Finding, State
from bodega_db.errors import CatalogNotMigratedError, NotPermittedError

OWNER = "owner"
TABLES = tuple(RIGHTS[API])
BY_COLUMN = ("SELECT", "INSERT", "UPDATE")
DATABASE, CALL = "the database", "EXECUTE on "
BY_TABLE = ("DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

WHO = text("SELECT current_user AS name, rolsuper AS is_superuser FROM pg_roles WHERE rolname = current_user")
OWNS = text("""
    SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname = ANY(:tables)
""")
COLUMNS = text("""
    SELECT c.relname, verb, a.attname, has_column_privilege(c.oid, a.attnum, verb) AS granted
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    CROSS JOIN unnest(CAST(:verbs AS text[])) AS verb
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname = ANY(:tables)
""")
WHOLE = text("""
    SELECT relname, verb, NULL, has_table_privilege(oid, verb) AS granted
    FROM pg_class CROSS JOIN unnest(CAST(:verbs AS text[])) AS verb
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname = ANY(:tables)
""")
CALLS = text("""
    SELECT proname, 'EXECUTE', NULL, has_function_privilege(oid, 'EXECUTE') AS granted
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname = ANY(:routines)
""")


# Where a role of ours has a right on a table, or no superuser owns it, the catalog is one with roles.
HAS_ROLES = text("""
    SELECT bool_or(NOT o.rolsuper OR EXISTS (
        SELECT FROM aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname = ANY(:roles)))
    FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname = ANY(:tables)
""")
PUBLIC = text("""
    SELECT a.privilege_type, 'the database' FROM pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) a
    WHERE datname = current_database() AND a.grantee = 0
    UNION ALL
    SELECT a.privilege_type, 'the schema public' FROM pg_namespace n, aclexplode(nspacl) a
    WHERE nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE'
    UNION ALL
    SELECT a.privilege_type, relname FROM pg_class c, aclexplode(relacl) a
    WHERE relnamespace = 'public'::regnamespace AND a.grantee = 0
    UNION ALL
    SELECT a.privilege_type, proname FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
    WHERE pronamespace = 'public'::regnamespace AND a.grantee = 0 AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
    ORDER BY 2, 1
""")


class Right(NamedTuple):
    """To do something with a column of a table, or with the whole of a table or function."""

    thing: str
    verb: str
    column: str | None


def check_rights(session: Session) -> Finding:
    """Find which role one is logged in as, and what it lacks or has too much; the owner of the tables has all."""
    who = session.execute(WHO).one()
    owns = session.execute(OWNS, {"tables": list(TABLES)}).scalar()
    if owns is None:
        raise CatalogNotMigratedError("The database does not have the catalog's tables, so no role has rights on them")
    if owns:
        return _owner(who.name, who.is_superuser)
    all_rights, granted = read_rights(session)
    role = who.name if who.name in RIGHTS else None
    # Whoever has no role of ours must at least be able to read.
    wanted = expected_rights(role or API, all_rights)
    return _judge(who.name, role, lacking=wanted - granted, surplus=granted - wanted if role else set())


def read_rights(session: Session) -> tuple[set[Right], set[Right]]:
    """Return every right that there is on the catalog, and those that the role has."""
    rows = [
        *session.execute(COLUMNS, {"verbs": list(BY_COLUMN), "tables": list(TABLES)}),
        *session.execute(WHOLE, {"verbs": list(BY_TABLE), "tables": list(TABLES)}),
        *session.execute(CALLS, {"routines": list(ROUTINES)}),
    ]
    return {Right(*row[:3]) for row in rows}, {Right(*row[:3]) for row in rows if row.granted}


def expected_rights(role: str, all_rights: Iterable[Right]) -> set[Right]:
    """Return those of all rights that RIGHTS gives to a role."""
    return {right for right in all_rights if right.thing in ROUTINES or _gives(RIGHTS[role], right)}


def _gives(tables: Mapping[str, Mapping[Verb, Columns]], right: Right) -> bool:
    columns = tables[right.thing].get(cast("Verb", right.verb))
    return columns is not None and (not columns or right.column in columns)


def describe_rights(rights: Iterable[Right]) -> list[str]:
    """Write rights as SQL has them, as in 'UPDATE (note, tags) on version'."""
    ordered = sorted(rights, key=lambda right: (right.thing, right.verb, right.column or ""))
    written = []
    for (thing, verb), group in groupby(ordered, key=lambda right: right[:2]):
        columns = ", ".join(right.column for right in group if right.column)
        written.append(f"{verb} {f'({columns}) ' if columns else ''}on {thing}")
    return written


def check_public(session: Session) -> Finding:
    """Find what everybody on this Postgres may do with the catalog: nothing, where it has roles.

    A dump does not hold the rights on the database itself, so that one which was restored lets everybody connect.
    """
    if not session.execute(HAS_ROLES, {"roles": list(RIGHTS), "tables": list(TABLES)}).scalar():
        return Finding("public", State.OK, "The catalog has one role, and no rights to divide.", "", {"public": []})
    rights = [f"{verb} on {thing}" for verb, thing in session.execute(PUBLIC)]
    if not rights:
        return Finding("public", State.OK, "Only the roles may connect.", "", {"public": []})
    found = f"Every role of this Postgres may do this here: {', '.join(_in_short(rights))}."
    advice = "`bodega apply-roles`, as the owner, revokes it; run it after every restore (docs/upkeep.md)."
    return Finding("public", State.WARNING, found, advice, {"public": rights})


def _in_short(rights: list[str]) -> list[str]:
    """Return what is said of rights: those on the database first, and last how many functions may be called."""
    others = sorted((right for right in rights if not right.startswith(CALL)), key=lambda right: DATABASE not in right)
    calls = len(rights) - len(others)
    return others + ([f"{CALL}{calls} function{'s' if calls > 1 else ''}"] if calls else [])


def _owner(name: str, is_superuser: bool) -> Finding:
    found = f"{name} is the owner of the tables{', and a superuser' if is_superuser else ''}."
    return Finding("rights", State.OK, found, "", {"role": OWNER, "name": name, "superuser": is_superuser})


def _judge(name: str, role: str | None, *, lacking: set[Right], surplus: set[Right]) -> Finding:
    lacks, has = describe_rights(lacking), describe_rights(surplus)
    said = [
        f"{name} has the rights of its role" if role else f"{name} is none of {', '.join(sorted(RIGHTS))}",
        *([f"it lacks {'; '.join(lacks)}"] if lacks else []),
        *([f"it has too much: {'; '.join(has)}"] if has else []),
    ]
    well = role is not None and not lacks and not has
    return Finding(
        "rights",
        State.FAULT if lacks else State.OK if well else State.WARNING,
        f"{', but '.join([said[0], ' and '.join(said[1:])]) if said[1:] else said[0]}.",
        "" if well else f"{NotPermittedError.hint} Its section on a Postgres of your own says how to give them anew.",
        {"role": role, "name": name, "lacks": lacks, "too_much": has},
    )
