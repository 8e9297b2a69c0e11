"""Between JSON and a model: whatever JSON is sent, what fits arrives unchanged and what does not is refused by name."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from bodega_api.errors import BodyError
from bodega_api.http.strict_json import read_body
from bodega_model.errors import InputError, OutputNotFiniteError, PredictionError
from bodega_model.signature.columns import to_wire
from bodega_model.signature.inputs import build_input, read_example
from bodega_model.signature.outputs import call
from bodega_model.signature.types import Column, Container, Kind, Signature
from bodega_model.validation.forms import Columns, Rows
from bodega_model.validation.rows import ISO_8601, check_input
from gallery import GENTOO, KINDS, MARKER, Gallery, penguins, plain, problem_of, send
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

TEXTS = ("island", "sex")
NOT_THE_SERVERS_FAULT = {"input", "prediction-failed", "output-not-finite"}
# What a pipeline thinks of 1e308 is its own affair.
any_number = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:Found unknown categories:UserWarning")

unicode = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates and NUL included
marked = unicode.map(lambda text: MARKER + text)
integers = st.integers() | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**64, 10**400])
numbers = (
    st.floats(allow_nan=False, allow_infinity=False)
    | integers
    | st.sampled_from([2007.0, 3.4e38, 3.5e38, -0.0, 5e-324])
)
moments = st.from_regex(ISO_8601, fullmatch=True) | st.datetimes().map(datetime.isoformat)
scalars = st.none() | st.booleans() | numbers | marked | moments
containers = st.recursive(
    scalars, lambda part: st.lists(part, max_size=3) | st.dictionaries(marked, part, max_size=3), max_leaves=5
)
halves = st.integers(-9999, 9999).map(lambda number: number / 2)
# Evenly among the sorts: one_of() would choose among all of their branches, and rarely find a number.
sorts = [halves, numbers, marked, moments, st.sampled_from([None, True, False]), containers]
values = st.sampled_from(sorts).flatmap(lambda sort: sort)
fitting = {name: st.sampled_from(["Biscoe", "Dream", "male", "", "🐧"]) for name in TEXTS}
fitting |= {name: st.floats(-1e6, 1e6) | st.integers(-9999, 9999) for name in GENTOO if name not in fitting}


def penguin_rows(strange: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Make rows that fit but for up to two values."""
    row = st.fixed_dictionaries(fitting | {"year": st.integers(-9999, 9999)})
    changed = st.dictionaries(st.sampled_from(list(GENTOO)), strange, max_size=2)
    return st.lists(st.builds(lambda row, change: row | change, row, changed), min_size=1, max_size=3)


def fits(name: str, value: Any) -> bool:
    """Tell whether a penguin's value is what the page of the API says a value must be, in other words than its code."""
    if value is None:
        return True
    if name in TEXTS:
        return isinstance(value, str) and not any(0xD800 <= ord(character) <= 0xDFFF for character in value)
    if type(value) not in (int, float) or abs(value) > 1.7976931348623157e308:
        return False
    if name == "year":
        return -(2**63) <= value < 2**63 and (type(value) is int or (value == int(value) and abs(value) < 2**53))
    return type(value) is float or value == int(float(value))


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Make the frame that a notebook would hold, without the code under test."""
    columns: dict[str, Any] = {}
    for name in GENTOO:
        column = [row[name] for row in rows]
        if name in TEXTS:
            columns[name] = pd.Series(column, dtype="str")
        elif name == "year" and None not in column:
            columns[name] = np.array([int(value) for value in column], dtype="int64")
        else:
            columns[name] = np.array([math.nan if value is None else float(value) for value in column])
    return pd.DataFrame(columns)


def attempt(work: Callable[[], Any]) -> tuple[Any, Any]:
    """Return what came out and None, or None and the error that says why a client's request is refused."""
    try:
        return work(), None
    except (BodyError, InputError, PredictionError, OutputNotFiniteError) as exc:
        return None, exc


# --- penguins with any JSON in them ------------------------------------------------------------------------


