"""The fast path: the same answers as the long way, for what is beyond doubt; everything else is left to the long way."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bodega_api.http.strict_json import read_body
from bodega_api.serving.engine import CHECKED_EVERY
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_model.signature.types import Column, Container, Kind, Output, Signature
from bodega_model.validation.quick import ColumnsDecoder, LongWayError
from bodega_model.validation.rows import check_input
from conftest import Api, running_api
from gallery import GENTOO, ask, enter, penguins, problem_of
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import DecodeError
from outages import wait_for

COLUMNS = (
    Column("a number", Kind.NUMBER, "float64", nullable=True),
    Column("exact", Kind.NUMBER, "float64"),
    Column("count", Kind.INTEGER, "int64"),
    Column("small", Kind.INTEGER, "int8"),
    Column("é", Kind.BOOLEAN, "bool"),
    Column("word", Kind.STRING, "object", nullable=True),
    Column("known", Kind.STRING, "object", categories=("x", "y"), accepts_unknown=False),
    Column("place", Kind.CATEGORY, "category", categories=("north", "south")),
)
SIGNATURE = Signature(Container.DATAFRAME, COLUMNS, {"predict": Output(Kind.NUMBER)})
ROW = {"a number": 1.5, "exact": 2, "count": 3, "small": 4, "é": True, "word": "w", "known": "x", "place": "south"}
DECODER = ColumnsDecoder.of(SIGNATURE)

odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([127, 128, -128, -129, 2**53 - 1, 2**53, 2**53 + 1, 2**63, -(2**63)]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["x", "y", "z", "north", "", "exact", "rows", "a\\b", "\ud800", "\x00", "é"]),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
)
changes = st.dictionaries(st.sampled_from([*ROW, "rows", "columns", "other"]), odd_values, max_size=2)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies of all sorts around those that fit: values changed, names missing or twice, bytes damaged."""
    rows: Any = [ROW | draw(changes) for _ in range(draw(st.integers(0, 3)))]
    if draw(st.booleans()) and rows:
        rows[0].pop(draw(st.sampled_from(sorted(ROW))))
    form = draw(st.sampled_from(["rows", "columns", "both", "bare"]))
    columns = {name: [row.get(name) for row in rows] for name in (rows[0] if rows else ROW)}
    documents: dict[str, Any] = {
        "rows": {"rows": rows},
        "columns": {"columns": columns},
        "both": {"rows": rows, "columns": columns},
        "bare": rows,
    }
    content = json.dumps(documents[form], ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.booleans()) and content:
        place = draw(st.integers(0, len(content) - 1))
        content = (
            content[:place]
            + draw(st.sampled_from([b"", b" ", b"\n", b'"', b"1", b"\xff", b"\\u0061", b"e5", b".0"]))
            + content[place:]
        )
    if draw(st.booleans()):
        name = json.dumps(draw(st.sampled_from(sorted(ROW))), ensure_ascii=False).encode()
        content = content.replace(b"}", b"," + name + b": 1}", 1)
    return content


@settings(max_examples=3000, deadline=None)
@given(bodies())
def test_what_is_decoded_is_what_the_long_way_reads(body: bytes) -> None:
    """No body is decoded that the long way refuses, and none otherwise than there."""
    assert DECODER is not None
    try:
        columns, count = DECODER.decode(body)
    except (LongWayError, DecodeError, UnicodeDecodeError):
        return

    read = check_input(read_body(body), SIGNATURE, 100)
    assert (columns, count, read.warnings) == (read.columns, read.rows, [])
    assert [list(map(type, values)) for values in columns.values()] == [
        list(map(type, values)) for values in read.columns.values()
    ]


@pytest.mark.parametrize("body", [{"rows": [ROW]}, {"columns": {name: [value] * 3 for name, value in ROW.items()}}])
def test_what_is_plain_is_decoded(body: dict[str, Any]) -> None:
    """Both forms, whatever the order of the names."""
    assert DECODER is not None

    columns, count = DECODER.decode(json.dumps(body, ensure_ascii=False).encode())

    assert columns["word"] == ["w"] * count
    assert columns["exact"] == [2.0] * count


