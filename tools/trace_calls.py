"""How much of the program a trip goes through: `.venv/bin/python tools/trace_calls.py [--calls TRIP]`.

For each trip (a registration, a promotion, a search, predictions) it prints the modules and the functions of Bodega
that are called; how many calls there are; how many of them go into another module than that of the function of Bodega
that they come from; and how many different ones of these there are, which is what a reader follows: a loop over a
thousand values reads like one. Everything was done twice before, so nothing is imported or loaded, and what runs beside
a trip is left out. `--calls` prints the calls of a trip as a tree.
"""

import argparse
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from types import FrameType
from typing import Any

import httpx2
import uvicorn
from bodega_api.app import create_app
from bodega_api.fastpath.uvicorn_protocol import PredictionProtocol
from bodega_db.catalog import migrate
from bodega_db.postgres.embedded import EmbeddedPostgres
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from palmerpenguins import load_penguins
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

PACKAGES = ("bodega", "bodega_api", "bodega_db", "bodega_model")
NUMBERS, WORDS = ["bill_length_mm", "bill_depth_mm"], ["island", "sex"]
TIMES = 5  # that a trip is made; the one with the fewest calls counts
SETTLED_SECONDS = 0.1
IDLE_SECONDS = 3.0  # in which everything shows that runs by itself

Trip = Callable[[], None]


Function = tuple[str, str]  # its module and its name


@dataclass
class Trace:
    """The calls of one trip, in their order: how deep among the program's own, from which function, of which one."""

    beside: frozenset[Function] = frozenset()  # what runs without the trip too
    calls: list[tuple[int, Function | None, Function]] = field(default_factory=list)
    roots: set[Function] = field(default_factory=set)

    def note(self, callers: list[Function], called: Function) -> None:
        """Note a call, unless it belongs to what runs beside."""
        root = callers[-1] if callers else called
        if root not in self.beside:
            self.roots.add(root)
            self.calls.append((len(callers), callers[0] if callers else None, called))

    def figures(self) -> tuple[int, int, int, int, int]:
        """Return the number of modules, functions, calls, changes of module, and different ones of these."""
        functions = {called for _, _, called in self.calls}
        changes = [(caller, called) for _, caller, called in self.calls if caller and caller[0] != called[0]]
        modules = {module for module, _ in functions}
        return len(modules), len(functions), len(self.calls), len(changes), len(set(changes))

    def tree(self) -> Iterator[str]:
        """Return a line for each call."""
        for depth, _, (module, name) in self.calls:
            yield f"{'  ' * depth}{module.partition('.')[2] or module}: {name}"


class Tracer:
    """Notes the program's own calls, in all threads, while it is asked to."""

    def __init__(self) -> None:
        self._trace: Trace | None = None
        self._begun: list[FrameType] = []  # kept, so that no later frame has the identity of one
        self._known: set[int] = set()
        sys.setprofile(self._note)
        threading.setprofile(self._note)

    @contextmanager
    def tracing(self, beside: frozenset[Function] = frozenset()) -> Iterator[Trace]:
        """Note the calls that happen meanwhile."""
        trace = Trace(beside)
        self._trace = trace
        try:
            yield trace
            time.sleep(SETTLED_SECONDS)  # threads may still be at it when the answer is there
        finally:
            self._trace = None
            self._begun.clear()
            self._known.clear()

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        trace = self._trace
        if trace is None or event != "call" or not _is_own(frame) or id(frame) in self._known:
            return  # a coroutine or a generator that goes on was called before
        self._known.add(id(frame))
        self._begun.append(frame)
        trace.note([_function(caller) for caller in _callers(frame)], _function(frame))


def _is_own(frame: FrameType) -> bool:
    """Tell whether a function is the program's: no comprehension, and no `__init__` that `dataclass` made."""
    code = frame.f_code
    made = code.co_filename.startswith("<") or (code.co_name.startswith("<") and code.co_name != "<lambda>")
    return not made and str(frame.f_globals.get("__name__", "")).partition(".")[0] in PACKAGES


