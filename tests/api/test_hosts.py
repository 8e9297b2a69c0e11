"""The name that a request calls the API by: what a page on the web makes its own name lead to is not read."""

import json
import socket
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

import httpx2
import pytest
from bodega_api.http.hosts import MOST_KNOWN, Hosts
from bodega_db.errors import SettingsError
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, Gallery, ask, enter, penguins, problem_of
from outages import wait_for

BODY = json.dumps({"rows": [GENTOO]}).encode()
PAGES = ("/models", "/metrics", "/healthz", "/readyz", "/docs", "/docs/static/swagger-ui.css", "/openapi.json", "/none")
FOREIGN = "rebound.example"


def ask_raw(url: str, head: str, body: bytes = b"") -> tuple[int, Any]:
    """Send a request as it stands; return the status and the body of the answer."""
    address = httpx2.URL(url)
    with socket.create_connection((address.host, address.port or 80), timeout=30) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        response = HTTPResponse(connection)
        response.begin()
        return response.status, json.loads(response.read())


def predict_raw(url: str, *headers: str, target: str = "/predict?model=penguins") -> tuple[int, Any]:
    """Ask for a plain prediction with these headers more."""
    lines = (f"POST {target} HTTP/1.1", "Content-Type: application/json", f"Content-Length: {len(BODY)}", *headers)
    return ask_raw(url, "\r\n".join(lines), BODY)


@pytest.mark.parametrize("path", PAGES)
def test_a_foreign_name_reads_no_page(gallery: Gallery, path: str) -> None:
    """A request by a name that is not the API's is a 421, whatever it asks for; nothing but the problem is told."""
    response = gallery.api.client.get(path, headers={"Host": FOREIGN})

    problem = problem_of(response, 421, "misdirected")
    assert FOREIGN not in response.text
    assert "BODEGA_ALLOWED_HOSTS" in problem["hint"]


def test_a_foreign_name_gets_no_prediction(store: ModelStore, api: Api) -> None:
    """Also where predictions are answered before they reach the application, and before as after a good one."""
    enter(store, "penguins", penguins())
    for _ in range(3):
        ask(api, {"rows": [GENTOO]}, model="penguins").raise_for_status()
    wait_for(lambda: api.services.routes.age_seconds is not None)

    answers = [predict_raw(api.url, f"Host: {host}")[0] for host in ("localhost", FOREIGN, "localhost", FOREIGN)]

    assert answers == [200, 421, 200, 421]


@pytest.mark.parametrize(
    ("headers", "status", "slug"),
    [
        ([], 400, "host"),
        (["Host: localhost", "Host: localhost"], 400, "host"),
        (["Host: localhost", f"Host: {FOREIGN}"], 400, "host"),
        ([f"Host: {FOREIGN}", "Host: localhost"], 400, "host"),
        (["Host:"], 400, "host"),
        (["Host: localhost, localhost"], 400, "host"),
        (["Host: me@localhost"], 400, "host"),
        (["Host: localhost/x"], 400, "host"),
        (["Host: localhost:8000:8000"], 400, "host"),
        (["Host: localhost:http"], 400, "host"),
        (["Host: [::1"], 400, "host"),
        (["Host: [localhost]"], 400, "host"),
        (["Host: ::1"], 400, "host"),
        ([f"Host: localhost.{FOREIGN}"], 421, "misdirected"),
        (["Host: 127.0.0.1.nip.io"], 421, "misdirected"),
        (["Host: notlocalhost"], 421, "misdirected"),
        (["Host: 192.168.0.7"], 421, "misdirected"),
        (["Host: [2001:db8::1]:8000"], 421, "misdirected"),
    ],
)
@pytest.mark.parametrize("target", ["/predict?model=penguins", "/models"])
def test_the_header_must_be_there_once_and_name_the_api(
    gallery: Gallery, target: str, headers: list[str], status: int, slug: str
) -> None:
    """What is missing, doubled or no host is a 400, and another name a 421; a prefix or a suffix is another name."""
    found, problem = predict_raw(gallery.api.url, *headers, target=target)

    assert (found, problem["type"]) == (status, f"urn:bodega:problem:{slug}")


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:1", "localhost.", "127.0.0.1", "127.0.0.1:8000", "127.8.9.1", "[::1]", "[::1]:80"]
)
def test_on_loopback_the_names_of_loopback_are_good(gallery: Gallery, host: str) -> None:
    """With any port: people forward ports."""
    assert gallery.api.client.get("/healthz", headers={"Host": host}).status_code == 200
    assert predict_raw(gallery.api.url, f"Host: {host}")[0] == 200


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/healthz", "localhost", 200),
        (f"http://{FOREIGN}/healthz", FOREIGN, 421),
        (f"http://{FOREIGN}/healthz", "localhost", 421),
        (f"http://localhost@{FOREIGN}/healthz", "localhost", 421),
        ("http://[::1]:8000/healthz", "localhost", 200),
        ("http://localhost/healthz", FOREIGN, 421),
    ],
)
def test_an_absolute_target_names_the_host_too(gallery: Gallery, target: str, host: str, status: int) -> None:
    """The target of a request can be a whole URL: its host counts like that of the header (RFC 9112, 3.2.2)."""
    assert ask_raw(gallery.api.url, f"GET {target} HTTP/1.1\r\nHost: {host}")[0] == status


