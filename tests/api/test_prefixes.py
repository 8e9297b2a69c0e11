"""Behind a proxy: the prefix of the path is kept in every link, and only trusted proxies say who their clients are."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from bodega_api.http.proxies import Proxies
from bodega_db.errors import SettingsError
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, Gallery, ask, enter, penguins
from outages import wait_for

HEADER = {"X-Forwarded-Prefix": "/bodega"}


def servers(api: Api, path: str = "/openapi.json", **headers: str) -> Any:
    """Return where the description says that the API is."""
    return api.client.get(path, headers=headers).raise_for_status().json()["servers"]


@pytest.mark.parametrize("sent", ["", "/bodega"], ids=["taken off", "left there"])
def test_a_prefix_is_kept_whether_the_proxy_takes_it_off_or_not(start_api: Callable[..., Api], sent: str) -> None:
    """The description, its page and redirects lead below the prefix; what is not there is not there below it either."""
    api = start_api(root_path="/bodega/")

    redirect = api.client.get(f"{sent}/models/?limit=2", follow_redirects=False)

    assert servers(api, f"{sent}/openapi.json") == [{"url": "/bodega"}]
    assert (redirect.status_code, redirect.headers["location"]) == (307, "/bodega/models?limit=2")
    for path in ("/docs", "/docs/static/swagger-ui.css", "/models", "/healthz", "/metrics"):
        assert api.client.get(sent + path).status_code == 200
    for path, named in (
        ("/nowhere", "See /bodega/docs for"),
        ("/models?limit=x", "See /bodega/docs for"),
        ("/models/dodos", "GET /bodega/models."),
    ):
        answer = api.client.get(sent + path)
        assert answer.status_code in (404, 422)
        assert named in answer.json()["hint"]
        assert answer.headers["content-length"] == str(len(answer.content))
    assert api.client.get("/bodegamodels").status_code == 404


@pytest.mark.parametrize("path", ["/predict", "/bodega/predict"])
def test_below_a_prefix_predictions_are_as_fast(store: ModelStore, start_api: Callable[..., Api], path: str) -> None:
    """They do not become requests of the application."""
    enter(store, "penguins", penguins())
    api = start_api(root_path="/bodega")
    wait_for(lambda: api.services.routes.age_seconds is not None)
    for _ in range(2):
        ask(api, {"rows": [GENTOO]}, model="penguins").raise_for_status()
    seen: list[str] = []
    proxies = api.app.proxies

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await proxies(scope, receive, send)

    api.app.proxies = noting
    response = api.client.post(f"{path}?model=penguins", json={"rows": [GENTOO]})

    assert response.json()["predictions"] == ["Gentoo"]
    assert seen == []


def test_a_trusted_proxy_says_the_prefix(start_api: Callable[..., Api]) -> None:
    """Each reader gets the description for where it sees the API, with a tag of its own."""
    api = start_api(trusted_proxies=["127.0.0.0/8"])
    tags = {api.client.get("/openapi.json", headers=headers).headers["etag"] for headers in ({}, HEADER)}

    assert servers(api, **HEADER) == [{"url": "/bodega"}]
    assert servers(api) == [{"url": "."}]
    assert len(tags) == 2
    assert api.client.get("/models/", headers=HEADER, follow_redirects=False).headers["location"] == "/bodega/models"


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "bodega", "/a b", '/"><script>', "/../x?y", "/" + "x" * 300, "https://evil.example"]
)
def test_what_is_no_prefix_is_not_believed(start_api: Callable[..., Api], prefix: str) -> None:
    """Nothing that a page or a redirect could be broken with comes from a header."""
    api = start_api(trusted_proxies=["*"])

    assert servers(api, **{"X-Forwarded-Prefix": prefix}) == [{"url": "."}]
    location = api.client.get("/models/", headers={"X-Forwarded-Prefix": prefix}, follow_redirects=False).headers[
        "location"
    ]
    assert location == "/models"


def test_nobody_else_is_believed(gallery: Gallery) -> None:
    """Without the setting no header changes a path."""
    assert servers(gallery.api, **HEADER) == [{"url": "."}]
    assert gallery.api.client.get("/bodega/models", headers=HEADER).status_code == 404


def test_a_redirect_names_no_host(gallery: Gallery) -> None:
    """Behind a proxy with TLS another host and scheme are the right ones."""
    location = gallery.api.client.get("/models/", headers={"Host": "localhost:1"}, follow_redirects=False).headers[
        "location"
    ]

    assert location == "/models"


def test_the_client_behind_a_trusted_proxy_is_in_the_log(
    start_api: Callable[..., Api], caplog: pytest.LogCaptureFixture
) -> None:
    """The last address that the proxy does not trust is the client; probes below the prefix have no line."""
    caplog.set_level(logging.INFO, "bodega_api.http.access_log")
    api = start_api(trusted_proxies=["127.0.0.1"], root_path="/bodega")

    api.client.get("/healthz")
    api.client.get("/models", headers={"X-Forwarded-For": "10.0.0.1, 192.0.2.7"})

    lines = [record.getMessage() for record in caplog.records if record.name == "bodega_api.http.access_log"]
    assert [line.split()[0] for line in lines] == ["192.0.2.7:0"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"root_path": "bodega"},
        {"root_path": "//x"},
        {"trusted_proxies": ["proxy.example.org"]},
        {"trusted_proxies": ["10.0.0.1/8"]},
    ],
)
def test_settings_that_are_none_end_the_start(make_settings: Callable[..., Settings], wrong: dict[str, Any]) -> None:
    """The message names the variable."""
    (name,) = wrong
    with pytest.raises(SettingsError, match=f"BODEGA_{name.upper()}"):
        Proxies(lambda *_: None, make_settings(**wrong))  # type: ignore[arg-type,return-value]
