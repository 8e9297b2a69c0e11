"""Promotions: the former version answers until the new one is loaded; and the versions that are kept in memory."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from bodega_api.serving.model_cache import LoadedVersions, key_of
from bodega_db.errors import CatalogUnavailableError
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, ask, enter, penguins, problem_of, weaker_penguins
from outages import wait_for

Start = Callable[..., Api]


def answer(api: Api, **parameters: str) -> Any:
    """Ask for the penguins."""
    return ask(api, {"rows": [GENTOO]}, model="penguins", **parameters)


def generation_of(response: Any) -> int:
    """Return the last change that an answer takes into account."""
    return int(response.headers["bodega-generation"])


@contextmanager
def held_loads(api: Api) -> Iterator[Callable[[], None]]:
    """Have every load wait until the end of the block, or until what this yields is called."""
    loaded, go_on = api.services.loaded, threading.Event()
    load = loaded._load

    def wait_first(version: Any) -> Any:
        assert go_on.wait(30)
        return load(version)

    loaded._load = wait_first
    try:
        yield go_on.set
    finally:
        go_on.set()
        loaded._load = load


def fill(store: ModelStore) -> None:
    """Register what `promoted` stands for."""
    for exhibit in (penguins(), weaker_penguins()):
        enter(store, "penguins", exhibit)
    store.promote("penguins@1")


@pytest.fixture
def promoted(store: ModelStore) -> ModelStore:
    """Two versions, the first of them in production."""
    return store


FURNISHED = {"promoted": fill}


@pytest.fixture
def asked(promoted: ModelStore, api: Api) -> Api:
    """An API that was asked for the version in production, in each way that there is, and hears of changes."""
    wait_for(lambda: api.services.routes.generation is not None)
    for _ in range(2):
        for parameters in ({}, {"version": "production"}):
            assert answer(api, **parameters).json()["version"] == 1
    return api


# --- taking over ---------------------------------------------------------------------------------------------


def test_the_former_version_answers_until_the_new_one_is_loaded(promoted: ModelStore, asked: Api) -> None:
    """No request waits for a load, and each says that the promotion is not taken into account yet."""
    before = generation_of(answer(asked))

    with held_loads(asked) as go_on:
        promoted.promote("penguins@2")
        wait_for(lambda: asked.services.routes.generation > before)
        meanwhile = [answer(asked), answer(asked, version="production"), answer(asked, timing="true")]
        later = answer(asked)
        go_on()
        wait_for(lambda: answer(asked).json()["version"] == 2)
        wait_for(lambda: answer(asked, version="production").json()["version"] == 2)

    assert [response.json()["version"] for response in meanwhile] == [1, 1, 1]
    assert {generation_of(response) for response in meanwhile} == {before}
    assert float(later.headers["bodega-snapshot-age"]) >= float(meanwhile[0].headers["bodega-snapshot-age"])
    after = [answer(asked), answer(asked, version="production"), answer(asked, timing="true")]
    assert [response.json()["version"] for response in after] == [2, 2, 2]
    assert {generation_of(response) for response in after} == {promoted.changes(None).generation}


def test_other_changes_are_followed_while_a_version_is_loaded(promoted: ModelStore, asked: Api) -> None:
    """What comes meanwhile does not wait, and does not end the wait: another promotion takes the place of the first."""
    assert answer(asked, version="latest").json()["version"] == 2
    enter(promoted, "penguins", penguins())
    with held_loads(asked) as go_on:
        promoted.set_alias("penguins@1", "mine")
        promoted.promote("penguins@3")
        promoted.set_alias("penguins@1", "yours")
        wait_for(lambda: asked.services.routes.generation == promoted.changes(None).generation)
        assert answer(asked).json()["version"] == 1
        assert answer(asked, version="mine").json()["version"] == 1
        promoted.promote("penguins@2")  # which is in memory
        wait_for(lambda: answer(asked).json()["version"] == 2)
        go_on()
        wait_for(lambda: "penguins@3" in asked.services.loaded.references)

    assert {answer(asked).json()["version"] for _ in range(5)} == {2}


def test_a_former_version_that_may_not_be_served_does_not_answer(promoted: ModelStore, asked: Api) -> None:
    """A quarantine of the former one ends its time at once: whoever asks then waits for the load."""
    with held_loads(asked) as go_on:
        promoted.promote("penguins@2")
        wait_for(lambda: asked.services.routes.generation == promoted.changes(None).generation)
        assert answer(asked).json()["version"] == 1
        promoted.quarantine("penguins@1", reason="wrong labels")
        wait_for(lambda: asked.services.routes.generation == promoted.changes(None).generation)
        threading.Timer(0.5, go_on).start()
        assert {answer(asked).json()["version"] for _ in range(3)} == {2}


def test_a_version_that_cannot_be_loaded_takes_over_with_its_error(
    promoted: ModelStore, asked: Api, volume: Path
) -> None:
    """When the load failed nobody is answered by the former one without a word."""
    path = volume / promoted.resolve("penguins@2").version.path
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[::-1])

    promoted.promote("penguins@2")
    wait_for(lambda: answer(asked).status_code == 503)

    problem_of(answer(asked), 503, "artifact-digest")


# --- kept in memory ------------------------------------------------------------------------------------------


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a test time to come between the start and the first load."""
    monkeypatch.setattr("bodega_api.serving.preload.LOOK_SECONDS", 2.0)


