"""Where a request ends: an offer to upgrade takes no byte from its body, and what has no certain end is refused."""

import json
from typing import Any

import pytest
from gallery import GENTOO, PROBLEM_TYPE, Gallery
from rawhttp import Answer, connected, receive

CONTENT = json.dumps({"rows": [GENTOO]}).encode()
CHUNKED = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (CONTENT[:7], CONTENT[7:])) + b"0\r\n\r\n"
PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HIDDEN = b"GET /models HTTP/1.1\r\nHost: localhost\r\n\r\n"
OFFERS = {
    "curl": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
    "websocket": ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"),
    "capitals": ("CONNECTION: KEEP-ALIVE, UPGRADE", "UPGRADE: H2C"),
    "small letters": ("connection: upgrade", "upgrade: h2c"),
    "twice": ("Connection: Upgrade", "Upgrade: h2c", "Upgrade: websocket, foo/2", "Connection: upgrade"),
    "expect": ("Connection: Upgrade", "Upgrade: h2c", "Expect: 100-continue"),
    "proxy": ("Proxy-Connection: upgrade", "Upgrade: h2c"),
    "TLS": ("Connection: Upgrade", "Upgrade: TLS/1.0"),
}


def post(*more: str, body: bytes = CONTENT, version: str = "1.1", length: bool = True) -> bytes:
    """Return the bytes of a prediction's request."""
    lines = [f"POST /predict?model=penguins HTTP/{version}", "Host: localhost", "Content-Type: application/json", *more]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def asked(gallery: Gallery, *segments: bytes, count: int = 1) -> list[Answer]:
    """Return the answers to what is sent on a connection of its own."""
    with connected(gallery.api) as connection:
        for segment in segments:
            connection.sendall(segment)
        return receive(connection, count)


def shown(answer: Answer) -> tuple[int, Any]:
    """Return the status of an answer, and the predictions or the health that it tells."""
    document = json.loads(answer[2])
    return answer[0], document.get("predictions", document.get("status"))


@pytest.fixture
def right(gallery: Gallery) -> tuple[int, Any]:
    """What the request is answered that offers nothing."""
    return shown(asked(gallery, post())[0])


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_to_upgrade_is_ignored(
    gallery: Gallery, right: tuple[int, Any], offer: tuple[str, ...], chunked: bool
) -> None:
    """The body is read, and the next request of the connection after it, alone, in pieces, and in one segment."""
    coding = ("Transfer-Encoding: chunked",) if chunked else ()
    request = post(*offer, *coding, body=CHUNKED if chunked else CONTENT, length=not chunked)
    whole = PROBE + request + PROBE + request + request
    expected = [(200, "alive"), right, (200, "alive"), right, right]
    head = len(PROBE) + request.index(b"\r\n\r\n") + 4
    cuts = [*range(len(PROBE) + 1, len(whole), 97), head - 3, head - 2, head - 1, head, head + 1]

    for segments in [[whole], *([whole[:cut], whole[cut:]] for cut in cuts)]:
        assert [shown(answer) for answer in asked(gallery, *segments, count=5)] == expected


def test_a_request_in_a_body_stays_one(gallery: Gallery) -> None:
    """What looks like the next request in the body of one that offers an upgrade is answered nothing."""
    for offer in OFFERS.values():
        with connected(gallery.api) as connection:
            connection.sendall(post(*offer, body=HIDDEN * 3) + PROBE)
            first, second = receive(connection, 2)

        assert (first[0], json.loads(first[2])["type"]) == (400, f"{PROBLEM_TYPE}body")
        assert shown(second) == (200, "alive")


@pytest.mark.parametrize("length", ["", "Content-Length: 0\r\n"])
def test_an_offer_without_a_body_is_ignored_too(gallery: Gallery, length: str) -> None:
    """A GET that offers an upgrade is answered, and so is what follows in the same segment, thousands of times."""
    offer = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: upgrade\r\n{length}\r\n".encode()

    answers = asked(gallery, offer * 300 + PROBE, count=301)

    assert [shown(answer) for answer in answers] == [(200, "alive")] * 301


def test_the_last_request_of_a_connection_may_offer_too(gallery: Gallery, right: tuple[int, Any]) -> None:
    """`close` beside the offer holds, and HTTP/1.0 has no second request."""
    for request in (post("Connection: close, Upgrade", "Upgrade: h2c"), post(*OFFERS["curl"], version="1.0")):
        with connected(gallery.api) as connection:
            connection.sendall(request + PROBE)
            (answer,) = receive(connection, 2)

        assert (shown(answer), answer[1]["connection"]) == (right, "close")