def test_an_old_client_needs_no_host(gallery: Gallery) -> None:
    """HTTP/1.0 has no Host, and load balancers probe with it; no browser speaks it. One that is there must be good."""
    assert ask_raw(gallery.api.url, "GET /healthz HTTP/1.0")[0] == 200
    assert ask_raw(gallery.api.url, f"GET /healthz HTTP/1.0\r\nHost: {FOREIGN}")[0] == 421


def test_the_advice_is_true(start_api: Callable[..., Api]) -> None:
    """A name in BODEGA_ALLOWED_HOSTS is good, beside those of loopback; a star stands for all names below another."""
    api = start_api(allowed_hosts=["Models.example.org", "*.inner.example.org"])

    def status(host: str) -> int:
        return int(api.client.get("/healthz", headers={"Host": host}).status_code)

    assert [status(host) for host in ("models.example.org", "models.example.org.:8443", "localhost")] == [200] * 3
    assert status("a.inner.example.org") == 200
    assert [status(host) for host in ("example.org", "inner.example.org", "a.b.inner.example.org")] == [421] * 3


def test_every_name_can_be_allowed(start_api: Callable[..., Api]) -> None:
    """With a star alone nothing is refused but what is no host."""
    api = start_api(allowed_hosts=["*"])

    assert api.client.get("/healthz", headers={"Host": FOREIGN}).status_code == 200
    assert ask_raw(api.url, "GET /healthz HTTP/1.1")[0] == 400


def test_the_address_that_people_are_given_is_good(start_api: Callable[..., Api]) -> None:
    """The host of BODEGA_PUBLIC_API_URL needs no second setting."""
    api = start_api(public_api_url="https://models.example.org/bodega")

    assert api.client.get("/healthz", headers={"Host": "models.example.org"}).status_code == 200


@pytest.mark.parametrize("api_host", ["0.0.0.0", "", "::", "10.0.0.7"])  # noqa: S104
def test_beyond_loopback_addresses_and_private_names_are_good(
    make_settings: Callable[..., Settings], api_host: str
) -> None:
    """What the web can have no page by: addresses, names without a dot (those of containers), private domains."""
    hosts = Hosts.of(make_settings(api_host=api_host))

    good = [
        b"10.1.2.3:8000",
        b"[2001:db8::1]",
        b"api:8000",
        b"replicas",
        b"bodega.prod.svc.cluster.local",
        b"localhost",
    ]
    assert all(hosts.admit(host) for host in good)
    assert not any(hosts.admit(host) for host in (b"rebound.example", b"10.1.2.3.nip.io", b"evil.com:8000", b"a b"))


def test_what_is_remembered_of_names_is_bounded(make_settings: Callable[..., Settings]) -> None:
    """Requests with ever new ports fill no memory, and are answered."""
    hosts = Hosts.of(make_settings())

    assert all(hosts.admit(b"localhost:%d" % port) for port in range(1, 1000))
    assert len(hosts.known) == MOST_KNOWN


@pytest.mark.parametrize("name", ["models.example.org:8000", "https://models.example.org", "", "a b", "*.", "**"])
def test_a_setting_that_is_no_name_ends_the_start(make_settings: Callable[..., Settings], name: str) -> None:
    """The message names the variable and shows how it is written."""
    with pytest.raises(SettingsError, match=r"BODEGA_ALLOWED_HOSTS: .* is no host name"):
        Hosts.of(make_settings(allowed_hosts=[name]))
