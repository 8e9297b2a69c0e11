"""The SQL of a version's life: moves between states, words, aliases, and who held a place when.

Functions over a session that never commit, like those of `versions`.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import ARRAY, ColumnElement, Integer, any_, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bodega_db.catalog import versions
from bodega_db.catalog.failures import constraint
from bodega_db.catalog.schema import check_schema
from bodega_db.catalog.suggestions import suggest_alias
from bodega_db.catalog.tables import AliasRow, EventRow, ModelRow, VersionRow
from bodega_db.errors import (
    AliasNotFoundError,
    AliasProtectedError,
    StatusMoveError,
    VersionInUseError,
)
from bodega_db.lifecycle import Status, production_line
from bodega_db.records import Holder, VersionSummary

# --- moves ---------------------------------------------------------------------------------------------------


def lock_model(session: Session, name: str) -> int:
    """Return the id of a model whose moves wait for this transaction's end; raise ModelNotFoundError."""
    statement = select(ModelRow.id).where(ModelRow.name == name).with_for_update(key_share=True)
    found = session.execute(statement).scalar_one_or_none()
    if found is None:
        raise versions.no_model(session, name)
    return found


def quarantine(session: Session, model: str, number: int, reason: str) -> bool:
    """Quarantine a version with the rights of the API's role; return whether this call did it."""
    check_schema(versions.get_revision(session))
    statement = select(func.quarantine_version(model, number, reason))
    return bool(session.execute(statement).scalar_one())


def lock_versions(session: Session, model_id: int, number: int) -> int | None:
    """Lock a version and the one in production, whose number is returned, before anything is written.

    Whoever quarantines takes a version and then the generation, without the model. A move that held the generation
    and then wanted that version would wait for them for ever, and they for it.
    """
    concerned = or_(VersionRow.number == number, VersionRow.status == Status.PRODUCTION)
    statement = select(VersionRow.number, VersionRow.status).where(VersionRow.model_id == model_id, concerned)
    rows = session.execute(statement.order_by(VersionRow.id).with_for_update(key_share=True)).all()
    return next((row.number for row in rows if row.status == Status.PRODUCTION), None)


def set_status(session: Session, model_id: int, number: int, status: Status) -> None:
    """Give a version a status; the database refuses a move that there is not."""
    session.execute(
        update(VersionRow)
        .where(VersionRow.model_id == model_id, VersionRow.number == number)
        .values(status=status)
        .execution_options(synchronize_session=False)
    )


def list_promotions(session: versions.Reading, model: str) -> list[int]:
    """Return the version of each promotion, the first one first."""
    statement = select(EventRow.number).where(EventRow.model == model, EventRow.kind == "status", _promoted())
    return [number for number in session.execute(statement.order_by(EventRow.id)).scalars() if number is not None]


def find_former(session: versions.Reading, model_id: int, promotions: Sequence[int]) -> int | None:
    """Return the version that a rollback leads to, given all promotions in order; None if there is none."""
    line = production_line(promotions)
    archived = _find_archived(session, model_id, line)  # so neither the present one nor any in quarantine
    return next((number for number in reversed(line) if number in archived), None)


def _find_archived(session: versions.Reading, model_id: int, numbers: Sequence[int]) -> set[int]:
    statement = select(VersionRow.number).where(
        VersionRow.model_id == model_id, VersionRow.number.in_(numbers), VersionRow.status == Status.ARCHIVED
    )
    return set(session.execute(statement).scalars())


# --- leaving -------------------------------------------------------------------------------------------------


def list_leaving(
    session: Session,
    model_id: int,
    keep: int,
    states: Sequence[Status],
    spared: int | None,
    *,
    lock_first: int | None = None,
) -> list[VersionSummary]:
    """Return the versions in these states, newest first, that are older than the newest `keep` and that no alias names.

    The spared one is left out. With `lock_first`, only so many are returned, and nobody else moves them meanwhile.
    """
    newest = select(VersionRow.number).where(VersionRow.model_id == model_id).order_by(VersionRow.number.desc())
    oldest_kept = newest.offset(keep - 1).limit(1).scalar_subquery()
    named = select(AliasRow.name).where(AliasRow.version_id == VersionRow.id).exists()
    statement = select(*versions.SUMMARY).join(ModelRow, ModelRow.id == VersionRow.model_id)
    statement = statement.where(VersionRow.model_id == model_id, VersionRow.number < oldest_kept, ~named)
    statement = statement.where(VersionRow.status.in_(states), VersionRow.number != (spared or 0))
    statement = statement.order_by(VersionRow.number.desc()).limit(lock_first)
    if lock_first is not None:
        statement = statement.with_for_update(of=VersionRow)
    return [versions.summary(row) for row in session.execute(statement)]


def delete_versions(session: Session, model_id: int, numbers: Collection[int]) -> set[int]:
    """Delete versions and return the numbers of those that were there; raise StatusMoveError or VersionInUseError."""
    chosen = VersionRow.number == any_(literal(list(numbers), ARRAY(Integer)))  # IN would need a parameter for each
    statement = delete(VersionRow).where(VersionRow.model_id == model_id, chosen)
    try:
        return set(session.execute(statement.returning(VersionRow.number)).scalars())
    except IntegrityError as exc:
        # Nobody who goes through Bodega comes between the check and here; psql goes around it.
        if constraint(exc) == "version_leaves_only_when_retired":
            raise StatusMoveError("A version was put back into use meanwhile", "Try again.") from exc
        if constraint(exc) == "alias_version_id_fkey":
            raise VersionInUseError("A version got an alias meanwhile") from exc
        raise


