"""The past and the choices over HTTP: history page by page, who was where when, aliases, comparisons, what would answer."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, MARKER, Gallery, ask, enter, penguins, problem_of, weaker_penguins, wine

MOMENT = "2026-01-31T12:00:00Z"


def get(api: Api, path: str, **parameters: Any) -> Any:
    """Return what a page answers."""
    response = api.client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def fill(store: ModelStore) -> None:
    """Register what `moved` stands for."""
    for exhibit in (penguins(), weaker_penguins(), penguins()):
        enter(store, "penguins", exhibit)
    store.promote("penguins@1", reason="the first one", actor="ada")
    store.promote("penguins@2", reason="better", actor="bo")


@pytest.fixture
def moved(store: ModelStore) -> ModelStore:
    """Three versions, of which the second one is in production after the first one was."""
    return store


FURNISHED = {"moved": fill}


# --- history -------------------------------------------------------------------------------------------------


def test_the_history_tells_every_change_newest_first(moved: ModelStore, api: Api) -> None:
    """Each change is told with what, who, when, why, before and after, as in Python."""
    moved.set_alias("penguins@3", "champion", actor="cy")

    answer = get(api, "/models/penguins/history")

    events = moved.history("penguins")
    assert answer["next"] is None
    assert [event["id"] for event in answer["events"]] == [event.id for event in events]
    assert answer["events"][0] == {
        "id": events[0].id,
        "at": events[0].at.isoformat().replace("+00:00", "Z"),
        "event": "alias",
        "version": 3,
        "actor": "cy",
        "reason": None,
        "before": events[0].before,
        "after": events[0].after,
        "generation": events[0].generation,
    }
    into_production = answer["events"][1]
    assert (into_production["version"], into_production["actor"], into_production["reason"]) == (2, "bo", "better")
    assert (into_production["before"], into_production["after"]) == (
        {"status": "candidate"},
        {"status": "production"},
    )


def test_a_history_is_of_one_model(moved: ModelStore, api: Api) -> None:
    """What happened to another model is not told."""
    enter(moved, "wine", wine())

    for model in ("wine", "penguins"):
        told = [event["id"] for event in get(api, f"/models/{model}/history")["events"]]
        assert told == [event.id for event in moved.history(model)]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 500])
def test_pages_together_are_the_history(moved: ModelStore, api: Api, limit: int) -> None:
    """Following `next` gives every change once, in order, and ends with null; what happens meanwhile moves no page."""
    whole = get(api, "/models/penguins/history")["events"]
    pages = [get(api, "/models/penguins/history", limit=limit)]
    moved.archive("penguins@3")
    while pages[-1]["next"]:
        pages.append(get(api, "/models/penguins/history", limit=limit, before=pages[-1]["next"]))

    assert [event for page in pages for event in page["events"]] == whole
    assert [len(page["events"]) for page in pages[:-1]] == [limit] * (len(pages) - 1)


# --- who was where when --------------------------------------------------------------------------------------


def test_as_of_tells_who_was_in_production(moved: ModelStore, api: Api) -> None:
    """For each moment the version that was in production then, since when, who put it there, and why; before, null."""
    second, _, first = (event for event in moved.history("penguins") if event.kind == "status")
    between = first.at + (second.at - first.at) / 2

    holders = [
        get(api, "/models/penguins/as-of", moment=moment.isoformat())["held_by"]
        for moment in (first.at - timedelta(seconds=1), first.at, between, second.at, datetime.now(UTC))
    ]

    expected = {
        "model": "penguins",
        "version": 1,
        "since": first.at.isoformat().replace("+00:00", "Z"),
        "actor": "ada",
        "reason": "the first one",
    }
    assert holders[:3] == [None, expected, expected]
    assert [(holder["version"], holder["reason"]) for holder in holders[3:]] == [(2, "better")] * 2


def test_as_of_tells_who_had_an_alias(moved: ModelStore, api: Api) -> None:
    """With ?alias= it tells which version had that name."""
    moved.set_alias("penguins@3", "champion", reason="for the test")

    holder = get(api, "/models/penguins/as-of", moment=datetime.now(UTC).isoformat(), alias="champion")["held_by"]
    nobody = get(api, "/models/penguins/as-of", moment=datetime.now(UTC).isoformat(), alias="nobody")

    assert (holder["version"], holder["reason"]) == (3, "for the test")
    assert nobody == {"held_by": None}


def test_a_moment_is_the_same_in_every_zone(moved: ModelStore, api: Api) -> None:
    """A moment may be written in any zone, also with the bare '+' that a query turns into a space."""
    first = next(event for event in reversed(moved.history("penguins")) if event.kind == "status")
    zones = [timezone(timedelta(minutes=minutes)) for minutes in (0, 120, -300, 330, -210, 840, -720)]

    def holder(moment: datetime, plus: str, separator: str) -> Any:
        written = moment.isoformat(sep="@").replace("+", plus).replace("@", separator)
        return api.client.get(f"/models/penguins/as-of?moment={written}").raise_for_status().json()["held_by"]

    for zone, plus, separator in product(zones, ("+", "%2B", "%20"), ("T", "%20", "+")):
        since = first.at.astimezone(zone)
        assert holder(since, plus, separator)["version"] == 1
        assert holder(since - timedelta(microseconds=1), plus, separator) is None


@pytest.mark.parametrize(
    "moment",
    [
        "2026-01-31T12:00Z",
        "2026-01-31 12:00:00.5Z",
        "2026-01-31T12:00:00.123456789Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_every_moment_can_be_asked_for(gallery: Gallery, moment: str) -> None:
    """Moments may leave the seconds out or have parts of them, and lie as far away as Python's."""
    assert get(gallery.api, "/models/penguins/as-of", moment=moment) == {"held_by": None}


