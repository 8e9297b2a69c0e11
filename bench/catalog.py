"""How long the catalog takes to choose and to list, at a thousand versions of a model and at a hundred thousand.

Run it with `.venv/bin/python bench/catalog.py`. It fills a private Postgres, and times each verb of `ModelStore` beside
a bare SELECT of one row by its primary key, with psycopg, in the same rounds. Ratios to that SELECT are what can be
compared between machines; docs/performance.md has a table.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
from bodega_db.catalog import versions as catalog
from bodega_db.records import Registration, Version
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from private import private_store
from psycopg import sql
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

Timed = dict[str, list[float]]
ROUNDS, CALLS = 20, 25
WRITERS, ROWS_EACH = 16, 50

# One version is registered for real; the others are rows like it, written without the triggers, which would take a
# transaction each. What a trigger would have written (metrics, events, counters) is written here.
FILL = """
ALTER TABLE model DISABLE TRIGGER USER;
ALTER TABLE version DISABLE TRIGGER USER;
WITH made AS (
    INSERT INTO model (name, last_version, created_by)
    SELECT %(prefix)s || i, %(versions)s, 'bench' FROM generate_series(1, %(models)s) i RETURNING id
)
INSERT INTO version (model_id, number, status, sha256, size_bytes, format, signature, golden, metrics, params, tags,
                     environment, lineage, note, generation, created_at, created_by)
SELECT made.id, n,
       CASE WHEN n = %(versions)s / 2 THEN 'production' WHEN n %% 10 = 0 THEN 'archived' ELSE 'candidate' END,
       encode(sha256(convert_to(made.id || '/' || n, 'UTF8')), 'hex'), size_bytes, format, signature, golden,
       jsonb_build_object('f1', round(random()::numeric, 6), 'loss', round(random()::numeric, 6), 'auc', random()),
       params, jsonb_build_object('team', 'team' || n %% 7, 'stage', 'stage' || n %% 3, 'run', 'run' || n),
       environment, lineage, 'run ' || n, 0, now() - (%(versions)s - n) * interval '1 second', 'bench'
FROM made, generate_series(1, %(versions)s) n, version v WHERE v.id = 1 ORDER BY n, made.id;
INSERT INTO metric
    SELECT v.id, v.model_id, v.number, m.key, m.value::numeric, v.status IN ('candidate', 'production'),
           tag_keys(v.tags)
    FROM version v, jsonb_each(v.metrics) m ON CONFLICT DO NOTHING;
INSERT INTO event (kind, model, number, actor, after, generation)
    SELECT 'registered', m.name, v.number, 'bench', jsonb_build_object('status', 'candidate', 'sha256', v.sha256), 0
    FROM version v JOIN model m ON m.id = v.model_id WHERE m.name LIKE %(prefix)s || '%%';
INSERT INTO alias (model_id, name, version_id)
    SELECT m.id, 'stable', v.id FROM model m JOIN version v ON v.model_id = m.id AND v.number = 7
    WHERE m.name LIKE %(prefix)s || '%%';
ALTER TABLE version ENABLE TRIGGER USER;
ALTER TABLE model ENABLE TRIGGER USER;
"""


def main() -> None:
    """Fill, time, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=100_000, help="of the largest model (default: %(default)s)")
    parser.add_argument("--models", type=int, default=1_000, help="with 100 versions each (default: %(default)s)")
    asked = parser.parse_args()
    with ExitStack() as stack:
        settings = stack.enter_context(private_store())
        url = settings.database_url.get_secret_value()
        store = stack.enter_context(closing(ModelStore.connect(settings)))
        first = register_one(store)
        fill(url, asked.versions, asked.models)
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        print_choices(store, connection, asked.versions)
        print_http(settings)
        print_writers(store, url, first)


def register_one(store: ModelStore) -> Version:
    """Register the one version that all rows are like."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    return store.register(LogisticRegression(max_iter=1000).fit(X, y), "first", example=X, metrics={"f1": 0.9})


def fill(url: str, versions: int, models: int) -> None:
    """Fill the catalog: a small and a large model, and many of a hundred versions."""
    begun = time.perf_counter()
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        for prefix, count, each in (("small", 1, 1_000), ("large", 1, versions), ("many", models, 100)):
            connection.execute(FILL, {"prefix": prefix, "models": count, "versions": each})
        connection.execute("VACUUM ANALYZE")
        (total,) = connection.execute("SELECT count(*) FROM version").fetchone() or (0,)
    print(f"filled {total} versions in {time.perf_counter() - begun:.0f} s")


# --- choosing and listing ------------------------------------------------------------------------------------


def verbs(store: ModelStore, model: str) -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name, for one model."""
    page = {"filter": "metrics.f1>=0.5 and tags.team=team3", "order": "-metrics.auc", "limit": 50}
    return {
        "by number": lambda: store.resolve(f"{model}@500"),
        "production": lambda: store.resolve(f"{model}@production"),
        "newest": lambda: store.resolve(f"{model}@latest"),
        "default": lambda: store.resolve(model),
        "alias": lambda: store.resolve(f"{model}@stable"),
        "best metric": lambda: store.resolve(f"{model}@best:f1"),
        "newest 50": lambda: store.search(model, limit=50),
        "filtered 50": lambda: store.search(model, **page),
    }


