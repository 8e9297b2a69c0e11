"""The SQL of a store's upkeep: what the catalog says of the volume, and who may move files there now.

Functions over a session that never commit, like those of `catalog`.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, Text, any_, func, literal, select
from sqlalchemy.orm import Session

from bodega_db.records import Digest
from bodega_db.tables import EventRow, ModelRow, VersionRow

VOLUME_LOCK = 0x626F6465676103  # "bodega", 3; the migrations have 1, the roles 2
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Holding:
    """What a version needs of the volume, and of whoever loads it."""

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
    """Keep `own_volume` waiting until the end of this transaction: a file is about to be named that has no row yet."""
    session.execute(select(func.pg_advisory_xact_lock_shared(VOLUME_LOCK)))


def own_volume(session: Session) -> None:
    """Wait until nobody is between a file's name and its row, and keep all who want to be until the end."""
    session.execute(select(func.pg_advisory_xact_lock(VOLUME_LOCK)))


def get_time(session: Session) -> datetime:
    """Return the database's time: the one clock that all who use a store share."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


def list_holdings(session: Session) -> Iterator[Holding]:
    """Go through all versions, whatever their status, in the order of models and numbers."""
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


def list_references(session: Session) -> Iterator[tuple[str, int]]:
    """Go through all versions by model and number, in no order."""
    statement = select(ModelRow.name, VersionRow.number).join(ModelRow, ModelRow.id == VersionRow.model_id)
    for row in session.execute(statement.execution_options(yield_per=BATCH)):
        yield row.name, row.number


def list_deletions(session: Session, model: str) -> dict[int, str]:
    """Return the sha256 of each version that was deleted from a model, by its number."""
    statement = select(EventRow.number, EventRow.before["sha256"].astext.label("sha256"))
    deleted = statement.where(EventRow.model == model, EventRow.kind == "deleted")
    return {row.number: row.sha256 for row in session.execute(deleted)}
