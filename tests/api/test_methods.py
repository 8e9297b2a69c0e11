"""Methods and codings: HEAD wherever GET is, a complete `Allow`, packed bodies read, and long answers packed."""

import gc
import gzip
import json
import secrets
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import Api
from fastapi._compat import ModelField
from gallery import GENTOO, MAX_BODY_BYTES, Gallery, problem_of
from rawhttp import connected, receive

GOOD = json.dumps({"rows": [GENTOO]}).encode()
CSV = ",".join(GENTOO) + "\n" + ",".join(map(str, GENTOO.values())) + "\n"
WRITTEN = "/models/penguins"


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/metrics", "/models", WRITTEN, "/docs", "/openapi.json", "/docs/static/swagger-ui.css"],
)
def test_head_is_get_without_the_body(gallery: Gallery, path: str) -> None:
    """The same status and the same length, and the connection goes on behind it."""
    request = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    got = gallery.api.client.get(path, headers={"Accept-Encoding": "identity"})
    with connected(gallery.api) as connection:
        connection.sendall(request.encode())
        file = connection.makefile("rb")
        status = int(file.readline().split()[1])
        headers = dict(line.decode().rstrip().lower().split(": ", 1) for line in iter(file.readline, b"\r\n"))
        behind = file.readline()

    assert status == got.status_code == 200
    assert headers["content-type"] == got.headers["content-type"].lower()
    assert path in ("/metrics", "/readyz") or headers["content-length"] == str(len(got.content))
    assert behind.startswith(b"HTTP/1.1 200")


def test_head_of_what_there_is_not_is_its_problem(gallery: Gallery) -> None:
    """Status and media type of the problem, without its body."""
    response = gallery.api.client.head("/models/dodos")

    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert gallery.api.client.head("/predict").status_code == 405


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/predict", "POST, OPTIONS"),
        ("/healthz", "HEAD, GET, OPTIONS"),
        ("/models", "HEAD, GET, OPTIONS"),
        ("/docs", "HEAD, GET, OPTIONS"),
    ],
)
def test_allow_names_every_method(gallery: Gallery, path: str, methods: str) -> None:
    """In a 405, and in the answer to OPTIONS."""
    refused = gallery.api.client.request("DELETE", path)
    asked = gallery.api.client.options(path)

    assert problem_of(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == methods
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, methods, b"")
    assert gallery.api.client.options("/nowhere").status_code == 404


def test_options_of_the_server_as_a_whole(gallery: Gallery) -> None:
    """`OPTIONS *` names what any page takes; another method has no such target."""
    asked = b"%b * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with connected(gallery.api) as connection:
        connection.sendall(asked % b"OPTIONS")
        head = connection.makefile("rb").read().decode().lower()
    with connected(gallery.api) as connection:
        connection.sendall(asked % b"GET")
        [(status, _, _)] = receive(connection, 2)

    assert head.startswith("http/1.1 204")
    assert "allow: head, get, post, options\r\n" in head
    assert status == 404