def list_names(session: Session, model_id: int, number: int) -> list[str]:
    """Return the aliases that name a version."""
    version = select(VersionRow.id).where(VersionRow.model_id == model_id, VersionRow.number == number)
    statement = select(AliasRow.name).where(AliasRow.version_id == version.scalar_subquery())
    return list(session.execute(statement.order_by(AliasRow.name)).scalars())


# --- words ---------------------------------------------------------------------------------------------------


def set_description(session: Session, model_id: int, description: str | None) -> None:
    """Say what a model is; the same words again are no change."""
    statement = update(ModelRow).where(ModelRow.id == model_id).values(description=description)
    session.execute(statement.execution_options(synchronize_session=False))


def set_words(session: Session, model_id: int, number: int, note: str | None, tags: dict[str, str]) -> None:
    """Give a version a note and tags in place of those it has."""
    session.execute(
        update(VersionRow)
        .where(VersionRow.model_id == model_id, VersionRow.number == number)
        .values(note=note, tags=tags)
        .execution_options(synchronize_session=False)
    )


# --- aliases -------------------------------------------------------------------------------------------------


def set_alias(session: Session, model_id: int, alias: str, number: int) -> None:
    """Set an alias to an existing version; setting it again is no change."""
    version = select(VersionRow.id).where(VersionRow.model_id == model_id, VersionRow.number == number)
    statement = insert(AliasRow).values(model_id=model_id, name=alias, version_id=version.scalar_subquery())
    moved = statement.on_conflict_do_update(
        index_elements=[AliasRow.model_id, AliasRow.name],
        set_={"version_id": statement.excluded.version_id},
        where=AliasRow.version_id != statement.excluded.version_id,
    )
    with _translate_protection(alias):
        session.execute(moved)


def remove_alias(session: Session, model_id: int, alias: str) -> None:
    """Remove an alias; raise AliasNotFoundError."""
    statement = delete(AliasRow).where(AliasRow.model_id == model_id, AliasRow.name == alias)
    with _translate_protection(alias):
        if session.execute(statement.returning(AliasRow.name)).first() is None:
            raise _no_alias(session, model_id, alias)


def _no_alias(session: Session, model_id: int, alias: str) -> AliasNotFoundError:
    advice = suggest_alias(session, model_id, alias) + AliasNotFoundError.hint
    return AliasNotFoundError("The model has no such alias", advice)


def protect_alias(session: Session, model_id: int, alias: str, protected: bool) -> None:
    """Let only an administrator move an alias, or everybody again; raise AliasNotFoundError."""
    named = (AliasRow.model_id == model_id, AliasRow.name == alias)
    statement = update(AliasRow).where(*named, AliasRow.protected != protected).values(protected=protected)
    session.execute(statement.execution_options(synchronize_session=False))
    if session.execute(select(AliasRow.name).where(*named)).first() is None:
        raise _no_alias(session, model_id, alias)


@contextmanager
def _translate_protection(alias: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as exc:
        if constraint(exc) == "alias_is_protected":
            raise AliasProtectedError(f"The alias {alias} is protected") from exc
        raise


def list_protected_aliases(session: Session, model: str) -> list[str]:
    """Return the names of a model's protected aliases."""
    statement = select(AliasRow.name).join(ModelRow, ModelRow.id == AliasRow.model_id)
    protected = statement.where(ModelRow.name == model, AliasRow.protected)
    return list(session.execute(protected.order_by(AliasRow.name)).scalars())


def list_aliases(session: Session, model: str) -> dict[str, int]:
    """Return the aliases of a model by name, each with the number of the version that it names."""
    statement = (
        select(AliasRow.name, VersionRow.number)
        .join(VersionRow, VersionRow.id == AliasRow.version_id)
        .join(ModelRow, ModelRow.id == AliasRow.model_id)
    )
    rows = session.execute(statement.where(ModelRow.name == model).order_by(AliasRow.name))
    return {row.name: row.number for row in rows}


# --- who held a place when -----------------------------------------------------------------------------------


def find_production_at(session: Session, model: str, moment: datetime) -> Holder | None:
    """Return the version that was in production at a moment, if one was."""
    left = EventRow.before["status"].astext == Status.PRODUCTION
    return _find_holder(session, model, moment, EventRow.kind == "status", or_(_promoted(), left), _promoted())


def find_alias_at(session: Session, model: str, alias: str, moment: datetime) -> Holder | None:
    """Return the version that an alias named at a moment, if it named one."""
    given = func.coalesce(EventRow.after["alias"].astext == alias, False)
    taken = EventRow.before["alias"].astext == alias
    return _find_holder(session, model, moment, EventRow.kind == "alias", or_(given, taken), given)


def _promoted() -> ColumnElement[bool]:
    return func.coalesce(EventRow.after["status"].astext == Status.PRODUCTION, False)


def _find_holder(
    session: Session,
    model: str,
    moment: datetime,
    kind: ColumnElement[bool],
    concerned: ColumnElement[bool],
    came: ColumnElement[bool],
) -> Holder | None:
    # Events are numbered in the order of their commits; the last one before the moment tells who was there.
    statement = select(EventRow, came.label("came")).where(
        EventRow.model == model, kind, concerned, EventRow.at <= moment
    )
    row = session.execute(statement.order_by(EventRow.id.desc()).limit(1)).one_or_none()
    if row is None or not row.came:
        return None
    event = row.EventRow
    return Holder(model, event.number, event.at, event.actor, event.reason)
