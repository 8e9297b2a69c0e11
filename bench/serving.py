"""How many predictions a second, and how soon, beside peers and a floor, in turns in the same run.

Run it with `.venv/bin/python bench/serving.py`. It needs `wrk` (on Debian: apt install wrk) and two cores: the servers
share one, the load comes from the other. Peers are installed by uv, each into an environment of its own, on the first
run. Every answer is compared with the right one. Ratios are what can be compared between machines;
docs/performance.md has a table.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
from servers import (
    FLOOR,
    NAIVE,
    PACKAGES,
    Server,
    bodega,
    install,
    let_only,
    models,
    peer_server,
    question,
    ready,
    serve,
)

LOAD_CORE = 1
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
    parser.add_argument("--seconds", type=int, default=4)
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


def measure(server: Server, connections: int, seconds: int) -> Result:
    """Ask one server on so many connections, while the others are stopped; every answer must be right."""
    let_only(urlsplit(server.url).port or 0)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (json.dumps(server.body), server.expected))
        script.flush()
        options = f"-t1 -c{connections} -d{seconds}s --timeout 20s -s {script.name}"
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
    right = str(models.make(name).predict(pd.DataFrame([models.one_row(name)]))[0])
    own: dict[str, AbstractContextManager[int]] = {
        "bodega": bodega(name),
        "echo": serve(FLOOR),
        "naive": serve(NAIVE, MODEL=name),
    }
    peers = {peer: peer_server(peer, name, python) for peer, python in pythons.items()}
    for who, server in (own | peers).items():
        expected = {"bodega": f'["{right}"]', "echo": "Gentoo"}.get(who, f'"{right}"')
        yield ready(stack.enter_context(server), who, *question(who, name), expected)


if __name__ == "__main__":
    main()
