"""The scrub: what has rotted behind a version that answers is found, told, and believed after a second read."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from bodega_db.records import Version
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, ask, enter, penguins, problem_of, weaker_penguins
from outages import wait_for
from prometheus_client.parser import text_string_to_metric_families
from sklearn.neighbors import KNeighborsRegressor

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
BODY = {"rows": [GENTOO]}
PAUSE_SECONDS = 0.1
MIB = 1024**2
Start = Callable[..., Api]


def fill(store: ModelStore) -> Version:
    """Register what `version` stands for."""
    enter(store, "penguins", weaker_penguins())
    return enter(store, "penguins", penguins())


@pytest.fixture
def version(furnished: Any) -> Version:
    """A version to damage, beside an older one."""
    made: Version = furnished.made
    return made


FURNISHED = {"version": fill}


@pytest.fixture
def artifact(version: Version, volume: Path) -> Path:
    """The file of that version."""
    return volume / version.digest.path


def read_metrics(api: Api) -> dict[str, float]:
    """Return the samples by name, with the outcome behind it where there is one."""
    answer = api.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def scrubs(api: Api, outcome: str) -> float:
    """Return how often a scrub came to an outcome."""
    return read_metrics(api).get(f"bodega_scrubs_total {outcome}", 0)


def turn_a_bit(path: Path) -> None:
    """Damage a file, and leave its size and mode."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    replace(path, bytes(content))


def replace(path: Path, content: bytes) -> None:
    """Put other bytes in the place of a file."""
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o440)


def shown_problem(api: Api) -> dict[str, Any] | None:
    """Return what the list says of why the damaged version cannot be loaded."""
    versions = api.client.get("/models", params={"model": "penguins"}).json()["versions"]
    problem: dict[str, Any] | None = next(v for v in versions if v["version"] == 2).get("problem")
    return problem


def test_what_is_sound_is_read_again_and_again(version: Version, start_api: Start) -> None:
    """The age of the oldest verification stays small, and nothing is said of the version."""
    api = start_api(scrub_seconds=PAUSE_SECONDS)
    assert read_metrics(api)["bodega_unverified_seconds"] == 0
    ask(api, BODY, model="penguins")

    wait_for(lambda: scrubs(api, "sound") >= 3)

    found = read_metrics(api)
    assert found["bodega_scrubbed_bytes_total"] >= 3 * version.size_bytes
    assert 0 < found["bodega_unverified_seconds"] < 20
    assert found["bodega_loads_total loaded"] == found["bodega_loaded_versions"] == 1
    assert shown_problem(api) is None


def test_nothing_is_read_where_the_pause_is_zero(version: Version, start_api: Start) -> None:
    """Then the age grows, which an alert can tell."""
    api = start_api(scrub_seconds=0)
    ask(api, BODY, model="penguins")
    time.sleep(3 * PAUSE_SECONDS)

    found = read_metrics(api)
    assert found["bodega_scrubbed_bytes_total"] == 0
    assert found["bodega_unverified_seconds"] >= 3 * PAUSE_SECONDS


def test_damage_is_told_while_the_version_answers_on(version: Version, artifact: Path, start_api: Start) -> None:
    """What is in memory was verified; the list names the step that the next load would fail at, until it is mended."""
    sound = artifact.read_bytes()
    api = start_api(scrub_seconds=PAUSE_SECONDS)
    before = ask(api, BODY, model="penguins").json()
    turn_a_bit(artifact)

    wait_for(lambda: shown_problem(api))
    problem = shown_problem(api)
    assert problem is not None
    assert problem["step"] == "sha256"
    assert scrubs(api, "sha256") >= 1
    assert ask(api, BODY, model="penguins").json() == before

    replace(artifact, sound)
    wait_for(lambda: shown_problem(api) is None)
    assert api.client.get("/models/penguins/versions/2").json()["status"] == "candidate"