HEAD = b"POST /predict?model=penguins HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNCERTAIN = {
    "length and coding": (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "coding and length": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
    "one length twice": (HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    "a list of lengths": (HEAD + b"Content-Length: 1, 1\r\n\r\nx", 400),
    "a length with a sign": (HEAD + b"Content-Length: +1\r\n\r\nx", 400),
    "a negative length": (HEAD + b"Content-Length: -1\r\n\r\nx", 400),
    "a hexadecimal length": (HEAD + b"Content-Length: 0x1\r\n\r\nx", 400),
    "a length beyond 64 bits": (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nx", 400),
    "no length": (HEAD + b"Content-Length: \r\n\r\nx", 400),
    "line feeds alone": (HEAD.replace(b"\r", b"") + b"Content-Length: 1\n\nx", 400),
    "a line feed in a header": (HEAD + b"A: b\nContent-Length: 1\r\n\r\nx", 400),
    "a carriage return in a header": (HEAD + b"A: b\rContent-Length: 1\r\n\r\nx", 400),
    "a folded header": (HEAD + b"A: b\r\n c\r\n\r\n", 400),
    "a folded coding": (HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "a space before a colon": (HEAD + b"Content-Length : 1\r\n\r\nx", 400),
    "a space before a name": (HEAD + b" Content-Length: 1\r\n\r\nx", 400),
    "NUL in a value": (HEAD + b"A: b\x00c\r\n\r\n", 400),
    "NUL in a name": (HEAD + b"A\x00: b\r\n\r\n", 400),
    "chunked, identity": (HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    "identity": (HEAD + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501),
    "gzip, chunked": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "xchunked": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "two codings": (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    "a coding behind a control": (HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (CHUNKS.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", 400),
    "a chunk that ends with a line feed": (CHUNKS + b"1\nx\n0\n\n", 400),
    "an extension that ends with a line feed": (CHUNKS + b"1;a\nx\r\n0\r\n\r\n", 400),
    "a chunk longer than it says": (CHUNKS + b"1\r\nxyz\r\n0\r\n\r\n", 400),
    "a chunk of no number": (CHUNKS + b"0x1\r\nx\r\n0\r\n\r\n", 400),
    "a chunk with a space": (CHUNKS + b"1 \r\nx\r\n0\r\n\r\n", 400),
    "a chunk beyond 64 bits": (CHUNKS + b"fffffffffffffffff\r\nxyz\r\n0\r\n\r\n", 400),
    "no method": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "an unknown method": (b"FOO / HTTP/1.1\r\n\r\n", 400),
    "a method in small letters": (b"get /healthz HTTP/1.1\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "NUL in the target": (b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "no path": (b"GET nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "HTTP/1.2": (b"GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n", 505),
    "HTTP/2": (b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
    "HTTP/2 without asking": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "CONNECT": (b"CONNECT here:80 HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 3\r\n\r\nabc", 405),
    "CONNECT, upgraded": (
        b"CONNECT h:1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        405,
    ),
}
SLUGS = {400: "malformed-request", 405: "method-not-allowed", 501: "transfer-coding", 505: "http-version"}


def refused(answer: Answer, status: int, slug: str) -> bool:
    """Tell whether an answer is this problem, and the last one of its connection."""
    headers, problem = answer[1], json.loads(answer[2])
    assert (headers["content-type"], headers["connection"]) == ("application/problem+json", "close")
    assert problem["detail"]
    assert problem["hint"]
    return (answer[0], problem["status"], problem["type"]) == (status, status, PROBLEM_TYPE + slug)


@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("request_", "status"), UNCERTAIN.values(), ids=UNCERTAIN)
def test_what_has_no_certain_end_is_refused(gallery: Gallery, request_: bytes, status: int, pieces: bool) -> None:
    """It gets a problem, and nothing behind it is read as a request."""
    stream = request_ + HIDDEN
    segments = [stream[place : place + 1] for place in range(len(stream))] if pieces else [stream]
    with connected(gallery.api) as connection:
        try:
            for segment in segments:
                connection.sendall(segment)
        except OSError:  # it is ended already
            assert pieces
        answers = receive(connection, 3)

    assert len(answers) == 1
    assert refused(answers[0], status, SLUGS[status])


def test_a_refusal_waits_for_the_answers_before_it(gallery: Gallery, right: tuple[int, Any]) -> None:
    """Requests in front of one that cannot be read get their own answers, and it gets the last one."""
    for bad in (b"GET /healthz HTTP/1.1\r\nA : b\r\n\r\n", CHUNKS + b"5\r\nhello\r\nxyz\r\n"):
        for before in ([PROBE], [PROBE, post(), PROBE], [post(), post()], [post(*OFFERS["curl"]), PROBE]):
            *answers, last = asked(gallery, b"".join(before) + bad + PROBE, count=9)

            expected = [(200, "alive") if each == PROBE else right for each in before]
            assert [shown(answer) for answer in answers] == expected
            assert refused(last, 400, "malformed-request")


def test_chunks_may_have_extensions_and_trailers(gallery: Gallery, right: tuple[int, Any]) -> None:
    """What RFC 9112 allows around chunks is read over, and the next request begins where it ends."""
    body = b"%x;a=b\r\n%b\r\n0;c\r\nTrailer: v\r\n\r\n" % (len(CONTENT), CONTENT)

    answers = asked(gallery, post("Transfer-Encoding: Chunked", body=body, length=False) + PROBE, count=2)

    assert [shown(answer) for answer in answers] == [right, (200, "alive")]


@pytest.mark.parametrize(
    "field", ["Host: evil.example", "Content-Encoding: gzip", "Content-Type: text/csv", "Accept: text/csv"]
)
def test_a_field_behind_a_body_is_no_header(gallery: Gallery, right: tuple[int, Any], field: str) -> None:
    """A trailer changes nothing in how its request is read, in the same segment and in a later one."""
    body = CHUNKED[:-2] + field.encode() + b"\r\n\r\n"
    request = post("Transfer-Encoding: chunked", body=body, length=False)

    for segments in ([request + PROBE], [request[:-40], request[-40:] + PROBE]):
        assert [shown(answer) for answer in asked(gallery, *segments, count=2)] == [right, (200, "alive")]


def test_a_name_with_an_underscore_is_another_name(gallery: Gallery) -> None:
    """`Content_Length` is no length: the request has no body, and what follows is the next one."""
    answers = asked(gallery, post("Content_Length: 30", body=b"", length=True) + PROBE, count=2)

    assert [answer[0] for answer in answers] == [400, 200]
