"""The catalog in SQL: functions over a session that return records and never commit."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from bodega_model.golden import Golden
from bodega_model.signature.types import Signature
from sqlalchemy import Connection, Row, Select, Text, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bodega_db.catalog.failures import constraint
from bodega_db.catalog.schema import check_schema
from bodega_db.catalog.sessions import IDLE_SECONDS
from bodega_db.catalog.suggestions import suggest_model
from bodega_db.catalog.tables import EventRow, GenerationRow, ModelRow, StoreRow, VersionRow
from bodega_db.errors import (
    IdempotencyConflictError,
    InvalidNameError,
    ModelAmbiguousError,
    ModelNotFoundError,
    VersionNotFoundError,
)
from bodega_db.lifecycle import Status
from bodega_db.records import Changes, Digest, Event, ModelSummary, Registration, Version, VersionSummary

SUMMARY = (
    ModelRow.name.label("model"),
    VersionRow.number,
    VersionRow.status,
    VersionRow.sha256,
    VersionRow.size_bytes,
    VersionRow.format,
    VersionRow.path,
    VersionRow.metrics,
    VersionRow.params,
    VersionRow.tags,
    VersionRow.note,
    VersionRow.created_at,
    VersionRow.created_by,
    VersionRow.generation,
)
DETAIL = (
    *SUMMARY,
    VersionRow.signature,
    VersionRow.golden,
    VersionRow.environment,
    VersionRow.lineage,
    VersionRow.idempotency_key,
)
DETAIL_NAMES = tuple(column.name for column in DETAIL)  # asking them anew takes longer than reading a row
# The last one, should there be several: Alembic keeps one row for each branch of its history.
REVISION = literal_column("(SELECT max(version_num) FROM alembic_version)", Text)
# What is read in one statement needs no session, which would take a fifth of the time.
Reading = Session | Connection


# --- the store itself --------------------------------------------------------------------------------------


def get_store_id(session: Session) -> UUID:
    """Return the identity that the volume's marker must repeat."""
    found: UUID = session.execute(select(StoreRow.id)).scalar_one()
    return found


def get_revision(session: Session) -> str | None:
    """Return the migration that the database is at."""
    return session.execute(select(REVISION)).scalar_one()


def get_generation(session: Reading) -> int:
    """Return the number of the last committed change."""
    return session.execute(select(GenerationRow.value)).scalar_one()


def get_changes(session: Session, since: int | None) -> Changes:
    """Return what changed after a generation; without one, or after one that is yet to come, everything may have.

    The generation is read first: whatever commits between the two statements can only be named too early.
    """
    generation = get_generation(session)
    if since is None or generation < since:  # a database that was restored from a backup counts up again
        return Changes(generation, None)
    if generation == since:
        return Changes(generation, frozenset())
    names = session.execute(select(EventRow.model).where(EventRow.generation > since).distinct()).scalars()
    return Changes(generation, frozenset(names))


def listen(session: Session) -> None:
    """Subscribe this connection to notifications of every change, from the commit of this transaction on."""
    session.execute(text("LISTEN bodega_generation"))


def has_versions(session: Session) -> bool:
    """Tell whether anything was ever registered and is still there."""
    return session.execute(select(VersionRow.id).limit(1)).first() is not None


def set_actor(session: Session, actor: str, reason: str | None = None) -> None:
    """Tell the triggers who changes the catalog in this transaction, and why: each change begins with this.

    Raises CatalogNotMigratedError or ProgramOlderError, before anything is changed, for the schema of another program.
    """
    said = [func.set_config("bodega.actor", actor, True), func.set_config("bodega.reason", reason or "", True)]
    # From here on others wait for this transaction, which must not wait for anything but Postgres.
    said.append(func.set_config("idle_in_transaction_session_timeout", f"{IDLE_SECONDS}s", True))
    check_schema(session.execute(select(REVISION, *said)).one()[0])


# --- registering -------------------------------------------------------------------------------------------


def allocate_number(session: Session, name: str, actor: str) -> tuple[int, int]:
    """Give out the next number of a model, making the model if it is new; return its id and the number.

    One statement: two callers at once wait for each other on the model's row, so numbers have no gaps and no
    duplicates, and a caller who rolls back gives its number back before anybody else takes one.
    """
    statement = insert(ModelRow).values(name=name, created_by=actor, last_version=1)
    statement = statement.on_conflict_do_update(
        index_elements=[ModelRow.name], set_={"last_version": ModelRow.last_version + 1}
    )
    try:
        row = session.execute(statement.returning(ModelRow.id, ModelRow.last_version)).one()
    except IntegrityError as exc:
        if constraint(exc) == "model_name_check":
            raise InvalidNameError("Invalid model name") from exc
        raise
    return row.id, row.last_version


def insert_version(session: Session, registration: Registration, actor: str) -> Version:
    """Write the row of a version under the next number of its model."""
    model_id, number = allocate_number(session, registration.model, actor)
    values = version_values(registration)
    statement = insert(VersionRow).values(model_id=model_id, number=number, created_by=actor, **values)
    try:
        session.execute(statement)
    except IntegrityError as exc:
        if constraint(exc) == "version_idempotency_key_key":
            raise IdempotencyConflictError("Another registration used this idempotency key meanwhile") from exc
        raise
    return get_version(session, registration.model, number)


def version_values(registration: Registration) -> dict[str, Any]:
    """Return what a registration says, by the columns of a version."""
    return {
        "sha256": registration.digest.hex,
        "size_bytes": registration.size_bytes,
        "format": registration.format,
        "signature": registration.signature.to_dict(),
        "golden": registration.golden.to_dict(),
        "metrics": dict(registration.metrics),
        "params": dict(registration.params),
        "tags": dict(registration.tags),
        "environment": dict(registration.environment),
        "lineage": dict(registration.lineage),
        "note": registration.note,
        "idempotency_key": registration.idempotency_key,
    }


