"""A process that registers when it is told to, and can be told again and again; and strace that does something to it.

Imports, a fitted model and the rehearsal process are made once. For each case a child is forked that waits, strace is
attached to it, and only then it registers: so every system call that strace counts is one of the registration.

    registrar.py SERVER_SOCKET        speaks lines of JSON: {"url", "volume", "key", "strength"} → {"pid"} → {"outcome"}
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent
NAME = "small"
GO = signal.SIGUSR1


def register(store: Any, key: str | None, strength: float) -> Any:
    """Register a small model whose bytes the strength makes different."""
    from sklearn.linear_model import Ridge

    rows = [[0.0], [1.0], [2.0], [3.0]]
    return store.register(
        Ridge(alpha=strength).fit(rows, [0.0, 1.0, 2.0, 3.0]), NAME, example=rows, idempotency_key=key
    )


class Registrar:
    """The other end of that process."""

    def __init__(self, process: "subprocess.Popen[bytes]", line: socket.socket) -> None:
        self._process = process
        self._file = line.makefile("rw", encoding="utf-8")

    def register(self, url: str, volume: Path, key: str, *, strength: float = 1.0, inject: str = "") -> str:
        """Register in a child of its own under strace; return 'registered', the error's name, or how it was killed."""
        self._say({"url": url, "volume": str(volume), "key": key, "strength": strength})
        child = self._hear()["pid"]
        with attached(child, inject) if inject else nothing():
            self._say("go")
            return str(self._hear()["outcome"])

    def close(self) -> None:
        """Hang up, which ends the process."""
        self._file.close()

    def _say(self, what: Any) -> None:
        self._file.write(json.dumps(what) + "\n")
        self._file.flush()

    def _hear(self) -> Any:
        line = self._file.readline()
        assert line, f"the registrar ended with {self._process.wait(5)}"
        return json.loads(line)


@contextmanager
def nothing() -> Iterator[None]:
    """Do nothing to the process."""
    yield


@contextmanager
def attached(process: int, inject: str) -> Iterator[None]:
    """Have strace inject a fault into a process, as in 'fsync:error=EIO:when=1'."""
    call = inject.partition(":")[0]
    command = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={inject}", "-p", str(process)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as strace:
        try:
            wait_until_traced(process)
            yield
        finally:
            strace.terminate()


def wait_until_traced(process: int) -> None:
    """Return when another process traces this one."""
    until = time.monotonic() + 30
    while "TracerPid:\t0\n" in Path(f"/proc/{process}/status").read_text(encoding="ascii"):
        assert time.monotonic() < until, "strace did not attach"
        time.sleep(0.002)


@contextmanager
def running_registrar() -> Iterator[Registrar]:
    """Start the process, and end it."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=TESTS)
        registrar = Registrar(process, ours)
        try:
            yield registrar
        finally:
            registrar.close()
    process.wait(30)


# --- in the process ------------------------------------------------------------------------------------------


def serve(line: socket.socket) -> None:
    """Fork a child for each request, and tell how it ended."""
    from bodega_model.loading.sandbox import shared_rehearsal

    signal.pthread_sigmask(signal.SIG_BLOCK, [GO])
    file = line.makefile("rw", encoding="utf-8")
    while request := file.readline():
        told, tell = os.pipe()
        shared_rehearsal().start()  # for all children
        child = os.fork()
        if child == 0:
            # Calls that no fault is injected into: these two are not the registration's.
            signal.sigwait([GO])
            os.writev(tell, [attempt(json.loads(request)).encode()])
            os._exit(0)
        file.write(json.dumps({"pid": child}) + "\n")
        file.flush()
        file.readline()
        os.kill(child, GO)
        _, status = os.waitpid(child, 0)
        os.close(tell)
        said = os.read(told, 65536).decode()
        os.close(told)
        code = os.waitstatus_to_exitcode(status)
        outcome = said or (f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}")
        file.write(json.dumps({"outcome": outcome}) + "\n")
        file.flush()


def attempt(request: dict[str, Any]) -> str:
    """Register once; return what came of it."""
    from bodega_db.settings import Settings
    from bodega_db.store import ModelStore
    from bodega_db.store import register as module
    from bodega_model.errors import BodegaError

    module.RECONNECT_SECONDS = 2.0
    settings = Settings.read(database_url=request["url"], models=Path(request["volume"]), pool_size=1)
    with closing(ModelStore.connect(settings)) as store:
        try:
            register(store, request["key"], request["strength"])
        except BodegaError as exc:
            return type(exc).__name__
        except Exception as exc:
            return f"{type(exc).__name__}, which is no error of ours: {exc}"
    return "registered"


def warm_up() -> None:
    """Import all that a registration imports, so that no case is about importing."""
    import importlib

    for module in (
        "psycopg",
        "sqlalchemy.dialects.postgresql",
        "bodega_model.signature.infer",
        "bodega_db.store",
        "skops.io",
    ):
        importlib.import_module(module)
    from bodega_model.formats.codecs import dump
    from bodega_model.loading.environment import capture_environment
    from bodega_model.signature.infer import learn
    from sklearn.linear_model import Ridge

    rows = [[0.0], [1.0]]
    model = Ridge().fit(rows, [0.0, 1.0])
    learn(model, rows)
    capture_environment(model)
    with tempfile.TemporaryFile() as file:
        dump(model, "skops", file)


if __name__ == "__main__":
    warm_up()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        serve(connection)
