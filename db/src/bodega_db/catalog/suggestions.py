"""What was meant by a name that cannot be, or is not there: the closest one."""

from difflib import get_close_matches

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import Session

from bodega_db.catalog.tables import AliasRow, MetricRow, ModelRow
from bodega_db.names import did_you_mean

MOST_COMPARED = 200  # a few milliseconds, whatever a catalog holds


def suggest_model(session: Session | Connection, name: str) -> str:
    """Return which model may have been meant, compared with names of about the same length."""
    about = func.length(ModelRow.name).between(len(name) - 3, len(name) + 3)
    likely = func.left(ModelRow.name, 1) != name[:1]  # false, and so first, for the same beginning
    names = select(ModelRow.name).where(about).order_by(likely, ModelRow.name).limit(MOST_COMPARED)
    return did_you_mean(name, session.execute(names).scalars())


def suggest_alias(session: Session | Connection, model: str | int, alias: str, *others: str) -> str:
    """Return which alias of a model, by its name or id, may have been meant, or which of the other words."""
    names = select(AliasRow.name).join(ModelRow, ModelRow.id == AliasRow.model_id)
    names = names.where((ModelRow.name if isinstance(model, str) else ModelRow.id) == model)
    known = session.execute(names.order_by(AliasRow.name).limit(MOST_COMPARED)).scalars()
    return did_you_mean(alias, [*known, *others])


def suggest_metric(session: Session | Connection, model: str, metric: str) -> str:
    """Return which metric of a model may have been meant, and which there are."""
    names = select(MetricRow.name).join(ModelRow, ModelRow.id == MetricRow.model_id)
    names = names.where(ModelRow.name == model, MetricRow.servable).distinct().order_by(MetricRow.name)
    known = list(session.execute(names.limit(MOST_COMPARED)).scalars())
    there = f"It has: {', '.join(known[:20])}{', …' if len(known) > 20 else ''}." if known else "It has none."
    close = get_close_matches(metric, known, 1)
    return f"Did you mean {close[0]!r}? {there}" if close else there