@pytest.mark.usefixtures("unhurried")
def test_versions_in_production_are_loaded_before_the_api_is_ready(promoted: ModelStore, start_api: Start) -> None:
    """With BODEGA_KEEP_WARM nobody waits for a load: not after a start, and not after a promotion."""
    api = start_api(keep_warm=True)
    with held_loads(api):
        problem_of(api.client.get("/readyz"), 503, "warming")
        assert api.client.get("/healthz").status_code == 200
    wait_for(lambda: api.client.get("/readyz").status_code == 200)
    assert api.services.loaded.references == ["penguins@1"]
    assert api.services.loaded.loads == 1

    promoted.promote("penguins@2")

    wait_for(lambda: "penguins@2" in api.services.loaded.references)
    assert api.client.get("/readyz").status_code == 200


def test_a_version_that_cannot_be_loaded_does_not_keep_the_api_from_being_ready(
    promoted: ModelStore, start_api: Start, volume: Path
) -> None:
    """It is told beside the version; the others are served."""
    (volume / promoted.resolve("penguins@1").version.path).unlink()

    api = start_api(keep_warm=True)

    wait_for(lambda: api.client.get("/readyz").status_code == 200)
    assert api.client.get("/models/penguins/versions/1").json()["problem"]["type"].endswith(":artifact-missing")
    assert answer(api, version="2").status_code == 200


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("error", [CatalogUnavailableError("away"), RuntimeError("odd")], ids=["catalog", "odd"])
def test_an_error_while_versions_are_loaded_does_not_end_the_loading(
    promoted: ModelStore, start_api: Start, error: Exception
) -> None:
    """A catalog that goes away is asked again before the API is ready; what nobody thought of costs that version's load."""
    api = start_api(keep_warm=True)
    loaded, failed = api.services.loaded, threading.Event()
    load = loaded._load

    def fail_first(version: Any) -> Any:
        if failed.is_set():
            return load(version)
        failed.set()
        raise error

    loaded._load = fail_first
    assert failed.wait(20)
    wait_for(lambda: api.client.get("/readyz").status_code == 200)
    assert (api.services.loaded.references == ["penguins@1"]) == isinstance(error, CatalogUnavailableError)
    promoted.promote("penguins@2")
    wait_for(lambda: "penguins@2" in api.services.loaded.references)


def test_a_version_for_which_there_is_no_room_is_loaded_when_it_is_asked_for(
    start_api: Start, promoted: ModelStore
) -> None:
    """It would only drive out the others; the API is ready all the same."""
    api = start_api(keep_warm=True, cache_bytes=1)

    wait_for(lambda: api.client.get("/readyz").status_code == 200)

    assert api.services.loaded.references == []  # there is no room for it
    assert answer(api).json()["version"] == 1


class Sized:
    """Something that takes room."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes


def test_the_favoured_leave_memory_last(promoted: ModelStore) -> None:
    """Where there is no room, others leave first, also the one that came last; among the favoured the oldest does."""
    versions = [
        promoted.resolve(f"penguins@{enter(promoted, 'penguins', penguins()).number}").version for _ in range(4)
    ]
    loaded = LoadedVersions(lambda _: Sized(40), capacity_bytes=100)
    with ExitStack() as stack:
        stack.callback(loaded.close)
        first, second, third, fourth = versions
        loaded.favour({key_of(first), key_of(second)})
        loaded.get(first)
        loaded.get(third)
        loaded.get(second)
        assert loaded.references == [first.reference, second.reference]
        loaded.get(third)
        assert loaded.references == [first.reference, second.reference]
        assert not loaded.has_room(40)
        assert loaded.has_room(20)
        loaded.favour({key_of(version) for version in (first, second, fourth)})
        loaded.get(fourth)
        assert loaded.references == [second.reference, fourth.reference]
