"""The SQL of a store's upkeep: what the catalog says of the volume, and who may move files there now.

Functions over a session that never commit, like those of `versions`.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, Text, any_, func, literal, select, text
from sqlalchemy.orm import Session

from bodega_db.catalog.tables import EventRow, ModelRow, VersionRow
from bodega_db.records import Digest

VOLUME_LOCK = 0x626F6465676103  # "bodega", 3; the migrations have 1, the roles 2
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Holding:
    """What a version needs from the volume and from the process that loads it."""

    model: str
    number: int
    digest: Digest
    size_bytes: int
    format: str
    environment: dict[str, Any]

    @property
    def reference(self) -> str:
        """The version as people write it: 'penguins@3'."""
        return f"{self.model}@{self.number}"


def share_volume(session: Session) -> None:
    """Keep `own_volume` waiting until the end of this transaction: a file is about to be named that has no row yet.

    To hash a large file that is there already may take minutes, and until `catalog.set_actor` nobody else waits.
    """
    unlimited = func.set_config("idle_in_transaction_session_timeout", "0", True)
    session.execute(select(unlimited, func.pg_advisory_xact_lock_shared(VOLUME_LOCK)))


def own_volume(session: Session) -> None:
    """Wait until no registration is between its file's name and its row, and block new ones until the end."""
    # What one waits for here is a file that is being hashed, and no change that somebody left open.
    session.execute(select(func.set_config("lock_timeout", "25s", True)))
    session.execute(select(func.pg_advisory_xact_lock(VOLUME_LOCK)))


def get_time(session: Session) -> datetime:
    """Return the database's time: the one clock that all who use a store share."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


def list_holdings(session: Session) -> Iterator[Holding]:
    """Go through all versions of any status, in the order of models and numbers."""
    statement = (
        select(
            ModelRow.name,
            VersionRow.number,
            VersionRow.sha256,
            VersionRow.size_bytes,
            VersionRow.format,
            VersionRow.environment,
        )
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .order_by(ModelRow.name, VersionRow.number)
        .execution_options(yield_per=BATCH)
    )
    for row in session.execute(statement):
        yield Holding(row.name, row.number, Digest(row.sha256), row.size_bytes, row.format, row.environment)


def list_named(session: Session, digests: Collection[Digest]) -> set[Digest]:
    """Return those of some artifacts that a version names."""
    wanted = literal([digest.hex for digest in digests], ARRAY(Text))  # IN would need a parameter for each
    statement = select(VersionRow.sha256).where(VersionRow.sha256 == any_(wanted)).distinct()
    return {Digest(sha256) for sha256 in session.execute(statement).scalars()}


def list_references(session: Session) -> Iterator[tuple[tuple[str, int], str]]:
    """Go through all versions by model and number, in no order, each with its sha256."""
    statement = select(ModelRow.name, VersionRow.number, VersionRow.sha256)
    statement = statement.join(ModelRow, ModelRow.id == VersionRow.model_id)
    for row in session.execute(statement.execution_options(yield_per=BATCH)):
        yield (row.name, row.number), row.sha256


def list_last_numbers(session: Session, names: Collection[str]) -> dict[str, int]:
    """Return the last number that each of some models gave out; a model that the catalog does not know is left out."""
    wanted = literal(list(names), ARRAY(Text))  # IN would need a parameter for each
    statement = select(ModelRow.name, ModelRow.last_version).where(ModelRow.name == any_(wanted))
    return {row.name: row.last_version for row in session.execute(statement)}


def list_numbers(session: Session, model: str) -> set[int]:
    """Return the numbers of a model's versions that are there."""
    statement = select(VersionRow.number).join(ModelRow, ModelRow.id == VersionRow.model_id)
    return set(session.execute(statement.where(ModelRow.name == model)).scalars())


def list_deletions(session: Session, model: str) -> dict[int, str]:
    """Return the sha256 of each version that was deleted from a model, by its number."""
    statement = select(EventRow.number, EventRow.before["sha256"].astext.label("sha256"))
    deleted = statement.where(EventRow.model == model, text("kind = 'deleted'"))  # as the index has it
    return {row.number: row.sha256 for row in session.execute(deleted)}
