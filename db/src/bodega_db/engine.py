"""Connections to the catalog, and its failures in our own words."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from bodega_db.errors import CatalogNotMigratedError, CatalogUnavailableError, SettingsError

UNDEFINED_TABLE, UNDEFINED_COLUMN = "42P01", "42703"


def create_catalog_engine(url: str, pool_size: int = 10) -> Engine:
    """Open a pool of connections to Postgres; nothing is connected before the first use.

    A connection that died is replaced before it is used, a connection attempt ends after ten seconds, and no
    statement runs longer than thirty.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError(
            "BODEGA_DATABASE_URL is not a database URL", "Write postgresql://user:password@host:port/database."
        ) from None
    if parsed.get_backend_name() != "postgresql":
        raise SettingsError(
            f"BODEGA_DATABASE_URL names {parsed.get_backend_name()}", "The catalog is Postgres 15 or later."
        )
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 10,
            "application_name": "bodega",
            "options": "-c statement_timeout=30s -c timezone=UTC",
        },
    )


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn what the driver raises when Postgres is away, or older than the program, into our own errors."""
    try:
        yield
    except OperationalError as exc:
        raise CatalogUnavailableError("The catalog does not answer") from exc
    except PoolTimeoutError as exc:
        raise CatalogUnavailableError("All connections to the catalog are busy") from exc
    except ProgrammingError as exc:
        if sqlstate(exc) in (UNDEFINED_TABLE, UNDEFINED_COLUMN):
            raise CatalogNotMigratedError("The database does not have the catalog's tables") from exc
        raise
    except DBAPIError as exc:
        if exc.connection_invalidated:
            raise CatalogUnavailableError("The connection to the catalog broke") from exc
        raise


def sqlstate(exc: DBAPIError) -> str | None:
    """Return the five-letter code that Postgres gave."""
    return getattr(exc.orig, "sqlstate", None)


def constraint(exc: DBAPIError) -> str | None:
    """Return the name of the constraint (or of the trigger's rule) that refused a statement."""
    return getattr(getattr(exc.orig, "diag", None), "constraint_name", None)
