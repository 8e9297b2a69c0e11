"""What was meant by a name that cannot be, or is not there: the closest one."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import Session

from bodega_db.catalog.tables import NAME_PATTERN, AliasRow, MetricRow, ModelRow

MOST_COMPARED = 200  # a few milliseconds, whatever a catalog holds
LONGEST_NAME = 128
RULE = "A name has 1 to 128 of a-z, 0-9, '.', '_' and '-', and begins with a letter or a digit, as in 'penguins'."


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return "Did you mean 'penguins'? " if a known name is close, and an empty text otherwise."""
    close = (
        get_close_matches(name.lower(), list(known), 1) if isinstance(name, str) and len(name) <= LONGEST_NAME else []
    )
    return f"Did you mean {close[0]!r}? " if close else ""


def why_no_name(name: object) -> tuple[str, str]:
    """Return why a model cannot have a name, and what it could be called."""
    if not isinstance(name, str):
        return f"A {type(name).__name__} is not a model name", f"Give a text. {RULE}"
    possible = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:LONGEST_NAME]
    advice = f"Use {possible!r}. {RULE}" if re.fullmatch(NAME_PATTERN, possible) else RULE
    return f"That is not a model name: {_fault(name)}", advice


def _fault(name: str) -> str:
    if not name:
        return "it is empty"
    if len(name) > LONGEST_NAME:
        return f"it has {len(name)} characters"
    if re.fullmatch(NAME_PATTERN, name.lower()):
        return "it has capital letters"
    if re.search(r"\s", name):
        return "it has a space"
    if re.search(r"[^a-z0-9._-]", name.lower()):
        return "it has characters beyond letters, digits, '.', '_' and '-'"
    return "it does not begin with a letter or a digit"


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
