"""Tables: rows in CSV, Arrow and Parquet are answered as in JSON, or refused with the same words; answers in each form."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bodega_api.errors import MediaTypeError, NotAcceptableError
from bodega_api.http.media.kinds import ANSWERS, Medium, answer_medium, body_medium
from bodega_api.http.media.reading import ROWS_AT_ONCE
from bodega_api.http.media.spool import IN_MEMORY
from bodega_db.store import ModelStore
from conftest import Api
from gallery import EXHIBITS, GENTOO, KINDS, MARKER, Gallery, ask, enter, penguins, problem_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

MODELS = ["penguins", *EXHIBITS]
TABLES = (Medium.CSV, Medium.ARROW, Medium.PARQUET)
KINDS_TYPES = {
    "year": pa.int64(),
    "small": pa.uint8(),
    "huge": pa.uint64(),
    "ratio": pa.float32(),
    "weight": pa.float64(),
    "heavy": pa.bool_(),
    "island": pa.string(),
    "remark": pa.string(),
    "seen": pa.timestamp("us"),
    "seen_utc": pa.timestamp("us", "UTC"),
    "count": pa.int64(),
}
unknown_island = pytest.mark.filterwarnings("ignore:Found unknown categories:UserWarning")


def to_csv(table: "pa.Table") -> bytes:
    """Write CSV by Python's own writer: nothing for a missing value, true and false in small letters."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in row.values()])
    return file.getvalue().encode()


