"""Loading a model in a fresh process first, before it is registered and before the API loads it into its own.

Importing scikit-learn takes seconds, so one process is kept that has imported it, asked one small model (`warmup`), and
done nothing else (`sandbox_worker`); it is replaced when it ended. A program that has just begun may fork that process
from itself: then both share the memory of what they import.
"""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, BinaryIO

from bodega_model import errors
from bodega_model.errors import LoadEndedError, LoadError, UntrustedTypeError
from bodega_model.formats.policy import Policy
from bodega_model.golden import Golden
from bodega_model.loading import sandbox_worker
from bodega_model.loading.sandbox_worker import ended, read_line
from bodega_model.signature.types import Signature

PATIENCE = 30  # seconds beyond those of a rehearsal, for a process that must start first


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
        sandbox_worker.import_what_models_need()
        with self._lock:
            if not sandbox_worker.FORKS:
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
                answer = read_line(line)
            except TimeoutError:
                return ended(f"gave no answer for {seconds:.0f} s")
            except ConnectionError:
                answer = b""
            return json.loads(answer) if answer else ended("ended without a word")

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
        [sys.executable, "-P", "-m", "bodega_model.loading.sandbox_worker", str(descriptor)],
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
        sandbox_worker.main(descriptor)
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
    folders = {"", os.getcwd(), *given, *map(os.path.abspath, given)}
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
