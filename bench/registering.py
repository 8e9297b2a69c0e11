"""How long a registration takes, beside the least that any could do: write the model, and try it in another process.

Run it with `.venv/bin/python bench/registering.py`. The floor, in the same rounds: skops writes the model, and a fork
of this process reads it back and answers twenty rows. What a registration takes beyond is learning the signature and
asking the model, and the catalog and the volume. Ratios can be compared between machines.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a fork of a process that has started such threads would wait for them

import skops.io
from bodega_db.store import ModelStore
from private import private_store

sys.path.append(str(Path(__file__).parent / "peers"))

import models

OUTPUTS = ("predict", "predict_proba", "decision_function")


def main() -> None:
    """Register each model in turns with the floor, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    print("| model | floor | registration | of it in this process | ratio |\n| --- | --- | --- | --- | --- |")
    with private_store() as settings, closing(ModelStore.connect(settings)) as store:
        for name in models.NAMES:
            print_model(store, name, asked.rounds)


def print_model(store: ModelStore, name: str, rounds: int) -> None:
    """Print the medians of a model, after one round that warms up."""
    model, rows = models.make(name), models.rows(name)
    timed = [
        (seconds(lambda: write_and_try(model, rows)), *seconds_here(lambda: store.register(model, name, example=rows)))
        for _ in range(rounds + 1)
    ]
    floor, whole, here = map(statistics.median, zip(*timed[1:], strict=True))
    print(f"| {name} | {floor * 1e3:.0f} ms | {whole * 1e3:.0f} ms | {here * 1e3:.0f} ms | {whole / floor:.1f} |")


def write_and_try(model: Any, rows: Any) -> None:
    """Write a model by skops, and let a fork read it back and answer."""
    written = skops.io.dumps(model)
    if (child := os.fork()) == 0:
        try:
            read = skops.io.loads(written, trusted=skops.io.get_untrusted_types(data=written))
            for output in OUTPUTS:
                if hasattr(read, output):
                    getattr(read, output)(rows.head(20))
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the floor failed")


def seconds(call: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def seconds_here(call: Callable[[], Any]) -> tuple[float, float]:
    """Return how long a call takes, and how much of the processor of this process."""
    begun = time.process_time()
    whole = seconds(call)
    return whole, time.process_time() - begun


if __name__ == "__main__":
    main()
