"""How long a table takes in each form, beside peers and the model itself.

Run it with `.venv/bin/python bench/tables.py`. Servers share one core, this program has the other, and asks in turns;
every answer is compared with the model's. docs/performance.md has the results.
"""

import os

LOAD_CORE = 1
os.sched_setaffinity(0, {LOAD_CORE})  # before the libraries count the cores for their threads

import argparse  # noqa: E402
import http.client  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import ExitStack  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402
from servers import (  # noqa: E402
    NAIVE,
    PACKAGES,
    PEERS,
    bodega,
    install,
    let_only,
    models,
    peer_server,
    ready,
    serve,
    tensor,
)

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
    parser.add_argument("--peers", nargs="*", default=list(PACKAGES), choices=list(PACKAGES))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "bodega-bench")
    asked = parser.parse_args()
    pythons = {peer: install(peer, asked.environments) for peer in asked.peers}
    for name in asked.models:
        compare(name, asked.rows, asked.rounds, pythons)


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
                let_only(ask.port)
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
    yield Ask("bodega, JSON columns", port, path, as_columns(frame), from_json)
    yield Ask("bodega, CSV", port, path, as_csv(frame), from_csv, CSV, CSV)
    yield Ask("bodega, Arrow", port, path, to_arrow(frame), from_arrow, ARROW, ARROW)
    yield Ask("bodega, Parquet", port, path, to_parquet(frame), from_arrow, PARQUET, ARROW)


def start(name: str, frame: pd.DataFrame, pythons: dict[str, Path], stack: ExitStack) -> Iterator[Ask]:
    """Start every server, wait until each answers, and return what asks it."""
    few = json.loads(as_columns(frame.head(2)))
    port = stack.enter_context(bodega(name))
    ready(port, "bodega", "/predict?model=bench", few, "predictions")
    yield from own_asks(port, frame)
    port = stack.enter_context(serve(NAIVE, MODEL=name))
    ready(port, "naive", "/table", few, "predictions")
    yield Ask("naive, JSON columns", port, "/table", as_columns(frame), from_json)
    for peer, python in pythons.items():
        if peer == "litserve":  # its batches are of single rows
            command = [str(python), str(PEERS / "litserve_table.py"), "{port}"]
            port = stack.enter_context(serve(command, MODEL=name))
        else:
            port = stack.enter_context(peer_server(peer, name, python))
        for form, path, write, sends, read in FORMS[peer]:
            if sends == JSON:
                ready(port, peer, path, json.loads(write(frame.head(2))), "[")
            yield Ask(f"{peer}, {form}", port, path, write(frame), read, sends)


def as_columns(frame: pd.DataFrame) -> bytes:
    """Write lists by column."""
    return json.dumps({"columns": frame.to_dict("list")}).encode()


def as_split(frame: pd.DataFrame) -> bytes:
    """Write rows without names, as MLflow takes them."""
    return json.dumps({"dataframe_split": frame.to_dict("split", index=False)}).encode()


def as_records(frame: pd.DataFrame) -> bytes:
    """Write rows as objects, as vetiver takes them."""
    return json.dumps(frame.to_dict("records")).encode()


def as_tensors(frame: pd.DataFrame) -> bytes:
    """Write tensors of one column each, as MLServer takes them."""
    inputs = [tensor(str(name), values.iloc[0]) for name, values in frame.items()]
    for made, (_, values) in zip(inputs, frame.items(), strict=True):
        made.update(shape=[len(frame), 1], data=values.tolist())
    return json.dumps({"parameters": {"content_type": "pd"}, "inputs": inputs}).encode()


def as_csv(frame: pd.DataFrame) -> bytes:
    """Write CSV."""
    return frame.to_csv(index=False).encode()


def from_tensors(content: bytes) -> list[Any]:
    """Read the predictions of MLServer."""
    predictions: list[Any] = json.loads(content)["outputs"][0]["data"]
    return predictions


Form = tuple[str, str, Callable[[pd.DataFrame], bytes], str, Callable[[bytes], list[Any]]]
FORMS: dict[str, list[Form]] = {
    "mlflow": [
        ("JSON split", "/invocations", as_split, JSON, from_json),
        ("CSV", "/invocations", as_csv, CSV, from_json),
    ],
    "litserve": [("JSON columns", "/predict", as_columns, JSON, from_json)],
    "bentoml": [("JSON columns", "/table", as_columns, JSON, json.loads)],
    "mlserver": [
        (
            "JSON tensors",
            "/v2/models/bench/infer",
            as_tensors,
            JSON,
            lambda said: json.loads(said)["outputs"][0]["data"],
        )
    ],
    "vetiver": [("JSON rows", "/predict", as_records, JSON, lambda said: json.loads(said)["predict"])],
}


if __name__ == "__main__":
    main()