@pytest.mark.parametrize(
    ("column", "plain"),
    [
        (Column("x", Kind.DATETIME, "datetime64[ns]"), False),
        (Column("x", Kind.NUMBER, "float32"), True),
        (Column("x", Kind.INTEGER, "uint64"), False),
        (Column("x", Kind.CATEGORY, "category", categories=(1, 2)), False),
        (Column('so "quoted"', Kind.NUMBER, "float64"), False),
        (Column("a\\b", Kind.NUMBER, "float64"), False),
        (Column("a\nb", Kind.NUMBER, "float64"), False),
        (Column("", Kind.NUMBER, "float64"), True),
        (Column("rows", Kind.NUMBER, "float64"), True),
        (Column("x' ;{}[]:,\u2028\U0001f427\x7f", Kind.NUMBER, "float64"), True),
        (Column("x", Kind.STRING, "str"), True),
    ],
)
def test_some_kinds_of_columns_always_go_the_long_way(column: Column, plain: bool) -> None:
    """Where what is decoded would have to be looked at again, or a name is written with an escape."""
    signature = Signature(Container.DATAFRAME, (column,), {"predict": Output(Kind.NUMBER)})

    decoder = ColumnsDecoder.of(signature)

    assert (decoder is not None) == plain
    if decoder is not None and column.kind is Kind.NUMBER and column.name != "rows":
        body = json.dumps({"rows": [{column.name: 1}]}, ensure_ascii=False).encode()
        assert decoder.decode(body) == ({column.name: [1.0]}, 1)


# --- over HTTP -----------------------------------------------------------------------------------------------


@pytest.fixture
def warm(store: ModelStore, api: Api) -> Api:
    """The API with a version in memory that has a plan, and whose choice is known."""
    enter(store, "penguins", penguins())
    for _ in range(2):
        ask(api, {"rows": [GENTOO]}).raise_for_status()
    return api


def rows_of(number: int) -> dict[str, Any]:
    """Return a penguin that is unlike all others."""
    return GENTOO | {"bill_length_mm": 30.0 + number % 30, "body_mass_g": 2700.0 + 10 * number}


def test_many_at_once_each_get_their_own_answer(warm: Api, store: ModelStore) -> None:
    """What is computed together is told apart again, and what is wrong fails alone."""
    right = store.open(store.get("penguins", 1))
    before = warm.services.tallies.total("planned")

    def one(number: int) -> None:
        if number % 10 == 7:
            assert ask(warm, {"rows": [GENTOO | {"year": "none"}]}).status_code == 422
            return
        rows = [rows_of(number), rows_of(number + 1)][: 1 + number % 2]
        answer = ask(warm, {"rows": rows}, output="predict_proba").raise_for_status().json()
        columns = {name: [row[name] for row in rows] for name in GENTOO}
        assert [
            [pytest.approx(p, rel=1e-12) for p in row] for row in right.predict(columns, "predict_proba")
        ] == answer["predictions"]

    with ThreadPoolExecutor(16) as crowd:
        list(crowd.map(one, range(200)))
    assert 0 < warm.services.tallies.total("planned") - before <= 180


def test_the_fast_and_the_long_way_answer_the_same(warm: Api) -> None:
    """Byte for byte, and header for header, but for the time."""
    body = json.dumps({"rows": [GENTOO]}).encode()
    plain = {"Content-Type": "application/json"}
    fast = warm.client.post("/predict", content=body, headers=plain)
    # A media type that only the long way reads.
    long = warm.client.post("/predict", content=body, headers={"Content-Type": "application/json; charset=utf-8"})

    assert fast.content == long.content
    own = {"date", "bodega-snapshot-age"}
    assert {k: v for k, v in fast.headers.items() if k not in own} == {
        k: v for k, v in long.headers.items() if k not in own
    }


def test_a_setting_turns_the_fast_path_off(
    warm: Api, make_settings: Callable[..., Settings], store: ModelStore
) -> None:
    """The same answers, all of them by the ordinary path."""
    expected = [ask(warm, body).json() for body in ({"rows": [GENTOO]}, {"rows": [GENTOO] * 3})]

    with running_api(make_settings(fast_path=False)) as api:
        assert api.app.fast_path is None
        found = [ask(api, body).json() for _ in range(20) for body in ({"rows": [GENTOO]}, {"rows": [GENTOO] * 3})]

    assert found == expected * 20


def test_the_fast_path_follows_the_catalog(warm: Api, store: ModelStore) -> None:
    """A version that another one has replaced answers no more, however fast."""
    number = enter(store, "penguins", penguins()).number
    store.promote(f"penguins@{number}")
    for _ in range(200):
        if ask(warm, {"rows": [GENTOO]}).json()["version"] == number:
            break
    store.quarantine(f"penguins@{number}", reason="a drill")

    refused = (ask(warm, {"rows": [GENTOO]}) for _ in range(200))
    problem_of(next(answer for answer in refused if answer.status_code != 200), 409, "no-production")
    store.promote("penguins@1")
    promoted = (ask(warm, {"rows": [GENTOO]}) for _ in range(200))
    assert next(answer for answer in promoted if answer.status_code == 200).json()["version"] == 1


def test_one_answer_in_a_thousand_is_asked_of_the_model_too(warm: Api) -> None:
    """Behind its answer; the plan is right, and stays."""
    tallies = warm.services.tallies

    for _ in range(CHECKED_EVERY):
        ask(warm, {"rows": [GENTOO]}).raise_for_status()

    wait_for(lambda: tallies.total("compared") == 1)
    assert tallies.total("planned") >= CHECKED_EVERY
    assert tallies.total("retired") == 0
