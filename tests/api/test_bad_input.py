"""Bad requests: each is refused with the right problem, in a short answer that does not repeat what was sent."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from gallery import GENTOO, KINDS, MARKER, MAX_BODY_BYTES, MAX_ROWS, Gallery, ask, problem_of, send

JSON = "application/json"
MARKED = GENTOO | {"island": MARKER}
GOOD = json.dumps({"rows": [GENTOO]}).encode()


@dataclass(frozen=True)
class Bad:
    """A request to /predict, and the problem that it must get."""

    name: str
    body: Any
    status: int = 422
    slug: str = "input"
    content_type: str = JSON
    parameters: dict[str, Any] = field(default_factory=lambda: {"model": "penguins"})


def row(**changes: Any) -> bytes:
    """Write a request of one row that differs in some values."""
    return json.dumps({"rows": [GENTOO | changes]}).encode()


def without(name: str) -> dict[str, Any]:
    """Return the row without a column."""
    return {key: value for key, value in GENTOO.items() if key != name}


def columns(**changes: Any) -> bytes:
    """Write a request of columns with one row, that differs in some columns."""
    return json.dumps({"columns": {name: [value] for name, value in GENTOO.items()} | changes}).encode()


def literal(text: str, name: str = "body_mass_g") -> bytes:
    """Write a request with a value as bare text, for what json.dumps does not write."""
    return row(**{name: "@"}).replace(b'"@"', text.encode())


def choice(name: str, version: Any, status: int = 422, slug: str = "version-reference") -> Bad:
    """Ask a good row of a version that cannot be had."""
    return Bad(name, GOOD, status, slug, parameters={"model": "penguins", "version": version})


NOT_JSON = [
    Bad("empty", b"", 400, "body"),
    Bad("only spaces", b"   ", 400, "body"),
    Bad("text", MARKER.encode(), 400, "body"),
    Bad("truncated", GOOD[:-3], 400, "body"),
    Bad("two documents", GOOD + GOOD, 400, "body"),
    Bad("trailing comma", GOOD[:-2] + b",]}", 400, "body"),
    Bad("single quotes", GOOD.replace(b'"', b"'"), 400, "body"),
    Bad("comment", b"// " + MARKER.encode() + b"\n" + GOOD, 400, "body"),
    Bad("NaN", literal("NaN"), 400, "body"),
    Bad("Infinity", literal("Infinity"), 400, "body"),
    Bad("-Infinity", literal("-Infinity"), 400, "body"),
    Bad("a number of 5000 digits", literal("1" + "0" * 5000), 400, "body"),
    Bad("100000 lists", b"[" * 100_000, 400, "body"),
    Bad("100000 closed lists", b"[" * 100_000 + b"]" * 100_000, 400, "body"),
    Bad("100000 objects", b'{"rows":' * 100_000, 400, "body"),
    Bad("deep nesting in a value", literal("[" * 100_000 + "]" * 100_000), 400, "body"),
    Bad("UTF-16", GOOD.decode().encode("utf-16"), 400, "body"),
    Bad("UTF-16 without a BOM", GOOD.decode().encode("utf-16-le"), 400, "body"),
    Bad("UTF-32", GOOD.decode().encode("utf-32"), 400, "body"),
    Bad("Latin-1", row(island="@").replace(b"@", "Größe".encode("latin-1")), 400, "body"),
    Bad("half a UTF-8 character", row(island="@").replace(b"@", b"\xf0\x9f"), 400, "body"),
    Bad("a surrogate in UTF-8", row(island="@").replace(b"@", b"\xed\xa0\x80"), 400, "body"),
    Bad("a control character in text", row(island="@").replace(b"@", b"\x01"), 400, "body"),
    Bad("a wrong escape", row(island="@").replace(b"@", b"\\x41"), 400, "body"),
    Bad("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", 400, "body"),
    Bad("two BOMs", b"\xef\xbb\xbf" * 2 + GOOD, 400, "body"),
]
NOT_SHAPED = [
    Bad("null", b"null", 400, "body"),
    Bad("a list", b'["' + MARKER.encode() + b'"]', 400, "body"),
    Bad("a string", json.dumps(MARKER).encode(), 400, "body"),
    Bad("a number", b"1", 400, "body"),
    Bad("an empty object", b"{}", 400, "body"),
    Bad("another key", b'{"data": []}', 400, "body"),
    Bad("a key too many", GOOD[:-1] + b', "note": "' + MARKER.encode() + b'"}', 400, "body"),
    Bad("rows and columns", GOOD[:-1] + b', "columns": {}}', 400, "body"),
    Bad("rows twice", GOOD[:-1] + b', "rows": []}', 400, "body"),
    Bad("rows is an object", b'{"rows": {}}', 400, "body"),
    Bad("rows is null", b'{"rows": null}', 400, "body"),
    Bad("rows is text", json.dumps({"rows": MARKER}).encode(), 400, "body"),
    Bad("columns is a list", b'{"columns": []}', 400, "body"),
    Bad("columns is a number", b'{"columns": 7}', 400, "body"),
]
NOT_FITTING = [
    Bad("no rows", b'{"rows": []}'),
    Bad("columns without rows", json.dumps({"columns": {name: [] for name in GENTOO}}).encode()),
    Bad("too many rows", json.dumps({"rows": [GENTOO] * (MAX_ROWS + 1)}).encode(), 413, "too-many-rows"),
    Bad("too many empty rows", json.dumps({"rows": [{}] * (MAX_ROWS + 1)}).encode(), 413, "too-many-rows"),
    Bad("a row is a list", json.dumps({"rows": [GENTOO, [MARKER]]}).encode()),
    Bad("a row is null", b'{"rows": [null]}'),
    Bad("a row is text", json.dumps({"rows": [MARKER]}).encode()),
    Bad("an empty row", b'{"rows": [{}]}'),
    Bad("a missing column", json.dumps({"rows": [without("sex")]}).encode()),
    Bad("an unknown column", row(bill_lenght_mm=MARKER)),
    Bad("a column of another case", json.dumps({"rows": [without("sex") | {"Sex": "male"}]}).encode()),
    Bad("a column twice", GOOD[:-3] + b', "year": 2008}]}'),
    Bad("a column twice, with one value", GOOD[:-3] + b', "year": 2007}]}'),
    Bad("columns: one missing", json.dumps({"columns": {n: [v] for n, v in without("sex").items()}}).encode()),
    Bad("columns: one unknown", columns(extra=[MARKER])),
    Bad("columns: one twice", columns()[:-2] + b', "year": [2008]}}'),
    Bad("columns: none", b'{"columns": {}}'),
    Bad("columns: unequal lengths", columns(island=["Biscoe", MARKER])),
    Bad("columns: one empty", columns(island=[])),
    Bad("columns: one is no list", columns(island=MARKER)),
    Bad("columns: one is an object", columns(island={"0": MARKER})),
    Bad("columns: one is null", columns(island=None)),
    Bad("text for a number", row(body_mass_g=MARKER)),
    Bad("a number in quotes", row(body_mass_g="5700")),
    Bad("true for a number", row(body_mass_g=True)),
    Bad("a list for a number", row(body_mass_g=[MARKER])),
    Bad("an object for a number", row(body_mass_g={"value": MARKER})),
    Bad("1e999", literal("1e999")),
    Bad("-1e999", literal("-1e999")),
    Bad("1e999 for an integer", literal("1e999", "year")),
    Bad("an integer that no float holds", literal("9007199254740993")),
    Bad("an integer of 4000 digits", literal("9" * 4000)),
    Bad("an integer of 4000 digits for an integer", literal("9" * 4000, "year")),
    Bad("a fraction for an integer", row(year=2007.5)),
    Bad("text for an integer", row(year=MARKER)),
    Bad("true for an integer", row(year=True)),
    Bad("an integer too large", row(year=2**63)),
    Bad("an integer too small", row(year=-(2**63) - 1)),
    Bad("a number for text", row(island=4711)),
    Bad("a boolean for text", row(island=False)),
    Bad("a list for text", row(island=[MARKER])),
    Bad("half of a surrogate pair", row(island="\ud800")),
    Bad("the other half", row(island=MARKER + "\udc00")),
    Bad("a lone surrogate as a column", row(**{"\ud800": 1})),
    Bad("a column of control characters", row(**{"\x00\x1b[31m\u202e": MARKER})),
    Bad("a column with a long name", row(**{"x" * 100_000: MARKER})),
    Bad("1000 unknown columns", row(**{f"{'x' * 500}{place}": MARKER for place in range(1000)})),
    Bad("every value wrong", json.dumps({"rows": [{name: [MARKER] for name in GENTOO}] * MAX_ROWS}).encode()),
    Bad("text for a text model", b'{"rows": ["' + MARKER.encode() + b'"]}', parameters={"model": "texts"}),
    Bad("null for a text model", b'{"rows": [{"text": null}]}', parameters={"model": "texts"}),
    Bad(
        "an unknown category where none is taken",
        json.dumps({"rows": [KINDS | {"island": MARKER}]}).encode(),
        parameters={"model": "kinds"},
    ),
    Bad(
        "null where none is taken",
        json.dumps({"rows": [KINDS | {"year": None}]}).encode(),
        parameters={"model": "kinds"},
    ),
    Bad("no moment", json.dumps({"rows": [KINDS | {"seen": MARKER}]}).encode(), parameters={"model": "kinds"}),
]
NOT_MEANT = [
    choice("version 0", "0"),
    choice("version -1", "-1"),
    choice("version +1", "+1"),
    choice("version 1.0", "1.0", 404, "version-not-found"),  # could be the name of an alias
    choice("version of 11 digits", "99999999999"),
    choice("version of 31 bits and one", str(2**31)),
    choice("version of 5000 digits", "9" * 5000),
    choice("version in Arabic digits", "٣"),
    choice("version empty", ""),
    choice("version with a space", " 1"),
    choice("best of nothing", "best:"),
    choice("best alone", "best"),
    choice("best in no order", "best:accuracy:up"),
    choice("best of a path", "best:../../etc"),
    choice("best of an injection", "best:accuracy' OR 1=1 --"),
    choice("path", "../.."),
    choice("NUL", "\x00"),
    choice("NUL behind a number", "1\x00"),
    choice("capitals", "Latest"),
    choice("very long", "v" * 10_000),
    choice("injection", "1; DROP TABLE version"),
    choice("a number that there is not", "17", 404, "version-not-found"),
    choice("the largest number", str(2**31 - 1), 404, "version-not-found"),
    choice("an unknown alias", "nobody", 404, "version-not-found"),
    choice("production without one", "production", 404, "version-not-found"),
    choice("best of an unknown metric", "best:beauty", 404, "version-not-found"),
    choice("a quarantined version", "3", 409, "version-quarantined"),
    choice("an alias of a quarantined version", "cursed", 409, "version-quarantined"),
    Bad("an unknown model", GOOD, 404, "model-not-found", parameters={"model": "dodos"}),
    Bad("an empty model", GOOD, 404, "model-not-found", parameters={"model": ""}),
    Bad("a model in capitals", GOOD, 404, "model-not-found", parameters={"model": "Penguins"}),
    Bad("a model of a path", GOOD, 404, "model-not-found", parameters={"model": "../../etc/passwd"}),
    Bad("a model with NUL", GOOD, 404, "model-not-found", parameters={"model": "penguins\x00"}),
    Bad("a model with a newline", GOOD, 404, "model-not-found", parameters={"model": "penguins\n"}),
    Bad("a model of an injection", GOOD, 404, "model-not-found", parameters={"model": "' OR ''='"}),
    Bad("a very long model", GOOD, 404, "model-not-found", parameters={"model": "m" * 10_000}),
    Bad("a reference for a model", GOOD, 404, "model-not-found", parameters={"model": "penguins@1"}),
    Bad("no model where there are several", GOOD, 422, "model-ambiguous", parameters={}),
    Bad("a misspelt parameter", GOOD, 422, "parameter", parameters={"model": "penguins", "verison": "3"}),
    Bad("a parameter in capitals", GOOD, 422, "parameter", parameters={"model": "penguins", "Version": "3"}),
    Bad("a parameter that is marked up", GOOD, 422, "parameter", parameters={"<script>" * 50: "1"}),
    Bad("a parameter twice", GOOD, 422, "parameter", parameters={"model": ["penguins", "wine"]}),
    Bad("a version twice", GOOD, 422, "parameter", parameters={"model": "penguins", "version": ["1", "1"]}),
    Bad("an unknown output", GOOD, 422, "output", parameters={"model": "penguins", "output": "fit"}),
    Bad("a private output", GOOD, 422, "output", parameters={"model": "penguins", "output": "__class__"}),
    Bad("an empty output", GOOD, 422, "output", parameters={"model": "penguins", "output": ""}),
    Bad("an output it does not have", GOOD, 422, "output", parameters={"model": "kinds", "output": "predict_proba"}),
]
NOT_SAID_TO_BE_JSON = [
    Bad("a form", b"rows=" + MARKER.encode(), 415, "media-type", "application/x-www-form-urlencoded"),
    Bad("plain text", GOOD, 415, "media-type", "text/plain"),
    Bad("CSV", MARKER.encode(), 400, "body", "text/csv"),
    Bad("octets", GOOD, 415, "media-type", "application/octet-stream"),
    Bad("a wrong media type", GOOD, 415, "media-type", "json"),
    Bad("a pickle", b"\x80\x04\x95", 415, "media-type", "application/x-pickle"),
]
BAD = [*NOT_JSON, *NOT_SHAPED, *NOT_FITTING, *NOT_MEANT, *NOT_SAID_TO_BE_JSON]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bad_request_gets_its_problem(gallery: Gallery, bad: Bad) -> None:
    """A bad request is refused with its own problem, short, with a hint, and without the values it held."""
    response = gallery.api.client.post(
        "/predict", params=bad.parameters, content=bad.body, headers={"Content-Type": bad.content_type}
    )

    problem = problem_of(response, bad.status, bad.slug)
    assert problem["hint"]
    assert len(problem.get("errors", [])) <= 20


def test_400_kb_of_bad_rows_get_a_short_answer(gallery: Gallery) -> None:
    """Twenty faults are named and all are counted, however many there are."""
    bad = GENTOO | {"bill_length_mm": MARKER, "year": MARKER * 5}
    rows = [bad] * 1600

    response = ask(gallery.api, {"rows": rows}, model="penguins")

    assert len(json.dumps(rows)) > 400_000
    problem = problem_of(response, 422, "input")
    assert len(problem["errors"]) == 20
    assert problem["detail"] == "row 0, column bill_length_mm: is text, not a number (and 3199 more)"


# --- bodies that are too large -----------------------------------------------------------------------------


def too_large() -> bytes:
    """Make a body one byte longer than the API reads."""
    start = b'{"rows": ["' + MARKER.encode()
    return start + b"x" * (MAX_BODY_BYTES - len(start) + 1)


def test_a_body_that_is_too_large_is_refused(gallery: Gallery) -> None:
    """One byte too many is refused as a problem; as many as are allowed are read."""
    refused = send(gallery.api, too_large(), model="penguins")
    read = send(gallery.api, too_large()[:-1], model="penguins")

    assert problem_of(refused, 413, "body-too-large")["hint"] == "Send fewer rows at a time."
    problem_of(read, 400, "body")


def test_a_chunked_body_that_is_too_large_is_refused(gallery: Gallery) -> None:
    """A body that does not say its length beforehand is refused as soon as it is too long."""

    def chunks() -> Iterator[bytes]:
        whole = too_large()
        for start in range(0, len(whole), 65536):
            yield whole[start : start + 65536]

    response = gallery.api.client.post(
        "/predict", params={"model": "penguins"}, content=chunks(), headers={"Content-Type": JSON}
    )

    problem_of(response, 413, "body-too-large")


@pytest.mark.parametrize(
    ("path", "content_type", "status", "slug"),
    [
        ("/predict?verison=3", JSON, 422, "parameter"),
        ("/predict?model=penguins", "text/plain", 415, "media-type"),
        ("/nowhere", JSON, 404, "not-found"),
        ("/models", JSON, 405, "method-not-allowed"),
    ],
)
def test_a_large_body_does_not_hide_another_problem(
    gallery: Gallery, path: str, content_type: str, status: int, slug: str
) -> None:
    """A request that is refused before its body is read gets that problem, however large the body is."""
    response = gallery.api.client.post(path, content=too_large(), headers={"Content-Type": content_type})

    problem_of(response, status, slug)


def test_a_client_that_hangs_up_leaves_the_api_well(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    """A body that ends before its announced length is nobody's crash: nothing is logged, and the API answers."""
    address = urlsplit(gallery.api.url)
    head = b"POST /predict?model=penguins HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    for _ in range(5):
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(head + b'{"rows"')

    assert gallery.predict([GENTOO]).status_code == 200
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


