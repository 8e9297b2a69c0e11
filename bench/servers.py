"""The servers that are measured: Bodega, what one writes first, a floor, and peers in environments of their own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
from bodega_db.store import ModelStore
from private import private_store

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
sys.path.insert(0, str(PEERS))
import models  # noqa: E402  # beside the peers, which import it too

cores = "0"  # that servers have, as taskset reads it
COMMON = ("scikit-learn==" + version("scikit-learn"), "palmerpenguins", "pandas")
PACKAGES = {
    "mlflow": ("mlflow", *COMMON),
    "litserve": ("litserve", *COMMON),
    "bentoml": ("bentoml", *COMMON),
    "mlserver": ("mlserver", *COMMON),
    "vetiver": ("vetiver", *COMMON),
}
UVICORN = ("-m", "uvicorn", "--log-level", "warning", "--no-access-log", "--app-dir", str(PEERS), "--port", "{port}")
FLOOR = [sys.executable, *UVICORN, "echo:app"]
NAIVE = [sys.executable, *UVICORN, "naive:app"]


@dataclass(frozen=True)
class Server:
    """A server that answers for one row of one model, and what of its answer must be right."""

    name: str
    url: str
    body: Any
    expected: str


# --- peers ---------------------------------------------------------------------------------------------------

Command = tuple[list[str], dict[str, str]]


def mlflow(name: str, python: Path, folder: Path) -> Command:
    """Save the model, and return what serves it."""
    subprocess.run([python, PEERS / "mlflow_model.py", name, folder], check=True, capture_output=True)
    command = [str(python.parent / "mlflow"), "models", "serve", "-m", str(folder), "--env-manager", "local"]
    return [*command, "--workers", "1", "--port", "{port}"], {}


def litserve(name: str, python: Path, _: Path) -> Command:
    """Return what serves a model that it fits itself."""
    return [str(python), str(PEERS / "litserve_app.py"), "{port}"], {"MODEL": name}


def bentoml(name: str, python: Path, _: Path) -> Command:
    """Return what serves a model that it fits itself."""
    command = [str(python.parent / "bentoml"), "serve", "bentoml_app:Penguins", "--working-dir", str(PEERS)]
    return [*command, "--port", "{port}"], {"MODEL": name, "BENTOML_DO_NOT_TRACK": "True"}


def mlserver(name: str, python: Path, folder: Path) -> Command:
    """Write the settings, and return what serves a model that it fits itself."""
    subprocess.run([python, PEERS / "mlserver_app.py", name, folder], check=True, capture_output=True)
    grpc = {"MLSERVER_GRPC_PORT": str(free_port())}
    environment = {"MODEL": name, "PYTHONPATH": str(PEERS), "MLSERVER_HTTP_PORT": "{port}", **grpc}
    return [str(python.parent / "mlserver"), "start", str(folder)], environment


def vetiver(name: str, python: Path, _: Path) -> Command:
    """Return what serves a model that it fits itself."""
    return [str(python), *UVICORN, "vetiver_app:app"], {"MODEL": name}


COMMANDS: dict[str, Callable[[str, Path, Path], Command]] = {
    "mlflow": mlflow,
    "litserve": litserve,
    "bentoml": bentoml,
    "mlserver": mlserver,
    "vetiver": vetiver,
}


def question(peer: str, name: str) -> tuple[str, Any]:
    """Return the path and the body that ask a server for one row."""
    row = models.one_row(name)
    rows = {"rows": [row]}
    tensors = {"parameters": {"content_type": "pd"}, "inputs": [tensor(*each) for each in row.items()]}
    return {
        "bodega": ("/predict?model=bench", rows),
        "echo": ("/", rows),
        "mlflow": ("/invocations", {"dataframe_records": [row]}),
        "mlserver": ("/v2/models/bench/infer", tensors),
        "vetiver": ("/predict", [row]),
    }.get(peer, ("/predict", rows))


def tensor(name: str, value: float | str) -> dict[str, Any]:
    """Return one value as the protocol of open inference has it."""
    made: dict[str, Any] = {"name": name, "shape": [1, 1], "data": [value]}
    if isinstance(value, str):
        return made | {"datatype": "BYTES", "parameters": {"content_type": "str"}}
    return made | {"datatype": "FP64"}


# --- starting ------------------------------------------------------------------------------------------------


@contextmanager
def bodega(name: str) -> Iterator[int]:
    """Register the model in a private store, and serve it."""
    with private_store() as settings:
        with closing(ModelStore.connect(settings)) as store:
            store.register(models.make(name), "bench", example=models.rows(name))
        url = settings.database_url.get_secret_value()
        environment = {"BODEGA_DATABASE_URL": url, "BODEGA_MODELS": str(settings.models)}
        with serve([sys.executable, "-m", "bodega_api"], **environment) as port:
            yield port


@contextmanager
def peer_server(peer: str, name: str, python: Path) -> Iterator[int]:
    """Serve the model by a peer."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model"
        command, environment = COMMANDS[peer](name, python, folder)
        yield stack.enter_context(serve(command, PATH=f"{python.parent}:{os.environ['PATH']}", **environment))


@contextmanager
def serve(command: list[str], **environment: str) -> Iterator[int]:
    """Run a server on the servers' core and a free port, which stands for {port} and is in BODEGA_API_PORT."""
    port = free_port()
    process = subprocess.Popen(
        ["taskset", "-c", cores, *(part.format(port=port) for part in command)],
        env={
            **os.environ,
            **{name: value.format(port=port) for name, value in environment.items()},
            "BODEGA_API_PORT": str(port),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _groups[port] = process.pid
    try:
        yield port
    finally:
        del _groups[port]
        os.killpg(process.pid, signal.SIGTERM)
        os.killpg(process.pid, signal.SIGCONT)
        process.wait()


_groups: dict[int, int] = {}  # of processes, by the port of their server


def let_only(port: int) -> None:
    """Stop all servers but one: some are busy while nobody asks, and all share one core."""
    for other, group in _groups.items():
        os.killpg(group, signal.SIGCONT if other == port else signal.SIGSTOP)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def ready(port: int, name: str, path: str, body: Any, expected: str) -> Server:
    """Wait until a server gives the right answer."""
    url = f"http://127.0.0.1:{port}{path}"
    until = time.monotonic() + 120
    said = ""
    while time.monotonic() < until:
        try:
            answer = httpx2.post(url, json=body, timeout=60)
            said = answer.text
            if answer.status_code == 200 and expected in said:
                return Server(name, url, body, expected)
        except httpx2.HTTPError as exc:
            said = str(exc)
        time.sleep(0.2)
    raise RuntimeError(f"{name} did not answer rightly: {said[:500]}")


def install(peer: str, folder: Path) -> Path:
    """Install a peer into an environment of its own, if it is not there; return its Python."""
    python = folder / peer / "bin" / "python"
    if not (folder / peer / "complete").exists():
        where = [sys.executable, "-I", "-B", str(HERE.parent / "tools" / "install"), "uv"]
        uv = subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()
        quiet = [uv, "--no-config", "--quiet"]
        subprocess.run([*quiet, "venv", "--clear", "--python", sys.executable, folder / peer], check=True)
        subprocess.run([*quiet, "pip", "install", "--python", python, *PACKAGES[peer]], check=True)
        (folder / peer / "complete").touch()
    return python
