"""Bodies of predictions straight into columns, by types made from the signature; anything odd goes the long way.

The long way (the API's `strict_json`, then `rows`) decides what a body may be, and formats the errors. This module
raises none: it decodes a body only if the long way would certainly read it the same.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import astuple

from bodega_model.signature.columns import integer_bounds
from bodega_model.signature.types import Column, Kind, Signature
from bodega_model.validation.rows import EXACT_FLOAT

FLOATS = ("float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64")


class LongWayError(Exception):
    """A body that is not beyond doubt."""


class ColumnsDecoder:
    """Reads the bodies of one signature."""

    def __init__(self, signature: Signature, types: list[Any]) -> None:
        self._names = [column.name for column in signature.columns]
        texts = [place for place, column in enumerate(signature.columns) if column.kind in (Kind.STRING, Kind.CATEGORY)]
        self._texts = len(texts)
        self._nullable_texts = [place for place in texts if signature.columns[place].nullable]
        fields = [f"c{place}" for place in range(len(types))]
        rename = dict(zip(fields, self._names, strict=True))
        options: dict[str, Any] = {"rename": rename, "forbid_unknown_fields": True, "gc": False, "frozen": True}
        row: Any = msgspec.defstruct("Row", list(zip(fields, types, strict=True)), **options)
        lists = [(field, list.__class_getitem__(of)) for field, of in zip(fields, types, strict=True)]
        columns: Any = msgspec.defstruct("Columns", lists, **options)
        body = msgspec.defstruct(
            "Body",
            [("rows", list[row] | UnsetType, UNSET), ("columns", columns | UnsetType, UNSET)],
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decoder = msgspec.json.Decoder(body)

    @classmethod
    def of(cls, signature: Signature) -> "ColumnsDecoder | None":
        """Make the decoder of a signature; None if one of its columns has a kind or a name that needs the long way."""
        types = [_type(column) for column in signature.columns]
        # What is written with an escape in JSON, bodies that have one go the long way with.
        escaped = any(b"\\" in msgspec.json.encode(column.name) for column in signature.columns)
        return None if escaped or None in types else cls(signature, types)

    def decode(self, body: bytes) -> tuple[dict[str, list[Any]], int]:
        """Return the columns of a body and how many rows they have.

        Raises LongWayError, or what msgspec raises, for every body that is not beyond doubt.
        """
        if b"\\" in body:
            raise LongWayError
        found: Any = self._decoder.decode(body)
        if found.rows and found.columns is UNSET:
            count = len(found.rows)
            if count == 1:  # what most bodies are, in half of the time
                columns = [[value] for value in astuple(found.rows[0])]
            else:
                columns = list(map(list, zip(*map(astuple, found.rows), strict=True)))
            keys = 1 + count * len(self._names)
        elif found.columns is not UNSET and found.rows is UNSET:
            columns = list(astuple(found.columns))
            count = len(columns[0])
            keys = 1 + len(self._names)
            if any(len(values) != count for values in columns):
                raise LongWayError
        else:
            raise LongWayError
        # A key that is there twice, msgspec takes without a word. Where nothing is escaped, each text has two quotes.
        texts = count * self._texts - sum([columns[place].count(None) for place in self._nullable_texts])
        if not count or body.count(b'"') != 2 * (keys + texts):
            raise LongWayError
        return dict(zip(self._names, columns, strict=True)), count


def _type(column: Column) -> Any:
    """Return the type of a column's values, or None for a column that needs the long way."""
    types: dict[Kind, Callable[[Column], Any]] = {
        Kind.STRING: _text,
        Kind.CATEGORY: _text,
        Kind.BOOLEAN: _boolean,
        Kind.NUMBER: _number,
        Kind.INTEGER: _integer,
    }
    make = types.get(column.kind)
    found = None if make is None else make(column)
    # A null that is answered as an unknown category is warned of, which the long way does.
    return found | None if found is not None and column.nullable and not column.null_is_unknown else found


def _text(column: Column) -> Any:
    known = column.categories
    if not known:
        return str if column.kind is Kind.STRING else None
    return Literal[tuple(known)] if all(isinstance(value, str) for value in known) else None


def _boolean(column: Column) -> Any:
    return bool if column.categories is None or {True, False} <= set(column.categories) else None


def _number(column: Column) -> Any:
    if column.categories is not None:  # an unknown one is warned of or refused, which the long way does
        return None
    # Beyond 2^53 a number in JSON may not be the one that is meant: the long way looks at its digits.
    return Annotated[float, Meta(gt=-EXACT_FLOAT, lt=EXACT_FLOAT)] if column.dtype in FLOATS else None


def _integer(column: Column) -> Any:
    known = column.categories
    if known is not None:
        exact = all(type(value) is int and abs(value) < EXACT_FLOAT for value in known)
        return Literal[tuple(known)] if exact else None
    lowest, highest = integer_bounds(column)
    if column.nullable:  # beside a gap it is a float
        lowest, highest = max(lowest, 1 - EXACT_FLOAT), min(highest, EXACT_FLOAT - 1)
    return Annotated[int, Meta(ge=lowest, le=highest)] if column.dtype in INTEGERS else None