def _function(frame: FrameType) -> Function:
    code = frame.f_code
    return str(frame.f_globals["__name__"]), str(getattr(code, "co_qualname", code.co_name))


def _callers(frame: FrameType) -> Iterator[FrameType]:
    """Return the program's functions that a function was called from, the nearest first."""
    caller = frame.f_back
    while caller is not None:
        if _is_own(caller):
            yield caller
        caller = caller.f_back


def main() -> None:
    """Make every trip, and print what it goes through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", metavar="TRIP", help="print the calls of one trip, as in 'register'")
    asked = parser.parse_args()
    tracer = Tracer()
    print(f"{'':32} modules  functions  calls  changes of module  different ones")
    with private_store() as settings:
        for name, trip in chain(store_trips(settings), prediction_trips(settings)):
            trace = shortest(tracer, trip)
            print("{:32} {:7}  {:9}  {:5}  {:17}  {:14}".format(name, *trace.figures()), flush=True)
            if name == asked.calls:
                print(*trace.tree(), sep="\n")


def shortest(tracer: Tracer, trip: Trip) -> Trace:
    """Make a trip some times, and return the trace with the fewest calls."""
    trip()
    trip()
    with tracer.tracing() as idle:
        time.sleep(IDLE_SECONDS)
    traces = []
    for _ in range(TIMES):
        with tracer.tracing(frozenset(idle.roots)) as trace:
            trip()
        traces.append(trace)
    return min(traces, key=lambda trace: len(trace.calls))


@contextmanager
def private_store() -> Iterator[Settings]:
    """Run a migrated Postgres beside an empty volume, and yield the settings of both."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        folder.chmod(0o755)  # as root Postgres runs as nobody
        with EmbeddedPostgres(folder / "postgres") as server:
            migrate.upgrade(server.url)
            yield Settings.read(database_url=server.url, models=folder / "models")


def store_trips(settings: Settings) -> Iterator[tuple[str, Trip]]:
    """Return what is done with a store alone."""
    penguins = load_penguins()
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")), WORDS),
    )
    example = penguins[NUMBERS + WORDS]
    model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(example, penguins["species"])
    with closing(ModelStore.connect(settings)) as store:

        def register() -> None:
            store.register(model, "penguins", example=example, metrics={"accuracy": 0.9}, tags={"team": "core"})

        yield "register", register
        numbers = count(1)
        yield "promote", lambda: void(store.promote(f"penguins@{next(numbers)}"))
        yield "search", lambda: void(store.search(filter="tags.team=core and metrics.accuracy>=0.5", order="-created"))


def prediction_trips(settings: Settings) -> Iterator[tuple[str, Trip]]:
    """Return predictions over HTTP."""
    row = {"bill_length_mm": 39.1, "bill_depth_mm": 18.7, "island": "Torgersen", "sex": "male"}
    with serving(settings) as client:

        def predict(path: str, row: dict[str, Any], status: int) -> None:
            answer = client.post(path, json={"rows": [row]})
            if answer.status_code != status:
                sys.exit(f"{path} is answered with {answer.status_code}: {answer.text}")

        yield "warm prediction, fast path", lambda: predict("/predict?model=penguins", row, 200)
        yield "warm prediction, ordinary path", lambda: predict("/predict?model=penguins&timing=true", row, 200)
        yield "refused prediction", lambda: predict("/predict?model=penguins", row | {"bill_length_mm": "long"}, 422)


@contextmanager
def serving(settings: Settings) -> Iterator[httpx2.Client]:
    """Serve the API in a thread, and yield a client of it once it hears of the catalog's changes."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(settings), http=PredictionProtocol, log_level="error", lifespan="on")
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx2.Client(base_url=url, timeout=60, transport=httpx2.HTTPTransport(retries=5)) as client:
            while client.get("/readyz").status_code != httpx2.codes.OK:
                time.sleep(0.1)
            yield client
        server.should_exit = True
        thread.join()


def void(_: object) -> None:
    """Drop a result."""


if __name__ == "__main__":
    os.environ.setdefault("BODEGA_SCRUB_SECONDS", "0")  # it would run beside the trips
    main()
