"""Searching versions: a filter, words, an order, and pages that continue where the former one ended.

The next page is found by the place of the last version (a keyset) and not by counting, so page 1000 costs what page 1
costs, and nothing is shown twice or left out where versions are registered in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.exc import OperationalError

from bodega_db.catalog import versions
from bodega_db.catalog.failures import sqlstate
from bodega_db.catalog.tables import MetricRow, ModelRow, VersionRow
from bodega_db.errors import InvalidSearchError, SearchTimeoutError
from bodega_db.records import VersionPage, VersionSummary
from bodega_db.search.conditions import where, where_words
from bodega_db.search.grammar import parse_filter
from bodega_db.search.ordering import DEFAULT_ORDER, Order, Place, read_cursor, read_order, write_cursor

QUERY_CANCELED = "57014"
LONGEST_TEXT, MOST_WORDS = 200, 10
CREATED_AT = [column.name for column in versions.SUMMARY].index("created_at")
MOST_IDS = 10_000


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for, checked."""

    model: str | None
    filter: str | None
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
    """Check a search; raise InvalidFilterError or InvalidSearchError."""
    ordered = read_order(DEFAULT_ORDER if order is None else order, model)
    _conditions(filter, model, ordered.metric)
    return Search(
        model=model,
        filter=filter,
        words=_words(text or ""),
        order=ordered,
        after=None if after is None else read_cursor(after, ordered),
        limit=limit,
    )


def find_page(session: versions.Reading, search: Search, ids: dict[str, int]) -> VersionPage:
    """Return the versions that are searched for; raise ModelNotFoundError or SearchTimeoutError.

    `ids` keeps those of models that were searched before, which saves asking for them; the statement holds them right.
    """
    known = None if search.model is None else ids.get(search.model)
    rows = _execute(session, search, ids)
    if not rows and search.model is not None:
        model_id = versions.get_model_id(session, search.model)
        if known not in (None, model_id):  # another database stands where that one was
            ids[search.model] = model_id
            rows = _execute(session, search, ids)
    page = rows[: search.limit]
    last = page[-1] if len(rows) > len(page) else None
    return VersionPage(
        versions=tuple(_record(row) for row in page),
        next=None if last is None else write_cursor(search.order, *last[-2:]),
    )


def _execute(session: versions.Reading, search: Search, ids: dict[str, int]) -> Sequence[Any]:
    statement = _statement(search.model, search.filter, search.words, search.order, search.after is not None)
    parameters: dict[str, Any] = {} if search.limit is None else {"limit": search.limit + 1}
    if search.after is not None:
        parameters |= {"place": search.after[0], "tie": search.after[1]}
    if search.model is not None and search.order.metric is not None:
        parameters["model_id"] = _id_of(session, search.model, ids)
    try:
        return session.execute(statement, parameters).scalars().all()
    except OperationalError as exc:
        if sqlstate(exc) == QUERY_CANCELED:
            raise SearchTimeoutError("The search took too long and was ended") from exc
        raise


def _id_of(session: versions.Reading, model: str, ids: dict[str, int]) -> int:
    if model not in ids:
        if len(ids) >= MOST_IDS:
            ids.clear()
        ids[model] = versions.get_model_id(session, model)
    return ids[model]


def _record(row: list[Any]) -> VersionSummary:
    """Make the record of a row that came as one JSON array: to read it column by column takes twice as long."""
    *columns, _place, _tie = row
    columns[CREATED_AT] = datetime.fromisoformat(columns[CREATED_AT])
    return versions.summary(columns)


def _words(text: str) -> tuple[str, ...]:
    words = tuple(text.split())
    if len(text) > LONGEST_TEXT or len(words) > MOST_WORDS:
        raise InvalidSearchError(f"A search takes at most {MOST_WORDS} words and {LONGEST_TEXT} characters")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise InvalidSearchError("A search cannot contain a NUL character or half of a surrogate pair")
    return words


# Whoever looks at a list looks at it again, and asks for the next page; to make a statement takes as long as some
# statements do.
@lru_cache(maxsize=256)
def _conditions(filter: str | None, model: str | None, metric: str | None) -> tuple[ColumnElement[bool], ...]:
    conditions = () if filter is None else parse_filter(filter)
    return tuple(where(condition, model=model, metric=metric) for condition in conditions)


@lru_cache(maxsize=256)
def _statement(
    model: str | None, filter: str | None, words: tuple[str, ...], order: Order, continues: bool
) -> Select[Any]:
    place, tie = _columns(order)
    statement = select(func.json_build_array(*_columns_shown(model), _exactly(place, order), tie)).select_from(
        VersionRow
    )
    if model is None:
        statement = statement.join(ModelRow)
    if order.metric is not None:
        statement = statement.join(MetricRow, MetricRow.version_id == VersionRow.id)
        statement = statement.where(MetricRow.name == order.metric)
    if continues:
        here = tuple_(place, tie)
        last = tuple_(bindparam("place", type_=place.type), bindparam("tie", type_=tie.type))
        statement = statement.where(here < last if order.descending else here > last)
    statement = statement.where(*_conditions(filter, model, order.metric))
    if words:
        statement = statement.where(where_words(words))
    if model is not None:
        statement = statement.where(_belongs(model, order))
    statement = statement.order_by(*((place.desc(), tie.desc()) if order.descending else (place, tie)))
    return statement.limit(bindparam("limit", None, type_=Integer))  # LIMIT NULL is none


def _exactly(place: ColumnElement[Any], order: Order) -> ColumnElement[Any]:
    # A number in JSON is read as a float, and a page would continue beside where the former one ended.
    return place if order.metric is None else cast(place, Text)


def _columns_shown(model: str | None) -> tuple[Any, ...]:
    # Whoever names the model knows its name: that is a table less to plan for.
    if model is None:
        return versions.SUMMARY
    return literal(model).label("model"), *versions.SUMMARY[1:]


def _columns(order: Order) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    # Both of one table, and side by side in one of its indexes: only so is an order read, and not made.
    match order.by:
        case "metrics":
            return MetricRow.value.expression, MetricRow.version_id.expression
        case "version":
            return VersionRow.number.expression, VersionRow.id.expression
        case _:
            return VersionRow.created_at.expression, VersionRow.id.expression


def _belongs(model: str, order: Order) -> ColumnElement[bool]:
    """Build the WHERE clause that restricts a query to one model, phrased so that the planner uses that model's index.

    Told which model it is, Postgres knows how many versions that has, which a search by metrics needs: with the wrong
    idea of it 15 ms instead of 2 were measured. In the order of time the same knowledge misleads: where half of all
    versions are one model's, Postgres walks through everybody's, and finds 50 000 newer ones of others: 40 ms.
    """
    asked = select(ModelRow.id).where(ModelRow.name == model).scalar_subquery()
    if order.metric is None:
        return VersionRow.model_id == asked
    told = bindparam("model_id", type_=BigInteger)
    return and_(MetricRow.model_id == told, told == asked)  # the latter is looked up once, before anything is read
