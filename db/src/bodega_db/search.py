"""Searching versions: a filter, words, an order, and pages that continue where the former one ended.

The next page is found by the place of the last version (a keyset) and not by counting, so page 1000 costs what page 1
costs, and nothing is shown twice or left out where versions are registered in between.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, select, tuple_
from sqlalchemy.exc import OperationalError

from bodega_db import catalog
from bodega_db.conditions import where, where_words
from bodega_db.engine import PLAN_EACH_TIME, sqlstate
from bodega_db.errors import InvalidSearchError, SearchTimeoutError
from bodega_db.filters import parse_filter
from bodega_db.ordering import DEFAULT_ORDER, Order, Place, read_cursor, read_order, write_cursor
from bodega_db.records import VersionPage
from bodega_db.tables import MetricRow, ModelRow, VersionRow

QUERY_CANCELED = "57014"
LONGEST_TEXT, MOST_WORDS = 200, 10


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for, checked."""

    model: str | None
    conditions: tuple[ColumnElement[bool], ...]
    words: tuple[str, ...]
    order: Order
    after: tuple[Place, int] | None
    limit: int | None


def read_search(
    model: str | None,
    *,
    filter: str | None = None,
    text: str | None = None,
    order: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Search:
    """Check what somebody searches for; raise InvalidFilterError or InvalidSearchError."""
    ordered = read_order(DEFAULT_ORDER if order is None else order, model)
    return Search(
        model=model,
        conditions=() if filter is None else _conditions(filter),
        words=_words(text or ""),
        order=ordered,
        after=None if after is None else read_cursor(after, ordered),
        limit=limit,
    )


def find_page(session: catalog.Reading, search: Search) -> VersionPage:
    """Return the versions that are searched for; raise ModelNotFoundError or SearchTimeoutError."""
    try:
        rows = session.execute(_statement(search), execution_options={PLAN_EACH_TIME: True}).all()
    except OperationalError as exc:
        if sqlstate(exc) == QUERY_CANCELED:
            raise SearchTimeoutError("The search took too long and was ended") from exc
        raise
    if not rows and search.model is not None:
        catalog.get_model(session, search.model)
    page = rows[: search.limit]
    last = page[-1] if len(rows) > len(page) else None
    return VersionPage(
        versions=tuple(catalog.summary(row) for row in page),
        next=None if last is None else write_cursor(search.order, last.place, last.id),
    )


@lru_cache(maxsize=256)  # whoever looks at a list looks at it again, and asks for the next page
def _conditions(text: str) -> tuple[ColumnElement[bool], ...]:
    return tuple(where(condition) for condition in parse_filter(text))


def _words(text: str) -> tuple[str, ...]:
    words = tuple(text.split())
    if len(text) > LONGEST_TEXT or len(words) > MOST_WORDS:
        raise InvalidSearchError(f"At most {MOST_WORDS} words and {LONGEST_TEXT} characters are searched for")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise InvalidSearchError("A NUL character, or half of a surrogate pair, is in no text")
    return words


def _statement(search: Search) -> Select[Any]:
    place, tie = _columns(search.order)
    statement = select(*catalog.SUMMARY, place.label("place"), tie.label("id")).select_from(VersionRow).join(ModelRow)
    if search.order.metric is not None:
        statement = statement.join(MetricRow, MetricRow.version_id == VersionRow.id)
        statement = statement.where(MetricRow.name == search.order.metric)
    down = search.order.descending
    if search.after is not None:
        here, last = tuple_(place, tie), tuple_(*search.after)
        statement = statement.where(here < last if down else here > last)
    statement = statement.where(*_wheres(search)).order_by(*((place.desc(), tie.desc()) if down else (place, tie)))
    return statement if search.limit is None else statement.limit(search.limit + 1)


def _columns(order: Order) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    # Both of one table, and side by side in one of its indexes: only so is an order read, and not made.
    match order.by:
        case "metrics":
            return MetricRow.value.expression, MetricRow.version_id.expression
        case "version":
            return VersionRow.number.expression, VersionRow.id.expression
        case _:
            return VersionRow.created_at.expression, VersionRow.id.expression


def _wheres(search: Search) -> list[ColumnElement[bool]]:
    wheres = list(search.conditions)
    if search.words:
        wheres.append(where_words(search.words))
    if search.model is not None:
        ordered = VersionRow.model_id if search.order.metric is None else MetricRow.model_id
        wheres.append(ordered == select(ModelRow.id).where(ModelRow.name == search.model).scalar_subquery())
    return wheres
