"""How long a table takes in each form, beside peers and the model itself; and what others notice of a large one.

Run it with `.venv/bin/python bench/tables.py`. Servers share one core, this program has the other, and asks in turns;
every answer is compared with the model's. Then a table of a million rows: how much memory the server takes for it.
Then small requests (by wrk) while tables of 100 000 rows are answered. docs/performance.md has the results.
"""

import os

LOAD_CORE = 1
os.sched_setaffinity(0, {LOAD_CORE})  # before the libraries count the cores for their threads

import argparse  # noqa: E402
import http.client  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import ExitStack, contextmanager  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402
import serving  # noqa: E402
from serving import PEERS, Server, bodega, install, measure, mlflow, models, ready, serve  # noqa: E402

JSON, CSV = "application/json", "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


@dataclass
class Ask:
    """One table on its way to one server, and how long each round took, in seconds."""

    name: str
    port: int
    path: str
    body: bytes
    read: Callable[[bytes], list[Any]]
    sends: str = JSON
    takes: str = JSON
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def __call__(self) -> list[Any]:
        """Send it and return the predictions."""
        headers = {"Content-Type": self.sends, "Accept": self.takes}
        self.connection.request("POST", self.path, self.body, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self.name}: {answer.status} {content[:500]!r}")
        return self.read(content)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(models.NAMES), choices=models.NAMES)
    parser.add_argument("--peers", nargs="*", default=list(serving.PACKAGES), choices=list(serving.PACKAGES))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "bodega-bench")
    asked = parser.parse_args()
    pythons = {peer: install(peer, asked.environments) for peer in asked.peers}
    for name in asked.models:
        compare(name, asked.rows, asked.rounds, pythons)
    with bodega("pipeline") as port:
        row = {"rows": [models.one_row("pipeline")]}
        server = ready(port, "bodega", "/predict?model=bench", row, '["Gentoo"]')
        take_a_million(port)
        notice_the_large(server, port)


# --- beside peers --------------------------------------------------------------------------------------------


def compare(name: str, rows: int, rounds: int, pythons: dict[str, Path]) -> None:
    """Ask every server for the same table in turns, and print the medians."""
    frame = table(name, rows)
    model = models.make(name)
    right = model.predict(frame).tolist()
    with ExitStack() as stack:
        asks = [*start(name, frame, pythons, stack)]
        times: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            began = time.perf_counter()
            model.predict(frame)
            times["in-process"].append(time.perf_counter() - began)
            for ask in asks:
                began = time.perf_counter()
                found = ask()
                times[ask.name].append(time.perf_counter() - began)
                if found != right:
                    raise RuntimeError(f"{ask.name} answered wrongly")
    own = statistics.median(times["in-process"])
    print(f"\n{name}, {rows} rows")
    print(f"{'':24} {'ms':>8} {'of model.predict':>17}")
    for who, found_times in times.items():
        middle = statistics.median(found_times)
        print(f"{who:24} {1000 * middle:8.1f} {own / middle:16.2f}x", flush=True)


def table(name: str, rows: int) -> pd.DataFrame:
    """Return so many rows, drawn from those that the model was fitted on."""
    frame: pd.DataFrame = models.rows(name).sample(rows, replace=True, random_state=0).reset_index(drop=True)
    return frame


