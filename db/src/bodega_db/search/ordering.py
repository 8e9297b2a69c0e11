"""The orders that versions are listed in, and the cursors that say where in an order a page ended."""

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from bodega_db.errors import InvalidSearchError
from bodega_db.reference import LARGEST_NUMBER, METRIC_NAME
from bodega_db.search.grammar import SYNONYMS, read_moment, read_number

DEFAULT_ORDER = "-created_at"
COLUMNS = ("created_at", "version")
LONGEST_CURSOR = 1_000
LARGEST_ID = 2**63 - 1

Place = datetime | int | Decimal


@dataclass(frozen=True, slots=True)
class Order:
    """By `created_at`, `version` or `metrics`, up or down; what is equal there by its registration, the same way."""

    by: str
    metric: str | None
    descending: bool

    def __str__(self) -> str:
        name = self.by if self.metric is None else f"{self.by}.{self.metric}"
        return f"-{name}" if self.descending else name


def read_order(text: str, model: str | None) -> Order:
    """Read 'created_at', 'version' or 'metrics.NAME', with a '-' before it for the largest first."""
    name = text.removeprefix("-")
    table, _, metric = name.partition(".")
    if table == "metrics" and METRIC_NAME.fullmatch(metric):
        return Order(table, metric, text != name)
    column = SYNONYMS.get(name, name)
    if column not in COLUMNS:
        raise InvalidSearchError(
            "Unknown order",
            "Order by created_at, version or metrics.NAME, or by one of them with a '-' before it.",
        )
    if column == "version" and model is None:
        raise InvalidSearchError("Ordering by version needs one model", "Name a model, or order by created_at.")
    return Order(column, None, text != name)


def write_cursor(order: Order, place: int | str, last: int) -> str:
    """Write where a page ended: the value that its last version is ordered by, and the version's id."""
    return base64.urlsafe_b64encode(json.dumps([str(order), str(place), last]).encode()).decode().rstrip("=")


def read_cursor(cursor: str, order: Order) -> tuple[Place, int]:
    """Read what `write_cursor` wrote; raise InvalidSearchError unless it continues a list in this order."""
    try:
        named, written, last = _decoded(cursor)
        place = _place(written, order)
    except (ValueError, TypeError, RecursionError) as exc:
        raise InvalidSearchError(
            "Invalid cursor for this order", "Send `next` of the previous page unchanged, with the same order."
        ) from exc
    if named != str(order) or place is None or type(last) is not int or not 0 <= last <= LARGEST_ID:
        raise InvalidSearchError(
            "Invalid cursor for this order", "Send `next` of the previous page unchanged, with the same order."
        )
    return place, last


def _decoded(cursor: str) -> tuple[Any, Any, Any]:
    if len(cursor) > LONGEST_CURSOR:
        raise ValueError
    named, written, last = json.loads(
        base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    )
    return named, written, last


def _place(written: Any, order: Order) -> Place | None:
    if not isinstance(written, str):
        return None
    if order.by == "created_at":
        return read_moment(written)
    number = read_number(written)
    if order.by == "metrics" or number is None:
        return number
    return int(number) if 0 <= number <= LARGEST_NUMBER else None
