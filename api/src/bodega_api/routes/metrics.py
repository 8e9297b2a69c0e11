"""The metrics of the process, read from its parts on request, so that predictions do not pay for them."""

import json
import platform
from collections.abc import Iterator
from importlib.metadata import version

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from bodega_api.http.parameters import only_parameters
from bodega_api.http.traffic import ANSWERED
from bodega_api.routes.dependencies import Served
from bodega_api.services import Services
from bodega_api.workers.ipc import Siblings, write_in_memory

SILENT_SECONDS = 10.0  # five times as long as the catalog is asked at the latest
# The label of a library, and its distribution.
BUILD = {"version": "bodega-api", "scikit_learn": "scikit-learn", "numpy": "numpy", "pandas": "pandas"}

router = APIRouter(tags=["health"], dependencies=[Depends(only_parameters())])


class Parts(Collector):
    """The parts of one app, as metrics (docs/metrics.md)."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._own = ProcessCollector(registry=None)  # as every program for Prometheus tells of itself

    def collect(self) -> Iterator[Metric]:
        """Read the parts."""
        yield from self._process()
        yield from self._requests()
        yield from self._catalog()
        loaded, calls, scrub = self._services.loaded, self._services.calls, self._services.scrub
        yield GaugeMetricFamily("bodega_loaded_versions", "Versions in memory.", len(loaded.references))
        yield GaugeMetricFamily("bodega_loaded_bytes", "What the versions in memory take.", loaded.size_bytes)
        loads = CounterMetricFamily("bodega_loads", "Loads of versions.", labels=["outcome"])
        loads.add_metric(["loaded"], loaded.loads)
        loads.add_metric(["failed"], loaded.failed_loads)
        yield loads
        yield from self._predictions()
        waiting = "Predictions that wait for a model, or are computed in a thread."
        yield GaugeMetricFamily("bodega_waiting_requests", waiting, calls.waiting)
        yield GaugeMetricFamily("bodega_hanging_calls", "Predictions that did not return in time.", calls.hanging)
        yield GaugeMetricFamily(
            "bodega_unverified_seconds",
            "Since the artifact of a version in memory was verified, for the one where that is longest ago.",
            loaded.unverified_seconds,
        )
        scrubbed = CounterMetricFamily("bodega_scrubs", "Artifacts read again.", labels=["outcome"])
        for outcome in sorted({"sound", *scrub.outcomes}):
            scrubbed.add_metric([outcome], scrub.outcomes[outcome])
        yield scrubbed
        yield CounterMetricFamily("bodega_scrubbed_bytes", "Bytes of artifacts read again.", scrub.bytes_read)

    def _predictions(self) -> Iterator[Metric]:
        labels = ["model", "version"]
        answers = CounterMetricFamily("bodega_answers", "Batches of rows that were answered.", labels=[*labels, "by"])
        failures = CounterMetricFamily("bodega_failures", "Batches of rows that the model failed on.", labels=labels)
        seconds = HistogramMetricFamily("bodega_prediction_seconds", "Requests that were answered.", labels=labels)
        rows = HistogramMetricFamily("bodega_batch_rows", "Rows that were computed at once.", labels=labels)
        for label, tally in self._services.tallies.by_version():
            answers.add_metric([*label, "plan"], tally.planned)
            answers.add_metric([*label, "model"], tally.native)
            failures.add_metric(label, tally.failed)
            seconds.add_metric(label, tally.seconds.buckets(), tally.seconds.sum)
            rows.add_metric(label, tally.rows.buckets(), tally.rows.sum)
        yield from (answers, failures, seconds, rows)
        compared, retired = self._services.tallies.total("compared"), self._services.tallies.total("retired")
        yield CounterMetricFamily("bodega_plan_checks", "Answers of plans that were compared.", compared)
        yield CounterMetricFamily("bodega_plans_retired", "Plans that differed from their model.", retired)

    def _requests(self) -> Iterator[Metric]:
        labels = ["method", "route", "status", "problem"]
        requests = CounterMetricFamily("bodega_requests", "Requests, by how they ended.", labels=labels)
        answered = sum(tally.seconds.count for _, tally in self._services.tallies.by_version())
        for ending, count in sorted((self._services.traffic.endings | {ANSWERED: answered}).items()):
            requests.add_metric(ending, count)
        yield requests

    def _process(self) -> Iterator[Metric]:
        yield from self._own.collect()
        build = GaugeMetricFamily("bodega_build_info", "What this process is made of.", labels=["python", *BUILD])
        build.add_metric([platform.python_version(), *map(version, BUILD.values())], 1)
        yield build

    def _catalog(self) -> Iterator[Metric]:
        generation, age = self._services.routes.generation, self._services.routes.age_seconds
        heard = age is not None and age < SILENT_SECONDS
        yield GaugeMetricFamily("bodega_catalog_up", "Whether the catalog was heard lately (1) or not (0).", heard)
        if generation is not None and age is not None:  # before the first contact there is nothing to tell
            yield GaugeMetricFamily("bodega_catalog_generation", "Changes of the catalog that are known.", generation)
            yield GaugeMetricFamily("bodega_catalog_age_seconds", "Since the catalog was heard.", age)


class Workers(Collector):
    """The metrics of all workers of an API, each with its number as a label; of a process that serves alone, as is."""

    def __init__(self, own: Collector, siblings: Siblings) -> None:
        self._own, self._siblings = own, siblings
        siblings.answer("metrics", self._tell)

    def collect(self) -> Iterator[Metric]:
        """Read this process's parts, and ask the others for theirs."""
        if self._siblings.number is None:
            yield from self._own.collect()
            return
        families = {metric.name: metric for metric in self._numbered()}
        for file in self._siblings.ask("metrics"):
            for name, documentation, kind, samples in json.load(file):
                family = families.setdefault(name, Metric(name, documentation, kind))
                for sample in samples:
                    family.add_sample(*sample)
        yield from families.values()

    def _numbered(self) -> Iterator[Metric]:
        number = str(self._siblings.number)
        for metric in self._own.collect():
            metric.samples = [s._replace(labels={**s.labels, "worker": number}) for s in metric.samples]
            yield metric

    def _tell(self, _: str) -> int:
        told = [(m.name, m.documentation, m.type, [sample[:3] for sample in m.samples]) for m in self._numbered()]
        return write_in_memory(json.dumps(told).encode())


def register_collectors(services: Services) -> None:
    """Let the registry of an app read its services, and those of the workers beside it."""
    services.metrics.register(Workers(Parts(services), services.siblings))


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}},
    operation_id="get_metrics",
)
def metrics(services: Served) -> Response:
    """Return the metrics of this process and its workers for Prometheus."""
    return Response(generate_latest(services.metrics), media_type=CONTENT_TYPE_LATEST)