def to_arrow(frame: pd.DataFrame) -> bytes:
    """Write a stream of record batches."""
    whole, sink = pa.Table.from_pandas(frame, preserve_index=False), io.BytesIO()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        writer.write_table(whole)
    return sink.getvalue()


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Write a file of Parquet."""
    sink = io.BytesIO()
    frame.to_parquet(sink, index=False)
    return sink.getvalue()


def from_json(content: bytes) -> list[Any]:
    """Read the predictions of an answer in JSON."""
    predictions: list[Any] = json.loads(content)["predictions"]
    return predictions


def from_csv(content: bytes) -> list[Any]:
    """Read the predictions of an answer in CSV."""
    return pd.read_csv(io.BytesIO(content))["prediction"].tolist()


def from_arrow(content: bytes) -> list[Any]:
    """Read the predictions of an answer in Arrow."""
    predictions: list[Any] = pa.ipc.open_stream(content).read_all()["prediction"].to_pylist()
    return predictions


def own_asks(port: int, frame: pd.DataFrame) -> Iterator[Ask]:
    """Return what asks Bodega in each form."""
    path = "/predict?model=bench"
    columns = json.dumps({"columns": frame.to_dict("list")}).encode()
    yield Ask("bodega, JSON columns", port, path, columns, from_json)
    yield Ask("bodega, CSV", port, path, frame.to_csv(index=False).encode(), from_csv, CSV, CSV)
    yield Ask("bodega, Arrow", port, path, to_arrow(frame), from_arrow, ARROW, ARROW)
    yield Ask("bodega, Parquet", port, path, to_parquet(frame), from_arrow, PARQUET, ARROW)


def start(name: str, frame: pd.DataFrame, pythons: dict[str, Path], stack: ExitStack) -> Iterator[Ask]:
    """Start every server, wait until each answers, and return what asks it."""
    few = {"columns": frame.head(2).to_dict("list")}
    columns = json.dumps({"columns": frame.to_dict("list")}).encode()
    port = stack.enter_context(bodega(name))
    ready(port, "bodega", "/predict?model=bench", few, "predictions")
    yield from own_asks(port, frame)
    uvicorn = [sys.executable, "-m", "uvicorn", "--log-level", "warning", "--no-access-log", "--app-dir", str(PEERS)]
    port = stack.enter_context(serve([*uvicorn, "naive:app", "--port", "{port}"], MODEL=name))
    ready(port, "naive", "/table", few, "predictions")
    yield Ask("naive, JSON columns", port, "/table", columns, from_json)
    if "mlflow" in pythons:
        port = stack.enter_context(mlflow(name, pythons["mlflow"]))
        split = {"dataframe_split": frame.to_dict("split", index=False)}
        small = {"dataframe_split": frame.head(2).to_dict("split", index=False)}
        ready(port, "mlflow", "/invocations", small, "predictions")
        yield Ask("MLflow, JSON split", port, "/invocations", json.dumps(split).encode(), from_json)
        yield Ask("MLflow, CSV", port, "/invocations", frame.to_csv(index=False).encode(), from_json, CSV)
    if "litserve" in pythons:
        command = [str(pythons["litserve"]), str(PEERS / "litserve_table.py"), "{port}"]
        port = stack.enter_context(serve(command, MODEL=name))
        ready(port, "litserve", "/predict", few, "predictions")
        yield Ask("LitServe, JSON columns", port, "/predict", columns, from_json)


# --- a million rows ------------------------------------------------------------------------------------------


def take_a_million(port: int) -> None:
    """Print how long a table of a million rows takes, and how much memory the server takes for it."""
    frame = table("pipeline", 1_000_000)
    process = server_of(port)
    print(f"\n{len(frame)} rows of the pipeline; the server takes {resident(process)[0]:.0f} MB")
    for ask in own_asks(port, frame):
        if ask.sends == JSON:
            continue
        Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak begins anew
        before = resident(process)[0]
        began = time.perf_counter()
        count = len(ask())
        seconds = time.perf_counter() - began
        peak = resident(process)[1] - before
        print(
            f"{ask.name:24} {len(ask.body) / 1e6:6.1f} MB sent, {count} answers in {seconds:.1f} s "
            f"({count / seconds / 1000:.0f} 000 rows/s), peak memory +{peak:.0f} MB",
            flush=True,
        )


def server_of(port: int) -> int:
    """Return the process that listens on a port."""
    said = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    return int(said.partition("pid=")[2].partition(",")[0])


def resident(process: int) -> tuple[float, float]:
    """Return the resident memory of a process now, and at its peak, in MB; pages of mapped files are in it."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    now, peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


# --- what others notice --------------------------------------------------------------------------------------


def notice_the_large(server: Server, port: int) -> None:
    """Print how long small requests take alone, and while tables of 100 000 rows are answered one after another."""
    frame = table("pipeline", 100_000)
    print("\nsmall requests, alone and while tables of 100000 rows are answered: p99 in ms, median of 5 rounds")
    for ask in own_asks(port, frame):
        if ask.sends == JSON:
            continue
        for connections in (1, 8):
            alone, beside = [], []
            for _ in range(5):
                alone.append(measure(server, connections, 3).p99)
                with repeated(ask) as count:
                    beside.append(measure(server, connections, 3).p99)
            quiet, busy = statistics.median(alone), statistics.median(beside)
            print(
                f"{ask.name:24} {connections} connections: {quiet:.1f} alone, {busy:.1f} beside, "
                f"{busy - quiet:+.1f} ({count[0]} tables in the last round)",
                flush=True,
            )


@contextmanager
def repeated(ask: Ask) -> Iterator[list[int]]:
    """Ask again and again in a thread; count the answers."""
    count, stop = [0], threading.Event()

    def run() -> None:
        while not stop.is_set():
            ask()
            count[0] += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        time.sleep(0.5)
        yield count
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    main()
