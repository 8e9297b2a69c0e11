"""Tables from CSV, Arrow and Parquet, some rows at a time: whatever is in them, memory holds no more than those.

Nothing of a table is trusted: what would unpack into more than it says is refused, and Arrow's own checks are run in
full before any value is looked at.
"""

import codecs
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from bodega_model.errors import InputError, TooManyRowsError
from bodega_model.signature.types import MOST_TOGETHER, Column, Signature
from bodega_model.validation.rows import Report, check_header
from pyarrow import csv, parquet

from bodega_api.errors import BodyError, BodyTooLargeError
from bodega_api.http.media.arrow import check_types, is_text, quotes_can_be_null
from bodega_api.http.media.kinds import Medium

ROWS_AT_ONCE = MOST_TOGETHER
LONGEST_LINE = 1024**2  # of CSV, in bytes: a line is held in memory
CHUNK = 1024**2
# What pyarrow raises for bytes that are no such table; most of its own errors are of these too.
UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, MemoryError, struct.error)
Batches = Iterator["pa.RecordBatch"]
Select = Callable[["pa.Schema"], list[str]]


def read_batches(medium: Medium, data: memoryview, signature: Signature, max_bytes: int, max_rows: int) -> Batches:
    """Go through the rows of a table, with the columns of the signature; those of CSV are all text.

    Raises InputError for columns that are missing, unknown or there twice, TooManyRowsError, BodyTooLargeError for
    what is too large once it is unpacked, and BodyError for what is no such table.
    """

    def select(schema: "pa.Schema") -> list[str]:
        names, report = _names(schema, signature), Report()
        check_header(names, signature, report)
        report.raise_if_any()
        wanted = [column.name for column in signature.columns]
        check_types(schema, wanted, report)
        report.raise_if_any()
        return wanted

    rows = 0
    try:
        for batch in _open(medium, data, signature, select, max_bytes):
            rows += batch.num_rows
            if rows > max_rows:
                raise TooManyRowsError(f"There are more than {max_rows} rows")
            for begin in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield batch.slice(begin, ROWS_AT_ONCE)
    except UNREADABLE as exc:  # whose words quote what was sent
        raise BodyError(f"The body cannot be read as {medium}", f"Send what {_WRITERS[medium]} writes.") from exc


def read_together(batches: Batches, why: str) -> "pa.RecordBatch":
    """Return all rows of a table at once; raise TooManyRowsError, which says why, if they are too many for that."""
    read, rows = [], 0
    for batch in batches:
        rows += batch.num_rows
        if rows > MOST_TOGETHER:
            raise TooManyRowsError(f"{why}, so at most {MOST_TOGETHER} rows of a table are answered", PARTS)
        read.append(batch)
    (together,) = pa.Table.from_batches(read).combine_chunks().to_batches() if rows else [None]
    return together


PARTS = "Send it in parts: each is answered for itself, and an answer may depend on where they are cut."
_WRITERS = {
    Medium.CSV: "DataFrame.to_csv(index=False)",
    Medium.ARROW: "pyarrow.ipc.new_stream",
    Medium.PARQUET: "DataFrame.to_parquet(index=False)",
}


def _open(medium: Medium, data: memoryview, signature: Signature, select: Select, max_bytes: int) -> Batches:
    if medium is Medium.CSV:
        return _read_csv(data, signature.columns, select)
    if medium is Medium.ARROW:
        return _read_arrow(data, select)
    return _read_parquet(data, select, max_bytes)


def _names(schema: "pa.Schema", signature: Signature) -> list[str]:
    """Return the names of the columns, without those of a pandas index that came along and that nobody asked for."""
    try:
        index = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        unasked = {name for name in index if isinstance(name, str)} - {column.name for column in signature.columns}
    except (KeyError, ValueError, TypeError):
        unasked = set()
    return [name for name in schema.names if name not in unasked]


# --- CSV -------------------------------------------------------------------------------------------------


