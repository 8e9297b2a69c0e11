"""The end of a process, of a client, and of a full pool: a problem for who waits, and a line in the log."""

import logging
import socket
import threading
import time
from collections.abc import Callable
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
    engine = api.app.state.store._engine
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
