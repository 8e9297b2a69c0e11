"""The kept process of `sandbox`: what it imports once, and the children in which it loads models.

For each rehearsal it forks a keeper, and that forks the process that loads, which is as fresh, is limited (`seccomp`)
and ends with it; the keeper tells how it ended. Where forking is not safe (macOS) the kept process itself rehearses and
ends.

A request is two descriptors: the artifact, and a line on which both sides write one line of JSON.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import warnings
from typing import Any

from bodega_model.errors import LoadEndedError, LoadError
from bodega_model.foreign import known
from bodega_model.formats.archive_limits import check_archive
from bodega_model.formats.policy import Policy
from bodega_model.golden import Golden
from bodega_model.loading.seccomp import limit, memory_for
from bodega_model.signature.types import Signature

FORKS = sys.platform == "linux"
IMPORTED_AHEAD = (
    "bodega_model.loading.runner",
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


def main(descriptor: int) -> None:
    """Take requests until the other end is closed."""
    gc.disable()  # what is imported is no garbage
    import_what_models_need()
    with warnings.catch_warnings(action="ignore"):
        importlib.import_module("joblib").cpu_count(only_physical_cores=True)  # asks a program, once for all
        known(
            importlib.import_module("bodega_model.loading.warmup").warm_up, None
        )  # what is wrong here, each model tells
    gc.enable()
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
        _answer(line, ended(f"took more than {seconds:g} s and was ended"))
    elif code != 0:  # nothing was sent: it ended inside of the loader
        _answer(line, ended(f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"))


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
        return ended(f"needed more than the {memory // 1024**2} MiB that a model of its size may take")


def _be_silent() -> None:
    """Let nothing that a model prints stand between the lines of the program; and a limited process writes no files."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _size(request: dict[str, Any], file: int) -> int:
    """Return how many bytes the model's arrays may have; for compressed joblib that is unknown before."""
    largest: int = request["policy"]["max_model_bytes"]
    if request["format"] != "skops":
        return min(largest, 30 * os.fstat(file).st_size)
    with os.fdopen(os.dup(file), "rb") as archive, contextlib.suppress(LoadError):
        return check_archive(archive, largest)
    return 0  # it will be refused


def _rehearse(request: dict[str, Any], file: int) -> dict[str, Any]:
    from bodega_model.loading.runner import start_runner

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


def ended(how: str) -> dict[str, Any]:
    """Return the answer for a process that gave none, and how it ended."""
    return _refused("LoadEndedError", f"The process that loaded the model {how}", LoadEndedError.hint)


def _read_request(line: int) -> dict[str, Any]:
    with socket.socket(fileno=os.dup(line)) as connection:
        request: dict[str, Any] = json.loads(read_line(connection))
    return request


def _answer(line: int, answer: dict[str, Any]) -> None:
    with socket.socket(fileno=os.dup(line)) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(json.dumps(answer).encode() + b"\n")


def read_line(connection: socket.socket) -> bytes:
    """Read one line, or what there is of it before the other side ends."""
    parts = []
    while chunk := connection.recv(65536):
        parts.append(chunk)
        if chunk.endswith(b"\n"):
            break
    return b"".join(parts)


if __name__ == "__main__":
    main(int(sys.argv[1]))
