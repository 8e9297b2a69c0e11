"""Loading a model in a fresh process first, before it is registered and before the API loads it into its own.

A process that has scikit-learn imported takes seconds to start, so one is kept that has imported it and done nothing
else. For each rehearsal it forks a keeper, and that forks the process that loads, which is as fresh, is limited
(`limits`) and ends with it; the keeper tells how it ended. Where forking is not safe (macOS) the kept process itself
rehearses and ends, and a new one is started for the next. A program that has just begun may fork the kept process from
itself instead, and so shares with it what both import.

A request is two descriptors: the artifact, and a line on which both sides write one line of JSON.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, BinaryIO

from bodega_db import errors
from bodega_db.archives import check_archive
from bodega_db.errors import LoadEndedError, LoadError, UntrustedTypeError
from bodega_db.formats import Policy
from bodega_db.limits import limit, memory_for
from bodega_db.records import Golden
from bodega_db.signature import Signature

FORKS = sys.platform == "linux"
PATIENCE = 30  # seconds beyond those of a rehearsal, for a process that must start first
IMPORTED_AHEAD = (
    "bodega_db.runner",
    "joblib",
    "pandas",
    "skops.io",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.feature_extraction",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.preprocessing",
)


class Rehearsal:
    """The kept process; `run` may be called from many threads at once, and none waits for another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._socket: socket.socket | None = None
        self._owner = os.getpid()

    def run(
        self,
        file: BinaryIO,
        fmt: str,
        signature: Signature,
        golden: Golden,
        environment: Mapping[str, Any],
        policy: Policy,
    ) -> None:
        """Raise LoadError with the reason unless a fresh process loads the file and repeats the golden rows."""
        request = {
            "format": fmt,
            "signature": signature.to_dict(),
            "golden": golden.to_dict(),
            "environment": environment,
            "policy": policy.to_dict(),
        }
        try:
            answer = self._ask(request, file.fileno(), policy.load_seconds + PATIENCE)
        except OSError as exc:
            raise LoadEndedError(
                f"No process could be started to load the model in: {exc.strerror}",
                "Check how many processes and open files this one may have (ulimit -a), and its memory.",
            ) from exc
        if not answer["ok"]:
            raise _error(answer)

    def start(self) -> None:
        """Start the process now, so that the first rehearsal need not wait for its imports."""
        with self._lock:
            self._connect()

    def fork(self) -> None:
        """Make the process of this one, which must have no second thread yet; where that is not safe, start it.

        What models need should be imported here before: it is then there for both, once in time and in memory.
        """
        import_what_models_need()
        with self._lock:
            if not FORKS:
                self._connect()
            elif self._socket is None:
                self._begin(_fork)

    def close(self) -> None:
        """End the process and what it forked."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None and self._owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()  # a fork that has not left our group yet
            self._process.wait()
        self._process = self._socket = None

    def _ask(self, request: Mapping[str, Any], file: int, seconds: float) -> dict[str, Any]:
        # However this ends, Ctrl-C too, the line is of this request alone: no other gets its answer.
        with self._line(file) as line:
            line.settimeout(seconds)
            try:
                line.sendall(json.dumps(request).encode() + b"\n")
                answer = _read_line(line)
            except TimeoutError:
                return _ended(f"gave no answer for {seconds:.0f} s")
            except ConnectionError:
                answer = b""
            return json.loads(answer) if answer else _ended("ended without a word")

    @contextlib.contextmanager
    def _line(self, file: int) -> Iterator[socket.socket]:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._lock:
                self._send(file, theirs.fileno())
            yield ours

    def _send(self, file: int, line: int) -> None:
        try:
            socket.send_fds(self._connect(), [b"F"], [file, line])
        except OSError:  # it died since; a new one takes the request, or nobody can
            self.close()
            socket.send_fds(self._connect(), [b"F"], [file, line])

    def _seems_alive(self) -> bool:
        # A fork of the program shares its parent's process, which it cannot ask after: each request has its own line.
        return self._owner != os.getpid() or (self._process is not None and self._process.poll() is None)

    def _connect(self) -> socket.socket:
        if self._socket is not None and self._seems_alive():
            return self._socket
        return self._begin(_launch)

    def _begin(self, make: "Callable[[int], subprocess.Popen[bytes] | Forked]") -> socket.socket:
        self.close()
        self._owner = os.getpid()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = make(theirs.fileno())
        self._socket = ours
        atexit.register(self.close)
        return ours


class Forked:
    """A child that was forked, as far as it can be asked like one of `subprocess`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = False

    def poll(self) -> int | None:
        """Return None while it runs."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait until it has ended."""
        return self._wait(0)

    def kill(self) -> None:
        """End it."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _wait(self, options: int) -> int | None:
        if not self._ended:
            try:
                self._ended = os.waitpid(self.pid, options)[0] == self.pid
            except ChildProcessError:  # somebody else has waited for it
                self._ended = True
        return 0 if self._ended else None


def _launch(descriptor: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        # -P: the notebook's folder is not on the path, because it is not on the API's either.
        [sys.executable, "-P", "-m", "bodega_db.rehearsal", str(descriptor)],
        pass_fds=[descriptor],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdin=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )


def _fork(descriptor: int) -> Forked:
    pid = os.fork()
    if pid:
        return Forked(pid)
    try:
        _leave_the_caller(descriptor)
        main(descriptor)
    finally:
        os._exit(0)


def _leave_the_caller(descriptor: int) -> None:
    """Keep of the program what a process that `_launch` starts has of it: its output, and the one descriptor."""
    os.setsid()
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    given = os.environ.pop("PYTHONPATH", "").split(os.pathsep)
    folders = {os.getcwd(), *given, *map(os.path.abspath, given)}
    sys.path[:] = [folder for folder in sys.path if folder not in folders]
    os.chdir("/")


@cache
def shared_rehearsal() -> Rehearsal:
    """Return the one of this program: its stores share it, because starting it takes seconds."""
    return Rehearsal()


def _error(answer: Mapping[str, Any]) -> LoadError:
    """Return the error that the other process met."""
    if answer["error"] == UntrustedTypeError.__name__:
        return UntrustedTypeError(answer["message"], answer["types"], answer["advice"])
    cls: type[LoadError] = getattr(errors, answer["error"])
    return cls(answer["message"], answer["advice"])


# --- the kept process ----------------------------------------------------------------------------------------


def main(descriptor: int) -> None:
    """Take requests until the other end is closed."""
    import_what_models_need()
    with warnings.catch_warnings(action="ignore"):
        importlib.import_module("joblib").cpu_count(only_physical_cores=True)  # asks a program, once for all
    gc.freeze()  # or the first collection of every child would copy all of these modules' memory
    if FORKS:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a keeper, and none stays as a zombie
    connection = socket.socket(fileno=descriptor)
    while True:
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 2)
        if not descriptors:
            return
        file, line = descriptors
        if FORKS:
            _fork_keeper(connection, file, line)
        else:
            _answer(line, _limited(_read_request(line), file))
            return
        os.close(file)
        os.close(line)


def import_what_models_need() -> None:
    """Import once, in the process that forks, what every rehearsal would have to import again."""
    for module in IMPORTED_AHEAD:
        importlib.import_module(module)


def _fork_keeper(connection: socket.socket, file: int, line: int) -> None:
    if os.fork() == 0:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            connection.close()
            _keep(file, line)
        finally:
            os._exit(0)


def _keep(file: int, line: int) -> None:
    """Fork the process that loads, and say how it ended if it did not say so itself."""
    request = _read_request(line)
    seconds: float = request["policy"]["load_seconds"]
    child = os.fork()
    if child == 0:
        try:
            _answer(line, _limited(request, file))
        finally:
            os._exit(0)
    code = _wait(child, time.monotonic() + seconds)
    if code is None:
        _answer(line, _ended(f"took more than {seconds:g} s and was ended"))
    elif code != 0:  # nothing was sent: it ended inside of the loader
        _answer(line, _ended(f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"))


def _wait(child: int, deadline: float) -> int | None:
    """Wait for a child and return its code; one that takes too long is killed, and that is None."""
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.002)


def _limited(request: dict[str, Any], file: int) -> dict[str, Any]:
    import joblib

    _be_silent()
    memory = memory_for(_size(request, file))
    limit(memory, int(request["policy"]["load_seconds"]) + 1)
    try:
        # No processes are to be had here; threads give the same predictions.
        with joblib.parallel_config(backend="threading"):
            return _rehearse(request, file)
    except MemoryError:
        return _ended(f"needed more than the {memory // 1024**2} MiB that a model of its size may take")


def _be_silent() -> None:
    """Let nothing that a model prints stand between the lines of the program; and a limited process writes no files."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _size(request: dict[str, Any], file: int) -> int:
    """Return how many bytes the model's arrays may have; what joblib packed, nobody knows before it is unpacked."""
    largest: int = request["policy"]["max_model_bytes"]
    if request["format"] != "skops":
        return min(largest, 30 * os.fstat(file).st_size)
    with os.fdopen(os.dup(file), "rb") as archive, contextlib.suppress(LoadError):
        return check_archive(archive, largest)
    return 0  # it will be refused


