"""The end of a process, of a client, and of a full pool: a problem for who waits, and a line in the log."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from bodega_api.http.seldom import PAUSE_SECONDS, Seldom
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, Gallery, ask, enter, penguins, problem_of
from rawhttp import connected, receive


def own(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what the server and the program wrote."""
    return [each for each in caplog.records if each.name.startswith(("bodega", "uvicorn", "asyncio"))]


def test_what_hangs_as_the_process_ends_is_answered_503(
    store: ModelStore, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After the grace a request that was not answered gets a problem, and the process ends."""
    enter(store, "penguins", penguins())
    ask(api, {"rows": [GENTOO]}, model="penguins").raise_for_status()
    hangs, ends = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        hangs.set()
        ends.wait(60)

    monkeypatch.setattr("bodega_api.serving.engine.Engine.predict", hang)
    api.server.config.timeout_graceful_shutdown = 1
    found: list[Any] = []
    body = {"rows": [GENTOO | {"island": "Nowhere"}]}  # not for a plan
    client = threading.Thread(target=lambda: found.append(ask(api, body, model="penguins", output="predict")))
    client.start()
    assert hangs.wait(20)
    api.server.should_exit = True
    client.join(timeout=20)
    ends.set()

    problem = problem_of(found[0], 503, "shutting-down")
    assert problem["hint"]
    assert int(found[0].headers["retry-after"]) > 0
    assert found[0].headers["connection"] == "close"
    assert [each for each in own(caplog) if each.exc_info] == []


BODY = json.dumps({"rows": [GENTOO]}).encode()
POST = (
    b"POST /predict?model=penguins HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)
CHUNKED = POST.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked") + b"5\r\n" + BODY[:5] + b"\r\n"
HALVES = {
    "head": POST[:-20],
    "first-line": b"GET /mod",
    "nothing-of-a-body": POST,
    "body": POST + BODY[:-5],
    "chunks": CHUNKED,
    "long-body": POST.replace(b"%d" % len(BODY), b"1000000") + b'{"rows": [' + b" " * 100_000,
}


@pytest.mark.parametrize("by", ["grace", "speed"])
def test_what_is_half_sent_as_the_process_ends_is_answered_503(
    by: str, store: ModelStore, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a head at once, half a body when the grace is over or it is too slow; and the connection is closed."""
    enter(store, "penguins", penguins())
    ask(api, {"rows": [GENTOO]}, model="penguins").raise_for_status()
    monkeypatch.setattr("bodega_api.fastpath.framing.GRACE_SECONDS", 60)
    api.server.config.timeout_graceful_shutdown = 2 if by == "grace" else 20
    with ExitStack() as stack:
        connections = {name: stack.enter_context(connected(api)) for name in HALVES}
        for name, connection in connections.items():
            connection.sendall(HALVES[name])
        time.sleep(0.3)
        api.server.should_exit = True
        answers = {"head": receive(connections.pop("head"), 2)}  # at once, so the end has begun
        if by == "speed":
            monkeypatch.setattr("bodega_api.fastpath.framing.GRACE_SECONDS", 0.1)
        answers |= {name: receive(connection, 2) for name, connection in connections.items()}

    for name, [(status, headers, body)] in answers.items():
        assert (status, headers["content-type"]) == (503, "application/problem+json"), name
        assert json.loads(body)["type"].endswith(":shutting-down"), name
        assert int(headers["retry-after"]) > 0, name
        assert headers["connection"] == "close", name
    assert [each for each in own(caplog) if each.exc_info] == []


def test_a_body_that_arrives_before_the_end_is_answered(store: ModelStore, api: Api) -> None:
    """The rest of a body that comes within the grace makes a whole request, which is answered as ever."""
    enter(store, "penguins", penguins())
    ask(api, {"rows": [GENTOO]}, model="penguins").raise_for_status()
    with connected(api) as connection:
        connection.sendall(POST + BODY[:-5])
        time.sleep(0.2)
        api.server.should_exit = True
        time.sleep(0.5)
        connection.sendall(BODY[-5:])
        [(status, headers, body)] = receive(connection, 2)

    assert (status, headers["connection"]) == (200, "close")
    assert json.loads(body)["predictions"]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_clients_that_leave_leave_no_traceback(gallery: Gallery, caplog: pytest.LogCaptureFixture, reset: bool) -> None:
    """Also with requests in a row that are not answered yet, and in the middle of long answers."""
    lists = b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    file = b"GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = b'{"rows": [' + b"{}," * 500 + b"{}]}"
    head = "POST /predict?model=penguins HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    post = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with caplog.at_level(logging.WARNING):
        for stream in (lists * 20, post * 20, file * 5, lists * 3 + file * 3 + post * 3, post[:-5], lists + post[:-5]):
            for seconds in (0, 0.02, 0.1):
                with connected(gallery.api) as connection:
                    if reset:
                        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    connection.sendall(stream)
                    time.sleep(seconds)
        assert gallery.predict([GENTOO]).status_code == 200
        time.sleep(0.5)

    assert [each.getMessage() for each in own(caplog)] == []


def test_a_full_pool_is_one_line(
    store: ModelStore, start_api: Callable[..., Api], caplog: pytest.LogCaptureFixture
) -> None:
    """Each 503 for want of a connection leaves one line, which does not tell what led there."""
    enter(store, "penguins", penguins())
    api = start_api(pool_size=1)
    engine = api.services.store.catalog._engine
    held = []
    with caplog.at_level(logging.WARNING):
        try:
            held = [engine.connect() for _ in range(engine.pool.size())]
            answers = [api.client.get("/models/penguins") for _ in range(2)]
        finally:
            for connection in held:
                connection.close()

    assert {answer.status_code for answer in answers} == {503}
    lines = [each for each in own(caplog) if "catalog-unavailable" in each.getMessage()]
    assert len(lines) == 2
    assert all(each.exc_info is None and "\n" not in each.getMessage() for each in lines)


def test_a_kind_has_so_many_lines_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Others of its kind are counted, and the next line tells how many; another kind has lines of its own."""
    now = 0.0
    seldom = Seldom(logging.getLogger("bodega_test"), at_most=2, clock=lambda: now)
    for _ in range(5):
        seldom.warn("a", "line a")
    seldom.warn("b", "line b")
    now += PAUSE_SECONDS
    seldom.warn("a", "line a")
    now += PAUSE_SECONDS
    seldom.warn("a", "line a")

    assert [each.getMessage() for each in caplog.records] == [
        "line a",
        "line a",
        "line b",
        "line a (and 3 more like it since the last such line)",
        "line a",
    ]


def test_a_pipeline_is_answered_to_its_end(gallery: Gallery) -> None:
    """Where the client stays, each request of a row has its answer."""
    lists = b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connected(gallery.api) as connection:
        connection.sendall(lists * 30)
        assert {answer[0] for answer in receive(connection, 30)} == {200}
