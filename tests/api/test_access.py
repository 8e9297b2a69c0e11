"""The access log: a line for what a person would look for, and none for what only fills disks."""

import logging

import pytest
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, Gallery, ask, enter, penguins
from httpx2 import URL


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("token=SECRET", "[left-out]"),
        ("model=penguins&access_token=SECRET&version=3", "model=penguins&[left-out]&version=3"),
        ("%74oken=SECRET", "[left-out]"),
        ("SECRET", "[left-out]"),
        ("SECRET=", "[left-out]"),
        ("model", "[left-out]"),
        ("model=a&&model=b", "model=a&[left-out]&model=b"),
        ("filter=status%3Dproduction+and+f1%3E%3D0.9", "filter=status%3Dproduction+and+f1%3E%3D0.9"),
    ],
)
def test_a_token_in_a_query_has_no_line(
    gallery: Gallery, caplog: pytest.LogCaptureFixture, query: str, line: str
) -> None:
    """What no request takes is left out of the log, by its name: a token put there by mistake is no secret any more."""
    caplog.set_level(logging.INFO, "bodega_api.http.access_log")

    gallery.api.client.get(URL(f"{gallery.api.url}/models/penguins?{query}"))
    gallery.api.client.post(URL(f"{gallery.api.url}/models/penguins/rollback?{query}"))

    lines = [record.getMessage() for record in caplog.records if record.name == "bodega_api.http.access_log"]
    assert [each.split()[3] for each in lines] == [f"/models/penguins?{line}", f"/models/penguins/rollback?{line}"]
    assert "SECRET" not in caplog.text


def test_a_request_has_a_line_unless_it_tells_nothing(
    store: ModelStore, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asked what, and the status; neither probes that went well nor what the fast path answered."""
    enter(store, "penguins", penguins())
    ask(api, {"rows": [GENTOO]}).raise_for_status()  # it is loaded for this one
    ask(api, {"rows": [GENTOO]}).raise_for_status()  # and chosen in memory from here on
    caplog.clear()
    caplog.set_level(logging.INFO, "bodega_api.http.access_log")

    for _ in range(3):
        ask(api, {"rows": [GENTOO]}).raise_for_status()
    ask(api, {"rows": []}, model="penguins")
    for path in ("/healthz", "/readyz", "/metrics", "/models?limit=1", "/nowhere%20at all"):
        api.client.get(path)

    lines = [record.getMessage() for record in caplog.records if record.name == "bodega_api.http.access_log"]
    assert [line.partition(" - ")[2] for line in lines] == [
        '"POST /predict?model=penguins HTTP/1.1" 422',
        '"GET /models?limit=1 HTTP/1.1" 200',
        '"GET /nowhere%20at%20all HTTP/1.1" 404',
    ]
    assert all(line.startswith("127.0.0.1:") for line in lines)