def _rehearse(request: dict[str, Any], file: int) -> dict[str, Any]:
    from bodega_db.runner import start_runner

    try:
        with os.fdopen(os.dup(file), "rb") as artifact:
            start_runner(
                artifact,
                request["format"],
                Signature.from_dict(request["signature"]),
                Golden.from_dict(request["golden"]),
                request["environment"],
                Policy.from_dict(request["policy"]),
            )
    except LoadError as exc:
        if _is_about_memory(exc):
            raise MemoryError from exc
        return _refused(type(exc).__name__, exc.message, exc.advice) | {"types": list(getattr(exc, "types", ()))}
    except MemoryError:
        raise
    except BaseException as exc:  # noqa: BLE001 (whatever it is, whoever waits must learn of it)
        return _refused("DeserialiseError", f"The loader raised {type(exc).__name__}: {exc}"[:500], "")
    return {"ok": True}


def _is_about_memory(error: BaseException | None) -> bool:
    return error is not None and (isinstance(error, MemoryError) or _is_about_memory(error.__cause__))


def _refused(error: str, message: str, advice: str) -> dict[str, Any]:
    return {"ok": False, "error": error, "message": message, "advice": advice}


def _ended(how: str) -> dict[str, Any]:
    return _refused("LoadEndedError", f"The process that loaded the model {how}", LoadEndedError.hint)


def _read_request(line: int) -> dict[str, Any]:
    with socket.socket(fileno=os.dup(line)) as connection:
        request: dict[str, Any] = json.loads(_read_line(connection))
    return request


def _answer(line: int, answer: dict[str, Any]) -> None:
    with socket.socket(fileno=os.dup(line)) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _read_line(connection: socket.socket) -> bytes:
    parts = []
    while chunk := connection.recv(65536):
        parts.append(chunk)
        if chunk.endswith(b"\n"):
            break
    return b"".join(parts)


if __name__ == "__main__":
    main(int(sys.argv[1]))