# --- other routes and methods ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/predict", 405, "method-not-allowed"),
        ("PUT", "/predict", 405, "method-not-allowed"),
        ("DELETE", "/models/penguins", 405, "method-not-allowed"),
        ("POST", "/models", 405, "method-not-allowed"),
        ("PATCH", "/models/penguins/versions/1", 405, "method-not-allowed"),
        ("GET", "/", 404, "not-found"),
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/models/penguins/versions", 404, "not-found"),
        ("GET", "/models/penguins/versions/1/bytes", 404, "not-found"),
        ("GET", "/models/../../etc/passwd", 404, "not-found"),
        ("GET", "/models/..%2f..%2fetc%2fpasswd", 404, "not-found"),
        ("GET", "/models/%2e%2e", 404, "model-not-found"),
        ("GET", "/models/..%5c..%5cetc", 404, "model-not-found"),
        ("GET", "/models/penguins%00", 404, "model-not-found"),
        ("GET", "/models/penguins%0a", 404, "model-not-found"),
        ("GET", "/models/%ff%fe", 404, "model-not-found"),
        ("GET", f"/models/{'m' * 5000}", 404, "model-not-found"),
        ("GET", "/models/dodos", 404, "model-not-found"),
        ("GET", "/models/dodos/versions/1", 404, "model-not-found"),
        ("GET", "/models/penguins/versions/17", 404, "version-not-found"),
        ("GET", "/models/penguins/versions/0", 422, "parameter"),
        ("GET", "/models/penguins/versions/-1", 422, "parameter"),
        ("GET", "/models/penguins/versions/2147483648", 422, "parameter"),
        ("GET", f"/models/penguins/versions/{'9' * 5000}", 422, "parameter"),
        ("GET", f"/models/penguins/versions/{MARKER}", 422, "parameter"),
        ("GET", "/models/penguins/versions/1.5", 422, "parameter"),
        ("GET", "/models?limit=0", 422, "parameter"),
        ("GET", "/models?limit=501", 422, "parameter"),
        ("GET", f"/models?limit={MARKER}", 422, "parameter"),
        ("GET", "/models?limit=1&limit=2", 422, "parameter"),
        ("GET", "/models?mdoel=penguins", 422, "parameter"),
        ("GET", "/models?after=", 422, "parameter"),
        ("GET", "/models?after=penguins@1", 422, "search"),
        ("GET", "/models?after=..%2F", 422, "search"),
        ("GET", "/models?order=size", 422, "search"),
        ("GET", "/models?order=version", 422, "search"),
        ("GET", "/models?fields=model,golden", 422, "search"),
        ("GET", "/models?text=%00", 422, "search"),
        ("GET", "/models?filter=status", 422, "filter"),
        ("GET", "/models?filter=", 422, "filter"),
        ("GET", "/models?model=dodos&filter=status=production", 404, "model-not-found"),
        ("GET", "/models?model=dodos", 404, "model-not-found"),
        ("GET", "/models?model=", 404, "model-not-found"),
        ("GET", "/models?model=%00", 404, "model-not-found"),
        ("GET", "/models/penguins?version=1", 422, "parameter"),
        ("GET", "/healthz?x=1", 422, "parameter"),
        ("GET", "/readyz?x=1", 422, "parameter"),
        ("GET", "/docs/static/..%2f..%2f..%2fetc%2fpasswd", 404, "not-found"),
        ("GET", "/docs/static/missing.js", 404, "not-found"),
        ("POST", "/docs/static/swagger-ui.css", 405, "method-not-allowed"),
    ],
)
def test_other_routes_answer_with_problems_too(
    gallery: Gallery, method: str, path: str, status: int, slug: str
) -> None:
    """Unknown routes, methods, names and numbers are problems like all others, and no path leads to a file."""
    # Written by hand: a client would tidy the dots away.
    address = urlsplit(gallery.api.url)
    request = f"{method} {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(request.encode())
        response = read_response(connection)

    problem = problem_of(response, status, slug)
    assert "hint" in problem or "as in" in problem["detail"]
    assert status != 405 or response.headers["allow"]


def read_response(connection: socket.socket) -> Any:
    """Read an HTTP response until the connection ends."""
    import httpx2

    data = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return httpx2.Response(int(status.split()[1]), headers=headers, content=body)
