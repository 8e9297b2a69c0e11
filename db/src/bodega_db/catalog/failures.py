"""What Postgres refuses, in our own words: away, full, of another schema, forbidden, or held by another session."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from bodega_model.errors import BodegaError
from sqlalchemy import Engine, Row, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from bodega_db.catalog.sessions import CONNECTIONS
from bodega_db.errors import CatalogLockedError, CatalogNotMigratedError, CatalogUnavailableError, NotPermittedError

UNDEFINED_TABLE, UNDEFINED_COLUMN = "42P01", "42703"
INSUFFICIENT_PRIVILEGE = "42501"
LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED = "55P03", "40P01"
QUERY_CANCELED, IDLE_IN_TRANSACTION = "57014", "25P03"
# The oldest transaction: whoever began later may hold something too, and has not been waited for from the beginning.
HOLDER = text("SELECT pid, role, application, state, since FROM lock_holders() WHERE writes LIMIT 1")

# Of a connection that is refused there is no code, only the server's words.
ROLE_IS_FULL = re.compile(r'too many connections for role "([^"]+)"')
SERVER_IS_FULL = re.compile(r"too many clients already|remaining connection slots|too many connections for database")


@contextmanager
def translate_errors(engine: Engine | None = None) -> Iterator[None]:
    """Turn what the driver raises into our own errors; with an engine, who holds a lock is asked over it."""
    try:
        yield
    except OperationalError as exc:
        raise _explain(exc, engine) from exc
    except PoolTimeoutError as exc:
        raise CatalogUnavailableError("All connections to the catalog are busy") from exc
    except ProgrammingError as exc:
        if sqlstate(exc) in (UNDEFINED_TABLE, UNDEFINED_COLUMN):
            raise CatalogNotMigratedError("The database does not have the catalog's tables") from exc
        if sqlstate(exc) == INSUFFICIENT_PRIVILEGE:
            raise NotPermittedError("The database role may not do that") from exc
        raise
    except DBAPIError as exc:
        if sqlstate(exc) == IDLE_IN_TRANSACTION:
            raise CatalogUnavailableError(
                "Postgres ended the transaction, because its next statement did not come in time", "Do it again."
            ) from exc
        if exc.connection_invalidated:
            raise CatalogUnavailableError("The connection to the catalog broke") from exc
        raise


def sqlstate(exc: DBAPIError) -> str | None:
    """Return the five-letter code that Postgres gave."""
    return getattr(exc.orig, "sqlstate", None)


def constraint(exc: DBAPIError) -> str | None:
    """Return the name of the constraint (or of the trigger's rule) that refused a statement."""
    return getattr(getattr(exc.orig, "diag", None), "constraint_name", None)


def _explain(exc: OperationalError, engine: Engine | None) -> BodegaError:
    match sqlstate(exc):
        case "55P03":
            return _locked(engine)
        case "40P01":
            return CatalogLockedError("Two changes waited for each other, and Postgres ended this one", "Do it again.")
        case "57014":
            return CatalogUnavailableError("The catalog was told to stop a statement that took too long", "Try again.")
    return _full(str(exc.orig)) or CatalogUnavailableError("The catalog does not answer")


def _full(said: str) -> CatalogUnavailableError | None:
    """Return the error for a connection that Postgres refused because there are as many as there may be."""
    if role := ROLE_IS_FULL.search(said):
        name = role[1]
        made = f", {CONNECTIONS[name]} unless it was changed" if name in CONNECTIONS else ""
        return CatalogUnavailableError(
            f"The role {name} has as many connections as it may have{made}",
            "End notebooks and programs that need none any more, or lower their BODEGA_POOL_SIZE. The owner of the "
            f"catalog raises the limit: ALTER ROLE {name} CONNECTION LIMIT 50 (docs/roles.md).",
        )
    if SERVER_IS_FULL.search(said):
        return CatalogUnavailableError(
            "Postgres has as many connections as it may have",
            "End programs that need none any more, or raise its max_connections.",
        )
    return None


# --- who holds a lock ----------------------------------------------------------------------------------------


def _locked(engine: Engine | None) -> CatalogLockedError:
    holder = None if engine is None else _find_holder(engine)
    if holder is None:
        return CatalogLockedError("Another session held a lock for too long that this needs", "Try again.")
    return CatalogLockedError(
        f"Another session holds a lock that this needs: {_describe(holder)}",
        "Nothing was changed. Commit or roll back there, then do this again; or end that session, as its role or as a "
        f"superuser: SELECT pg_terminate_backend({holder.pid}).",
    )


def _find_holder(engine: Engine) -> Row[Any] | None:
    with suppress(SQLAlchemyError), engine.connect() as connection:  # older catalogs cannot tell
        return connection.execute(HOLDER).first()
    return None


def _describe(holder: Row[Any]) -> str:
    program = "".join(c for c in holder.application or "" if c.isprintable())
    told = [
        f"process {holder.pid}",
        f"role {holder.role}",
        f"application {program}" if program else "no application name",
    ]
    if holder.state:
        told.append(holder.state)
    if holder.since:
        seconds = (datetime.now(UTC) - holder.since).total_seconds()
        told.append(f"since {holder.since.astimezone(UTC):%Y-%m-%d %H:%M:%S UTC} ({max(0, seconds):.0f} s)")
    return ", ".join(told)
