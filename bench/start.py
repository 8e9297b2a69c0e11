"""How long a server takes from its start to the first right answer, and how much memory it then has, beside peers.

Run it with `.venv/bin/python bench/start.py`. Servers run one after another. The floor is a Python that imports
scikit-learn, pandas and what the model needs, and ends. Memory is the proportional share (PSS) of a server with all of
its processes, after a hundred requests. docs/performance.md has the results.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil
import servers
from bodega_db.store import ModelStore
from private import private_store
from servers import NAIVE, PACKAGES, install, models, peer_server, question, serve

IMPORTS = (
    "import pandas, sklearn.pipeline, sklearn.compose, sklearn.impute, sklearn.preprocessing, sklearn.linear_model, "
    "sklearn.ensemble"
)


@dataclass(frozen=True)
class Start:
    """How a server is started, and what it is asked."""

    name: str
    begin: Callable[[], AbstractContextManager[int]]
    path: str
    body: Any


def main() -> None:
    """Start each in turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pipeline", choices=models.NAMES)
    parser.add_argument("--peers", nargs="*", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", default="0", help="those that a server has, as in 0 or 0,1")
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "bodega-bench")
    asked = parser.parse_args()
    servers.cores = asked.cores
    pythons = {peer: install(peer, asked.environments) for peer in asked.peers}
    times: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        starts = [*all_starts(asked.model, pythons, stack)]
        for _ in range(asked.rounds):
            times["imports"].append(seconds_to_import())
            for start in starts:
                seconds, megabytes = measure(start)
                times[start.name].append(seconds)
                memory[start.name].append(megabytes)
    floor = statistics.median(times["imports"])
    print(f"{asked.model}: importing alone takes {floor:.2f} s")
    for name, taken in times.items():
        if name in memory:
            middle = statistics.median(taken)
            print(f"{name:10} {middle:6.2f} s, {middle - floor:+6.2f} s; {statistics.median(memory[name]):6.0f} MB")


def seconds_to_import() -> float:
    """Return how long a Python takes that imports the libraries and ends."""
    began = time.perf_counter()
    subprocess.run(["taskset", "-c", servers.cores, sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - began


def measure(start: Start) -> tuple[float, float]:
    """Return the seconds until the first right answer, and the megabytes after a hundred."""
    began = time.perf_counter()
    with start.begin() as port:
        url = f"http://127.0.0.1:{port}{start.path}"
        with httpx2.Client(timeout=60) as client:
            while not answers(client, url, start.body):
                time.sleep(0.01)
            seconds = time.perf_counter() - began
            for _ in range(100):
                if not answers(client, url, start.body):
                    raise RuntimeError(f"{start.name} answers no more")
        return seconds, megabytes_of(listener(port))


def answers(client: httpx2.Client, url: str, body: Any) -> bool:
    """Tell whether a server gives the right answer."""
    try:
        response = client.post(url, json=body)
    except httpx2.HTTPError:
        return False
    return response.status_code == 200 and "Gentoo" in json.dumps(response.json())


def listener(port: int) -> int:
    """Return a process that listens on a port."""
    sockets = psutil.net_connections("tcp")
    return next(int(one.pid or 0) for one in sockets if one.status == "LISTEN" and one.laddr[1] == port)


def megabytes_of(process: int) -> float:
    """Return the memory of all processes of a session, in MB: of what they share each has its part."""
    session = os.getsid(process)
    members = [one for one in psutil.process_iter() if is_in(one.pid, session)]
    return sum(one.memory_full_info().pss for one in members) / 1024**2


def is_in(process: int, session: int) -> bool:
    """Tell whether a process belongs to a session."""
    try:
        return os.getsid(process) == session
    except ProcessLookupError:
        return False


def all_starts(name: str, pythons: dict[str, Path], stack: ExitStack) -> Iterator[Start]:
    """Return how each server is started; what is needed before is made here."""
    settings = stack.enter_context(private_store())
    with closing(ModelStore.connect(settings)) as store:
        store.register(models.make(name), "bench", example=models.rows(name))
    url = settings.database_url.get_secret_value()
    environment = {"BODEGA_DATABASE_URL": url, "BODEGA_MODELS": str(settings.models)}
    own = [sys.executable, "-m", "bodega_api"]
    yield Start("bodega", lambda: serve(own, **environment), *question("bodega", name))
    yield Start("naive", lambda: serve(NAIVE, MODEL=name), *question("naive", name))
    for peer, python in pythons.items():
        yield Start(peer, partial(peer_server, peer, name, python), *question(peer, name))


if __name__ == "__main__":
    main()
