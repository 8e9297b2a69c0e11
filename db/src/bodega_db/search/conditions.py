"""The conditions of a search as SQL over bound parameters, each in the form that an index can answer."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONB, array
from sqlalchemy.orm import aliased

from bodega_db.catalog.tables import AliasRow, MetricRow, ModelRow, VersionRow
from bodega_db.search.grammar import Condition, Value

COMPARE: dict[str, Callable[[Any, Any], Any]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
COLUMNS: dict[str, Any] = {
    "model": ModelRow.name,
    "version": VersionRow.number,
    "status": VersionRow.status,
    "format": VersionRow.format,
    "sha256": VersionRow.sha256,
    "size_bytes": VersionRow.size_bytes,
    "created_at": VersionRow.created_at,
    "created_by": VersionRow.created_by,
}
JSON_TYPES = {bool: "boolean", Decimal: "number", str: "string"}


def where(condition: Condition, *, model: str | None = None, metric: str | None = None) -> ColumnElement[bool]:
    """Return what a version must fulfil; one that lacks the metric, param or tag fulfils no comparison with it.

    A statement over one `model` does not join the models; one that orders by a `metric` has joined that metric's row,
    and passes over a version without a wanted tag before it looks at the version. Another metric brings its own row: a
    version has one of a name at most, so that a join finds no version twice, and takes less to plan than EXISTS.
    """
    match condition.field:
        case "model" if model is not None:
            return _compare(literal(model), condition)
        case "metrics" if condition.key == metric:
            return _compare(MetricRow.value, condition)
        case "metrics":
            return _metric(condition)
        case "params":
            return _param(condition)
        case "tags" if metric is not None and condition.operator != "!=":
            return and_(_may_have_tag(condition), _tag(condition))
        case "tags":
            return _tag(condition)
        case "alias":
            return _alias(condition)
        case field:
            return _compare(COLUMNS[field], condition)


def where_words(words: Sequence[str]) -> ColumnElement[bool]:
    """Return that each word begins a word of the note or the tags, or stands in the model's name."""
    return and_(*(_word(word) for word in words))


def _compare(column: Any, condition: Condition) -> ColumnElement[bool]:
    if condition.operator == "in":
        return _any(column.in_(condition.values))
    return _any(COMPARE[condition.operator](column, condition.values[0]))


def _any(element: Any) -> ColumnElement[bool]:
    return element  # type: ignore[no-any-return]  # comparisons of columns that are only known by name


def _metric(condition: Condition) -> ColumnElement[bool]:
    row = aliased(MetricRow)
    return and_(row.version_id == VersionRow.id, row.name == condition.key, _compare(row.value, condition))


def _alias(condition: Condition) -> ColumnElement[bool]:
    row = aliased(AliasRow)
    named = exists(select(1).where(row.version_id == VersionRow.id, row.name.in_(condition.values)))
    return ~named if condition.operator == "!=" else named


def _tag(condition: Condition) -> ColumnElement[bool]:
    if condition.operator == "!=":
        return _any(VersionRow.tags[condition.key].astext != condition.values[0])
    return or_(*(VersionRow.tags.contains({condition.key: value}) for value in condition.values))


def _may_have_tag(condition: Condition) -> ColumnElement[bool]:
    keys = array([func.tag_key(condition.key, value) for value in condition.values])
    return or_(MetricRow.tag_keys.is_(None), MetricRow.tag_keys.overlap(keys))


def _param(condition: Condition) -> ColumnElement[bool]:
    equal = or_(*(VersionRow.params.contains({condition.key: _plain(value)}) for value in condition.values))
    match condition.operator:
        case "=" | "in":
            return equal
        case "!=":
            return and_(VersionRow.params.has_key(condition.key), ~equal)
    # jsonb orders values of different types by their type, which nobody means who writes `params.C > 1`.
    (value,) = condition.values
    param = VersionRow.params[condition.key]
    same_type = func.jsonb_typeof(param) == JSON_TYPES.get(type(value), "null")
    return and_(same_type, _any(COMPARE[condition.operator](param, literal(_plain(value), JSONB))))


def _plain(value: Value) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def _word(word: str) -> ColumnElement[bool]:
    # Quoted, a word is a word whatever characters it has, and none of them is an operator of the query language.
    quoted = "'" + word.replace("\\", "\\\\").replace("'", "''") + "':*"
    named = select(ModelRow.id).where(func.strpos(ModelRow.name, word.lower()) > 0)
    words = func.version_words(VersionRow.note, VersionRow.tags)
    return or_(
        words.bool_op("@@")(func.to_tsquery("simple", quoted)),
        VersionRow.model_id == func.any(func.array(named.scalar_subquery())),
    )
