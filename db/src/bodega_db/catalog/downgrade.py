"""What a downgrade of the database takes away for good, by the migration that brought it.

What a migration derives from other rows (metrics, counts, indexes) comes back with the next upgrade and is no loss. The
rights of the roles on what is made anew come back with `bodega apply-roles`.
"""

from collections.abc import Iterable, Mapping

from alembic import context
from sqlalchemy import Connection, text

from bodega_db.errors import DowngradeError

LOSSES: Mapping[str, Mapping[str, str]] = {
    "0004": {"protections of aliases": "SELECT count(*) FROM alias WHERE protected"},
    "0001": {
        "models": "SELECT count(*) FROM model",
        "versions": "SELECT count(*) FROM version",
        "aliases": "SELECT count(*) FROM alias",
        "events of the history": "SELECT count(*) FROM event",
    },
}


def may_lose() -> bool:
    """Tell a migration whether its downgrade may lose something: said by `migrate`, or by `alembic -x lose=yes`."""
    said = context.get_x_argument(as_dictionary=True).get("lose")
    return bool(context.config.attributes.get("lose")) or said == "yes"


def refuse_losses(connection: Connection, revisions: Iterable[str], *, lose: bool) -> None:
    """Raise DowngradeError, with the number of each, if undoing migrations would lose data without permission."""
    if lose:
        return
    asked = [question for revision in revisions for question in LOSSES.get(revision, {}).items()]
    counted = [(what, connection.execute(text(query)).scalar_one()) for what, query in asked]
    lost = [f"{what}: {count}" for what, count in counted if count]
    if lost:
        raise DowngradeError(f"That downgrade loses for good: {', '.join(lost)}")
