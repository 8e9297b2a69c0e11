"""A private Postgres that needs no installation, runs while this process runs, and ends with it."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from bodega_db.errors import EmbeddedPostgresError, PostgresClaimedError
from bodega_db.postgres.binaries import OUTSIDE, find_binaries
from bodega_db.postgres.cluster import DATABASE, USER, Cluster, place_data
from bodega_db.postgres.lock import Claim, describe
from bodega_db.postgres.process import Child
from bodega_db.postgres.server import disown_stale_pid, find_free_port, server_pid, start_server, wait_until_ready

PORTS = 5  # how often a port may be taken between our choice and Postgres' start
NAME = "postgres"


def tell_stderr(message: str) -> None:
    """Write a message for the person at the terminal."""
    print(message, file=sys.stderr)


class EmbeddedPostgres:
    """A Postgres on a free port of 127.0.0.1, whose data, password, log and note lie in one folder.

    Use it as a context manager; `url` is there while it runs. `durable=False` is for tests: quicker, and a
    power failure may destroy the data. `wait` and `linger` are seconds: how long to wait for another process
    that runs it, and how long to wait at the end for processes that use this one (see `visit_running`).
    As root it runs as `nobody`, with its data under `outside` where `nobody` cannot reach the folder; `tell`
    says so once. (What is not durable goes to a temporary folder then, and is removed at the end.)
    """

    def __init__(
        self,
        data: Path,
        *,
        durable: bool = True,
        wait: float = 0.0,
        linger: float = 0.0,
        outside: Path = OUTSIDE,
        tell: Callable[[str], None] = tell_stderr,
    ) -> None:
        self.home = Path(data).absolute()
        self.durable, self.wait, self.linger = durable, wait, linger
        self.outside, self.tell = outside, tell
        self.claim = Claim(self.home, NAME)
        self.log = self.home / f"{NAME}.log"
        self._child: Child | None = None
        self._discard: Path | None = None  # the temporary folder outside, if there is one
        self._url = ""

    @property
    def url(self) -> str:
        """Return postgresql://user:password@127.0.0.1:port/bodega; an EmbeddedPostgresError when stopped."""
        if self._child is None:
            raise not_running(self.home)
        return self._url

    @property
    def child(self) -> Child:
        """Return the running server; raise EmbeddedPostgresError before the start and after the end."""
        if self._child is None:
            raise not_running(self.home)
        return self._child

    def start(self) -> Self:
        """Start it, making its data folder the first time; raise EmbeddedPostgresError if that fails."""
        with contextlib.ExitStack() as undo, translate_errors(self.home):
            if self._child:
                raise EmbeddedPostgresError(f"The Postgres in {self.home} is running already", "Use its `url`.")
            self.home.mkdir(parents=True, exist_ok=True)
            self._take_claim()
            undo.callback(self.claim.release)
            cluster, password = self._prepare()
            self._child = self._launch(cluster, password)
            undo.callback(self.stop)
            self.claim.publish(url=self._url, server=server_pid(cluster.data))
            undo.pop_all()
        return self

    def stop(self) -> None:
        """Stop it; a Postgres that is not running is left alone."""
        if self._child is None:
            return
        try:
            self.claim.withdraw(self.linger)
        finally:
            self._child.stop()
            self._child = None
            if self._discard:
                shutil.rmtree(self._discard)
                (self.home / "cluster").unlink()
            self.claim.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_claim(self) -> None:
        note = self.claim.take(self.wait)
        if note is not None:
            raise PostgresClaimedError(
                f"A Postgres already runs on {self.home}: {describe(note)} runs it",
                "Use that one, or end that process first.",
            )

    def _prepare(self) -> tuple[Cluster, str]:
        binaries = find_binaries(self.outside)
        assert self.claim.descriptor is not None  # noqa: S101 (it was taken)
        settled = (self.home / "cluster").is_symlink()
        if self.durable or settled:
            data = place_data(self.home, binaries, self.outside, self.tell)
        else:
            data = place_data(self.home, binaries, Path(tempfile.gettempdir()), lambda message: None)
            self._discard = data.parent if data.parent != self.home else None
        cluster = Cluster(self.home, data, binaries, self.claim.descriptor, self.durable)
        disown_stale_pid(data)
        return cluster, cluster.prepare()

    def _launch(self, cluster: Cluster, password: str) -> Child:
        for _ in range(PORTS):
            port = find_free_port()
            self._url = f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"
            child = start_server(cluster, port, self.log)
            with contextlib.ExitStack() as undo:
                undo.callback(child.stop)
                if wait_until_ready(child, self._url):
                    undo.pop_all()
                    return child
            if "could not create any TCP/IP sockets" not in child.last_lines():
                break
        raise EmbeddedPostgresError(
            f"Postgres ended with {child.describe_end()} while it started:\n{child.last_lines()}",
            f"All it said is in {self.log}.",
        )


def not_running(home: Path) -> EmbeddedPostgresError:
    """Return the error for a Postgres that does not run."""
    return EmbeddedPostgresError(f"The Postgres in {home} is not running", "Use it in a `with` block.")


def find_running(data: Path) -> str | None:
    """Return the URL of the Postgres that another process of this user runs in a folder, or None."""
    with translate_errors(data):
        note = Claim(Path(data).absolute(), NAME).find()
    return str(note["url"]) if note else None


@contextlib.contextmanager
def visit_running(data: Path) -> Iterator[str | None]:
    """Yield what `find_running` finds, and have a short-lived owner wait for the end of the block."""
    with contextlib.ExitStack() as visit:
        with translate_errors(data):
            note = visit.enter_context(Claim(Path(data).absolute(), NAME).visit())
        yield str(note["url"]) if note else None


@contextlib.contextmanager
def translate_errors(home: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an error that names the folder."""
    try:
        yield
    except OSError as exc:
        raise EmbeddedPostgresError(
            f"The Postgres in {home} cannot be used: {exc.strerror} ({exc.filename or exc})",
            "Check that the folder belongs to you, can be written, and that the disk is not full.",
        ) from exc
