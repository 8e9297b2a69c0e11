"""Loading a model in a fresh process before it is registered, as the API will: what cannot be served is refused now.

A process that has scikit-learn imported takes seconds to start, so one is kept that has imported it and done nothing
else; for each rehearsal it forks a child, which is as fresh, and ends with it. Where forking is not safe (macOS) the
process itself rehearses and ends, and a new one is started for the next.

Requests and answers are one JSON line each over a socket pair; the artifact travels as a file descriptor.
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
from collections.abc import Mapping
from functools import cache
from typing import Any, BinaryIO

from bodega_db.errors import NotServableError
from bodega_db.formats import Policy
from bodega_db.records import Golden
from bodega_db.signature import Signature

TIMEOUT_SECONDS = 300
FORKS = sys.platform == "linux"
IMPORTED_AHEAD = (
    "bodega_db.runner",
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
    """The kept process; `run` may be called from any thread, one rehearsal at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
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
        """Raise NotServableError with the reason unless a fresh process loads the file and repeats the golden rows."""
        request = {
            "format": fmt,
            "signature": signature.to_dict(),
            "golden": golden.to_dict(),
            "environment": environment,
            "formats": sorted(policy.formats),
            "trusted_types": sorted(policy.trusted_types),
            "allow_sklearn_mismatch": policy.allow_sklearn_mismatch,
        }
        with self._lock:
            try:
                answer = self._exchange(request, file.fileno())
            except BaseException as exc:
                # Also after Ctrl-C: the answer to this request must not be taken for the answer to the next.
                self.close()
                if not isinstance(exc, TimeoutError):
                    raise
                raise NotServableError(
                    f"Loading the model in a fresh process took more than {TIMEOUT_SECONDS} s",
                    "Register a smaller one.",
                ) from exc
        if not answer["ok"]:
            raise NotServableError(answer["message"], answer["advice"])

    def start(self) -> None:
        """Start the process now, so that the first rehearsal need not wait for its imports."""
        with self._lock:
            self._connect()

    def close(self) -> None:
        """End the process and what it forked."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None and self._owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = self._socket = None

    def _connect(self) -> socket.socket:
        inherited = self._owner != os.getpid()  # a fork of the program must not talk on its parent's line
        if not inherited and self._socket is not None and self._process is not None and self._process.poll() is None:
            return self._socket
        self.close()
        self._owner = os.getpid()
        ours, theirs = socket.socketpair()
        ours.settimeout(TIMEOUT_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                # -P: the notebook's folder is not on the path, because it is not on the API's either.
                [sys.executable, "-P", "-m", "bodega_db.rehearsal", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                stdin=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        self._socket = ours
        atexit.register(self.close)
        return ours

    def _exchange(self, request: Mapping[str, Any], fd: int) -> dict[str, Any]:
        connection = self._connect()
        socket.send_fds(connection, [b"F"], [fd])
        connection.sendall(json.dumps(request).encode() + b"\n")
        line = _read_line(connection)
        if not FORKS:
            self.close()
        return json.loads(line) if line else _died("without a word")


@cache
def shared_rehearsal() -> Rehearsal:
    """Return the one of this program: its stores share it, because starting it takes seconds."""
    return Rehearsal()


def main(descriptor: int) -> None:
    """Serve rehearsals until the other end is closed."""
    _import_what_models_need()
    connection = socket.socket(fileno=descriptor)
    while True:
        _, fds, _, _ = socket.recv_fds(connection, 1, 1)
        if not fds:
            return
        request = json.loads(_read_line(connection))
        if FORKS:
            _rehearse_in_child(connection, request, fds[0])
        else:
            _send(connection, _rehearse(request, fds[0]))
        os.close(fds[0])


def _import_what_models_need() -> None:
    """Import once, in the process that forks, what every rehearsal would have to import again."""
    for module in IMPORTED_AHEAD:
        importlib.import_module(module)
    gc.freeze()  # or the first collection of every child would copy all of these modules' memory


def _rehearse_in_child(connection: socket.socket, request: dict[str, Any], fd: int) -> None:
    child = os.fork()
    if child == 0:
        _send(connection, _rehearse(request, fd))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:  # nothing was sent: the child ended before, inside of the loader
        _send(connection, _died(f"by signal {-code}" if code < 0 else f"with status {code}"))


def _rehearse(request: dict[str, Any], fd: int) -> dict[str, Any]:
    from bodega_db.errors import BodegaError
    from bodega_db.runner import start_runner

    policy = Policy(
        frozenset(request["formats"]), frozenset(request["trusted_types"]), request["allow_sklearn_mismatch"]
    )
    try:
        with os.fdopen(os.dup(fd), "rb") as file:
            start_runner(
                file,
                request["format"],
                Signature.from_dict(request["signature"]),
                Golden.from_dict(request["golden"]),
                request["environment"],
                policy,
            )
    except BodegaError as exc:
        return {"ok": False, "message": exc.message, "advice": exc.advice}
    except Exception as exc:  # noqa: BLE001 (the person in the notebook must learn of it, whatever it is)
        return {"ok": False, "message": f"The loader raised {type(exc).__name__}: {exc}"[:500], "advice": ""}
    return {"ok": True}


def _died(how: str) -> dict[str, Any]:
    message = f"The fresh process that loaded the model ended {how}"
    return {"ok": False, "message": message, "advice": "The model ends or crashes the process that loads it."}


def _send(connection: socket.socket, answer: dict[str, Any]) -> None:
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