def print_choices(store: ModelStore, connection: "psycopg.Connection[Any]", versions: int) -> None:
    """Print each verb's median, and its ratio to the bare SELECT, for the small model and the large one."""
    # The columns that a version is made of: the same bytes are sent, and the same JSON is read.
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in catalog.DETAIL if column.name != "model")
    bare = sql.SQL("SELECT {} FROM version WHERE id = %s").format(columns).as_string(connection)
    timed = {"bare SELECT": lambda: connection.execute(bare, (500,)).fetchone()}
    for size, model in (("1000", "small1"), (str(versions), "large1")):
        timed |= {f"{name}|{size}": verb for name, verb in verbs(store, model).items()}
    medians = {name: statistics.median(times) for name, times in interleaved(timed).items()}
    floor = medians.pop("bare SELECT")
    print(f"\nbare SELECT of one row by psycopg: {floor * 1e6:.0f} µs\n")
    print(f"| verb | 1000 versions | ratio | {versions} versions | ratio | growth |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in verbs(store, "small1"):
        small, large = medians[f"{name}|1000"], medians[f"{name}|{versions}"]
        print(
            f"| {name} | {small * 1e6:.0f} µs | {small / floor:.1f} | {large * 1e6:.0f} µs | {large / floor:.1f}"
            f" | {large / small:.2f} |"
        )


def interleaved(timed: dict[str, Callable[[], Any]]) -> Timed:
    """Call everything in turns, so that whatever disturbs the machine disturbs all alike."""
    times: Timed = {name: [] for name in timed}
    for round_ in range(ROUNDS + 1):
        for name, call in timed.items():
            for _ in range(CALLS):
                begun = time.perf_counter()
                call()
                if round_:  # the first round warms up
                    times[name].append(time.perf_counter() - begun)
    return times


# --- HTTP ----------------------------------------------------------------------------------------------------


def print_http(settings: Settings) -> None:
    """Print the median of lists over HTTP, from an API in a process of its own."""
    with running_api(settings) as client:
        timed = {
            path: (lambda path=path: client.get(path).raise_for_status())
            for path in (
                "/healthz",
                "/models?limit=50",
                "/models?limit=50&model=large1&order=-metrics.f1",
                "/models?limit=50&filter=tags.team=team3",
                "/models?limit=50&fields=model,version,metrics.f1",
                "/models/large1",
            )
        }
        for path, times in interleaved(timed).items():
            print(f"GET {path}: p50 {statistics.median(times) * 1e3:.1f} ms")


@contextmanager
def running_api(settings: Settings) -> Iterator[httpx2.Client]:
    """Run the API and yield a client of it."""
    environment = {
        "BODEGA_DATABASE_URL": settings.database_url.get_secret_value(),
        "BODEGA_MODELS": str(settings.models),
        "BODEGA_API_PORT": "18765",
    }
    command = [sys.executable, "-m", "bodega_api"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with httpx2.Client(base_url="http://127.0.0.1:18765", timeout=30) as client:
                print()
                wait_until_ready(client)
                yield client
        finally:
            process.terminate()


def wait_until_ready(client: httpx2.Client) -> None:
    """Wait until the API answers, for at most a minute."""
    for _ in range(600):
        try:
            client.get("/readyz").raise_for_status()
        except httpx2.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the API did not become ready")


# --- writers -------------------------------------------------------------------------------------------------


def print_writers(store: ModelStore, url: str, first: Version) -> None:
    """Print how many rows 16 writers register in a second, each in its own transaction, and that none left a gap."""
    registration = Registration(
        model="written",
        digest=first.digest,
        size_bytes=first.size_bytes,
        format=first.format,
        signature=first.signature,
        golden=first.golden,
        idempotency_key="",
        metrics={"f1": 0.9, "loss": 0.1, "auc": 0.8},
        tags={"team": "core", "stage": "dev", "run": "1"},
        environment=first.environment,
    )

    def write(_: int) -> None:
        for _ in range(ROWS_EACH):
            with store.catalog.transaction() as session:
                catalog.insert_version(session, replace(registration, idempotency_key=str(uuid4())), "bench")

    begun = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    took = time.perf_counter() - begun
    numbers = sorted(version.number for version in store.versions("written"))
    gaps = len(set(range(1, WRITERS * ROWS_EACH + 1)) ^ set(numbers))
    print(f"\n{WRITERS} writers: {len(numbers) / took:.0f} rows/s, {gaps} gaps")


if __name__ == "__main__":
    main()