def test_what_two_reads_find_damaged_goes_into_quarantine_where_that_is_wanted(
    version: Version, artifact: Path, start_api: Start
) -> None:
    """The history says what was found, and the version is not served any more."""
    api = start_api(scrub_seconds=PAUSE_SECONDS, scrub_quarantine=True)
    ask(api, BODY, model="penguins")
    turn_a_bit(artifact)

    wait_for(lambda: api.client.get("/models/penguins/versions/2").json()["status"] == "quarantined")

    event = api.client.get("/models/penguins/history").json()["events"][0]
    assert (event["event"], event["after"]["status"]) == ("status", "quarantined")
    assert event["reason"].count("has the sha256") == 2
    wait_for(lambda: ask(api, BODY, model="penguins", version="2").status_code != 200)
    problem_of(ask(api, BODY, model="penguins", version="2"), 409, "version-quarantined")


def test_a_file_that_is_gone_is_no_reason_for_a_quarantine(version: Version, artifact: Path, start_api: Start) -> None:
    """It is this machine's trouble, is told as such, and tried again."""
    sound = artifact.read_bytes()
    api = start_api(scrub_seconds=PAUSE_SECONDS, scrub_quarantine=True)
    ask(api, BODY, model="penguins")
    artifact.unlink()

    wait_for(lambda: scrubs(api, "file") >= 2)
    assert api.client.get("/models/penguins/versions/2").json()["status"] == "candidate"
    artifact.write_bytes(sound)
    wait_for(lambda: shown_problem(api) is None)


def test_a_second_read_that_is_sound_clears_the_first(version: Version, store: ModelStore, artifact: Path) -> None:
    """Memory that flipped a bit on the way is not written into the catalog."""
    sound = artifact.read_bytes()
    turn_a_bit(artifact)
    with pytest.raises(Exception, match="has the sha256") as caught:
        store.verify(version.digest, version.size_bytes)
    replace(artifact, sound)

    assert store.quarantine_damaged(version, caught.value) is False  # type: ignore[arg-type]
    assert store.get("penguins", 2).status == "candidate"


def test_a_scrub_is_slow_on_purpose_and_ends_with_the_process(store: ModelStore, start_api: Start) -> None:
    """It reads a piece, waits for as long as that may have taken, and does not hold up the end."""
    X = np.arange(MIB // 2, dtype=float).reshape(-1, 1)
    large = store.register(KNeighborsRegressor().fit(X, X[:, 0]), "large", example=X[:5])
    assert large.size_bytes > MIB
    began = time.monotonic()
    api = start_api(scrub_seconds=PAUSE_SECONDS, scrub_bytes_per_second=MIB // 60)
    ask(api, {"rows": [{"x0": 1.0}]}, model="large")

    wait_for(lambda: read_metrics(api)["bodega_scrubbed_bytes_total"] == MIB)
    time.sleep(5 * PAUSE_SECONDS)
    assert read_metrics(api)["bodega_scrubbed_bytes_total"] == MIB
    api.services.scrub.stop()
    assert time.monotonic() - began < 60


def test_the_document_names_every_metric(version: Version, api: Api) -> None:
    """And none that is not there."""
    ask(api, BODY, model="penguins")
    lines = api.client.get("/metrics").text.splitlines()
    told = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    told = {"process_…" if name.startswith("process_") else name for name in told}
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]

    assert {row.split("`")[1].split("{")[0] for row in rows} == told


def test_metrics_are_there_before_the_catalog_is(start_api: Start) -> None:
    """An API that never reached its catalog can be watched too."""
    api = start_api(database_url="postgresql://nobody@127.0.0.1:1/none")

    found = read_metrics(api)

    assert "bodega_catalog_generation" not in found
    assert found["bodega_loaded_versions"] == 0


def test_the_operator_sees_who_quarantined(
    version: Version, artifact: Path, store: ModelStore, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """The verb needs no right but that of the one function which whoever serves may call."""
    turn_a_bit(artifact)
    with pytest.raises(Exception, match="has the sha256") as caught:
        store.verify(version.digest, version.size_bytes)

    assert store.quarantine_damaged(version, caught.value) is True  # type: ignore[arg-type]
    assert store.quarantine_damaged(version, caught.value) is False  # type: ignore[arg-type]
    row = sql_connection.execute("SELECT status FROM version WHERE number = 2").fetchone()
    assert row == ("quarantined",)