def test_allow_names_the_methods_of_changes_too(start_api: Any, database_url: str, tmp_path: Path) -> None:
    """Where changes over HTTP are open, PATCH and DELETE stand beside GET, whichever route was found first."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    api: Api = start_api(admin_token_file=token)

    with connected(api) as connection:
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        whole = connection.makefile("rb").read().decode()
    assert "HEAD, GET, POST, PUT, PATCH, DELETE, OPTIONS\r\n" in whole
    for path in ("/models/penguins", "/models/penguins/versions/1", "/models/penguins/aliases/a"):
        allow = api.client.put(path + "x", headers={}).headers.get("allow", "")
        refused = api.client.request("TRACE", path)
        assert refused.status_code == 405, allow
        told = set(refused.headers["allow"].split(", "))
        for method in ("GET", "PUT", "PATCH", "DELETE", "POST"):
            answered = api.client.request(method, path).status_code
            assert (answered == 405) == (method not in told), (method, path)


# --- packed bodies -----------------------------------------------------------------------------------------


def deflate(data: bytes) -> bytes:
    """Pack as HTTP means it."""
    return zlib.compress(data)


def post(gallery: Gallery, body: bytes, coding: str, media_type: str = "application/json") -> Any:
    """Predict with a packed body."""
    headers = {"Content-Type": media_type, "Content-Encoding": coding}
    return gallery.api.client.post("/predict", params={"model": "penguins"}, content=body, headers=headers)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(GOOD)),
        ("GZIP", gzip.compress(GOOD)),
        ("x-gzip", gzip.compress(GOOD)),
        ("identity, gzip", gzip.compress(GOOD)),
        ("deflate", deflate(GOOD)),
        ("identity", GOOD),
        ("gzip", gzip.compress(GOOD[:9]) + gzip.compress(GOOD[9:])),
    ],
)
def test_a_packed_body_is_read(gallery: Gallery, coding: str, packed: bytes) -> None:
    """In gzip (also in several parts), deflate, or as it is; the answer is that to the plain body."""
    assert post(gallery, packed, coding).json() == gallery.predict([GENTOO]).json()


def test_a_packed_table_is_read(gallery: Gallery) -> None:
    """CSV in gzip."""
    plain = post(gallery, CSV.encode(), "identity", "text/csv")

    assert plain.status_code == 200
    assert post(gallery, gzip.compress(CSV.encode()), "gzip", "text/csv").json() == plain.json()


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "nonsense"])
def test_another_coding_is_refused_with_those_that_are_read(gallery: Gallery, coding: str) -> None:
    """415, with `Accept-Encoding` as RFC 9110 has it."""
    for media_type in ("application/json", "text/csv"):
        response = post(gallery, GOOD, coding, media_type)

        problem_of(response, 415, "content-coding")
        assert response.headers["accept-encoding"] == "gzip, deflate, identity"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", GOOD),
        ("gzip", gzip.compress(GOOD)[:-9]),
        ("gzip", gzip.compress(GOOD) + b"x"),
        ("gzip", b""),
        ("gzip", gzip.compress(GOOD)[:20] + b"\xff" * 20),
        ("deflate", gzip.compress(GOOD)),
        ("deflate", deflate(GOOD) + b"x"),
    ],
    ids=["not packed", "too short", "too long", "empty", "broken", "gzip as deflate", "deflate too long"],
)
def test_a_damaged_packed_body_is_its_problem(gallery: Gallery, coding: str, body: bytes) -> None:
    """It is not packed as it is said to be, ends too early, or goes on behind its end."""
    for media_type in ("application/json", "text/csv"):
        problem_of(post(gallery, body, coding, media_type), 400, "body")


def test_a_bomb_is_refused_at_the_limit(gallery: Gallery) -> None:
    """A packed body is refused as soon as it is too long unpacked, and never unpacked as a whole."""
    bomb = gzip.compress(b'{"rows": [' + b" " * (200 * MAX_BODY_BYTES))
    assert len(bomb) < MAX_BODY_BYTES
    tracemalloc.start()

    response = post(gallery, bomb, "gzip")

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    problem_of(response, 413, "body-too-large")
    assert peak < 10 * MAX_BODY_BYTES


def test_a_body_that_is_said_to_be_too_long_is_not_read(gallery: Gallery) -> None:
    """Its length alone gets the 413; a client that waits for `100 Continue` sends nothing."""
    head = b"POST /predict?model=penguins HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with connected(gallery.api) as connection:
        connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
        assert connection.makefile("rb").readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"


# --- packed answers ----------------------------------------------------------------------------------------


def raw(gallery: Gallery, path: str, accepted: str | None, *more: str) -> tuple[int, dict[str, str], bytes]:
    """GET a path; the body as it came."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *more]
    lines += [f"Accept-Encoding: {accepted}"] if accepted is not None else []
    with connected(gallery.api) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return receive(connection, 1)[0]


@pytest.mark.parametrize("path", ["/models", "/docs/static/swagger-ui.css"])
@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0, *", False),
        ("br", False),
        ("", False),
        (None, False),
        ("gzip;q=x", False),
    ],
)
def test_a_long_answer_is_packed_for_who_takes_that(
    gallery: Gallery, path: str, accepted: str | None, packed: bool
) -> None:
    """And `Vary` says so in both cases, for caches."""
    plain = raw(gallery, path, None)[2]

    status, headers, body = raw(gallery, path, accepted)

    assert (status, headers["vary"].lower()) == (200, "accept-encoding")
    assert headers.get("content-encoding") == ("gzip" if packed else None)
    assert (gzip.decompress(body) if packed else body) == plain
    assert len(body) < len(plain) or not packed


def test_a_packed_answer_has_a_weak_tag_that_is_known_again(gallery: Gallery) -> None:
    """Its bytes are others; and with the tag it is answered 304."""
    path = "/docs/static/swagger-ui.css"
    _, headers, _ = raw(gallery, path, "gzip")

    assert headers["etag"].startswith('W/"')
    with connected(gallery.api) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {headers['etag']}\r\n\r\n"
        connection.sendall(request.encode())
        assert connection.makefile("rb").readline().split()[1] == b"304"


def test_a_short_answer_is_not_packed(gallery: Gallery) -> None:
    """Below a kilobyte it is not worth it; nor is a warm prediction."""
    assert "content-encoding" not in raw(gallery, "/healthz", "gzip")[1]
    assert "content-encoding" not in gallery.predict([GENTOO]).headers


def test_a_long_table_is_packed_as_it_is_sent(gallery: Gallery) -> None:
    """An answer in many pieces, from a file."""
    lines = CSV.splitlines(keepends=True)
    table = (lines[0] + lines[1] * 60_000).encode()
    parameters = {"model": "penguins", "output": "predict_proba"}
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    client = gallery.api.client

    answers = [
        client.post("/predict", params=parameters, content=table, headers=headers | {"Accept-Encoding": coding})
        for coding in ("gzip", "identity")
    ]

    assert [answer.headers.get("content-encoding") for answer in answers] == ["gzip", None]
    assert answers[0].content == answers[1].content
    assert answers[0].content.count(b"\n") == 60_001


def test_no_request_waits_for_routes_to_be_built(api: Api) -> None:
    """All routes of the API are built before its first request, which builds none."""

    def fields() -> int:
        return sum(isinstance(each, ModelField) for each in gc.get_objects())

    before = fields()
    assert api.client.get("/models").status_code == 200

    assert fields() == before > 0
