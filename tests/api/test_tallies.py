"""What is counted by version, and told to Prometheus."""

from concurrent.futures import ThreadPoolExecutor

from bodega_api.serving.counters import MOST_VERSIONS, OTHERS, Histogram, Tallies
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, ask, enter, penguins
from prometheus_client.parser import text_string_to_metric_families


def test_values_are_counted_below_the_first_bound_that_they_do_not_pass() -> None:
    """A value on a bound counts there; none is lost among threads."""
    histogram = Histogram((1.0, 2.0))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(histogram.observe, [0.5, 1.0, 1.5, 2.0, 99.0] * 2000))

    assert histogram.buckets() == [("1.0", 4000.0), ("2.0", 8000.0), ("+Inf", 10000.0)]
    assert histogram.sum == 2000 * 104.0


def test_the_first_versions_are_counted_each_and_the_others_together() -> None:
    """So that a process that loads a million versions does not make a million series."""
    tallies = Tallies()

    for number in range(MOST_VERSIONS + 5):
        tallies.of("many", number).planned += 1

    assert len(tallies.by_version()) == MOST_VERSIONS + 1
    assert dict(tallies.by_version())[OTHERS].planned == 5
    assert tallies.of("many", 0) is tallies.of("many", 0)
    assert tallies.total("planned") == MOST_VERSIONS + 5


def test_prometheus_is_told_of_each_request_and_its_rows(store: ModelStore, api: Api) -> None:
    """Both ways count: the fast one and the framework's, and a refused request counts nowhere."""
    enter(store, "penguins", penguins())
    for rows in (1, 2, 200):
        ask(api, {"rows": [GENTOO] * rows}).raise_for_status()
    assert ask(api, {"rows": [GENTOO]}, timing="true").status_code == 200
    assert ask(api, {"rows": [{}]}).status_code == 422

    families = {family.name: family for family in text_string_to_metric_families(api.client.get("/metrics").text)}

    values = {
        (sample.name, sample.labels.get("le")): sample.value
        for name in ("bodega_prediction_seconds", "bodega_batch_rows")
        for sample in families[name].samples
        if (sample.labels["model"], sample.labels["version"]) == ("penguins", "1")
    }
    assert values["bodega_prediction_seconds_count", None] == 4
    assert 0 < values["bodega_prediction_seconds_sum", None] < 60
    assert values["bodega_batch_rows_sum", None] == 204
    assert values["bodega_batch_rows_bucket", "1.0"] == 2
    assert values["bodega_batch_rows_bucket", "256.0"] == values["bodega_batch_rows_bucket", "+Inf"] == 4
