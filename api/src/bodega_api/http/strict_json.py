"""The body of a request: strict JSON, and of a prediction its columns, before any signature is looked at.

Python's own parser is used because it tells duplicate keys and refuses NaN; both are silently accepted elsewhere.
"""

import json
from collections.abc import AsyncIterable, Callable
from functools import partial
from typing import Any

from bodega_model.validation.forms import Columns, DuplicateKeys, Rows, json_type

from bodega_api.errors import BodyError, BodyTooLargeError
from bodega_api.http.slicing import Parts


async def collect_body(chunks: AsyncIterable[bytes], limit: int) -> bytes:
    """Put a body together; raise BodyTooLargeError as soon as it is longer than the limit, in bytes.

    The framework's own limit answers in plain text, also in place of an error that was found before.
    """
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise BodyTooLargeError(f"The body is longer than {limit} bytes")
    return bytes(body)


def read_body(body: bytes | Parts) -> Rows | Columns:
    """Read a request body; raise BodyError that says where it stops being one."""
    parts = body if isinstance(body, Parts) else Parts(body)
    rows: list[Any] = []
    columns: dict[str, Any] = {}
    found: Rows | Columns | None = None
    for number, part in enumerate(parts):
        found = _read_document(parse_json(part, partial(parts.place, number)))
        if isinstance(found, Rows):
            rows += found.rows
        else:
            columns = _together(columns, found.columns)
    return Rows(rows) if isinstance(found, Rows) else Columns(columns)


def _read_document(document: Any) -> Rows | Columns:
    if not isinstance(document, dict):
        raise BodyError(f"The body is {json_type(document)}, not an object")
    if len(document) != 1 or not document.keys() <= {"rows", "columns"} or isinstance(document, DuplicateKeys):
        raise BodyError("The body needs exactly one key, 'rows' or 'columns'")
    if "rows" in document:
        if not isinstance(document["rows"], list):
            raise BodyError(f"'rows' is {json_type(document['rows'])}, not a list")
        return Rows(document["rows"])
    if not isinstance(document["columns"], dict):
        raise BodyError(f"'columns' is {json_type(document['columns'])}, not an object")
    return Columns(document["columns"])


def _together(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of two parts of a body, with those that are there twice."""
    if not first:
        return second
    twice = [name for name in second if name in first]
    twice += [name for part in (first, second) if isinstance(part, DuplicateKeys) for name in part.twice]
    if not twice:
        return first | second
    duplicates = DuplicateKeys(first | second)
    duplicates.twice = tuple(dict.fromkeys(twice))
    return duplicates


def parse_json(data: bytes, place: Callable[[int], tuple[int, int]] | None = None) -> Any:
    """Read strict JSON, with objects that tell which keys came twice; raise BodyError that says where it ends.

    `place` tells the line and the column of an offset, if the data is a part of a body.
    """
    place = place or partial(Parts(data).place, 0)
    try:
        text = data.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        line, column = place(exc.start)
        raise BodyError(f"The body is not UTF-8 at line {line}, column {column}") from None
    except json.JSONDecodeError as exc:
        mark = len(data) - len(text.encode())  # bytes of one at the begin of the text
        line, column = place(mark + len(text[: exc.pos].encode()))
        raise BodyError(f"The body is not JSON at line {line}, column {column}: {exc.msg}") from None
    except RecursionError:
        raise BodyError("The body is nested too deeply") from None
    except ValueError:
        raise BodyError("The body holds a number with too many digits") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    duplicates = DuplicateKeys(found)
    duplicates.twice = tuple(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return duplicates


def _refuse_constant(_: str) -> None:
    raise BodyError("NaN and Infinity are not JSON", "Send null for a missing value.")
