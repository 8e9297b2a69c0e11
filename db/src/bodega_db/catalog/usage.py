"""The SQL of what was used: which outputs of a version were answered, and when one last was.

It is no change of the catalog: it has no event, no actor and no generation. Functions over a session that never commit.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select, text
from sqlalchemy.orm import Session

from bodega_db.catalog.tables import AskedOutputRow, EventRow, ModelRow, VersionRow
from bodega_db.lifecycle import Status

RENEWED_AFTER = timedelta(hours=1)  # so that a thousand requests a second write one row an hour

# In one order, so that two copies of the API never wait for each other's rows.
NOTE = text("""
    INSERT INTO asked_output (version_id, output)
    SELECT version.id, asked.output
    FROM unnest(CAST(:models AS text[]), CAST(:numbers AS integer[]), CAST(:outputs AS text[]))
         AS asked (model, number, output)
    JOIN model ON model.name = asked.model
    JOIN version ON version.model_id = model.id AND version.number = asked.number
    ORDER BY version.id, asked.output
    ON CONFLICT (version_id, output) DO UPDATE SET asked_at = now() WHERE asked_output.asked_at < now() - :age
""")


class AskedOutput(NamedTuple):
    """An output of a version that was answered."""

    model: str
    number: int
    output: str


def note_asked(session: Session, asked: Collection[AskedOutput]) -> None:
    """Note that these outputs were answered just now; versions that are no longer there are passed over."""
    models, numbers, outputs = (list(values) for values in zip(*asked, strict=True))
    session.execute(NOTE, {"models": models, "numbers": numbers, "outputs": outputs, "age": RENEWED_AFTER})


def list_asked(session: Session | Connection, model: str, number: int) -> dict[str, datetime]:
    """Return the outputs that clients of a version asked, each with the last time: of it, or of one in its place.

    The versions that were in production have the same clients, who do not begin anew with each promotion.
    """
    promoted = select(EventRow.number).where(
        EventRow.model == model, EventRow.kind == "status", EventRow.after["status"].astext == Status.PRODUCTION.value
    )
    last = func.max(AskedOutputRow.asked_at).label("last")
    statement = (
        select(AskedOutputRow.output, last)
        .join(VersionRow, VersionRow.id == AskedOutputRow.version_id)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where(ModelRow.name == model)
        .where(
            or_(
                VersionRow.number == number,
                promoted.where(EventRow.number == number).exists() & VersionRow.number.in_(promoted),
            )
        )
        .group_by(AskedOutputRow.output)
        .order_by(last.desc())
    )
    return {row.output: row.last for row in session.execute(statement)}
