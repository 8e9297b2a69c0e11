"""Bodies of predictions straight into columns, by types made from the signature; anything odd goes the long way.

The long way (`body`, `validation`) decides what a body may be and says what is wrong with one. Here nothing is said: a
body is decoded if it is beyond doubt one that the long way takes and reads the same.
"""

from typing import Annotated, Any

import msgspec
from bodega_db.columns import integer_bounds
from bodega_db.signature import Column, Kind, Signature
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import astuple

from bodega_api.validation import EXACT_FLOAT

INTEGERS = ("int8", "int16", "int32", "int64")


class LongWayError(Exception):
    """A body that is not beyond doubt."""


class ColumnsDecoder:
    """Reads the bodies of one signature."""

    def __init__(self, signature: Signature, types: list[Any]) -> None:
        self._names = [column.name for column in signature.columns]
        self._keys = [msgspec.json.encode(name) for name in self._names]
        known = [(place, column.categories) for place, column in enumerate(signature.columns)]
        self._known = [(place, frozenset(values) | {None}) for place, values in known if values]
        # Beyond 2^53 a number in JSON may not be the one that is meant: the long way looks at its digits.
        self._floats = [place for place, column in enumerate(signature.columns) if _is_float(column)]
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
        # With an escape a key can be written twice in two ways. What is twice, msgspec takes without a word.
        if b"\\" in body:
            raise LongWayError
        found: Any = self._decoder.decode(body)
        if found.rows is not UNSET and found.columns is UNSET:
            columns = list(map(list, zip(*map(astuple, found.rows), strict=True)))
            count = times = len(found.rows)
        elif found.columns is not UNSET and found.rows is UNSET:
            columns = list(astuple(found.columns))
            count, times = len(columns[0]), 1
            if any(len(values) != count for values in columns):
                raise LongWayError
        else:
            raise LongWayError
        if not count or body.count(b'"rows"') + body.count(b'"columns"') != 1:
            raise LongWayError
        for key in self._keys:
            if body.count(key) != times:
                raise LongWayError
        self._check(columns)
        return dict(zip(self._names, columns, strict=True)), count

    def _check(self, columns: list[list[Any]]) -> None:
        for place, known in self._known:
            if not known.issuperset(columns[place]):
                raise LongWayError
        for place in self._floats:
            numbers = columns[place]
            if None in numbers:
                numbers = [value for value in numbers if value is not None] or [0.0]
            if max(numbers) >= EXACT_FLOAT or min(numbers) <= -EXACT_FLOAT:
                raise LongWayError


def _is_float(column: Column) -> bool:
    return column.kind is Kind.NUMBER or (column.kind is Kind.INTEGER and column.nullable)


def _type(column: Column) -> Any:
    """Return the type of a column's values, or None for a column that needs the long way."""
    kind = column.kind
    if kind is Kind.CATEGORY:
        kind = Kind.STRING if all(isinstance(value, str) for value in column.categories or ()) else kind
    types: dict[Kind, Any] = {Kind.STRING: str, Kind.BOOLEAN: bool}
    if kind is Kind.NUMBER and column.dtype == "float64":
        types[Kind.NUMBER] = float
    if kind is Kind.INTEGER and column.dtype in INTEGERS:
        lowest, highest = integer_bounds(column)
        types[Kind.INTEGER] = _between(lowest, highest)
    found = types.get(kind)
    return found | None if found is not None and column.nullable else found


def _between(lowest: int, highest: int) -> Any:
    return Annotated[int, Meta(ge=lowest, le=highest)]
