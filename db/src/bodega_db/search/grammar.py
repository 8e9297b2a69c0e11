"""The filter of a search, read: `status=production and metrics.f1>=0.9 and tags.team in (core, web)`.

The grammar is this module's; docs/search.md explains it. Every value ends as a bound parameter of a statement.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from bodega_db.catalog.tables import FORMATS, STATUSES
from bodega_db.errors import InvalidFilterError
from bodega_db.reference import LARGEST_NUMBER, METRIC_NAME

LONGEST = 2_000  # characters
MOST_CONDITIONS = 20
MOST_VALUES = 100
LONGEST_NUMBER = 400  # digits: a double has 309 before its point
LARGEST_SIZE = 2**63 - 1
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")

GRAMMAR = r"""
start: condition (_AND condition)*
condition: FIELD OPERATOR value             -> comparison
         | FIELD _IN "(" value ("," value)* ")" -> membership
?value: WORD | QUOTED

FIELD: /[a-z_0-9]+(\.("([^"\\]|\\.)*"|[^\s"'\\(),=<>!]+))?/
OPERATOR: "!=" | "<=" | ">=" | "=" | "<" | ">"
WORD: /[^\s"'\\(),=<>!]+/
QUOTED: /"([^"\\]|\\.)*"|'([^'\\]|\\.)*'/
_AND: /and\b/i
_IN: /in\b/i
%import common.WS
%ignore WS
"""
EXPECTED = {
    "FIELD": "a field",
    "OPERATOR": "= != < <= > >= or 'in'",
    "_IN": "= != < <= > >= or 'in'",
    "WORD": "a value",
    "QUOTED": "a value",
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "_AND": "'and'",
    "$END": "the end",
}
# A quotation mark that nothing closes is met where it stands, and the parser cannot know what was meant.
UNKNOWN_CHARACTER = "unexpected character"

Value = str | int | bool | Decimal | datetime | None


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: a field, for metrics, params and tags the key in it, an operator, and one value, or several."""

    field: str
    key: str | None
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field may be compared by, and how one of its values is read; None says that the word is none."""

    operators: tuple[str, ...]
    read: Callable[[str, bool], Value | None]
    expects: str
    keyed: bool = False


def parse_filter(text: str) -> tuple[Condition, ...]:
    """Return the conditions of a filter, which all must hold; raise InvalidFilterError that names the place."""
    if len(text) > LONGEST:
        raise InvalidFilterError(f"The filter is longer than {LONGEST} characters", LONGEST + 1)
    for place, character in enumerate(text, 1):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise InvalidFilterError("A value cannot contain a NUL character or half of a surrogate pair", place)
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as exc:
        raise _refusal(exc, text) from None
    if len(tree.children) > MOST_CONDITIONS:
        raise InvalidFilterError(f"There are more than {MOST_CONDITIONS} conditions", 1)
    return tuple(_condition(child) for child in tree.children if isinstance(child, Tree))


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr")


def _refusal(exc: UnexpectedInput, text: str) -> InvalidFilterError:
    place = len(text) + 1 if isinstance(exc, UnexpectedEOF) else (exc.pos_in_stream or 0) + 1
    accepted: set[str] = set()
    if isinstance(exc, UnexpectedToken):
        accepted = set(exc.accepts or exc.expected)
        if exc.token.type == "$END":
            place = len(text) + 1
    elif isinstance(exc, UnexpectedCharacters):
        accepted = set(exc.allowed or ())
    expected = sorted({EXPECTED[name] for name in accepted if name in EXPECTED})
    return InvalidFilterError(f"{' or '.join(expected)} is expected" if expected else UNKNOWN_CHARACTER, place)


def _condition(tree: "Tree[Token]") -> Condition:
    first, *rest = (child for child in tree.children if isinstance(child, Token))
    operator, values = (str(rest[0]), rest[1:]) if tree.data == "comparison" else ("in", rest)
    field, key, kind = _field(first)
    if operator not in kind.operators:
        raise InvalidFilterError(f"{field} takes the operators {' '.join(kind.operators)}", _place(first))
    if len(values) > MOST_VALUES:
        raise InvalidFilterError(f"There are more than {MOST_VALUES} values", _place(first))
    return Condition(field, key, operator, tuple(_value(token, kind, field) for token in values))


def _field(token: Token) -> tuple[str, str | None, Kind]:
    name, dot, key = str(token).partition(".")
    name = SYNONYMS.get(name, name)
    kind = FIELDS.get(name)
    if kind is None:
        raise InvalidFilterError(f"Unknown field; the fields are {', '.join(FIELDS)}", _place(token))
    if kind.keyed is not bool(dot):
        raise InvalidFilterError(
            f"{name} is written {name}.NAME" if kind.keyed else f"{name} is written without a name behind it",
            _place(token),
        )
    if not dot:
        return name, None, kind
    key = _unquoted(key)
    if name != "params" and not METRIC_NAME.fullmatch(key):
        raise InvalidFilterError(f"No name in {name} has such characters", _place(token))
    return name, key, kind


def _value(token: Token, kind: Kind, field: str) -> Value:
    quoted = token.type == "QUOTED"
    read = kind.read(_unquoted(token), quoted)
    if read is None:
        raise InvalidFilterError(f"{field} takes {kind.expects}", _place(token))
    return None if read is NULL else read


def _place(token: Token) -> int:
    return (token.start_pos or 0) + 1


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text[:1] in {'"', "'"} else str(text)


# --- values of each kind -------------------------------------------------------------------------------------

NULL: Any = object()  # the word null, which is a value; None says that there is none


def _text(word: str, _: bool) -> str:
    return word


def _one_of(words: Sequence[str]) -> Callable[[str, bool], str | None]:
    return lambda word, _: word if word in words else None


def _integer(largest: int) -> Callable[[str, bool], int | None]:
    def read(word: str, quoted: bool) -> int | None:
        if quoted or not re.fullmatch(r"[0-9]{1,19}", word) or int(word) > largest:
            return None
        return int(word)

    return read


def read_number(word: str, quoted: bool = False) -> Decimal | None:
    """Return the number that a word is, or None; a text in quotation marks is none."""
    # Checked before it is made: 1e999999999 is eleven characters, and gigabytes for Postgres.
    if quoted or len(word) > LONGEST_NUMBER or not NUMBER.fullmatch(word):
        return None
    return Decimal(word)


def read_moment(word: str, _: bool = False) -> datetime | None:
    """Return the moment that a word is, in UTC, or None; a day is its first moment."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", word):
            day = date.fromisoformat(word)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        moment = datetime.fromisoformat(word)
        return moment.astimezone(UTC) if moment.utcoffset() is not None else None
    except (ValueError, OverflowError):
        return None