@any_number
@settings(max_examples=80, deadline=None)
@given(rows=penguin_rows(values))
def test_any_json_over_http_is_answered_exactly_or_refused(gallery: Gallery, rows: list[dict[str, Any]]) -> None:
    """Whatever JSON stands in a column, there is no 5xx, no echo, and a 200 is the model's own answer."""
    response = send(gallery.api, json.dumps({"rows": rows}).encode(), model="penguins", version="1")

    assert MARKER not in response.text
    if response.status_code == 200:
        assert response.json()["predictions"] == plain(penguins().model.predict(frame_of(rows)))
    else:
        slug = response.json()["type"].rpartition(":")[2]
        assert slug in NOT_THE_SERVERS_FAULT
        problem_of(response, 422, slug)
    if not all(fits(name, value) for row in rows for name, value in row.items()):
        problem_of(response, 422, "input")
    elif response.status_code != 200:
        assert response.json()["type"] != "urn:bodega:problem:input"


@any_number
@settings(max_examples=250, deadline=None)
@given(rows=penguin_rows(values), by_column=st.booleans())
def test_rows_are_taken_if_and_only_if_they_fit(gallery: Gallery, rows: list[dict[str, Any]], by_column: bool) -> None:
    """A request is taken exactly when every value is strictly of its kind, as rows and as columns alike."""
    signature = gallery.versions["penguins"].signature
    columns = {name: [row[name] for row in rows] for name in GENTOO}
    body = read_body(json.dumps({"columns": columns} if by_column else {"rows": rows}).encode())
    good = all(fits(name, value) for row in rows for name, value in row.items())

    taken, refused = attempt(lambda: check_input(body, signature, 100))

    assert (taken is not None) == good
    if taken is None:
        assert MARKER not in json.dumps([refused.message, refused.problems])
        return
    built = build_input(signature, taken.columns)
    assert_frame_equal(built, frame_of(rows))
    answer, _ = attempt(lambda: call(penguins().model, "predict_proba", built))
    assert answer is None or answer == plain(penguins().model.predict_proba(frame_of(rows)))


