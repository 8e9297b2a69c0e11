"""What people say of a version (metrics, params, tags, a note): checked before anything is written."""

import json
import math
import numbers
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from bodega_model.foreign import known, type_name

from bodega_db.errors import InvalidMetadataError, ReasonMissingError
from bodega_db.reference import METRIC_NAME

LONGEST_NOTE = 10_000
LONGEST_TEXT = 1_000
LONGEST_KEY = 200
DEEPEST_PARAMETER = 5  # lists in lists: one may hold itself
LARGEST_INTEGER = 2**63 - 1  # of what JSON parsers read everywhere

T = TypeVar("T")


def check_metrics(metrics: Mapping[str, Any] | None) -> dict[str, float | int]:
    """Return the metrics as plain finite numbers; raise InvalidMetadataError naming the one that is none."""
    checked: dict[str, float | int] = {}
    for name, value in (metrics or {}).items():
        if not isinstance(name, str) or not METRIC_NAME.fullmatch(name):
            raise InvalidMetadataError(
                f"{name!r:.80} cannot name a metric", "Use letters, digits, '_', '.', '@' and '-', as in 'accuracy'."
            )
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise InvalidMetadataError(f"The metric {name} is a {type(value).__name__}", "Give a single number.")
        if not _is_finite(value):
            raise InvalidMetadataError(f"The metric {name} is {value!r:.40}", "Give a finite number, or leave it out.")
        if isinstance(value, numbers.Integral) and abs(int(value)) > LARGEST_INTEGER:
            raise InvalidMetadataError(f"The metric {name} is a whole number of more than 64 bits", "Give a float.")
        checked[name] = int(value) if isinstance(value, numbers.Integral) else float(value)
    return checked


def _is_finite(value: numbers.Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # of a number that no float holds
        return isinstance(value, numbers.Integral)


def check_tags(tags: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the tags as text by name; raise InvalidMetadataError."""
    for name, value in (tags or {}).items():
        if not isinstance(name, str) or not METRIC_NAME.fullmatch(name):
            raise InvalidMetadataError(f"{name!r:.80} cannot name a tag", "Use letters, digits, '_', '.', '@' and '-'.")
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            raise InvalidMetadataError(f"The tag {name} is not a text of at most {LONGEST_TEXT} characters")
    return check_storable("tags", dict(tags or {}))


def change_tags(tags: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return the tags with these set, and those taken away that are None; raise InvalidMetadataError."""
    given = check_tags({name: value for name, value in changes.items() if value is not None})
    return {name: value for name, value in tags.items() if name not in changes} | given


def check_params(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return parameters as JSON values; other values are stored as their repr."""
    return check_storable("params", {str(name): _parameter(value) for name, value in (params or {}).items()})


def check_note(note: str | None) -> str | None:
    """Return the note; raise InvalidMetadataError if it is no text or too long."""
    if note is not None and (not isinstance(note, str) or len(note) > LONGEST_NOTE):
        raise InvalidMetadataError(f"A note is a text of at most {LONGEST_NOTE} characters")
    return check_storable("note", note)


def check_reason(reason: str | None, *, required_for: str | None = None) -> str | None:
    """Return the reason, None for a blank one; raise ReasonMissingError where it is needed, or InvalidMetadataError."""
    if reason is not None and (not isinstance(reason, str) or len(reason) > LONGEST_TEXT):
        raise InvalidMetadataError(f"A reason is a text of at most {LONGEST_TEXT} characters")
    if reason is None or not reason.strip():
        if required_for:
            raise ReasonMissingError(f"{required_for} needs a reason")
        return None
    return check_storable("reason", reason)


def check_moment(moment: datetime) -> datetime:
    """Return the moment; raise InvalidMetadataError unless it is one everywhere on earth."""
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidMetadataError(
            "The time must be a datetime with a time zone", "Give one such as datetime.now(UTC)."
        )
    return moment


def check_idempotency_key(key: str | None) -> str | None:
    """Return the key; raise InvalidMetadataError unless it is a short printable text."""
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= LONGEST_KEY and key.isprintable()):
        raise InvalidMetadataError(f"An idempotency key is a printable text of 1 to {LONGEST_KEY} characters")
    return check_storable("idempotency_key", key)


def check_storable(what: str, value: T) -> T:
    """Return a JSON value; raise InvalidMetadataError if Postgres cannot keep it (NaN, NUL, lone surrogates)."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as exc:
        raise InvalidMetadataError(
            f"The {what} contain NaN or infinity, which JSON cannot hold", "Remove that number."
        ) from exc
    if "\\u0000" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidMetadataError(
            f"The {what} contain a NUL character or half of a surrogate pair", "Remove it: Postgres cannot store it."
        )
    return value


def _parameter(value: Any) -> Any:
    # Of an object that cannot say what it is, the type is kept.
    return known(lambda: _json_value(value), f"<{type_name(value)}>")


def _json_value(value: Any, deepest: int = DEEPEST_PARAMETER) -> Any:
    if isinstance(value, bool | str | None):
        return value if not isinstance(value, str) else value[:LONGEST_TEXT]
    if isinstance(value, numbers.Integral):
        return int(value) if abs(int(value)) <= LARGEST_INTEGER else repr(int(value))[:LONGEST_TEXT]
    if isinstance(value, numbers.Real) and _is_finite(value):
        return float(value)
    if deepest and isinstance(value, list | tuple) and len(value) <= 100:
        return [_json_value(part, deepest - 1) for part in value]
    if deepest and isinstance(value, Mapping) and len(value) <= 100:
        return {str(name): _json_value(part, deepest - 1) for name, part in value.items()}
    return repr(value)[:LONGEST_TEXT]
