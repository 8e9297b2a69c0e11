"""What the tests stand on: a real Postgres with a migrated database of its own for each test, a real volume, real HTTP."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import migrate
from bodega_db.postgres.embedded import EmbeddedPostgres
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from extent import ALL
from psycopg import sql

TEMPLATE = "template_migrated"
_numbers = count(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the second tier out, unless everything is asked for."""
    sweeps = [] if ALL else [item for item in items if item.get_closest_marker("sweep")]
    if sweeps:
        config.hook.pytest_deselected(items=sweeps)
        items[:] = [item for item in items if item not in sweeps]


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres for all tests of this process."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data", durable=False) as server:
        yield server.url


@pytest.fixture(scope="session")
def template(postgres_url: str) -> str:
    """A database with the catalog's schema, to be cloned."""
    url = create_database(postgres_url, TEMPLATE)
    migrate.upgrade(url)
    return TEMPLATE


@dataclass(frozen=True)
class Furnished:
    """A store that was filled once, to be copied: its database, its volume, and what filling it returned."""

    database: str
    volume: Path
    made: Any


@pytest.fixture(scope="session")
def fill_once(
    postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Callable[[ModelStore], Any]], Furnished]:
    """Fill a store by a function, once for all tests of this process."""

    @cache
    def fill_once(fill: Callable[[ModelStore], Any]) -> Furnished:
        name, volume = f"furnished_{next(_numbers)}", tmp_path_factory.mktemp("furnished") / "models"
        url = create_database(postgres_url, name, template)
        with closing(ModelStore.connect(Settings.read(database_url=url, models=volume))) as store:
            return Furnished(name, volume, fill(store))

    return fill_once


@pytest.fixture
def furnished(request: pytest.FixtureRequest) -> Furnished | None:
    """What this test's store begins with, or None for an empty one.

    A module's `FURNISHED` says which fixture stands for which filled store: a registration takes as long as fifty
    copies of a small database.
    """
    table = getattr(request.module, "FURNISHED", {})
    wanted = [fill for name, fill in table.items() if name in request.fixturenames]
    assert len(wanted) < 2, wanted
    if not wanted:
        return None  # and start no Postgres for a test of a volume alone
    filled: Furnished = request.getfixturevalue("fill_once")(wanted[0])
    return filled


@pytest.fixture
def database_url(postgres_url: str, template: str, furnished: Furnished | None) -> Iterator[str]:
    """A migrated database that belongs to one test."""
    name = f"test_{next(_numbers)}"
    yield create_database(postgres_url, name, furnished.database if furnished else template)
    _execute(postgres_url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def empty_database_url(postgres_url: str) -> str:
    """A database without any table."""
    return create_database(postgres_url, f"empty_{next(_numbers)}")


@pytest.fixture
def volume(tmp_path: Path, furnished: Furnished | None) -> Path:
    """The folder of the artifacts; it does not exist yet, unless the store begins with some."""
    folder = tmp_path / "models"
    if furnished:
        shutil.copytree(furnished.volume, folder)
    return folder


@pytest.fixture
def make_settings(database_url: str, volume: Path) -> Callable[..., Settings]:
    """Settings over this test's database and volume, with what a test wants otherwise."""

    def make(**changes: Any) -> Settings:
        return Settings.read(**{"database_url": database_url, "models": volume} | changes)

    return make


@pytest.fixture
def connect(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., ModelStore]]:
    """Connect stores with settings that a test wants otherwise, and close them at its end."""
    with ExitStack() as stack:

        def connect(**changes: Any) -> ModelStore:
            return stack.enter_context(closing(ModelStore.connect(make_settings(**changes))))

        yield connect


@pytest.fixture
def store(connect: Callable[..., ModelStore]) -> ModelStore:
    """A store over this test's database and volume."""
    return connect()


@pytest.fixture
def sql_connection(database_url: str) -> Iterator["psycopg.Connection[Any]"]:
    """What an operator with psql has: a connection that goes around Bodega."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@dataclass(frozen=True)
class Api:
    """A running API: a client that reaches it over HTTP, the app inside, to look into its memory, and its server."""

    client: Any
    app: Any
    url: str
    server: Any

    @property
    def services(self) -> Any:
        """The services of the app."""
        return self.app.services


@pytest.fixture
def start_api(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Api]]:
    """Start the API on a free port, with settings that a test wants otherwise."""
    with ExitStack() as stack:

        def start(**changes: Any) -> Api:
            return stack.enter_context(running_api(make_settings(**changes)))

        yield start


@pytest.fixture
def api(start_api: Callable[..., Api]) -> Api:
    """The API with its usual settings."""
    return start_api()


@contextmanager
def running_api(settings: Settings) -> Iterator[Api]:
    """Run the API in a thread of this process, on a real socket."""
    httpx2 = pytest.importorskip("httpx2")
    uvicorn = pytest.importorskip("uvicorn")
    from bodega_api.app import create_app
    from bodega_api.fastpath.uvicorn_protocol import PredictionProtocol

    app = create_app(settings)
    # The thread must not touch the signals, and nobody waits for its log.
    server = uvicorn.Server(uvicorn.Config(app, http=PredictionProtocol, log_level="error", lifespan="on"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        with httpx2.Client(base_url=url, timeout=60, transport=httpx2.HTTPTransport(retries=5)) as client:
            client.get("/healthz").raise_for_status()
            yield Api(client, app, url, server)
        server.should_exit = True
        thread.join(timeout=30)


def create_database(server_url: str, name: str, template: str = "template1") -> str:
    """Create a database on the test server and return its URL."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    _execute(server_url, statement)
    return server_url.rpartition("/")[0] + "/" + name


def _execute(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
