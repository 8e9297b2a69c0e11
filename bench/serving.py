"""How many predictions a second, and how soon, beside peers and a floor, in turns in the same run.

Run it with `.venv/bin/python bench/serving.py`. It needs `wrk` (on Debian: apt install wrk) and two cores: the servers
share one, the load comes from the other. Peers are installed by uv, each into an environment of its own, on the first
run. Every answer is compared with the right one. Ratios are what can be compared between machines;
docs/performance.md has a table.
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import pandas as pd
from bodega_db.store import ModelStore
from private import private_store

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
sys.path.insert(0, str(PEERS))
import models  # noqa: E402  # beside the peers, which import it too

SERVER_CORE, LOAD_CORE = 0, 1
COMMON = ("scikit-learn==" + version("scikit-learn"), "palmerpenguins", "pandas")
PACKAGES = {"mlflow": ("mlflow", *COMMON), "litserve": ("litserve", *COMMON)}
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[%s]==]
wrong = 0
function setup(thread) threads = threads or {}; table.insert(threads, thread) end
function init(args) wrong = 0 end
function response(status, headers, body)
  if status ~= 200 or not string.find(body, [==[%s]==], 1, true) then wrong = wrong + 1 end
end
function done(summary, latency, requests)
  local all = 0
  for _, thread in ipairs(threads) do all = all + thread:get("wrong") end
  io.write(string.format("RESULT %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration, all,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Server:
    """A server that answers for one row of one model, and what of its answer must be right."""

    name: str
    url: str
    body: dict[str, Any]
    expected: str


@dataclass(frozen=True)
class Result:
    """What one round told: requests per second, and milliseconds."""

    rate: float
    p50: float
    p99: float


def main() -> None:
    """Start all, ask in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(models.NAMES), choices=models.NAMES)
    parser.add_argument("--peers", nargs="*", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "bodega-bench")
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; on Debian and Ubuntu: `sudo apt install wrk`")
    pythons = {peer: install(peer, asked.environments) for peer in asked.peers}
    for name in asked.models:
        with ExitStack() as stack:
            servers = [*start_all(name, pythons, stack)]
            for connections in (64, 1):
                rounds: dict[str, list[Result]] = defaultdict(list)
                for _ in range(asked.rounds):
                    for server in servers:
                        rounds[server.name].append(measure(server, connections, asked.seconds))
                show(name, connections, rounds)


def show(name: str, connections: int, rounds: dict[str, list[Result]]) -> None:
    """Print the medians, and how often as many requests as each peer's are answered."""
    middle = {
        server: Result(*(statistics.median(getattr(r, field) for r in results) for field in ("rate", "p50", "p99")))
        for server, results in rounds.items()
    }
    own = middle["bodega"].rate
    print(f"\n{name}, {connections} connection{'s' if connections > 1 else ''}")
    print(f"{'server':10} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'bodega is':>10}")
    for server, found in middle.items():
        print(f"{server:10} {found.rate:9.0f} {found.p50:8.2f} {found.p99:8.2f} {own / found.rate:9.2f}x", flush=True)


# --- the load ------------------------------------------------------------------------------------------------


def measure(server: Server, connections: int, seconds: float) -> Result:
    """Ask one server on so many connections; every answer must be right."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (json.dumps(server.body), server.expected))
        script.flush()
        options = f"-t1 -c{connections} -d{seconds:g}s --timeout 20s -s {script.name}"
        said = run_on(LOAD_CORE, ["wrk", *options.split(), server.url])
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", said)
    if not found:
        raise RuntimeError(f"wrk says: {said}")
    requests, microseconds, wrong, p50, p99 = map(int, found.groups())
    if wrong:
        raise RuntimeError(f"{server.name}: {wrong} of {requests} answers were wrong")
    return Result(requests / microseconds * 1e6, p50 / 1000, p99 / 1000)


def run_on(core: int, command: list[str]) -> str:
    """Run a command on one core and return what it says."""
    pinned = ["taskset", "-c", str(core), *command]
    done = subprocess.run(pinned, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


# --- the servers ---------------------------------------------------------------------------------------------


def start_all(name: str, pythons: dict[str, Path], stack: ExitStack) -> Iterator[Server]:
    """Start every server for one model, and wait until each answers rightly."""
    rows = {"rows": [models.one_row(name)]}
    right = str(models.make(name).predict(pd.DataFrame([models.one_row(name)]))[0])
    expected = f'["{right}"]'
    uvicorn = [sys.executable, "-m", "uvicorn", "--log-level", "warning", "--no-access-log", "--app-dir", str(PEERS)]
    yield ready(stack.enter_context(bodega(name)), "bodega", "/predict?model=bench", rows, expected)
    port = stack.enter_context(serve([*uvicorn, "echo:app", "--port", "{port}"]))
    yield ready(port, "echo", "/", rows, "Gentoo")
    port = stack.enter_context(serve([*uvicorn, "naive:app", "--port", "{port}"], MODEL=name))
    yield ready(port, "naive", "/predict", rows, expected)
    if "mlflow" in pythons:
        python = pythons["mlflow"]
        port = stack.enter_context(mlflow(name, python))
        yield ready(port, "mlflow", "/invocations", {"dataframe_records": rows["rows"]}, right)
    if "litserve" in pythons:
        command = [str(pythons["litserve"]), str(PEERS / "litserve_app.py"), "{port}"]
        port = stack.enter_context(serve(command, MODEL=name))
        yield ready(port, "litserve", "/predict", rows, right)


@contextmanager
def bodega(name: str) -> Iterator[int]:
    """Register the model in a private store, and serve it."""
    with ExitStack() as stack:
        settings = stack.enter_context(private_store())
        with closing(ModelStore.connect(settings)) as store:
            store.register(models.make(name), "bench", example=models.rows(name))
        url = settings.database_url.get_secret_value()
        environment = {"BODEGA_DATABASE_URL": url, "BODEGA_MODELS": str(settings.models)}
        yield stack.enter_context(serve([sys.executable, "-m", "bodega_api"], **environment))


@contextmanager
def mlflow(name: str, python: Path) -> Iterator[int]:
    """Serve the model by `mlflow models serve`."""
    with ExitStack() as stack:
        command = mlflow_command(name, python, stack)
        yield stack.enter_context(serve(command, PATH=f"{python.parent}:{os.environ['PATH']}"))


def mlflow_command(name: str, python: Path, stack: ExitStack) -> list[str]:
    """Save the model for MLflow, and return what serves it."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model"
    subprocess.run([python, PEERS / "mlflow_model.py", name, folder], check=True, capture_output=True)
    command = [str(python.parent / "mlflow"), "models", "serve", "-m", str(folder), "--env-manager", "local"]
    return [*command, "--workers", "1", "--port", "{port}"]


@contextmanager
def serve(command: list[str], **environment: str) -> Iterator[int]:
    """Run a server on the servers' core and a free port, which stands for {port} and is in BODEGA_API_PORT."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), *(part.format(port=port) for part in command)],
        env={**os.environ, **environment, "BODEGA_API_PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield port
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def ready(port: int, name: str, path: str, body: dict[str, Any], expected: str) -> Server:
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


if __name__ == "__main__":
    main()
