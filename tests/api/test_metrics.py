"""What Prometheus is told: every request by how it ended, failures as failures, and alerts that Prometheus can read."""

import json
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pandas as pd
import pytest
from bodega_api.app import create_app
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, Exhibit, ask, enter, penguins, send
from outages import wait_for
from prometheus_client.parser import text_string_to_metric_families
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PowerTransformer
from zoo import data

ALERTS = Path(__file__).parents[2] / "docs" / "prometheus" / "alerts.yml"
Ended = tuple[str, str, str, str]


def told(api: Api, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a metric by the values of these labels, or of all in the order of their names."""
    text = api.client.get("/metrics").raise_for_status().text
    found = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {
        tuple(sample.labels[label] for label in labels or sorted(sample.labels)): sample.value
        for sample in found
        if sample.name == name
    }


def requests_of(api: Api, work: Callable[[], None]) -> dict[Ended, float]:
    """Return what some work adds to the requests that are counted, without those of /metrics itself."""
    labels = ("method", "route", "status", "problem")
    before = told(api, "bodega_requests_total", *labels)
    work()
    after = told(api, "bodega_requests_total", *labels)
    added = {ending: count - before.get(ending, 0) for ending, count in after.items()}
    return {ending: count for ending, count in added.items() if count and ending[1] != "/metrics"}  # type: ignore[misc]


def fill(store: ModelStore) -> Exhibit:
    """Register what `sums` stands for."""
    X, _ = data.measures()
    model = Pipeline([("step", PowerTransformer(method="box-cox")), ("sum", LinearRegression())]).fit(X, X.sum(axis=1))
    exhibit = Exhibit(model, X.head(20))
    enter(store, "sums", exhibit)
    return exhibit


@pytest.fixture
def sums(furnished: Any) -> Exhibit:
    """A model that fails on rows that fit its signature, where they are negative."""
    made: Exhibit = furnished.made
    return made


FURNISHED = {"sums": fill}


@pytest.fixture
def warm(store: ModelStore, api: Api) -> Api:
    """An API that has a version in memory, and its choice."""
    enter(store, "penguins", penguins())
    wait_for(lambda: api.services.routes.age_seconds is not None)
    for _ in range(3):
        ask(api, {"rows": [GENTOO]}, model="penguins").raise_for_status()
    return api


def test_every_request_is_counted_by_how_it_ended(warm: Api) -> None:
    """By method, template of the path, class of status and type of problem, however it was answered."""

    def work() -> None:
        for _ in range(7):
            ask(warm, {"rows": [GENTOO]}, model="penguins")  # on the fast path
        for _ in range(3):
            ask(warm, {"rows": [GENTOO]}, model="penguins", timing="true")
        for _ in range(2):
            ask(warm, {"rows": [{}]}, model="penguins")
        send(warm, b"no JSON", model="penguins")
        ask(warm, {"rows": [GENTOO]}, model="dodos")
        ask(warm, {"rows": [GENTOO]}, model="penguins", verison="3")
        for path in ("/models", "/models/penguins", "/models/penguins/versions/1", "/models/dodos", "/docs"):
            warm.client.get(path)
        for path in ("/nowhere", "/no/such/page", "/docs/static/nothing.js"):
            warm.client.get(path)
        warm.client.put("/models")
        warm.client.get("/models", headers={"Host": "rebound.example"})

    assert requests_of(warm, work) == {
        ("POST", "/predict", "2xx", ""): 10,
        ("POST", "/predict", "4xx", "input"): 2,
        ("POST", "/predict", "4xx", "body"): 1,
        ("POST", "/predict", "4xx", "model-not-found"): 1,
        ("POST", "/predict", "4xx", "parameter"): 1,
        ("GET", "/models", "2xx", ""): 1,
        ("GET", "/models/{name}", "2xx", ""): 1,
        ("GET", "/models/{name}/versions/{number}", "2xx", ""): 1,
        ("GET", "/models/{name}", "4xx", "model-not-found"): 1,
        ("GET", "/docs", "2xx", ""): 1,
        ("GET", "unknown", "4xx", "not-found"): 2,
        ("GET", "/docs/static/{name}", "4xx", "not-found"): 1,
        ("PUT", "/models", "4xx", "method-not-allowed"): 1,
        ("GET", "unknown", "4xx", "misdirected"): 1,
    }


def test_predictions_that_fail_are_failures(sums: Exhibit, api: Api) -> None:
    """Where the model raises, nothing is answered: by batches and by requests it is a failure."""
    rows = [dict.fromkeys(sums.example, value) for value in (20.0, -1.0)]
    ask(api, {"rows": [rows[0]]}).raise_for_status()
    before = told(api, "bodega_answers_total"), told(api, "bodega_prediction_seconds_count")

    def work() -> None:
        for _ in range(5):
            assert ask(api, {"rows": [rows[1]]}).status_code == 422

    requests = requests_of(api, work)

    assert requests == {("POST", "/predict", "4xx", "prediction-failed"): 5}
    assert told(api, "bodega_failures_total") == {("sums", "1"): 5}
    assert (told(api, "bodega_answers_total"), told(api, "bodega_prediction_seconds_count")) == before


def test_foreign_words_make_no_series(warm: Api) -> None:
    """Whatever methods and paths are asked for, they are counted under two words."""

    def work() -> None:
        for number in range(50):
            warm.client.get(f"/page-{number}")
            warm.client.request("REPORT" if number % 2 else "PURGE", f"/thing-{number}")

    assert requests_of(warm, work) == {
        ("GET", "unknown", "4xx", "not-found"): 50,
        ("other", "unknown", "4xx", "not-found"): 50,
    }


def test_what_is_refused_before_it_is_a_request_is_counted(api: Api) -> None:
    """Bytes that are no request are counted with their problem."""

    def work() -> None:
        address = httpx2.URL(api.url)
        with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
            connection.sendall(b"no request at all\r\n\r\n")
            assert b" 400 " in connection.makefile("rb").readline()

    (ending,) = requests_of(api, work)

    assert ending[:3] == ("other", "unknown", "4xx")
    assert ending[3]


def test_the_process_its_libraries_and_the_catalog_are_told(warm: Api) -> None:
    """What every program tells of itself, what this one is made of, and whether the catalog is heard."""
    (build,) = told(warm, "bodega_build_info", "python", "version", "pandas")
    descriptors = len(os.listdir("/proc/self/fd"))

    assert build == (platform.python_version(), warm.app.version, pd.__version__)
    assert told(warm, "process_resident_memory_bytes")[()] > 50e6
    assert told(warm, "process_cpu_seconds_total")[()] > 0
    assert abs(told(warm, "process_open_fds")[()] - descriptors) < 50
    assert told(warm, "bodega_catalog_up") == {(): 1}


def test_a_catalog_that_was_never_heard_is_not_up(make_settings: Callable[..., Settings]) -> None:
    """Before the first contact the metric is there, and says 0."""
    app = create_app(make_settings())

    samples = {sample.name: sample.value for family in app.services.metrics.collect() for sample in family.samples}

    assert samples["bodega_catalog_up"] == 0
    app.services.store.close()


# --- promtool, of Prometheus -------------------------------------------------------------------------------

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="NOT CHECKED: there is no promtool")

MOMENTS = """
rule_files: [{rules}]
tests:
  - interval: 1m
    input_series:
      - {{series: 'bodega_catalog_up{{instance="a"}}', values: '1x5 0x10'}}
      - {{series: 'bodega_requests_total{{instance="a", route="/predict", status="2xx"}}', values: '0+100x30'}}
      - {{series: 'bodega_requests_total{{instance="a", route="/predict", status="5xx"}}', values: '0+5x30'}}
      - {{series: 'bodega_requests_total{{instance="b", route="/predict", status="2xx"}}', values: '0+100x30'}}
      - {{series: 'bodega_failures_total{{model="sums", version="1"}}', values: '0+1x30'}}
    alert_rule_test:
      - {{alertname: BodegaCatalogAway, eval_time: 5m, exp_alerts: []}}
      - alertname: BodegaCatalogAway
        eval_time: 8m
        exp_alerts: [{{exp_labels: {{severity: critical, instance: a}}, exp_annotations: {away}}}]
      - alertname: BodegaRequestsFail
        eval_time: 15m
        exp_alerts: [{{exp_labels: {{severity: critical, instance: a}}, exp_annotations: {fail}}}]
      - alertname: BodegaModelFails
        eval_time: 15m
        exp_alerts: [{{exp_labels: {{severity: warning, model: sums, version: "1"}}, exp_annotations: {model}}}]
"""


def promtool(*arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Run promtool."""
    return subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, check=False)


