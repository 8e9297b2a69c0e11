"""What a connection may take before its request is there: bytes, time, and its share of the connections."""

import errno
import json
import logging
import os
import resource
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import psutil
import pytest
from conftest import Api
from gallery import GENTOO, PROBLEM_TYPE, Gallery
from outages import wait_for
from rawhttp import Answer, connected, receive

PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def problem(answer: Answer) -> tuple[int, str]:
    """Return status and slug of a problem that ends its connection."""
    assert answer[1]["connection"] == "close"
    return answer[0], json.loads(answer[2])["type"].removeprefix(PROBLEM_TYPE)


def flood(api: Api, head: bytes, filling: bytes, most: int) -> Answer:
    """Send a head that does not end, until the server has enough of it; return the answer."""
    with connected(api) as connection:
        try:
            connection.sendall(head)
            for _ in range(most // len(filling)):
                connection.sendall(filling)
        except OSError:
            pass
        (answer,) = receive(connection, 1)
    return answer


@pytest.mark.parametrize(
    ("head", "filling", "expected"),
    [
        (b"GET /healthz HTTP/1.1\r\nA: ", b"x" * 65_536, (431, "headers-too-large")),
        (b"GET /healthz HTTP/1.1\r\n", b"A: b\r\n" * 10_000, (431, "headers-too-large")),
        (b"GET /healthz HTTP/1.1\r\n", b"x" * 65_536, (431, "headers-too-large")),
        (b"GET /", b"x" * 65_536, (414, "target-too-long")),
    ],
    ids=["one header", "many headers", "a name", "the target"],
)
def test_a_head_without_end_takes_no_memory(
    gallery: Gallery, head: bytes, filling: bytes, expected: tuple[int, str]
) -> None:
    """It is refused as soon as it is longer than the limit, whatever part of it is long."""
    before = psutil.Process().memory_info().rss

    answer = flood(gallery.api, head, filling, 500 * 1024**2)

    assert problem(answer) == expected
    assert psutil.Process().memory_info().rss - before < 20 * 1024**2


@pytest.mark.parametrize(
    ("begin", "filling"),
    [
        (b"1\r\n{\r\n0\r\nA: ", b"x" * 65_536),
        (b"1\r\n{\r\n0\r\n", b"A: b\r\n" * 10_000),
        (b"1\r\n{\r\n1;", b"x" * 65_536),
        (b"0", b"0" * 65_536),
    ],
    ids=["one trailer", "many trailers", "an extension", "a size"],
)
def test_what_is_around_a_body_takes_no_memory(gallery: Gallery, begin: bytes, filling: bytes) -> None:
    """What comes between and behind the chunks of a body has the limit of a head."""
    before = psutil.Process().memory_info().rss

    answer = flood(gallery.api, POST + b"Transfer-Encoding: chunked\r\n\r\n" + begin, filling, 500 * 1024**2)

    assert problem(answer) == (431, "headers-too-large")
    assert psutil.Process().memory_info().rss - before < 20 * 1024**2


@pytest.mark.parametrize("piece", [1_000_000, 9000])
def test_the_limit_of_a_head_is_exact(start_api: Callable[..., Api], piece: int) -> None:
    """A head as long as the limit is read, one byte more is refused; also behind another request in one segment."""
    api = start_api(max_header_bytes=20_000)
    lines = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: "
    filling = 20_000 - len(b"/healthz") - len(b"hostlocalhostA") - 8

    for more, expected in ((0, [200, 200]), (1, [200, 431])):
        stream = PROBE + lines + b"x" * (filling + more) + b"\r\n\r\n"
        with connected(api) as connection:
            for begin in range(0, len(stream), piece):
                connection.sendall(stream[begin : begin + piece])
            assert [answer[0] for answer in receive(connection, 2)] == expected


def test_half_a_request_is_ended_in_time(start_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch) -> None:
    """A head, or a body that comes too slowly, is answered 408; a connection without any request ends without a word."""
    monkeypatch.setattr("bodega_api.fastpath.framing.GRACE_SECONDS", 1.0)
    api = start_api(header_seconds=1, keep_alive_seconds=2, min_body_bytes_per_second=100)
    sent = {
        b"G": (408, "request-timeout"),
        PROBE[:-2]: (408, "request-timeout"),
        PROBE + PROBE[:-2]: (408, "request-timeout"),
        POST + b"Content-Length: 1000\r\n\r\n{": (408, "request-timeout"),
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n": (408, "request-timeout"),
        b"": None,
        b"\r\n": None,
        PROBE: None,
    }
    with ExitStack() as stack:
        connections = {start: stack.enter_context(connected(api)) for start in sent}
        for start, connection in connections.items():
            connection.sendall(start)
        began = time.monotonic()
        ends = {
            start: receive(connection, 9)[start.count(b"\r\n\r\nGET") :] for start, connection in connections.items()
        }
        seconds = time.monotonic() - began

    assert {start: problem(end[-1]) if sent[start] else None for start, end in ends.items()} == sent
    assert ends[b""] == ends[b"\r\n"] == []
    assert [answer[0] for answer in ends[PROBE]] == [200]
    assert seconds < 15


def test_a_body_that_is_fast_enough_may_take_long(
    start_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its speed is what counts, not its time; and a request that is computed meanwhile is none that comes slowly."""
    monkeypatch.setattr("bodega_api.fastpath.framing.GRACE_SECONDS", 0.5)
    api = start_api(header_seconds=1, keep_alive_seconds=1, min_body_bytes_per_second=100)

    with connected(api) as connection:
        connection.sendall(POST + b"Content-Length: 3000\r\n\r\n")
        for _ in range(10):
            connection.sendall(b" " * 300)
            time.sleep(0.3)
        (answer,) = receive(connection, 1)

    assert answer[0] == 400


def test_connections_beyond_the_limit_end_idle_ones(
    start_api: Callable[..., Api], caplog: pytest.LogCaptureFixture
) -> None:
    """With more connections than there may be, each new one is answered, and those idle for longest are ended."""
    api = start_api(max_connections=20)
    with ExitStack() as stack, caplog.at_level(logging.WARNING):
        many = [stack.enter_context(connected(api)) for _ in range(60)]
        with connected(api) as late:
            late.sendall(PROBE)
            assert receive(late, 1)[0][0] == 200
        assert many[0].recv(1) == b""

    lines = [record.getMessage() for record in caplog.records if record.name == "bodega_api.http.connections"]
    assert lines == ["All 20 connections are taken: idle ones are ended"]


def test_connections_beyond_the_limit_are_answered_503_where_none_is_idle(start_api: Callable[..., Api]) -> None:
    """And told when to come again; as soon as there is room they are served."""
    api = start_api(max_connections=10)
    api.client.close()
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(connected(api)).sendall(PROBE[:-2])
        wait_for(lambda: sum(each.reading for each in api.server.server_state.connections) >= 10)
        with connected(api) as late:
            late.sendall(PROBE)
            (answer,) = receive(late, 2)
        assert problem(answer) == (503, "too-many-connections")
        assert int(answer[1]["retry-after"]) > 0

    def is_served() -> bool:
        with connected(api) as again:
            again.sendall(PROBE)
            return receive(again, 1)[0][0] == 200

    wait_for(is_served)


def ask_without_end(connection: socket.socket) -> None:
    """Send requests, and read no answer."""
    while True:
        connection.sendall(b"GET /docs/static/swagger-ui.css HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        time.sleep(0.01)


def test_a_client_that_reads_no_answers_is_ended(start_api: Callable[..., Api]) -> None:
    """Answers that are not taken for as long as a connection may be idle take no memory any longer."""
    api = start_api(keep_alive_seconds=1)
    with connected(api) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            ask_without_end(connection)
        wait_for(lambda: not any(each.flow.write_paused for each in api.server.server_state.connections))


def test_refusals_leave_a_line_a_minute(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    """A hundred requests that cannot be read do not fill the log."""
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            with connected(gallery.api) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nA : b\r\n\r\n")
                assert receive(connection, 1)[0][0] == 400

    lines = [record for record in caplog.records if record.name.startswith(("bodega", "uvicorn"))]
    assert len(lines) <= 1


def test_connections_that_cannot_be_taken_leave_a_line(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    """Out of descriptors the loop closes new connections without a word; the log says why, and all goes on behind it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert gallery.predict([GENTOO]).status_code == 200
    held: list[int] = []
    with connected(gallery.api) as waiting, caplog.at_level(logging.WARNING):
        waiting.sendall(PROBE)
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200")  # so it was taken
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 10, hard))
        try:
            while True:
                held.append(os.dup(0))
        except OSError as exc:
            assert exc.errno == errno.EMFILE
            wait_for(lambda: [each for each in caplog.records if "No file descriptor of the" in each.getMessage()])
            time.sleep(1.2)
        finally:
            for descriptor in held:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        waiting.sendall(PROBE)
        assert waiting.recv(12) == b"HTTP/1.1 200"

    lines = [each.getMessage() for each in caplog.records if "descriptor" in each.getMessage()]
    assert len(lines) == 1
    assert lines[0].endswith("is left: new connections are closed")
    assert gallery.predict([GENTOO]).status_code == 200
