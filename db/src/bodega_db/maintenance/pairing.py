"""Whether a catalog and a volume belong together."""

from pathlib import Path

from sqlalchemy.orm import Session

from bodega_db.catalog import versions
from bodega_db.volume.marker import check_owner, mark


def check_pairing(session: Session, root: Path, *, adopt: bool) -> None:
    """Raise VolumeMismatchError unless catalog and volume belong together; mark a new volume if asked to."""
    store_id = versions.get_store_id(session)
    if not check_owner(root, store_id, catalog_is_empty=not versions.has_versions(session)) and adopt:
        mark(root, store_id)