@needs_promtool
def test_promtool_finds_nothing_in_the_metrics(warm: Api, sums: Exhibit) -> None:
    """What is told is as Prometheus has it: names, units, types and words of help."""
    ask(warm, {"rows": [dict.fromkeys(sums.example, -1.0)]}, model="sums")

    done = promtool("check", "metrics", given=warm.client.get("/metrics").text)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_promtool
def test_promtool_reads_the_alerts_and_they_fire(tmp_path: Path) -> None:
    """The file is valid, and alerts fire when they should and not before."""
    quoted = {
        name: annotations(alert)
        for name, alert in (
            ("away", "BodegaCatalogAway"),
            ("fail", "BodegaRequestsFail"),
            ("model", "BodegaModelFails"),
        )
    }
    (tmp_path / "moments.yml").write_text(MOMENTS.format(rules=ALERTS, **quoted))

    checked = promtool("check", "rules", str(ALERTS))
    tried = promtool("test", "rules", str(tmp_path / "moments.yml"))

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert tried.returncode == 0, tried.stdout + tried.stderr


def annotations(alert: str) -> str:
    """Return the annotations of an alert, as they read for the series of the moments."""
    text = ALERTS.read_text().partition(f"alert: {alert}\n")[2]
    values = {key: re.search(rf'{key}: "(.*)"', text)[1] for key in ("summary", "description")}  # type: ignore[index]
    labels = {"instance": "a", "model": "sums", "version": "1"}
    return json.dumps({k: re.sub(r"{{ \$labels\.(\w+) }}", lambda m: labels[m[1]], v) for k, v in values.items()})


def test_the_alerts_and_the_page_name_metrics_that_there_are(warm: Api, sums: Exhibit) -> None:
    """No alert waits for a series that nobody tells, and docs/metrics.md lists every metric of ours."""
    ask(warm, {"rows": [dict.fromkeys(sums.example, -1.0)]}, model="sums")
    families = list(text_string_to_metric_families(warm.client.get("/metrics").text))
    names = {sample.name for family in families for sample in family.samples}
    rules = "\n".join(re.findall(r"^ +expr: (?:\|\n)?((?:.|\n)*?)(?=^ +(?:for|labels):)", ALERTS.read_text(), re.M))

    used = set(re.findall(r"\b(?:bodega|process)_\w+", rules)) - {"bodega"}
    page = (ALERTS.parents[1] / "metrics.md").read_text()
    ours = {re.sub(r"_(?:bucket|sum|count|created)$", "", name) for name in names if name.startswith("bodega_")}

    assert used <= names
    assert len(used) > 8
    assert {f"`{name}" for name in ours} <= set(re.findall(r"`bodega_\w+", page))
