"""The server process of an embedded Postgres: its start, when it is ready, and what a dead one leaves behind."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psycopg

from bodega_db.catalog.sessions import TIMEOUTS
from bodega_db.errors import EmbeddedPostgresError
from bodega_db.postgres.cluster import ENVIRONMENT, FASTER, Cluster
from bodega_db.postgres.lock import is_alive
from bodega_db.postgres.process import Child, start_child

READY = 120.0  # seconds: recovering from a power failure may take a while


def start_server(cluster: Cluster, port: int, log: Path) -> Child:
    """Start the server on a port; whether it gets ready is seen later."""
    options = [
        *(f"port={port}", "listen_addresses=127.0.0.1"),
        "unix_socket_directories=",  # a path of more than 107 bytes would keep it from starting
        *("timezone=UTC", "log_timezone=UTC"),
        *(f"{name}={limit}" for name, limit in TIMEOUTS.items()),  # its one role is everybody's
        *(() if cluster.durable else FASTER),
    ]
    words = [word for option in options for word in ("-c", option)]
    return start_child(
        cluster.binaries.command("postgres", "-D", str(cluster.data), *words),
        name="Postgres",
        log=log,
        env={**ENVIRONMENT, "PG_GRANDPARENT_PID": str(os.getpid())},  # see `disown_stale_pid`
        cwd=Path("/"),
        account=cluster.binaries.account,
        polite=signal.SIGINT,  # "fast": break connections off, write everything, end
        grace=30.0,
        kept=[cluster.lock],
    )


def wait_until_ready(child: Child, url: str) -> bool:
    """Wait until the server answers, and return False if it ended instead."""
    deadline = time.monotonic() + READY
    while child.poll() is None:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError as exc:
            if time.monotonic() > deadline or "authentication failed" in str(exc):
                raise EmbeddedPostgresError(
                    f"Postgres started but does not answer: {exc}",
                    f"Its log is {child.log}. Remove {child.log.parent}/password if it is a wrong one.",
                ) from None
            time.sleep(0.02)
        else:
            return child.poll() is None
    return False


def find_free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_pid(data: Path) -> int | None:
    """Return the process that postmaster.pid names, or None."""
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def disown_stale_pid(data: Path) -> None:
    """Heal a postmaster.pid whose number an unrelated process has now: Postgres would not start.

    The file stays, because Postgres finds in it the shared memory that forgotten backends may still use. Only
    its number becomes ours: Postgres takes a grandparent's number for its own former one.
    """
    pid = server_pid(data)
    if pid is None or not is_alive(pid):
        return
    if runs_on(pid, data):
        raise EmbeddedPostgresError(
            f"A Postgres without its guard still runs on {data} (process {pid})",
            f"End it: kill -INT {pid}",
        )
    path = data / "postmaster.pid"
    _, _, rest = path.read_text().partition("\n")
    path.write_text(f"{os.getpid()}\n{rest}")


def runs_on(pid: int, data: Path) -> bool:
    """Tell whether a process was started as a Postgres on this data folder."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        words = subprocess.run(
            ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    return str(data) in words