def _read_csv(data: memoryview, columns: Sequence[Column], select: Select) -> Batches:
    """Read CSV with a header (RFC 4180); a field without anything is a missing value, one with "" is empty text.

    In a table of one column a line without anything could be no row at all, so that pandas and Python write `""` there
    too: it is a missing value then, where the column takes one.
    """
    _check_text(data)
    names = [column.name for column in columns]
    odd: list[Any] = []

    def note(row: Any) -> str:
        odd.append(row)
        return "error"

    try:
        reader = csv.open_csv(
            pa.BufferReader(pa.py_buffer(data)),
            read_options=csv.ReadOptions(use_threads=False, block_size=LONGEST_LINE),
            parse_options=csv.ParseOptions(
                newlines_in_values=True,
                ignore_empty_lines=len(names) > 1,
                invalid_row_handler=note,
            ),
            convert_options=csv.ConvertOptions(
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=len(columns) == 1 and quotes_can_be_null(columns[0]),
                column_types=dict.fromkeys(names, pa.string()),
            ),
        )
        wanted = select(reader.schema)
        for batch in reader:
            yield batch.select(wanted)
    except pa.ArrowInvalid:
        if odd:
            raise _odd_row(odd[0]) from None
        raise


def _odd_row(row: Any) -> InputError:
    detail = f"has {row.actual_columns} fields, and the header has {row.expected_columns}"
    if row.number is None:
        return InputError(f"a row {detail}")
    return InputError(f"row {row.number - 2}: {detail}", [{"row": row.number - 2, "detail": detail}])


def _check_text(data: memoryview) -> None:
    """Raise BodyError for what is not UTF-8, or ends within quotes, which would be read without a word."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    quotes = 0
    for begin in range(0, len(data), CHUNK):
        chunk = bytes(data[begin : begin + CHUNK])
        quotes += chunk.count(b'"')
        kept = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=begin + CHUNK >= len(data))
        except UnicodeDecodeError as exc:
            raise BodyError(f"The body is not UTF-8 at byte {begin - kept + exc.start}", "Send it as UTF-8.") from None
    if quotes % 2:
        raise BodyError("The body ends within quotes", "A quote within a field is written twice.")


# --- Arrow -----------------------------------------------------------------------------------------------


def _read_arrow(data: memoryview, select: Select) -> Batches:
    buffer = pa.py_buffer(data)
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(buffer)):
        if _is_compressed(message):
            raise BodyError("The record batches are compressed", "Send them without compression, or Parquet.")
    with pa.ipc.open_stream(pa.BufferReader(buffer)) as reader:
        wanted = select(reader.schema)
        for batch in reader:
            batch.validate(full=True)
            yield batch.select(wanted)


def _is_compressed(message: Any) -> bool:
    """Tell whether the buffers of a message are compressed: pyarrow would unpack them to any size.

    Read from the flatbuffer of the message (Message.fbs of Arrow: a batch is the header of a message, or the second
    field of the dictionary that is; its fourth field says how it is compressed).
    """
    if message.type not in ("record batch", "dictionary"):
        return False
    data = message.metadata.to_pybytes()
    header = _field(data, _follow(data, 0), 2)
    batch = _field(data, _follow(data, header), 1) if message.type == "dictionary" else header
    return bool(batch) and bool(_field(data, _follow(data, batch), 3))


def _field(data: bytes, table: int, number: int) -> int:
    """Return where a field of a flatbuffer's table is; 0 if it is left out."""
    layout = table - struct.unpack_from("<i", data, table)[0]
    place = 4 + 2 * number
    if place >= struct.unpack_from("<H", data, layout)[0]:
        return 0
    offset: int = struct.unpack_from("<H", data, layout + place)[0]
    return table + offset if offset else 0


def _follow(data: bytes, place: int) -> int:
    return place + int(struct.unpack_from("<I", data, place)[0])


# --- Parquet ---------------------------------------------------------------------------------------------


def _read_parquet(data: memoryview, select: Select, max_bytes: int) -> Batches:
    source = pa.BufferReader(pa.py_buffer(data))
    metadata = parquet.read_metadata(source)
    schema = metadata.schema.to_arrow_schema()
    wanted = select(schema)
    if sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups)) > max_bytes:
        raise BodyTooLargeError(f"The table is longer than {max_bytes} bytes once it is unpacked")
    # Text stays a dictionary: a long one that each row repeats would not fit in memory.
    texts = [name for name in wanted if is_text(schema.field(name).type)]
    with parquet.ParquetFile(source, metadata=metadata, read_dictionary=texts, pre_buffer=False) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=wanted, use_threads=False):
            batch.validate(full=True)
            yield batch.select(wanted)
