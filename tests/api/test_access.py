"""The access log: a line for what a person would look for, and none for what only fills disks."""

import logging

import pytest
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, ask, enter, penguins


def test_a_request_has_a_line_unless_it_tells_nothing(
    store: ModelStore, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asked what, and the status; neither probes that went well nor what the fast path answered."""
    enter(store, "penguins", penguins())
    ask(api, {"rows": [GENTOO]}).raise_for_status()  # it is loaded for this one
    ask(api, {"rows": [GENTOO]}).raise_for_status()  # and chosen in memory from here on
    caplog.clear()
    caplog.set_level(logging.INFO, "bodega_api.access")

    for _ in range(3):
        ask(api, {"rows": [GENTOO]}).raise_for_status()
    ask(api, {"rows": []}, model="penguins")
    for path in ("/healthz", "/readyz", "/metrics", "/models?limit=1", "/nowhere%20at all"):
        api.client.get(path)

    lines = [record.getMessage() for record in caplog.records if record.name == "bodega_api.access"]
    assert [line.partition(" - ")[2] for line in lines] == [
        '"POST /predict?model=penguins HTTP/1.1" 422',
        '"GET /models?limit=1 HTTP/1.1" 200',
        '"GET /nowhere%20at%20all HTTP/1.1" 404',
    ]
    assert all(line.startswith("127.0.0.1:") for line in lines)
