"""Hearing of changes: one connection that listens, asks every two seconds all the same, and comes back when lost.

A notification is only a hint to look at once; the question, which names the last generation that was seen, is what
misses nothing.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import cast

import psycopg
from bodega_model.errors import BodegaError
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from bodega_db.catalog import resolve, versions
from bodega_db.catalog.connections import create_catalog_engine
from bodega_db.catalog.failures import translate_errors
from bodega_db.errors import CatalogUnavailableError
from bodega_db.records import Changes, Resolution
from bodega_db.reference import Selector
from bodega_db.settings import WithoutProduction

log = logging.getLogger(__name__)
POLL_SECONDS = 2.0
PATIENCE_SECONDS = 2  # for one answer: a connection that is cut without a word is noticed no later
STOP_SECONDS = 0.2  # how often a waiting thread looks whether it shall stop
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0

Choose = Callable[[str | None, Selector], Resolution]
Tell = Callable[[Changes, Choose], None]


@dataclass(frozen=True, slots=True)
class Contact:
    """Every change up to a generation is known, and when that was certainly all: `at` is of time.monotonic()."""

    generation: int
    at: float


class Watcher:
    """A thread that tells what changed in the catalog, and how to choose in the very snapshot that it saw.

    `tell` runs in that thread. If it raises, or the connection is lost in the middle, nothing counts as heard. On
    every new connection, the first included, it is told that all may have changed: another database may answer at
    the same address now, restored from a backup, and its generations say nothing about those of the former.
    """

    def __init__(self, url: str, tell: Tell, without_production: WithoutProduction = "refuse") -> None:
        engine = create_catalog_engine(url, pool_size=1, patience=PATIENCE_SECONDS, application="bodega watching")
        # One snapshot for a question and all choices that follow from it.
        self._engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._tell = tell
        self._without_production = without_production
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._contact: Contact | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._trouble = ""

    @property
    def contact(self) -> Contact | None:
        """The last time that everything was heard and told; None before the first."""
        return self._contact

    def start(self) -> None:
        """Begin; the first contact is made in the background."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="bodega-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End and close the connection: at once, or within seconds where Postgres takes no more than the connection."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._engine.dispose()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with translate_errors(), closing(self._engine.connect()) as connection:
                    self._follow(connection)
            except BodegaError as exc:
                self._complain(str(exc).splitlines()[0], None)
            except Exception as exc:  # noqa: BLE001 (a dead thread would be a catalog that never changes again)
                self._complain("An unexpected error; what changed is asked for again", exc)
            self._stopping.wait(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _follow(self, connection: Connection) -> None:
        with Session(connection) as session, session.begin():
            versions.listen(session)
        generation = self._look(connection, None)
        self._rejoice(generation)
        while self._wait_for_a_hint(connection):
            generation = self._look(connection, generation)

    def _look(self, connection: Connection, since: int | None) -> int:
        asked = time.monotonic()
        with Session(connection) as session, session.begin():
            changes = versions.get_changes(session, since)
            if changes.concern(None):
                self._tell(changes, partial(_choose, session, self._without_production))
        self._contact = Contact(changes.generation, asked)
        return changes.generation

    def _wait_for_a_hint(self, connection: Connection) -> bool:
        """Wait until it is time to look, which a notification says or the clock; False says that it is time to stop."""
        driver = cast("psycopg.Connection[object]", connection.connection.dbapi_connection)
        until = time.monotonic() + POLL_SECONDS
        try:
            while not self._stopping.is_set() and time.monotonic() < until:
                if list(driver.notifies(timeout=STOP_SECONDS, stop_after=1)):
                    break
        except psycopg.Error as exc:
            connection.invalidate(exc)
            raise CatalogUnavailableError("The connection to the catalog broke") from exc
        return not self._stopping.is_set()

    def _complain(self, trouble: str, exc: Exception | None) -> None:
        if trouble != self._trouble:  # once, and not at every attempt of an hour
            log.warning("Changes of the catalog are not heard: %s", trouble, exc_info=exc)
        self._trouble = trouble

    def _rejoice(self, generation: int) -> None:
        if self._trouble:
            log.warning("Changes of the catalog are heard again, from generation %d on", generation)
        self._trouble, self._pause = "", FIRST_PAUSE_SECONDS


def _choose(session: Session, without: WithoutProduction, model: str | None, selector: Selector) -> Resolution:
    with translate_errors():  # a catalog that goes away now is told apart from a choice that cannot be made
        return resolve.choose(session, model, selector, without)
