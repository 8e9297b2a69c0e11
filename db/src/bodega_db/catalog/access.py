"""Access to one catalog: transactions, connections for reads of one statement, and connections for searches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from bodega_db.catalog.connections import create_catalog_engine
from bodega_db.catalog.failures import translate_errors


class CatalogAccess:
    """Opens transactions and connections on one catalog; safe to share between threads.

    What Postgres refuses inside of them is raised as an error of ours (`failures`).
    """

    def __init__(self, engine: Engine, searching: Engine) -> None:
        self._engine = engine
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._searching = searching

    @classmethod
    def connect(cls, url: str, pool_size: int, *, patience: int) -> Self:
        """Make the access to the catalog at a URL; nothing is connected before the first use.

        A catalog that does not respond within the patience, in seconds, counts as down.
        """
        engine = create_catalog_engine(url, pool_size, patience=patience)
        return cls(engine, create_catalog_engine(url, max(1, pool_size // 2), patience=patience, for_searches=True))

    @property
    def url(self) -> str:
        """The URL of the catalog, with the password."""
        return self._engine.url.render_as_string(hide_password=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a transaction, which is committed at the end unless an error leaves it."""
        with translate_errors(self._engine), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection for a read of one statement: BEGIN and COMMIT would be two further round trips."""
        with translate_errors(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def searching(self) -> Iterator[Connection]:
        """Open a connection for a search, whose plan depends on its values (`connections`)."""
        with translate_errors(), self._searching.connect() as connection:
            yield connection

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()
        self._searching.dispose()
