"""What makes the catalog go away in a test: a TCP forwarder before a real Postgres, and a Postgres to kill."""

import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from bodega_db.catalog import migrate
from bodega_db.postgres.embedded import EmbeddedPostgres
from sqlalchemy.engine import make_url

Meet = Callable[["Link", bytes], bool]
FAREWELL = b"X\0\0\0\4"  # ends a connection, and nobody waits for what comes of it


def pass_on(_link: "Link", _message: bytes) -> bool:
    """Let a message through."""
    return True


class Link:
    """One connection through a forwarder; frozen, it takes everything, passes nothing on, and stays open."""

    def __init__(self, client: socket.socket, server: socket.socket | None, meet: Meet = pass_on) -> None:
        self.client, self.server = client, server
        self.frozen = server is None
        self.breaks = False
        self.listens = False
        self._meet = meet

    def start(self) -> None:
        """Pass on in both directions."""
        ends = [(self.client, self.server), (self.server, self.client)]
        for source, target in ends:
            if source is not None:
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def end(self) -> None:
        """Break the connection off, for both sides."""
        for end in (self.client, self.server):
            if end is not None:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _pump(self, source: socket.socket, target: socket.socket | None) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.listens = self.listens or b"LISTEN " in data
                if source is self.client and not self._meet(self, data):
                    break
                if source is self.server and self.breaks:  # the answer is there: what was asked has happened
                    break
                if not self.frozen and target is not None:
                    target.sendall(data)
        self.end()


class Forwarder:
    """A port before a Postgres that can be shut, silently frozen, and opened again before another Postgres."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._links: list[Link] = []
        self._mode = "open"
        self._meet: Meet = pass_on
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The database behind the forwarder, as a client before it writes it."""
        return self._url.set(host="127.0.0.1", port=self._port).render_as_string(hide_password=False)

    def shut(self) -> None:
        """Break all connections off and refuse new ones."""
        self._mode = "shut"
        self._end_links()

    def freeze(self, *, listening_only: bool = False) -> None:
        """Let nothing through any more, without a word to anybody: on all connections, old and new, or on one kind."""
        for link in self._links:
            link.frozen = link.frozen or link.listens or not listening_only
        if not listening_only:
            self._mode = "frozen"

    def open(self, url: str | None = None) -> None:
        """Let new connections through, to another Postgres if there is one now; frozen ones stay as they are."""
        self._url = make_url(url) if url else self._url
        self._mode = "open"

    def strike(self, step: int, how: Meet, among: bytes = b"") -> Callable[[], bool]:
        """Have the message of that number, from now on, meet something; return what tells whether it came so far.

        A client that waits for each answer sends one message for each step of what it does. Only those that hold
        the words count, and none that ends a connection.
        """
        numbers = count(1)
        struck = threading.Event()

        def meet(link: Link, message: bytes) -> bool:
            if message == FAREWELL or among not in message or next(numbers) != step:
                return True
            struck.set()
            return how(link, message)

        self._meet = meet
        return struck.is_set

    def _met(self, link: Link, message: bytes) -> bool:
        return self._meet(link, message)

    def close(self) -> None:
        """End it."""
        self._mode = "shut"
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end_links()

    def _end_links(self) -> None:
        for link in self._links:
            link.end()
        self._links.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            link = self._link(client)
            if link is None:
                client.close()
                continue
            self._links.append(link)
            link.start()

    def _link(self, client: socket.socket) -> Link | None:
        if self._mode == "frozen":
            return Link(client, None)
        if self._mode == "open":
            with suppress(OSError):
                server = socket.create_connection((self._url.host, self._url.port))
                return Link(client, server, self._met)
        return None


def lose_question(_link: Link, _message: bytes) -> bool:
    """Break the connection off before Postgres hears the message."""
    return False


def lose_answer(link: Link, _message: bytes) -> bool:
    """Break the connection off when Postgres has done what the message says, and before the client hears of it."""
    link.breaks = True
    return True


def swallow_question(link: Link, _message: bytes) -> bool:
    """Let nothing through any more, from this message on, and leave the connection open."""
    link.frozen = True
    return True


def swallow_answer(link: Link, message: bytes) -> bool:
    """Let this message through, and nothing after it, and leave the connection open."""
    assert link.server is not None
    link.frozen = True  # first, since the answer may come before this goes on
    link.server.sendall(message)
    return True


@contextmanager
def forwarder_before(url: str) -> Iterator[Forwarder]:
    """Run a forwarder before a Postgres."""
    forwarder = Forwarder(url)
    try:
        yield forwarder
    finally:
        forwarder.close()


class MortalPostgres:
    """A migrated Postgres of one test's own, which can be killed and started again, maybe on another port."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._server = EmbeddedPostgres(home, durable=False)
        self._server.start()
        migrate.upgrade(self.url)

    @property
    def url(self) -> str:
        """Where it is now."""
        return self._server.url

    def kill(self) -> None:
        """End it with SIGKILL, as the kernel does when memory is short."""
        os.kill(json.loads((self._home / "postgres.json").read_text())["server"], signal.SIGKILL)
        self._server.child.wait()

    def start_again(self) -> None:
        """Start it with the data it had."""
        self._server.stop()
        self._server.start()

    def stop(self) -> None:
        """Stop it, dead or alive."""
        self._server.stop()


@contextmanager
def mortal_postgres() -> Iterator[MortalPostgres]:
    """Run a Postgres to kill."""
    # Not in pytest's own folder, which `nobody` cannot enter: as root Postgres runs as nobody.
    with tempfile.TemporaryDirectory(prefix="bodega-") as path:
        Path(path).chmod(0o755)
        postgres = MortalPostgres(Path(path) / "postgres")
        try:
            yield postgres
        finally:
            postgres.stop()


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> float:
    """Wait until something holds and return how many seconds that took; fail if it takes longer."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"waited {seconds} s in vain"
        time.sleep(0.005)
    return time.monotonic() - began


def lose_version(connection: psycopg.Connection[Any], model: str, number: int) -> None:
    """Make a catalog forget the last version of a model, as if an older backup of it had been restored."""
    tables = ("version", "model", "event")
    for table in tables:
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")  # type: ignore[arg-type]
    chosen = "(SELECT v.id FROM version v JOIN model m ON m.id = v.model_id WHERE m.name = %s AND v.number = %s)"
    connection.execute(f"DELETE FROM version WHERE id = {chosen}", [model, number])  # type: ignore[arg-type]
    connection.execute("UPDATE model SET last_version = %s WHERE name = %s", [number - 1, model])
    connection.execute("DELETE FROM event WHERE model = %s AND number = %s", [model, number])
    for table in tables:
        connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")  # type: ignore[arg-type]