@pytest.mark.parametrize(
    "moment",
    [
        *("2026-01-31T12:00:00", "2026-01-31 12:00", "2026-01-31", "2026-01-31Z", "2026-01-31 01:00", "12:00Z"),
        *("2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z", "2026-01-31T12:00:00+25:00", "0000-01-01T00:00:00Z"),
        *("", "now", "1769860800", MARKER, f"{MOMENT}{MARKER}", f"{MOMENT}\n", "٢٠٢٦-01-31T12:00:00Z", "2" * 9999),
        *("2026-01-31T12:00:00UTC", "2026-01-31T12:00:00z", "2026-W05-6T12:00:00Z", "20260131T120000Z"),
    ],
)
def test_a_moment_without_a_zone_is_refused(gallery: Gallery, moment: str) -> None:
    """What is no date and time with a zone is refused, with how to write one and why a '+' gets lost."""
    response = gallery.api.client.get("/models/penguins/as-of", params={"moment": moment})

    problem = problem_of(response, 422, "parameter")
    assert "with a zone" in problem["detail"]
    assert "%2B" in problem["hint"]


# --- aliases and differences ---------------------------------------------------------------------------------


def test_aliases_are_listed_with_their_versions(gallery: Gallery) -> None:
    """Every alias of a model is there with its number, also one of a version in quarantine; a model may have none."""
    assert get(gallery.api, "/models/penguins/aliases") == {
        "aliases": {"champion": 1, "cursed": 3},
        "protected": [],
    }
    assert get(gallery.api, "/models/wine/aliases") == {"aliases": {}, "protected": []}


@pytest.mark.parametrize(
    ("before", "after", "numbers"),
    [
        ("1", "2", (1, 2)),
        ("latest", "champion", (2, 1)),
        ("best:accuracy", "best:loss:min", (1, 2)),
        ("1", "1", (1, 1)),
        ("3", "1", (3, 1)),
    ],
)
def test_two_versions_are_compared(gallery: Gallery, before: str, after: str, numbers: tuple[int, int]) -> None:
    """Versions named in any way are compared as in Python; a number finds also a version in quarantine."""
    answer = get(gallery.api, "/models/penguins/diff", before=before, after=after)

    store = gallery.api.services.store
    assert (answer["before"], answer["after"]) == tuple(f"penguins@{number}" for number in numbers)
    assert answer == store.diff(f"penguins@{before}", f"penguins@{after}").to_dict()


def test_a_difference_says_who_would_break(store: ModelStore, api: Api) -> None:
    """Where callers of the first could not call the second, the changes that break them are named."""
    enter(store, "penguins", penguins(), metrics={"accuracy": 0.9})
    enter(store, "penguins", wine(), tags={"team": "core"})

    answer = get(api, "/models/penguins/diff", before="1", after="2")

    assert not answer["compatible"]
    assert "column island" in [change["what"] for change in answer["signature"] if change["breaking"]]
    assert answer["metrics"] == {"accuracy": {"before": 0.9, "after": None}}
    assert answer["tags"] == {"team": {"before": None, "after": "core"}}


