"""How much memory workers take that have a large forest loaded, and how many requests they answer.

Run it with `.venv/bin/python bench/workers.py`. It needs `wrk` (on Debian: apt install wrk) and two cores. Memory is
what all processes of a server have, pages that they share counted once, also those of files in memory that no process
has touched yet. docs/performance.md has the results.
"""

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import servers
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from private import private_store
from servers import models, question, ready, serve
from serving import measure
from sklearn.ensemble import ExtraTreesClassifier
from start import is_in, listener

MODEL = (
    "neighbours"  # it has no plan: what asks would need a core for itself to keep two workers busy with one that has
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=75_000, help="of noise that the forest learns: more make it larger")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    asked = parser.parse_args()
    servers.cores = "0,1"
    with private_store() as settings:
        with closing(ModelStore.connect(settings)) as store:
            store.register(models.make(MODEL), "bench", example=models.rows(MODEL))
            forest, example = make_forest(asked.rows, asked.trees)
            version = store.register(forest, "forest", example=example)
            row = dict(zip(example, example.iloc[0].tolist(), strict=True))
            expected = str(forest.predict(example.head(1))[0])
        print(
            f"a forest of {asked.trees} trees, {megabytes_in(forest):.0f} MB; {version.size_bytes / 1e6:.0f} MB packed"
        )
        weigh(settings, asked.workers, {"rows": [row]}, expected)
        hurry(settings, asked.rounds, asked.seconds)


def make_forest(rows: int, trees: int) -> tuple[Any, Any]:
    """Return a forest that learned noise by heart, and an example."""
    import pandas as pd

    noise = np.random.default_rng(0)
    frame = pd.DataFrame(noise.random((rows, 5)), columns=[f"x{place}" for place in range(5)])
    forest = ExtraTreesClassifier(trees, random_state=0, n_jobs=2)
    return forest.fit(frame, noise.choice(["a", "b"], rows)).set_params(n_jobs=None), frame.head(20)


def megabytes_in(forest: Any) -> float:
    """Return what the arrays of its trees take."""
    states = [each.tree_.__getstate__() for each in forest.estimators_]
    return float(sum(state["nodes"].nbytes + state["values"].nbytes for state in states)) / 1024**2


@contextmanager
def api(settings: Settings, workers: int) -> Iterator[int]:
    """Serve the store."""
    url = settings.database_url.get_secret_value()
    environment = {"BODEGA_SHARE_ARRAYS": "true", "BODEGA_DATABASE_URL": url, "BODEGA_MODELS": str(settings.models)}
    with serve([sys.executable, "-m", "bodega_api", "--workers", str(workers)], **environment) as port:
        yield port


# --- memory --------------------------------------------------------------------------------------------------


def weigh(settings: Settings, most: int, body: Any, expected: str) -> None:
    """Print what one worker takes, and several, before and after each has loaded the forest."""
    for workers in (1, most):
        with api(settings, workers) as port:
            ready(port, "bodega", *question("bodega", MODEL), '["Gentoo"]')
            before = megabytes_of(listener(port))
            began = time.perf_counter()
            load_everywhere(port, workers, body, expected)
            seconds = time.perf_counter() - began
            after = megabytes_of(listener(port))
            print(
                f"{workers} workers: {before:.0f} MB, with the forest {after:.0f} MB; all have it after {seconds:.1f} s"
            )


def megabytes_of(process: int) -> float:
    """Return the memory of all processes of a session, in MB."""
    session = os.getsid(process)
    members = [each for each in psutil.pids() if is_in(each, session)]
    kilobytes = sum(kilobytes_apart_from_files(each) for each in members)
    files = {(file.st_ino, file.st_blocks * 512) for each in members for file in files_in_memory(each)}
    return kilobytes / 1024 + sum(size for _, size in files) / 1024**2


def kilobytes_apart_from_files(process: int) -> int:
    """Return a process's share of its pages, without those of files in memory."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    fields = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return fields["Pss"] - fields["Pss_Shmem"]


def files_in_memory(process: int) -> Iterator[os.stat_result]:
    """Return the files in memory that a process has open."""
    for link in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if str(link.readlink()).startswith("/memfd:"):
                yield link.stat()


def load_everywhere(port: int, workers: int, body: Any, expected: str) -> None:
    """Ask, each time by a new connection, until each worker has answered."""
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 300
    while time.monotonic() < until:
        answer = httpx2.post(f"{url}/predict?model=forest", json=body, timeout=120)
        if answer.status_code != 200 or expected not in answer.text:
            raise RuntimeError(f"the answer is {answer.text}")
        told = httpx2.get(f"{url}/metrics").text.splitlines()
        answered = [line for line in told if line.startswith("bodega_batch_rows_count{") and 'model="forest"' in line]
        if len(answered) == workers:
            return
    raise RuntimeError("not every worker has answered")


# --- requests ------------------------------------------------------------------------------------------------


def hurry(settings: Settings, rounds: int, seconds: int) -> None:
    """Print how many requests one worker answers, and two, in turns."""
    rates = defaultdict(list)
    with ExitStack() as stack:
        ports = {workers: stack.enter_context(api(settings, workers)) for workers in (1, 2)}
        asked = {
            workers: ready(port, "bodega", *question("bodega", MODEL), '["Gentoo"]') for workers, port in ports.items()
        }
        for _ in range(rounds):
            for workers, server in asked.items():
                servers.let_only(ports[workers])
                rates[workers].append(measure(server, 64, seconds).rate)
    for workers, found in rates.items():
        print(f"{workers} workers: {statistics.median(found):.0f} requests/s at 64 connections")


if __name__ == "__main__":
    main()