def list_full_versions(session: Session, name: str, *, without: Status) -> list[Version]:
    """Return all versions of a model that are not in a status, with all that is known of them, the first one first."""
    statement = details().where(ModelRow.name == name, VersionRow.status != without)
    return [version_of(row) for row in session.execute(statement.order_by(VersionRow.number))]


def find_by_idempotency_key(session: Session, key: str) -> Version | None:
    """Return the version that was registered under a key, if any."""
    row = session.execute(details().where(VersionRow.idempotency_key == key)).one_or_none()
    return version_of(row) if row else None


# --- reading -----------------------------------------------------------------------------------------------


def list_models(session: Session) -> list[ModelSummary]:
    """Return all models by name."""
    return [_model(row) for row in session.execute(_models().order_by(ModelRow.name))]


def no_model(session: Reading, name: str) -> ModelNotFoundError:
    """Return the error for a name that no model has, with the one that may have been meant."""
    return ModelNotFoundError(f"There is no model named {name}", suggest_model(session, name) + ModelNotFoundError.hint)


def get_model(session: Reading, name: str) -> ModelSummary:
    """Return one model; raise ModelNotFoundError."""
    row = session.execute(_models().where(ModelRow.name == name)).one_or_none()
    if row is None:
        raise no_model(session, name)
    return _model(row)


def get_model_id(session: Reading, name: str) -> int:
    """Return the id of a model's row; raise ModelNotFoundError."""
    found = session.execute(select(ModelRow.id).where(ModelRow.name == name)).scalar_one_or_none()
    if found is None:
        raise no_model(session, name)
    return found


def get_only_model_name(session: Reading) -> str:
    """Return the name of the one model there is; raise ModelAmbiguousError if there are none or several."""
    names = session.execute(select(ModelRow.name).limit(2)).scalars().all()
    if len(names) != 1:
        raise ModelAmbiguousError(
            "The catalog has several models" if names else "The catalog has no model yet",
            None if names else "Register one with bodega.register(…).",
        )
    return names[0]


def get_version(session: Reading, name: str, number: int) -> Version:
    """Return one version; raise ModelNotFoundError or VersionNotFoundError."""
    row = session.execute(details().where(ModelRow.name == name, VersionRow.number == number)).one_or_none()
    if row is None:
        raise VersionNotFoundError(why_missing(session, name, number))
    return version_of(row)


def list_events(session: Session, model: str, limit: int = 1000, before: int | None = None) -> list[Event]:
    """Return what happened to a model, newest first; `before` continues behind the id of the last event of a list."""
    statement = select(EventRow).where(EventRow.model == model).order_by(EventRow.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(EventRow.id < before)
    rows = session.execute(statement).scalars()
    fields = Event.__dataclass_fields__
    return [Event(**{name: getattr(row, name) for name in fields}) for row in rows]


def find_deletion(session: Reading, name: str, number: int) -> Row[datetime, str, str | None] | None:
    """Return when a version was deleted, by whom and why; None if it never was."""
    said = select(EventRow.at, EventRow.actor, EventRow.reason)
    # The kind is written out as the index has it in its condition.
    deleted = said.where(EventRow.model == name, EventRow.number == number, text("kind = 'deleted'"))
    return session.execute(deleted.order_by(EventRow.id.desc()).limit(1)).one_or_none()


def why_missing(session: Reading, name: str, number: int) -> str:
    """Say that a model has no version of that number, and if it was deleted, by whom and why."""
    # The history is read only where it has an answer: every number up to the last one was given out.
    event = None if number > get_model(session, name).last_version else find_deletion(session, name, number)
    if event is None:
        return f"Model {name} has no version {number}"
    why = f": {event.reason}" if event.reason else ""
    told = f"{name}@{number} was deleted on {event.at:%Y-%m-%d at %H:%M %Z} by {event.actor}{why}"
    return "".join(c if c.isprintable() else " " for c in told)


# --- rows into records -------------------------------------------------------------------------------------


def details() -> Select[Any]:
    """Return the statement for everything known of versions, to be narrowed."""
    return select(*DETAIL).join(ModelRow)


def _models() -> Select[Any]:
    production = (
        select(VersionRow.number)
        .where(VersionRow.model_id == ModelRow.id, VersionRow.status == Status.PRODUCTION)
        .scalar_subquery()
    )
    return select(
        ModelRow.name,
        ModelRow.description,
        (ModelRow.last_version - ModelRow.deleted).label("versions"),
        ModelRow.last_version,
        production.label("production"),
        ModelRow.created_at,
        ModelRow.created_by,
    )


def _model(row: Row[Any]) -> ModelSummary:
    return ModelSummary(**row._mapping)


def summary(row: Sequence[Any]) -> VersionSummary:
    """Make the record of a row that begins with the columns of SUMMARY, which stand in the record's own order."""
    model, number, status, sha256, *rest = row[: len(SUMMARY)]
    return VersionSummary(model, number, Status(status), Digest(sha256), *rest)


def version_of(row: Row[Any]) -> Version:
    """Make the record of a row of `details`, which may have further columns at its end."""
    values = dict(zip(DETAIL_NAMES, row, strict=False))
    values["digest"] = Digest(values.pop("sha256"))
    values["status"] = Status(values["status"])
    values["signature"] = Signature.from_dict(values["signature"])
    values["golden"] = Golden.from_dict(values["golden"])
    return Version(**values)
