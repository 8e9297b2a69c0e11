"""Choosing a version in SQL: by number, alias, place or metric, each with the reason or with why there is none."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, Text, bindparam, case, func, select, text
from sqlalchemy.orm import aliased

from bodega_db import reference as ref
from bodega_db.catalog import versions
from bodega_db.catalog.places import describe_last_production, had_production
from bodega_db.catalog.suggestions import suggest_alias, suggest_metric
from bodega_db.catalog.tables import AliasRow, GenerationRow, MetricRow, ModelRow, VersionRow
from bodega_db.errors import NoProductionError, VersionNotFoundError, VersionQuarantinedError
from bodega_db.lifecycle import Status
from bodega_db.records import Resolution, Version
from bodega_db.settings import WithoutProduction

CHOSEN_AT = select(GenerationRow.value).scalar_subquery().label("chosen_at")  # of the same snapshot as the choice


def find_version(
    session: versions.Reading, name: str, selector: ref.Selector, without: WithoutProduction = "refuse"
) -> Version:
    """Return the version of a selector for showing or changing it: by number also a quarantined one."""
    if isinstance(selector, ref.ByNumber):
        return versions.get_version(session, name, selector.number)
    return resolve(session, name, selector, without).version


def choose(
    session: versions.Reading, model: str | None, selector: ref.Selector, without: WithoutProduction = "refuse"
) -> Resolution:
    """Choose like `resolve`; without a model, in the only one there is."""
    if model is not None:
        return resolve(session, model, selector, without)
    # Before the name: a model registered in between belongs to a later one.
    generation = versions.get_generation(session)
    return replace(resolve(session, versions.get_only_model_name(session), selector, without), generation=generation)


def resolve(
    session: versions.Reading, name: str, selector: ref.Selector, without: WithoutProduction = "refuse"
) -> Resolution:
    """Choose the version that answers for a selector, and say why; raise if there is none to serve.

    A model that had a version in production and has none now is refused to whoever names no version, with the reason,
    unless the newest shall answer `without` one.
    """
    row = session.execute(*_choice(name, selector, without)).first()
    if row is None:
        raise _absence(session, name, selector, without)
    version = versions.version_of(row)
    if version.status is Status.QUARANTINED:
        raise VersionQuarantinedError(f"{version.reference} is in quarantine")
    return Resolution(version, _reason(version, selector), row.chosen_at)


def _choice(name: str, selector: ref.Selector, without: WithoutProduction) -> tuple[Select[Any], dict[str, Any]]:
    match selector:
        case ref.ByNumber(number):
            return _by("number"), {"model": name, "number": number}
        case ref.ByAlias(alias):
            return _by("alias"), {"model": name, "alias": alias}
        case ref.Production():
            return _by("production"), {"model": name}
        case ref.Latest():
            return _by("latest"), {"model": name}
        case ref.Default():
            return _by("default" if without == "refuse" else "lenient"), {"model": name}
        case ref.Best(metric, lowest):
            return _by("lowest" if lowest else "highest"), {"model": name, "metric": metric}


@cache  # to make a statement takes longer than to answer it
def _by(what: str) -> Select[Any]:
    number: dict[str, Callable[[], Any]] = {
        "number": lambda: bindparam("number", type_=Integer),
        "alias": _alias_number,
        "production": _production_number,
        "latest": _newest_number,
        "default": lambda: func.coalesce(_production_number(), _newest_if_none_ever()),
        "lenient": lambda: func.coalesce(_production_number(), _newest_number()),
        "lowest": lambda: _best_number(lowest=True),
        "highest": lambda: _best_number(lowest=False),
    }
    chosen = versions.details().add_columns(CHOSEN_AT).where(ModelRow.name == bindparam("model", type_=Text))
    return chosen.where(VersionRow.number == number[what]())


# Each is one look into an index, however many versions the model has. A status is written out where the index has it in
# its condition: Postgres plans a statement once for many parameters, and would not know that they fit.
PRODUCTION = text("other.status = 'production'")
SERVED = text("other.status IN ('candidate', 'production')")
OTHER = aliased(VersionRow, name="other")


def _alias_number() -> ColumnElement[Any]:
    named = select(OTHER.number).join(AliasRow, AliasRow.version_id == OTHER.id)
    named = named.where(AliasRow.model_id == ModelRow.id, AliasRow.name == bindparam("alias", type_=Text))
    return named.correlate(ModelRow).scalar_subquery()


def _production_number() -> ColumnElement[Any]:
    return select(OTHER.number).where(OTHER.model_id == ModelRow.id, PRODUCTION).scalar_subquery()


def _newest_number() -> ColumnElement[Any]:
    newest = select(OTHER.number).where(OTHER.model_id == ModelRow.id, SERVED)
    return newest.order_by(OTHER.number.desc()).limit(1).scalar_subquery()


def _newest_if_none_ever() -> ColumnElement[Any]:
    return case((~had_production(ModelRow.name), _newest_number()))


def _best_number(lowest: bool) -> ColumnElement[Any]:
    metric = bindparam("metric", type_=Text)
    order = MetricRow.value.asc() if lowest else MetricRow.value.desc()
    servable = (MetricRow.model_id == ModelRow.id, MetricRow.name == metric, MetricRow.servable)
    best = select(MetricRow.value).where(*servable).order_by(order).limit(1).correlate(ModelRow).scalar_subquery()
    # Of those that have the best value, the newest.
    equals = aliased(MetricRow)
    numbers = select(equals.number).where(equals.model_id == ModelRow.id, equals.name == metric, equals.servable)
    newest = numbers.where(equals.value == best).order_by(equals.number.desc()).limit(1)
    return newest.correlate(ModelRow).scalar_subquery()


def _reason(version: Version, selector: ref.Selector) -> str:
    match selector:
        case ref.ByNumber():
            return "asked for by number"
        case ref.Production():
            return "in production"
        case ref.Latest():
            return "the newest version"
        case ref.Default():
            return (
                "in production" if version.status is Status.PRODUCTION else "none in production: the newest candidate"
            )
        case ref.ByAlias(alias):
            return f"named by the alias {alias}"
        case ref.Best(metric, lowest):
            return f"the {'lowest' if lowest else 'highest'} {metric}: {version.metrics[metric]}"


def _absence(
    session: versions.Reading, name: str, selector: ref.Selector, without: WithoutProduction
) -> VersionNotFoundError | NoProductionError:
    versions.get_model(session, name)
    match selector:
        case ref.ByNumber(number):
            return VersionNotFoundError(versions.why_missing(session, name, number))
        case ref.Production():
            last = describe_last_production(session, name)
            return VersionNotFoundError(f"Model {name} has no version in production{f': {last.found}' if last else ''}")
        case ref.ByAlias(alias):
            advice = suggest_alias(session, name, alias, *ref.RESERVED) + VersionNotFoundError.hint
            return VersionNotFoundError(f"Model {name} has no such alias", advice)
        case ref.Best(metric):
            found = f"No candidate or production version of {name} has the metric {metric}"
            return VersionNotFoundError(found, suggest_metric(session, name, metric))
        case ref.Default() if without == "refuse" and (last := describe_last_production(session, name)):
            return NoProductionError(f"Model {name} has no version in production: {last.found}", last.advice)
        case _:
            return VersionNotFoundError(f"Model {name} has no candidate or production version")