def to_arrow(table: "pa.Table", **options: Any) -> bytes:
    """Write a stream of record batches."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def to_parquet(table: "pa.Table", **options: Any) -> bytes:
    """Write a file of Parquet."""
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


WRITE: dict[Medium, Callable[["pa.Table"], bytes]] = {
    Medium.CSV: to_csv,
    Medium.ARROW: to_arrow,
    Medium.PARQUET: to_parquet,
}


def post(api: Api, body: bytes, medium: str, accept: str = "*/*", **parameters: str) -> Any:
    """Send a table to /predict and return the HTTP response."""
    headers = {"Content-Type": medium, "Accept": accept}
    return api.client.post("/predict", params=parameters, content=body, headers=headers)


def table_of(rows: list[dict[str, Any]], **types: "pa.DataType") -> "pa.Table":
    """Make a table of rows."""
    return pa.table({name: pa.array([row[name] for row in rows], type=types.get(name)) for name in rows[0]})


def kinds_table(rows: list[dict[str, Any]]) -> "pa.Table":
    """Make a table of the rows that have a column of each kind; moments come as JSON has them."""
    table = table_of(rows, **{name: kind for name, kind in KINDS_TYPES.items() if name[:4] != "seen"})
    for name in ("seen", "seen_utc"):
        moments = pa.array(pd.to_datetime([row[name] for row in rows]), type=KINDS_TYPES[name])
        table = table.set_column(table.column_names.index(name), name, moments)
    return table


def golden_table(gallery: Gallery, model: str) -> tuple["pa.Table", dict[str, list[Any]]]:
    """Return the golden rows of a model as a table, and as JSON columns."""
    columns = {name: list(values) for name, values in gallery.versions[model].golden.inputs.items()}
    if model == "kinds":
        return kinds_table(
            [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        ), columns
    return pa.table({name: pa.array(values) for name, values in columns.items()}), columns


# --- the same answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("medium", TABLES)
@pytest.mark.parametrize("model", MODELS)
def test_a_table_is_answered_as_the_same_rows_in_json(gallery: Gallery, model: str, medium: Medium) -> None:
    """For every exhibit and output the answer to a table is that to the JSON columns, byte by byte."""
    table, columns = golden_table(gallery, model)

    for output in gallery.versions[model].signature.outputs:
        expected = ask(gallery.api, {"columns": columns}, model=model, output=output)
        answer = post(gallery.api, WRITE[medium](table), medium, model=model, output=output)

        assert answer.status_code == 200, answer.text
        assert answer.content == expected.content
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_says_the_same_in_each_form(gallery: Gallery, model: str) -> None:
    """CSV and Arrow hold the predictions that JSON does, under the names that JSON gives them, and tell their source."""
    _, columns = golden_table(gallery, model)
    for output in gallery.versions[model].signature.outputs:
        asked: dict[str, Any] = {"params": {"model": model, "output": output}, "json": {"columns": columns}}
        expected = gallery.api.client.post("/predict", **asked).json()
        in_csv = gallery.api.client.post("/predict", **asked, headers={"Accept": "text/csv"})
        in_arrow = gallery.api.client.post("/predict", **asked, headers={"Accept": Medium.ARROW})

        found = pa.ipc.open_stream(in_arrow.content).read_all()
        found.validate(full=True)
        flat = [flatten(row) for row in expected["predictions"]]
        assert [list(row.values()) for row in found.to_pylist()] == flat
        header, *lines = csv.reader(io.StringIO(in_csv.text))
        assert header == found.column_names == names_of(expected, len(flat[0]))
        assert [
            [read_like(text, value) for text, value in zip(*pair, strict=True)]
            for pair in zip(lines, flat, strict=True)
        ] == flat
        source = {key: value for key, value in expected.items() if key != "predictions"}
        assert json.loads(found.schema.metadata[b"bodega"]) == source
        assert in_csv.headers["content-type"] == "text/csv; header=present; charset=utf-8"
        for answer in (in_csv, in_arrow):
            assert answer.headers["bodega-source"] == (
                f"{model}@{expected['version']}; sha256={expected['sha256']}; output={output}"
            )
            assert answer.headers["bodega-warnings"] == "0"
            assert int(answer.headers["bodega-generation"]) > 0


def flatten(value: Any) -> list[Any]:
    """Write the values of a row one after another."""
    return [part for item in value for part in flatten(item)] if isinstance(value, list) else [value]


def names_of(answer: dict[str, Any], count: int) -> list[str]:
    """Return what the columns of an answer should be called."""
    if not isinstance(answer["predictions"][0], list):
        return ["prediction"]
    classes = answer.get("classes")
    if classes and isinstance(classes[0], list):
        return [f"{place}.{label}" for place, labels in enumerate(classes) for label in labels]
    return answer.get("columns") or list(map(str, classes or range(count)))


def read_like(text: str, value: Any) -> Any:
    """Read a field of CSV as what it should be."""
    return {"true": True, "false": False}[text] if isinstance(value, bool) else type(value)(text)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("year", pa.int8()),
        ("year", pa.uint64()),
        ("year", pa.float64()),
        ("small", pa.int64()),
        ("ratio", pa.float64()),
        ("ratio", pa.float16()),
        ("weight", pa.float32()),
        ("weight", pa.int32()),
        ("weight", pa.uint64()),
        ("island", pa.large_string()),
        ("island", pa.string_view()),
        ("island", pa.dictionary(pa.int8(), pa.string())),
        ("island", pa.dictionary(pa.uint32(), pa.large_string())),
        ("seen", pa.timestamp("ns")),
        ("seen", pa.timestamp("s")),
        ("seen", pa.date32()),
        ("seen", pa.date64()),
        ("seen", pa.string()),
        ("seen_utc", pa.timestamp("ms", "Europe/Berlin")),
        ("seen_utc", pa.timestamp("s", "Nowhere/At all")),
        ("count", pa.int8()),
        ("count", pa.null()),
        ("count", pa.dictionary(pa.int8(), pa.int64())),
    ],
    ids=str,
)
def test_a_column_may_be_of_any_type_that_loses_nothing(gallery: Gallery, name: str, kind: "pa.DataType") -> None:
    """Narrower and wider types, dictionaries and dates are read where each of their values fits."""
    year = 64 if kind == pa.int8() and name == "year" else 2008
    moment = "2026-01-31T00:00:00" if name == "seen" else KINDS["seen"]
    row = KINDS | {"year": year, "ratio": 0.5, "weight": 4000.0, "seen": moment}
    table = kinds_table([row, row])
    values = table.column(name).combine_chunks()
    anew = pa.types.is_dictionary(kind) or pa.types.is_null(kind)
    column = pa.array(values.to_pylist(), type=kind) if anew else values.cast(kind)
    table = table.set_column(table.column_names.index(name), name, column)

    answer = post(gallery.api, to_arrow(table), Medium.ARROW, model="kinds")

    assert answer.status_code == 200, answer.text
    assert answer.json() == ask(gallery.api, {"rows": [row, row]}, model="kinds").json()


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("us"), pa.date32(), pa.date64()], ids=str)
def test_a_moment_beyond_the_calendar_is_refused(gallery: Gallery, kind: "pa.DataType") -> None:
    """Arrow holds years that no calendar has."""
    beyond = {pa.timestamp("s"): 2**55, pa.timestamp("us"): 2**61, pa.date32(): 2**30, pa.date64(): 2**30 * 86_400_000}
    far = pa.array([0, beyond[kind]], pa.int32() if kind == pa.date32() else pa.int64())
    table = kinds_table([KINDS, KINDS])
    table = table.set_column(table.column_names.index("seen"), "seen", far.cast(kind))

    problem = problem_of(post(gallery.api, to_arrow(table), Medium.ARROW, model="kinds"), 422, "input")

    assert [(fault["row"], fault["column"]) for fault in problem["errors"]] == [(1, "seen")]


def test_what_pandas_and_polars_write_is_read(gallery: Gallery) -> None:
    """An index that pandas kept is left out, NaN in Arrow is a missing value, and to_csv is read as it is."""
    frame = gallery.exhibits["penguins"].example
    expected = [str(label) for label in gallery.exhibits["penguins"].model.predict(frame)]
    odd = frame.set_index(frame.index + 5)
    with_nan = pa.Table.from_pandas(frame, preserve_index=False, safe=False)
    for place, name in enumerate(frame.columns):
        if frame[name].dtype == np.float64:
            with_nan = with_nan.set_column(place, name, pa.array(frame[name].to_numpy(), from_pandas=False))
    assert with_nan.column("bill_depth_mm").null_count == 0

    bodies = [
        (frame.to_csv(index=False).encode(), Medium.CSV),
        (b"\xef\xbb\xbf" + frame.to_csv(index=False, lineterminator="\r\n").encode(), Medium.CSV),
        (odd.to_parquet(), Medium.PARQUET),
        (to_arrow(pa.Table.from_pandas(odd)), Medium.ARROW),
        (to_arrow(with_nan), Medium.ARROW),
    ]
    for body, medium in bodies:
        answer = post(gallery.api, body, medium, model="penguins", version="1")
        assert answer.json().get("predictions") == expected, answer.text


texts = st.sampled_from(["Biscoe", "Dream", "", " ", "a,b", 'a"b', "a\nb", "é", "NA", "null", "true", "1"])
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from(
    [0.0, -0.0, 1e300, 2.0**53, 5e-324]
)
integers = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 3000)
OF_KIND: dict[str, st.SearchStrategy[Any]] = {
    "year": integers,
    "small": integers,
    "ratio": numbers,
    "weight": numbers | integers.filter(lambda value: abs(value) > 2**52),
    "heavy": st.booleans(),
    "island": texts,
    "remark": texts,
    "count": integers,
}


@st.composite
def one_column(draw: st.DrawFn) -> tuple[str, list[Any]]:
    """A column and some values for it, all of one type, that may fit or not."""
    name = draw(st.sampled_from(sorted(OF_KIND)))
    strategy = draw(st.sampled_from([OF_KIND[name], OF_KIND[name], *OF_KIND.values()]))
    values = draw(st.lists(strategy, min_size=1, max_size=4))
    if any(isinstance(value, float) for value in values):
        values = [float(value) for value in values]
    gaps = draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    return name, [None if gap and draw(st.booleans()) else value for gap, value in zip(gaps, values, strict=True)]


@settings(max_examples=300, deadline=None)
@given(one_column())
def test_arrow_is_taken_where_json_is_and_refused_with_the_same_words(
    gallery: Gallery, column: tuple[str, list[Any]]
) -> None:
    """Whatever one type of Arrow holds, the answer or the list of faults is that of the same values in JSON."""
    name, values = column
    rows = [KINDS | {name: value} for value in values]
    expected = ask(gallery.api, {"rows": rows}, model="kinds")
    table = kinds_table([KINDS] * len(rows))
    table = table.set_column(table.column_names.index(name), name, pa.array(values))

    for medium in (Medium.ARROW, Medium.PARQUET):
        answer = post(gallery.api, WRITE[medium](table), medium, model="kinds")

        assert answer.status_code == expected.status_code, answer.text
        assert answer.json() == expected.json()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(OF_KIND)), st.data())
def test_csv_is_taken_where_json_is(gallery: Gallery, name: str, data: st.DataObject) -> None:
    """Values that fit are answered as in JSON; what does not fit is refused at the same rows."""
    values = data.draw(st.lists(OF_KIND[name] | st.none(), min_size=1, max_size=4))
    rows = [KINDS | {name: value} for value in values]
    expected = ask(gallery.api, {"rows": rows}, model="kinds")
    lines = [[str(value).lower() if isinstance(value, bool) else value for value in row.values()] for row in rows]
    body = "\n".join(",".join(field_of(value) for value in line) for line in [list(KINDS), *lines]) + "\n"

    answer = post(gallery.api, body.encode(), Medium.CSV, model="kinds")

    assert answer.status_code == expected.status_code, answer.text
    if answer.status_code == 200:
        assert answer.json() == expected.json()
    else:
        places = [{"row": fault["row"], "column": fault["column"]} for fault in answer.json()["errors"]]
        assert places == [{"row": fault["row"], "column": fault["column"]} for fault in expected.json()["errors"]]


def field_of(value: Any) -> str:
    """Write one field: nothing for a missing value, text in quotes."""
    if value is None:
        return ""
    return '"' + value.replace('"', '""') + '"' if isinstance(value, str) else repr(value)


# --- faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "text", "words"),
    [
        ("weight", "nan", "is text, not a number"),
        ("weight", "inf", "is text, not a number"),
        ("weight", "1e999", "is a number too large for the column"),
        ("weight", " 1", "is text, not a number"),
        ("weight", "1,5", "is text, not a number"),
        ("weight", "9007199254740993", "is an integer that a floating point number cannot hold"),
        ("weight", MARKER, "is text, not a number"),
        ("weight", "1" * 5000, "is a number too large for the column"),
        ("year", "0x10", "is text, not an integer"),
        ("year", "0X10", "is text, not an integer"),
        ("year", "1.5", "is a number with a fraction, or too large to be an exact integer"),
        ("year", "", "is null, and the model does not take missing values here"),
        ("small", "256", "is not between 0 and 255"),
        ("heavy", "1", "is text, not true or false"),
        ("heavy", "yes", "is text, not true or false"),
        ("seen", "31.01.2026", "is not an ISO 8601 date and time such as 2026-01-31T12:00:00"),
    ],
)
def test_a_field_that_does_not_fit_is_told_by_row_and_column(
    gallery: Gallery, column: str, text: str, words: str
) -> None:
    """CSV holds only text, and what is read in it is as strict as JSON."""
    fields = {name: field_of(value).replace("False", "false").replace("True", "true") for name, value in KINDS.items()}
    good = ",".join(fields.values())
    bad = ",".join((fields | {column: f'"{text}"' if text else ""}).values())
    body = "\n".join([",".join(KINDS), good, good, bad, good]) + "\n"

    problem = problem_of(post(gallery.api, body.encode(), Medium.CSV, model="kinds"), 422, "input")

    assert problem["errors"] == [{"row": 2, "column": column, "detail": words}]


def test_the_last_rows_of_many_are_checked_too(gallery: Gallery) -> None:
    """A fault behind some ten thousand rows is told with its number, and nothing of the others is answered."""
    rows = [GENTOO] * (2 * ROWS_AT_ONCE + 10)
    for place in (-5, -1):
        rows[place] = GENTOO | {"year": 2007.5}

    for medium in TABLES:
        problem = problem_of(post(gallery.api, WRITE[medium](table_of(rows)), medium, model="penguins"), 422, "input")
        assert [fault["row"] for fault in problem["errors"]] == [len(rows) - 5, len(rows) - 1]


@unknown_island
def test_warnings_are_counted_over_all_rows(gallery: Gallery) -> None:
    """A warning says how many of all rows it is about, and in which row it was first met."""
    rows = [dict(GENTOO) for _ in range(ROWS_AT_ONCE + 100)]
    for place in (7, 9, len(rows) - 1):
        rows[place]["island"] = "Atlantis"
    body = to_arrow(table_of(rows))

    in_json = post(gallery.api, body, Medium.ARROW, model="penguins")
    in_csv = post(gallery.api, body, Medium.ARROW, "text/csv", model="penguins")

    (warning,) = in_json.json()["warnings"]
    assert warning.startswith(f"column island: 3 of {len(rows)} values are not among the categories")
    assert "(first in row 7)" in warning
    assert in_csv.headers["bodega-warnings"] == "1"
    assert len(in_csv.text.splitlines()) == len(rows) + 1


def with_columns(**columns: Any) -> "pa.Table":
    """Return one good row with other columns beside."""
    return table_of([GENTOO | columns])


def repeated_bytes() -> "pa.Table":
    """Return rows that share one value of 10 MB, which would be a hundred times as large if each had its own."""
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int8()), pa.array([b"x" * 10_000_000]))
    table = table_of([GENTOO] * 100)
    return table.set_column(0, "island", values)


BODIES: list[tuple[str, Medium, bytes, int, str]] = [
    ("nothing", Medium.CSV, b"", 400, "body"),
    ("nothing", Medium.ARROW, b"", 400, "body"),
    ("nothing", Medium.PARQUET, b"", 400, "body"),
    ("JSON", Medium.CSV, json.dumps({"rows": [GENTOO]}).encode(), 400, "body"),
    ("JSON", Medium.ARROW, json.dumps({"rows": [GENTOO]}).encode(), 400, "body"),
    ("JSON", Medium.PARQUET, json.dumps({"rows": [GENTOO]}).encode(), 400, "body"),
    ("no rows", Medium.CSV, to_csv(with_columns()).split(b"\r\n")[0] + b"\r\n", 422, "input"),
    ("no rows", Medium.ARROW, to_arrow(with_columns().slice(1)), 422, "input"),
    ("no rows", Medium.PARQUET, to_parquet(with_columns().slice(1)), 422, "input"),
    ("another column", Medium.CSV, to_csv(with_columns(note=MARKER)), 422, "input"),
    ("another column", Medium.ARROW, to_arrow(with_columns(note=MARKER)), 422, "input"),
    ("another column", Medium.PARQUET, to_parquet(with_columns(note=MARKER)), 422, "input"),
    ("a column less", Medium.CSV, to_csv(with_columns().drop(["sex"])), 422, "input"),
    ("a column less", Medium.ARROW, to_arrow(with_columns().drop(["sex"])), 422, "input"),
    ("a column less", Medium.PARQUET, to_parquet(with_columns().drop(["sex"])), 422, "input"),
    ("a column twice", Medium.CSV, to_csv(with_columns()).replace(b"\r\n", b",sex\r\n", 1), 422, "input"),
    ("a column twice", Medium.ARROW, to_arrow(with_columns().append_column("sex", [["male"]])), 422, "input"),
    ("half a row", Medium.CSV, to_csv(with_columns()) + MARKER.encode() + b",1\r\n", 422, "input"),
    ("an open quote", Medium.CSV, to_csv(with_columns()) + b'"' + MARKER.encode(), 400, "body"),
    ("Latin-1", Medium.CSV, to_csv(with_columns()).replace(b"Biscoe", b"Bisco\xe9"), 400, "body"),
    ("half a character", Medium.CSV, to_csv(with_columns()) + b"\xc3", 400, "body"),
    ("UTF-16", Medium.CSV, to_csv(with_columns()).decode().encode("utf-16"), 400, "body"),
    ("a line of 3 MB", Medium.CSV, to_csv(with_columns()).replace(b"Biscoe", b"x" * 3_000_000), 400, "body"),
    ("lz4", Medium.ARROW, to_arrow(with_columns(), compression="lz4"), 400, "body"),
    ("zstd", Medium.ARROW, to_arrow(with_columns(), compression="zstd"), 400, "body"),
    ("a cut stream", Medium.ARROW, to_arrow(with_columns())[:-200], 400, "body"),
    ("a cut file", Medium.PARQUET, to_parquet(with_columns())[:-20], 400, "body"),
    ("lists", Medium.ARROW, to_arrow(with_columns(year=[1, 2])), 422, "input"),
    ("bytes", Medium.ARROW, to_arrow(with_columns(island=MARKER.encode())), 422, "input"),
    ("a long value in each row", Medium.ARROW, to_arrow(repeated_bytes()), 422, "input"),
    ("structs", Medium.PARQUET, to_parquet(with_columns(island={MARKER: 1})), 422, "input"),
]


@pytest.mark.parametrize(
    ("what", "medium", "body", "status", "slug"), BODIES, ids=[f"{b[0]} {b[1].name}" for b in BODIES]
)
def test_a_bad_table_gets_its_problem(
    gallery: Gallery, what: str, medium: Medium, body: bytes, status: int, slug: str
) -> None:
    """What is no table, or not one for the model, is refused with a reason that repeats nothing of it."""
    problem_of(post(gallery.api, body, medium, model="penguins"), status, slug)


def test_where_a_row_of_csv_has_too_few_fields_is_told(gallery: Gallery) -> None:
    """The number of the row counts rows, and not lines, of which a quoted field may have several."""
    good = to_csv(table_of([GENTOO | {"sex": "a\nb\nc"}, GENTOO]))

    problem = problem_of(post(gallery.api, good + b"1,2\r\n", Medium.CSV, model="penguins"), 422, "input")

    assert problem["errors"] == [{"row": 2, "detail": "has 2 fields, and the header has 7"}]


def damaged(body: bytes) -> Iterator[bytes]:
    """Yield a body with one byte changed, for many bytes."""
    for place in range(0, len(body), 7):
        yield body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]


@pytest.mark.parametrize("medium", [Medium.ARROW, Medium.PARQUET])
@unknown_island
def test_a_damaged_table_is_answered_or_refused(gallery: Gallery, medium: Medium) -> None:
    """Whichever byte is wrong: no crash, no answer of status 500."""
    body = WRITE[medium](table_of([GENTOO, GENTOO | {"sex": None}]))

    statuses = {post(gallery.api, bad, medium, model="penguins").status_code for bad in damaged(body)}

    assert statuses <= {200, 400, 413, 422}
    assert {200, 400} <= statuses


# --- limits ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_api(make_settings: Any, start_api: Callable[..., Api]) -> Api:
    """An API with a model of the penguins that takes few rows and bytes."""
    with closing(ModelStore.connect(make_settings())) as store:
        enter(store, "penguins", penguins())
    return start_api(max_table_rows=100, max_table_bytes=20_000, max_rows=3)


def test_the_limits_of_tables_are_those_of_the_settings(small_api: Api) -> None:
    """As many rows and bytes as are allowed are answered, however they are packed; one more is refused."""
    hundred, more = table_of([GENTOO] * 100), table_of([GENTOO] * 101)
    for medium in TABLES:
        assert len(post(small_api, WRITE[medium](hundred), medium).json()["predictions"]) == 100
        problem_of(post(small_api, WRITE[medium](more), medium), 413, "too-many-rows")
        problem_of(post(small_api, b"x" * 20_001, medium), 413, "body-too-large")
    packed = to_parquet(table_of([GENTOO | {"sex": "x" * 1000}] * 100), use_dictionary=False, compression="zstd")
    assert len(packed) < 20_000
    problem_of(post(small_api, packed, Medium.PARQUET), 413, "body-too-large")


def test_many_rows_go_through_files_and_come_out_whole(make_settings: Any, start_api: Callable[..., Api]) -> None:
    """Rows and answers that are longer than what is kept in memory are the same as those of short requests."""
    with closing(ModelStore.connect(make_settings())) as store:
        enter(store, "penguins", penguins())
    api = start_api()
    rows = [
        GENTOO | {"bill_length_mm": 30 + place % 200 / 7, "sex": (None, "male")[place % 2]} for place in range(110_000)
    ]
    some = api.client.post("/predict?output=predict_proba", json={"rows": rows[:1400]}).json()["predictions"]

    for medium in TABLES:
        body = WRITE[medium](table_of(rows))
        found = post(api, body, medium, Medium.ARROW, output="predict_proba")
        assert int(found.headers["content-length"]) == found.num_bytes_downloaded
        answers = pa.ipc.open_stream(found.content).read_all().to_pylist()
        assert len(answers) == len(rows)
        assert np.allclose([list(answer.values()) for answer in answers[:1400]], some, rtol=1e-12)
        assert answers[1400:2800] == answers[:1400]
    in_csv = post(api, body, medium, "text/csv", output="predict_proba")
    assert len(in_csv.content) > 0
    assert len(to_arrow(table_of(rows))) > IN_MEMORY
    in_json = post(api, body, medium, output="predict_proba")
    assert len(in_json.content) > 3_000_000
    assert [list(answer.values()) for answer in answers] == in_json.json()["predictions"]


def test_without_room_for_temporary_files_a_table_is_refused(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A folder for temporary files that cannot be written is told as such, and short tables are answered on."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    table = table_of([GENTOO] * 10)

    assert post(gallery.api, to_csv(table), Medium.CSV, model="penguins").status_code == 200
    body = to_csv(table_of([GENTOO] * 150_000))
    problem = problem_of(post(gallery.api, body, Medium.CSV, model="penguins"), 503, "temporary-files")
    assert str(tmp_path) in problem["detail"]


# --- which form --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "medium"),
    [
        (None, Medium.JSON),
        ("application/json; charset=utf-8", Medium.JSON),
        ("application/vnd.api+json", Medium.JSON),
        ("text/csv", Medium.CSV),
        ('Text/CSV; header=present; charset="UTF-8"', Medium.CSV),
        ("application/vnd.apache.arrow.stream", Medium.ARROW),
        ("application/vnd.apache.parquet", Medium.PARQUET),
    ],
)
def test_a_body_says_its_form(content_type: str | None, medium: Medium) -> None:
    """Content-Type names one of four forms, JSON where it is left out."""
    assert body_medium(content_type) is medium


@pytest.mark.parametrize(
    "content_type", ["text/plain", "text/csv; charset=latin-1", "application/vnd.apache.arrow.file", ""]
)
def test_another_form_is_refused(content_type: str) -> None:
    """What is not read here is not guessed; an empty header says nothing."""
    if not content_type:
        assert body_medium(content_type) is Medium.JSON
        return
    with pytest.raises(MediaTypeError):
        body_medium(content_type)


@pytest.mark.parametrize(
    ("accept", "medium"),
    [
        ("", Medium.JSON),
        ("*/*", Medium.JSON),
        ("text/csv", Medium.CSV),
        ("text/*", Medium.CSV),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", Medium.JSON),
        ("application/json;q=0.5, text/csv", Medium.CSV),
        ("application/json;q=0.5, TEXT/CSV; q=0.4", Medium.JSON),
        ("application/vnd.apache.arrow.stream, application/problem+json", Medium.ARROW),
        ("text/csv;q=0, */*;q=0.1", Medium.JSON),
        ("text/csv;q=x, application/json", Medium.JSON),
    ],
)
def test_an_answer_has_the_form_that_is_asked_for(accept: str, medium: Medium) -> None:
    """Accept is read with its weights; of equal ones the first counts."""
    assert answer_medium(accept) is medium


@pytest.mark.parametrize("accept", ["text/html", "application/vnd.apache.parquet", "text/csv;q=0", ","])
def test_a_form_that_no_answer_has_is_refused(gallery: Gallery, accept: str) -> None:
    """Nothing else is put in its place, and the forms there are are named; also for what the fast path would answer."""
    with pytest.raises(NotAcceptableError):
        answer_medium(accept)

    asked = gallery.api.client.post(
        "/predict", params={"model": "penguins"}, json={"rows": [GENTOO]}, headers={"Accept": accept}
    )
    problem = problem_of(asked, 406, "not-acceptable")
    assert all(medium in problem["hint"] for medium in ANSWERS)
