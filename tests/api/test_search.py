"""Searching over HTTP: filters, orders and fields of GET /models, and that no text of a client makes a fault."""

import json
from typing import Any

import httpx2
import pytest
from bodega_db.search.grammar import FIELDS
from bodega_db.store import ModelStore
from conftest import Api
from gallery import MARKER, Gallery, enter, penguins, problem_of, weaker_penguins
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture
def searched(store: ModelStore, api: Api) -> Any:
    """Return what GET /models answers for a search, over three versions."""
    enter(store, "penguins", penguins(), metrics={"f1": 0.9}, tags={"team": "core"}, note="the first")
    enter(store, "penguins", weaker_penguins(), metrics={"f1": 0.5}, params={"C": 1})
    enter(store, "whales", penguins(), metrics={"f1": 0.7}, tags={"team": "web"})

    def search(**parameters: Any) -> "httpx2.Response":
        return api.client.get("/models", params=parameters)

    return search


def test_a_search_over_http_is_that_of_the_store(searched: Any) -> None:
    """Filter, words, order and fields are parameters, and all work together."""
    filtered = searched(filter="metrics.f1>=0.6 and tags.team in (core, web)", order="metrics.f1").json()
    chosen = searched(model="penguins", text="first", fields="version,metrics.f1,params.C,tags.team").json()
    params = searched(model="penguins", filter="params.C=1", fields="params").json()

    assert [(version["model"], version["metrics"]) for version in filtered["versions"]] == [
        ("whales", {"f1": 0.7}),
        ("penguins", {"f1": 0.9}),
    ]
    assert chosen["versions"] == [{"version": 1, "metrics.f1": 0.9, "params.C": None, "tags.team": "core"}]
    assert params["versions"] == [{"params": {"C": 1}}]


def test_pages_follow_any_order(searched: Any) -> None:
    """`next` continues a search in its own order, and in no other."""
    first = searched(order="-metrics.f1", limit=2).json()
    second = searched(order="-metrics.f1", limit=2, after=first["next"]).json()
    other = searched(order="metrics.f1", limit=2, after=first["next"])

    together = [version["metrics"]["f1"] for version in first["versions"] + second["versions"]]
    assert together == [0.9, 0.7, 0.5]
    assert second["next"] is None
    problem_of(other, 422, "search")


def test_a_filter_that_cannot_be_read_is_pointed_at(searched: Any) -> None:
    """The problem names the character, and repeats nothing of what was sent."""
    problem = problem_of(searched(filter=f"version>1 and status={MARKER}"), 422, "filter")

    assert problem["errors"][0]["position"] == len("version>1 and status=") + 1
    assert MARKER not in json.dumps(problem)


SCRAPS = st.lists(
    st.sampled_from(
        [
            *FIELDS,
            ".f1",
            '."a b"',
            "=",
            "!=",
            ">=",
            " in ",
            "(",
            ")",
            ",",
            " and ",
            "'",
            '"',
            "\\",
            "1",
            "-1e300",
            "core",
            "true",
            "2026-11-24",
        ]
    ),
    max_size=12,
)
CONDITION = st.builds(
    "{}{}{}{}".format,
    st.sampled_from([*FIELDS]),
    st.sampled_from(["", ".f1", ".C", '."%"', ".team"]),
    st.sampled_from(["=", "!=", "<", ">=", ">"]),
    st.one_of(
        st.sampled_from(["production", "skops", "null", "true", "0001-01-01", "9999-12-31T23:59-23:00"]),
        st.integers(-(10**20), 10**20).map(str),
        st.floats(allow_nan=True).map(str),
        st.text(max_size=10).map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'),
    ),
)
FILTERS = st.one_of(
    st.text(max_size=60), SCRAPS.map("".join), st.lists(CONDITION, min_size=1, max_size=4).map(" and ".join)
)


def test_no_search_is_a_fault(gallery: Gallery) -> None:
    """Whatever is searched for, the answer is a list or a refusal in words: never a fault, never a timeout."""

    @settings(max_examples=300, deadline=None)
    @given(
        filter=FILTERS,
        text=st.one_of(st.none(), st.text(max_size=30)),
        order=st.one_of(st.none(), st.sampled_from(["created", "-version", "metrics.f1", "-metrics.x"]), st.text()),
        model=st.sampled_from([None, "penguins"]),
    )
    def search(**asked: str | None) -> None:
        given_ones = {name: value for name, value in asked.items() if value is not None}

        response = gallery.api.client.get("/models", params=given_ones)

        assert response.status_code in (200, 422), response.text
        if response.status_code == 422:
            assert response.json()["type"].removeprefix("urn:bodega:problem:") in ("filter", "search", "parameter")

    search()
