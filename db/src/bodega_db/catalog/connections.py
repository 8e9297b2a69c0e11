"""Connections to the catalog: how long each waits, for what, and when it is replaced."""

import json
import math
import select
import time
from collections.abc import Generator
from typing import Any, TypeVar

import msgspec
import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

from bodega_db.catalog.sessions import IDLE_SECONDS as IDLE_IN_TRANSACTION_SECONDS
from bodega_db.catalog.sessions import MOST_LOCK_SECONDS
from bodega_db.errors import SettingsError

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 30
# No statement of the catalog takes long enough for helpers or a compiler to earn what starting them costs: 8 ms were
# measured for a search that takes 1 ms alone.
SESSION = "-c timezone=UTC -c max_parallel_workers_per_gather=0 -c jit=off"
IDLE_SECONDS = 10  # after which a connection is asked before it is used

# For statements whose best plan depends on their parameters. Others are planned once for all of them.
PLAN_EACH_TIME = "-c plan_cache_mode=force_custom_plan"

T = TypeVar("T")


class PatientConnection(psycopg.Connection[Any]):
    """A connection that breaks itself off when Postgres has left it without an answer for `patience` seconds.

    Postgres' own statement_timeout needs a Postgres that runs, and TCP's keepalive is answered by a kernel even
    where the process is frozen.
    """

    patience = math.inf

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """Wait as psycopg does, which looks in ten times a second."""
        return super().wait(self._bounded(gen), *args, **options)

    def _bounded(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        deadline = time.monotonic() + self.patience
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and time.monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError(f"Postgres gave no answer for {self.patience:g} s")
                state = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def create_catalog_engine(
    url: str,
    pool_size: int = 10,
    *,
    patience: int | None = None,
    application: str = "bodega",
    for_searches: bool = False,
) -> Engine:
    """Open a pool of connections to Postgres; nothing is connected before the first use.

    A connection that died is replaced before it is used, waiting for one ends after ten seconds, no statement runs
    longer than thirty, and none waits longer than ten for what another session holds. With patience, in whole seconds
    from 2, no wait is longer (for a free connection, for a new one, or for an answer), and Postgres ends a statement a
    second before; without, an answer that a silent network has swallowed is waited for as long as TCP does. Those for
    searches are in autocommit, and plan a statement, which is prepared as ever, for the parameters that it is executed
    with.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the latter of a port that is no number
        raise SettingsError(
            "BODEGA_DATABASE_URL is not a database URL", "Write postgresql://user:password@host:port/database."
        ) from None
    if parsed.get_backend_name() != "postgresql":
        raise SettingsError(
            f"BODEGA_DATABASE_URL names {parsed.get_backend_name()}", "The catalog is Postgres 15 or later."
        )
    session = f"{SESSION} {PLAN_EACH_TIME}" if for_searches else SESSION
    connecting = min(patience or CONNECT_SECONDS, CONNECT_SECONDS)
    engine = create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=0,
        json_deserializer=_read_json,
        **({"isolation_level": "AUTOCOMMIT"} if for_searches else {}),
        pool_timeout=connecting,
        connect_args={
            "connect_timeout": connecting,
            "application_name": application,
            "options": f"{_limits(patience - 1 if patience else STATEMENT_SECONDS)} {session}",
        },
    )
    if patience:
        _make_patient(engine, patience)
    _replace_dead_connections(engine)
    return engine


def _limits(statement_seconds: int) -> str:
    """Return how long a statement may take, and wait for a lock: shorter, so that the error can say who holds it."""
    lock = min(MOST_LOCK_SECONDS * 1000, statement_seconds * 750)
    return (
        f"-c statement_timeout={statement_seconds}s -c lock_timeout={lock}ms "
        f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS}s"
    )


def _read_json(data: bytes) -> Any:
    """Read what Postgres sends, in a fifth of the time that `json` takes; integers of any size stay what they are."""
    try:
        return msgspec.json.decode(data)
    except msgspec.MsgspecError:  # a number beyond all floats, which somebody wrote past Bodega: it hides no other row
        return json.loads(data)


def _replace_dead_connections(engine: Engine) -> None:
    """Ask a pooled connection whether it lives only where there is doubt: a question costs as much as an answer.

    A server that ends a connection says so, and what it said waits in the socket. A network that swallows a connection
    says nothing; it is mostly idle ones that this happens to.
    """

    @event.listens_for(engine, "checkin")
    def leave(_driver: Any, record: Any) -> None:
        record.info["idle since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def check(driver: Any, record: Any, _proxy: Any) -> None:
        idle = time.monotonic() - record.info.get("idle since", time.monotonic())
        if (idle > IDLE_SECONDS or _has_word_from_server(driver)) and not _answers(engine, driver):
            raise DisconnectionError


def _has_word_from_server(driver: Any) -> bool:
    if driver is None or driver.closed:
        return True
    poll = select.poll()
    poll.register(driver.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


def _answers(engine: Engine, driver: Any) -> bool:
    try:
        return bool(engine.dialect.do_ping(driver))
    except psycopg.Error:
        return False


def _make_patient(engine: Engine, patience: float) -> None:
    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, words: Any, options: Any) -> PatientConnection:
        connection = PatientConnection.connect(*words, **options)
        connection.patience = patience
        return connection
