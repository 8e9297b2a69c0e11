"""What the history says of the place in production: whether a model ever had it filled, and what became of the last."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, literal_column, select, text
from sqlalchemy.orm import aliased

from bodega_db.catalog import transitions, versions
from bodega_db.catalog.tables import PLACED, EventRow, ModelRow, VersionRow
from bodega_db.lifecycle import Status


@dataclass(frozen=True, slots=True)
class LastProduction:
    """What became of the version that was in production last, and what to do about it."""

    found: str
    advice: str


def had_production(model: Any) -> ColumnElement[bool]:
    """Return the condition that a model of this name has, or ever had, a version in production: one look into an index.

    The condition of the index is written out, or Postgres would not know that the index fits.
    """
    placed = aliased(EventRow, name="placed")
    return exists(select(literal_column("1")).select_from(placed).where(placed.model == model, text(PLACED)))


def describe_last_production(session: versions.Reading, name: str) -> LastProduction | None:
    """Say which version of a model that has none in production was there last, and what became of it.

    Return None if none ever was. After a rebuild it is not known which one was, and that is what is said.
    """
    said = select(EventRow.kind, EventRow.number, EventRow.at, EventRow.actor, EventRow.reason, EventRow.after)
    placed = said.where(EventRow.model == name, text(PLACED))
    event = session.execute(placed.order_by(EventRow.id.desc()).limit(1)).first()
    if event is None:
        return None
    promote = f"`bodega promote {name}@NUMBER` puts a version there; or name one in the request, as in ?version=NUMBER."
    if event.kind == "restored":
        restored = f"its versions were restored {_when(event.at, event.actor)}"
        found = f"{restored}, and which one was in production then is not known"
        return LastProduction(_printable(found), promote)
    status = _find_status(session, name, event.number)
    found = f"{name}@{event.number} was there last{_tell_fate(session, name, event, status)}"
    return LastProduction(_printable(found), f"{_tell_way_back(session, name, event.number, status)}{promote}")


def _tell_fate(session: versions.Reading, name: str, event: Row[Any], status: str | None) -> str:
    left = event.after["status"]
    fate = "" if left == Status.PRODUCTION else f", and was {left} {_when(event.at, event.actor, event.reason)}"
    if status is None:
        deletion = versions.find_deletion(session, name, event.number)
        return f"{fate}; it {'is gone' if deletion is None else f'was deleted {_when(*deletion)}'}"
    return fate if status == left else f"{fate}; it is {'a candidate' if status == 'candidate' else status} now"


def _tell_way_back(session: versions.Reading, name: str, number: int, status: str | None) -> str:
    model_id = versions.get_model_id(session, name)
    former = transitions.find_former(session, model_id, transitions.list_promotions(session, name))
    back = "" if former is None else f"`bodega rollback {name}` puts {name}@{former} back; "
    if status != Status.QUARANTINED:
        return back
    return f"{back}`bodega release {name}@{number} --reason …` makes a candidate of it again, after a check; "


def _find_status(session: versions.Reading, name: str, number: int) -> str | None:
    statement = select(VersionRow.status).join(ModelRow).where(ModelRow.name == name, VersionRow.number == number)
    return session.execute(statement).scalar_one_or_none()


def _when(at: datetime, actor: str, reason: str | None = None) -> str:
    return f"on {at:%Y-%m-%d at %H:%M %Z} by {actor}{f': {reason}' if reason else ''}"


def _printable(words: str) -> str:
    return "".join(c if c.isprintable() else " " for c in words)
