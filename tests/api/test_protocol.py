"""Plain predictions are answered where their bytes arrive: whatever a connection does, the answers are uvicorn's own."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from bodega_db.store import ModelStore
from conftest import Api
from fitting import fit_tree
from gallery import GENTOO, ask, enter, penguins
from outages import wait_for
from rawhttp import Answer, connected, receive

ROW = {"bill_length_mm": 40.0, "bill_depth_mm": 18.0, "flipper_length_mm": 190.0, "body_mass_g": 3700.0}
LONG = "application/json; charset=utf-8"  # a media type that only the long way reads
GONE = {"bodega-snapshot-age", "date"}  # from what is compared


@pytest.fixture
def warm(store: ModelStore, api: Api) -> Api:
    """The API with two versions in memory that have a plan, and whose choices are known."""
    return warmed(store, api)


def warmed(store: ModelStore, api: Api) -> Api:
    """Register the two versions, and ask until they are answered from memory."""
    enter(store, "penguins", penguins())
    fitted = fit_tree()
    store.register(fitted.model, "tree", example=fitted.X)
    for _ in range(2):
        ask(api, {"rows": [GENTOO]}, model="penguins").raise_for_status()
        ask(api, {"rows": [ROW]}, model="tree").raise_for_status()
    wait_for(lambda: api.services.routes.age_seconds is not None)
    ask(api, {"rows": [GENTOO]}, model="penguins").raise_for_status()
    ask(api, {"rows": [ROW]}, model="tree").raise_for_status()
    return api


@pytest.fixture
def seen_by_uvicorn(warm: Api, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that reach the application."""
    paths: list[str] = []
    call = type(warm.app).__call__

    async def noting(app: Any, scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        await call(app, scope, receive, send)

    monkeypatch.setattr(type(warm.app), "__call__", noting)
    return paths


def request(body: Any, model: str = "penguins", *more: str, version: str = "1.1") -> bytes:
    """Return the bytes of a prediction's request."""
    content = json.dumps(body).encode()
    lines = [f"POST /predict?model={model} HTTP/{version}", "Host: localhost", f"Content-Length: {len(content)}", *more]
    if not any(line.startswith("Content-Type") for line in more):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + content


PLAIN = request({"rows": [GENTOO]})
TREE = request({"rows": [ROW]}, "tree")
ASIDE = request({"rows": [ROW | {"body_mass_g": 1e300}]}, "tree")  # its plan finds that only when it computes
WRONG = request({"rows": [GENTOO | {"year": "none"}]})
PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def shown(answer: Answer) -> Answer:
    """Return what of an answer must be the same, however it was found."""
    status, headers, body = answer
    return status, {name: value for name, value in headers.items() if name not in GONE}, body


def alone(api: Api, content: bytes) -> Answer:
    """Return the answer to a request on a connection of its own."""
    with connected(api) as connection:
        connection.sendall(content)
        (answer,) = receive(connection, 1)
    return shown(answer)


def test_a_plain_request_never_becomes_one_of_the_application(warm: Api, seen_by_uvicorn: list[str]) -> None:
    """And its answer is the application's own, to the byte, and header for header."""
    plain = alone(warm, PLAIN)
    assert seen_by_uvicorn == []

    assert alone(warm, request({"rows": [GENTOO]}, "penguins", f"Content-Type: {LONG}")) == plain
    assert seen_by_uvicorn == ["/predict"]


@pytest.mark.parametrize(
    "requests",
    [
        [PLAIN, PLAIN],
        [PLAIN, TREE, PLAIN, TREE],
        [ASIDE, PLAIN],
        [PLAIN, ASIDE, ASIDE, PLAIN],
        [WRONG, PLAIN, PROBE, PLAIN, WRONG],
        [PROBE, PLAIN],
        [PLAIN] * 50,
    ],
    ids=lambda requests: f"{len(requests)}",
)
@pytest.mark.parametrize("piece", [100_000, 700, 33])
def test_answers_keep_the_order_of_their_requests(warm: Api, requests: list[bytes], piece: int) -> None:
    """Sent one behind the other without waiting, in pieces of any size, each gets what it gets alone."""
    expected = [alone(warm, each) for each in requests]
    stream = b"".join(requests)

    with connected(warm) as connection:
        for begin in range(0, len(stream), piece):
            connection.sendall(stream[begin : begin + piece])
        answers = receive(connection, len(requests))

    assert [shown(answer) for answer in answers] == expected


@pytest.mark.parametrize(
    ("content", "ends"),
    [
        (request({"rows": [GENTOO]}, "penguins", "Connection: close"), True),
        (request({"rows": [GENTOO]}, version="1.0"), True),
        (request({"rows": [GENTOO]}, "penguins", "Expect: 100-continue"), False),
        (request({"rows": [GENTOO]}, "penguins", "Accept: application/json"), False),
    ],
    ids=["close", "1.0", "expect", "accept"],
)
def test_what_a_request_says_of_its_connection_holds(warm: Api, content: bytes, ends: bool) -> None:
    """The same answer, and then the end or the next request."""
    status, _, body = alone(warm, PLAIN)

    with connected(warm) as connection:
        connection.sendall(content)
        (first,) = receive(connection, 1)
        if ends:
            assert connection.recv(1) == b""
        else:
            connection.sendall(PLAIN)
            assert receive(connection, 1)[0][0] == 200

    assert (first[0], first[2]) == (status, body)


def test_a_body_may_be_in_pieces(warm: Api, seen_by_uvicorn: list[str]) -> None:
    """Byte by byte, and headers before it."""
    expected = alone(warm, PLAIN)

    with connected(warm) as connection:
        for place in range(len(PLAIN)):
            connection.sendall(PLAIN[place : place + 1])
        (answer,) = receive(connection, 1)

    assert shown(answer) == expected
    assert seen_by_uvicorn == []


def test_who_goes_takes_nothing_from_the_others(warm: Api) -> None:
    """Connections that end in the middle of a request, or before its answer, beside one that waits for its own."""
    expected = alone(warm, PLAIN)

    for cut in (len(PLAIN), len(PLAIN) - 1, len(PLAIN) // 2, 3):
        with connected(warm) as stays:
            for _ in range(10):
                with connected(warm) as goes:
                    goes.sendall(PLAIN[:cut])
            stays.sendall(PLAIN)
            assert shown(receive(stays, 1)[0]) == expected


@pytest.mark.parametrize("cut", [len(PLAIN) - 1, PLAIN.index(b"\r\n\r\n") + 4])
def test_the_server_ends_after_the_request_that_has_begun(warm: Api, cut: int) -> None:
    """A body that is still on its way is waited for, and answered; idle connections end at once."""
    with connected(warm) as idle, connected(warm) as connection:
        connection.sendall(PLAIN[:cut])
        wait_for(lambda: any(each._question for each in warm.server.server_state.connections))
        warm.server.should_exit = True
        assert idle.recv(1) == b""
        connection.sendall(PLAIN[cut:])
        (answer,) = receive(connection, 1)
        assert connection.recv(1) == b""

    assert (answer[0], answer[1]["connection"]) == (200, "close")
    wait_for(lambda: not warm.server.server_state.connections)


def test_only_an_idle_connection_is_ended(store: ModelStore, start_api: Callable[..., Api]) -> None:
    """The time that ends one without requests does not run while a body comes slowly behind an answer."""
    warm = warmed(store, start_api(keep_alive_seconds=1))
    with connected(warm) as connection:
        connection.sendall(PLAIN + PLAIN[:-1])
        assert receive(connection, 1)[0][0] == 200
        threading.Event().wait(1.5)
        connection.sendall(PLAIN[-1:])
        assert receive(connection, 1)[0][0] == 200
        assert connection.recv(1) == b""


def test_whoever_reads_no_answers_is_not_answered_without_end(warm: Api) -> None:
    """Requests are left in the network once the answers fill it, and all are answered as soon as they are read."""
    count = 40_000
    with connected(warm) as connection:
        writer = threading.Thread(target=connection.sendall, args=(PLAIN * count,))
        writer.start()
        writer.join(timeout=5)
        assert writer.is_alive()
        there = max(warm.server.server_state.connections, key=lambda each: each.transport.get_write_buffer_size())
        assert there.transport.get_write_buffer_size() < 1024**2
        answers = receive(connection, count)
        writer.join()

    assert {answer[0] for answer in answers} == {200}
    assert len(answers) == count