# --- what would answer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, "1", "001", "latest", "champion", "best:accuracy", "best:loss:min"])
def test_resolve_names_the_version_that_a_prediction_gets(gallery: Gallery, version: str | None) -> None:
    """With the parameters of a prediction it tells which version answers that, and why."""
    parameters = {"model": "penguins"} | ({"version": version} if version else {})
    prediction = ask(gallery.api, {"rows": [GENTOO]}, **parameters)

    answer = get(gallery.api, "/resolve", **parameters)

    shared = ("model", "version", "sha256", "chosen")
    assert {name: answer[name] for name in shared} == {name: prediction.json()[name] for name in shared}
    assert answer["status"] == "candidate"
    assert answer["generation"] == int(prediction.headers["bodega-generation"])


def test_resolve_takes_the_only_model(moved: ModelStore, api: Api) -> None:
    """The model may be left out as long as there is only one."""
    alone = get(api, "/resolve")
    enter(moved, "wine", wine())

    assert (alone["model"], alone["version"], alone["status"]) == ("penguins", 2, "production")
    assert alone["chosen"] == "in production"
    problem_of(api.client.get("/resolve"), 422, "model-ambiguous")


# --- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        *(
            (f"/models/{name}/{page}", 404, "model-not-found")
            for name in ("dodos", "Penguins", "penguins@1", "%00", "..%5c", MARKER.upper())
            for page in ("history", "aliases", f"as-of?moment={MOMENT}", "diff?before=1&after=2")
        ),
        ("/models/penguins/history?limit=0", 422, "parameter"),
        ("/models/penguins/history?limit=501", 422, "parameter"),
        ("/models/penguins/history?limit=1&limit=2", 422, "parameter"),
        (f"/models/penguins/history?limit={MARKER}", 422, "parameter"),
        ("/models/penguins/history?before=0", 422, "parameter"),
        (f"/models/penguins/history?before={2**63}", 422, "parameter"),
        (f"/models/penguins/history?before={MARKER}", 422, "parameter"),
        ("/models/penguins/history?after=1", 422, "parameter"),
        ("/models/penguins/as-of", 422, "parameter"),
        (f"/models/penguins/as-of?moment={MOMENT}&moment={MOMENT}", 422, "parameter"),
        (f"/models/penguins/as-of?moment={MOMENT}&version=1", 422, "parameter"),
        (f"/models/penguins/as-of?moment={MOMENT}&alias=", 422, "alias-name"),
        (f"/models/penguins/as-of?moment={MOMENT}&alias=latest", 422, "alias-name"),
        (f"/models/penguins/as-of?moment={MOMENT}&alias={MARKER}%00", 422, "alias-name"),
        ("/models/penguins/aliases?limit=1", 422, "parameter"),
        ("/models/penguins/diff", 422, "parameter"),
        ("/models/penguins/diff?before=1", 422, "parameter"),
        ("/models/penguins/diff?before=1&after=", 422, "parameter"),
        ("/models/penguins/diff?before=1&after=2&verbose=1", 422, "parameter"),
        ("/models/penguins/diff?before=1&after=0", 422, "version-reference"),
        ("/models/penguins/diff?before=1&after=1@2", 422, "version-reference"),
        (f"/models/penguins/diff?before=1&after={MARKER}%00", 422, "version-reference"),
        ("/models/penguins/diff?before=1&after=17", 404, "version-not-found"),
        (f"/models/penguins/diff?before={MARKER}&after=1", 404, "version-not-found"),
        ("/models/penguins/diff?before=1&after=cursed", 409, "version-quarantined"),
        ("/resolve?model=dodos", 404, "model-not-found"),
        ("/resolve?model=", 404, "model-not-found"),
        ("/resolve?model=penguins&version=", 422, "version-reference"),
        ("/resolve?model=penguins&version=17", 404, "version-not-found"),
        ("/resolve?model=penguins&version=production", 404, "version-not-found"),
        ("/resolve?model=penguins&version=3", 409, "version-quarantined"),
        ("/resolve?model=penguins&verison=1", 422, "parameter"),
        ("/resolve?model=penguins&output=predict", 422, "parameter"),
    ],
)
def test_what_cannot_be_told_is_a_problem(gallery: Gallery, path: str, status: int, slug: str) -> None:
    """Names, versions and parameters that do not fit are problems with a hint, and nothing of them is repeated."""
    problem = problem_of(gallery.api.client.get(path), status, slug)

    assert problem["hint"]


@pytest.mark.parametrize("page", ["history", "as-of", "diff", "aliases"])
def test_the_past_is_only_read(gallery: Gallery, page: str) -> None:
    """No other method is taken where the past is told."""
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        response = gallery.api.client.request(method, f"/models/penguins/{page}")

        problem_of(response, 405, "method-not-allowed")