@settings(max_examples=300, deadline=None)
@given(document=values | st.dictionaries(st.sampled_from(["rows", "columns"]), values, max_size=2))
@example(document={"rows": [[]]})
@example(document={"columns": {"island": None}})
def test_any_document_is_refused_without_being_repeated(gallery: Gallery, document: Any) -> None:
    """A document that is no rows or columns of the model is refused as a body or as an input, and not repeated."""
    with pytest.raises((BodyError, InputError)) as caught:
        check_input(read_body(json.dumps(document).encode()), gallery.versions["penguins"].signature, 100)

    problems = getattr(caught.value, "problems", ())
    shown = json.dumps([caught.value.message, caught.value.advice, problems])
    names = json.dumps([problem.get("column") for problem in problems])
    assert shown.count(MARKER) <= names.count(MARKER) + 1  # a name may be shown, and once more in the summary
    assert len(shown) < 16 * 1024


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200) | unicode.map(lambda text: text.encode("utf-16", "surrogatepass")))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Bytes are rows, columns, or a problem of the body; nothing else is ever raised."""
    body, refused = attempt(lambda: read_body(data))

    assert isinstance(body, Rows | Columns) or len(refused.message) < 200


# --- every kind of column ----------------------------------------------------------------------------------

COLUMNS = [
    *(Column("c", Kind.NUMBER, dtype) for dtype in ("float16", "float32", "float64", "Float32", "Float64", "object")),
    *(Column("c", Kind.INTEGER, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *(
        Column("c", Kind.INTEGER, f"{sign}Int{bits}".replace("uI", "UI"), null="na")
        for sign in ("", "u")
        for bits in (8, 64)
    ),
    Column("c", Kind.INTEGER, "object"),
    *(Column("c", Kind.BOOLEAN, dtype) for dtype in ("bool", "boolean", "object")),
    *(Column("c", Kind.STRING, dtype) for dtype in ("str", "string", "object")),
    *(
        Column("c", Kind.DATETIME, f"datetime64[{unit}{zone}]", null="nat")
        for unit in ("s", "ms", "us", "ns")
        for zone in ("", ", UTC", ", Europe/Berlin", ", America/New_York", ", UTC+05:30")
    ),
    *(
        Column("c", Kind.CATEGORY, dtype, categories=categories, accepts_unknown=unknown)
        for dtype, categories in (
            ("category", ("a", "b")),
            ("category", (1, 2)),
            ("category", (0.5, 1.5)),
            ("category", (False, True)),
            ("category", ()),
            ("str", ("a", "b")),
        )
        for unknown in (False, True)
    ),
]


@settings(max_examples=800, deadline=None)
@given(
    column=st.sampled_from(COLUMNS),
    nullable=st.booleans(),
    sent=st.lists(scalars | st.sampled_from(["a", 1, 0.5]), min_size=1, max_size=3)
    | st.lists(numbers | st.none(), min_size=1, max_size=3)
    | st.lists(moments | st.none(), min_size=1, max_size=3),
)
@example(column=Column("c", Kind.INTEGER, "int64"), nullable=True, sent=[2**53 + 1, None])
@example(column=Column("c", Kind.NUMBER, "Float32"), nullable=False, sent=[1e300])
@example(
    column=Column("c", Kind.DATETIME, "datetime64[us]"),
    nullable=False,
    sent=["1500-01-01", "2026-01-01T00:00:00.123456000"],
)
def test_what_is_taken_can_be_built(column: Column, nullable: bool, sent: list[Any]) -> None:
    """For every dtype: values are refused as input, or become an array of that dtype with the nulls in their places."""
    column = Column(**{name: getattr(column, name) for name in column.__dataclass_fields__} | {"nullable": nullable})
    signature = Signature(Container.DATAFRAME, (column,), {})
    body = read_body(json.dumps({"columns": {"c": sent}}).encode())

    taken, refused = attempt(lambda: check_input(body, signature, 10))

    if taken is None:
        assert MARKER not in json.dumps([refused.message, refused.problems])
        return
    assert nullable or None not in sent
    built = build_input(signature, taken.columns)["c"]
    assert built.isna().tolist() == [value is None for value in sent]
    if None not in sent or built.dtype not in (np.dtype("float64"), np.dtype("object")):
        assert str(built.dtype) == column.dtype
    for value, found in zip(sent, built, strict=True):
        assert same(value, found, column.dtype.lower())


def same(sent: Any, found: Any, dtype: str) -> bool:
    """Tell whether a model would see what was sent, rounded to what the dtype holds."""
    if sent is None:
        return bool(pd.isna(found))
    if isinstance(found, pd.Timestamp):
        return bool(pd.Timestamp(sent) == found)
    if dtype in ("float16", "float32"):
        return bool(np.dtype(dtype).type(sent) == found and np.isfinite(found))
    return bool(sent == found)


# --- a frame, to JSON and back -----------------------------------------------------------------------------

COUNT = 4


def series(dtype: Any, element: st.SearchStrategy[Any], null: Any = ...) -> st.SearchStrategy["pd.Series[Any]"]:
    """Make columns of a dtype, with nulls if there is a value for them."""
    elements = element if null is ... else element | st.just(null)
    return st.lists(elements, min_size=COUNT, max_size=COUNT).map(lambda values: pd.Series(values, dtype=dtype))


def whole(dtype: str, null: Any = ...) -> st.SearchStrategy["pd.Series[Any]"]:
    """Make columns of integers over the whole range of the dtype."""
    bounds = np.iinfo(dtype.lower())
    return series(dtype, st.integers(int(bounds.min), int(bounds.max)), null)


def naive(unit: str) -> st.SearchStrategy["pd.Series[Any]"]:
    """Make columns of datetimes without a zone, in a unit."""
    far = unit != "ns"
    between = st.datetimes(datetime(1, 1, 1) if far else datetime(1700, 1, 1), datetime(9999 if far else 2250, 12, 31))
    rounded = between.map(lambda moment: pd.Timestamp(moment).as_unit(unit))
    return series(f"datetime64[{unit}]", rounded, pd.NaT)


def aware(unit: str, zone: Any) -> st.SearchStrategy["pd.Series[Any]"]:
    """Make columns of datetimes in a zone."""
    between = st.datetimes(datetime(1700, 1, 1), datetime(2250, 12, 31), timezones=st.just(UTC))
    rounded = between.map(lambda moment: pd.Timestamp(moment).as_unit(unit).tz_convert(zone))
    return series(pd.DatetimeTZDtype(unit, zone), rounded, pd.NaT)


@st.composite
def categories(draw: st.DrawFn) -> "pd.Series[Any]":
    """Make columns of categories of one type, some of them unused, ordered or not, with nulls."""
    element = draw(st.sampled_from([text, st.integers(-5, 2**60), st.floats(-1e9, 1e9), st.booleans()]))
    known = draw(st.lists(element, min_size=1, max_size=5, unique=True))
    chosen = draw(st.lists(st.sampled_from([*known, None]), min_size=COUNT, max_size=COUNT))
    return pd.Series(pd.Categorical(chosen, categories=known, ordered=draw(st.booleans())))


text = st.text(max_size=8)
finite64 = st.floats(allow_nan=False, allow_infinity=False)
finite32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
columns = st.one_of(
    series("float64", finite64, math.nan),
    series("float32", finite32, math.nan),
    series("float16", st.floats(allow_nan=False, allow_infinity=False, width=16), math.nan),
    *(whole(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *(whole(dtype, pd.NA) for dtype in ("Int8", "Int64", "UInt8", "UInt64")),
    series("Float32", finite32, pd.NA),
    series("Float64", finite64, pd.NA),
    series("bool", st.booleans()),
    series("boolean", st.booleans(), pd.NA),
    series("str", text, math.nan),
    series("string", text, pd.NA),
    series("object", text, None),
    series("object", text, math.nan),
    series("object", st.booleans(), None),
    series("object", st.integers(-(2**63), 2**63 - 1), None),
    categories(),
    *(naive(unit) for unit in ("s", "ms", "us", "ns")),
    *(
        aware(unit, zone)
        for unit in ("s", "us", "ns")
        for zone in (
            UTC,
            ZoneInfo("Europe/Berlin"),
            ZoneInfo("America/St_Johns"),
            timezone(timedelta(hours=-5, minutes=-30)),
        )
    ),
)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(columns, min_size=1, max_size=4))
@example(parts=[pd.Series([1, None], dtype="Int8")])
@example(parts=[pd.Series(["a", None], dtype="object")])
@example(parts=[pd.Series(pd.to_datetime(["1934-12-31T23:00Z"])).dt.tz_convert("America/St_Johns")])
def test_a_frame_survives_the_way_through_json(parts: list["pd.Series[Any]"]) -> None:
    """A frame of any dtypes, written as JSON, sent, checked and built, is the same frame, dtypes and nulls included."""
    frame = pd.DataFrame({f"c{place}": part for place, part in enumerate(parts)})
    assume(all(part.dtype != object or part.notna().any() for part in parts))  # of nulls alone no kind can be known
    found = read_example(frame, object())
    signature = Signature(found.container, found.columns, {}, found.array_dtype, found.by_row)
    wire = {column.name: to_wire(column, frame[column.name]) for column in found.columns}

    taken = check_input(read_body(json.dumps({"columns": wire}).encode()), signature, 100)

    assert_frame_equal(build_input(signature, taken.columns), frame, check_exact=True)


@settings(max_examples=100, deadline=None)
@given(
    dtype=st.sampled_from(["float64", "float32", "int64", "uint8", "bool"]),
    cells=st.lists(st.lists(st.integers(0, 1) | st.integers(0, 255), min_size=3, max_size=3), min_size=1, max_size=4),
)
def test_an_array_survives_the_way_through_json(dtype: str, cells: list[list[int]]) -> None:
    """An array of any dtype, sent as columns x0, x1, …, is the same array."""
    array = np.array(cells).astype(dtype)
    found = read_example(array, object())
    signature = Signature(found.container, found.columns, {}, found.array_dtype, found.by_row)
    wire = {column.name: to_wire(column, found.frame[column.name]) for column in found.columns}

    taken = check_input(read_body(json.dumps({"columns": wire}).encode()), signature, 100)

    built = build_input(signature, taken.columns)
    assert (built.dtype, built.tolist()) == (array.dtype, array.tolist())


@settings(max_examples=60, deadline=None)
@given(change=st.dictionaries(st.sampled_from(list(KINDS)), values, min_size=1, max_size=3))
def test_any_json_for_any_kind_over_http_is_no_5xx(gallery: Gallery, change: dict[str, Any]) -> None:
    """Over all kinds of columns at once, any JSON is answered or refused, and never repeated."""
    response = send(gallery.api, json.dumps({"rows": [KINDS | change]}).encode(), model="kinds")

    assert response.status_code in (200, 422), response.text
    assert MARKER not in response.text