def _scalar(word: str, quoted: bool) -> Value:
    if quoted:
        return word
    words: dict[str, Any] = {"true": True, "false": False, "null": NULL}
    if word in words:
        return words[word]  # type: ignore[no-any-return]
    number = read_number(word, quoted)
    return word if number is None else number


EQUAL = ("=", "!=", "in")
ORDERED = ("=", "!=", "<", "<=", ">", ">=", "in")
FIELDS = {
    "model": Kind(EQUAL, _text, "a name"),
    "version": Kind(ORDERED, _integer(LARGEST_NUMBER), f"a whole number from 0 to {LARGEST_NUMBER}"),
    "status": Kind(EQUAL, _one_of(STATUSES), f"one of {', '.join(STATUSES)}"),
    "alias": Kind(EQUAL, _text, "a name"),
    "format": Kind(EQUAL, _one_of(FORMATS), f"one of {', '.join(FORMATS)}"),
    "sha256": Kind(EQUAL, _text, "64 hexadecimal digits"),
    "size_bytes": Kind(ORDERED, _integer(LARGEST_SIZE), "a whole number"),
    "created_at": Kind(ORDERED, read_moment, "a day as 2026-11-24 (UTC) or a moment as '2026-11-24T10:00+01:00'"),
    "created_by": Kind(EQUAL, _text, "a name"),
    "metrics": Kind(ORDERED, read_number, "a number", keyed=True),
    "params": Kind(ORDERED, _scalar, "a number, a text, true, false or null", keyed=True),
    "tags": Kind(EQUAL, _text, "a text", keyed=True),
}
SYNONYMS = {"number": "version", "created": "created_at"}  # in filters, orders and fields
