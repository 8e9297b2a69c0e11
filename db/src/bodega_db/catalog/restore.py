"""The SQL that puts lost versions back under their old numbers, which the rules of the catalog forbid everybody else.

Functions over a session that never commit. Only the owner of the tables can switch off the triggers that hold those
rules; within one transaction, which nobody else sees, and in which nobody else writes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from bodega_db.catalog.tables import EventRow, ModelRow, StoreRow, VersionRow
from bodega_db.catalog.versions import version_values
from bodega_db.lifecycle import Status
from bodega_db.records import Registration

# Those that give out numbers and write down what happens now, instead of what happened then.
RULES = {
    "store": ("store_keeps_its_identity",),
    "model": (
        "model_keeps_its_numbers",
        "model_begins_its_numbers",
        "model_numbers_name_versions",
        "model_numbers_name_inserted_versions",
        "model_writes_events",
    ),
    "version": ("version_takes_its_number", "version_writes_events"),
}


@contextmanager
def rules_suspended(session: Session) -> Iterator[None]:
    """Let numbers, times and history be written as they were; raise NotPermittedError unless one owns the tables."""
    _switch(session, "DISABLE")
    yield
    _switch(session, "ENABLE")


def _switch(session: Session, verb: str) -> None:
    for table, triggers in RULES.items():
        for trigger in triggers:
            session.execute(text(f"ALTER TABLE {table} {verb} TRIGGER {trigger}"))


def has_models(session: Session) -> bool:
    """Tell whether the catalog ever had a model."""
    return session.execute(select(ModelRow.id).limit(1)).first() is not None


def set_store_id(session: Session, store_id: UUID) -> None:
    """Take over the identity of the store that was lost."""
    session.execute(update(StoreRow).values(id=store_id).execution_options(synchronize_session=False))


def restore_model(session: Session, name: str, created_at: datetime, created_by: str) -> int:
    """Return the id of a model, which is made, with its event, unless it is there."""
    found = session.execute(select(ModelRow.id).where(ModelRow.name == name)).scalar_one_or_none()
    if found is not None:
        return found
    statement = insert(ModelRow).values(name=name, created_at=created_at, created_by=created_by)
    _record(session, "model created", name, None, created_at, created_by, None, None)
    return session.execute(statement.returning(ModelRow.id)).scalar_one()


def restore_version(
    session: Session,
    model_id: int,
    number: int,
    registration: Registration,
    created_at: datetime,
    created_by: str,
    reason: str | None,
) -> None:
    """Write the row and the event of a version as its registration wrote them, and archive it."""
    told = {"status": Status.CANDIDATE.value, "sha256": registration.digest.hex}
    generation = _record(session, "registered", registration.model, number, created_at, created_by, reason, told)
    session.execute(
        insert(VersionRow).values(
            model_id=model_id,
            number=number,
            created_at=created_at,
            created_by=created_by,
            generation=generation,
            **version_values(registration),
        )
    )


def raise_last_number(session: Session, name: str, number: int, actor: str) -> None:
    """Let a model go on behind a number, and count as deleted what it lacks up to there; make it if all of it is."""
    model_id = restore_model(session, name, session.execute(select(func.now())).scalar_one(), actor)
    there = select(func.count()).where(VersionRow.model_id == model_id).scalar_subquery()
    last = func.greatest(ModelRow.last_version, number)
    statement = update(ModelRow).where(ModelRow.id == model_id).values(last_version=last, deleted=last - there)
    session.execute(statement.execution_options(synchronize_session=False))


def record_restoration(session: Session, name: str, actor: str) -> None:
    """Write into the history of a model that versions of it were restored, so that the one in production is not known.

    Until a version is promoted, no candidate answers in its place (`tables.PLACED`).
    """
    now = session.execute(select(func.now())).scalar_one()
    _record(session, "restored", name, None, now, actor, "restored from manifests", None)


def archive_restored(session: Session, model_id: int, numbers: Iterable[int]) -> None:
    """Archive what was restored; with the rules on again, this writes its own events."""
    chosen = (VersionRow.model_id == model_id, VersionRow.number.in_(list(numbers)))
    statement = update(VersionRow).where(*chosen, VersionRow.status == Status.CANDIDATE)
    session.execute(statement.values(status=Status.ARCHIVED).execution_options(synchronize_session=False))


def _record(
    session: Session,
    kind: str,
    model: str,
    number: int | None,
    at: datetime,
    actor: str,
    reason: str | None,
    after: dict[str, str] | None,
) -> int:
    generation: int = session.execute(select(func.next_generation())).scalar_one()
    session.execute(
        insert(EventRow).values(
            kind=kind, model=model, number=number, at=at, actor=actor, reason=reason, after=after, generation=generation
        )
    )
    return generation
