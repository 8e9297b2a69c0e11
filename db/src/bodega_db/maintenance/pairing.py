"""Whether a catalog and a volume belong together."""

from pathlib import Path

from sqlalchemy.orm import Session

from bodega_db.catalog import versions
from bodega_db.catalog.access import CatalogAccess
from bodega_db.catalog.schema import check_schema
from bodega_db.volume.marker import check_owner, mark


def check_volume(catalog: CatalogAccess, root: Path, *, adopt: bool = False) -> None:
    """Raise VolumeMismatchError unless catalog and volume belong together; mark a new volume if asked to.

    A caller that asks for a mark is about to write: raises CatalogNotMigratedError for another schema.
    """
    with catalog.transaction() as session:
        if adopt:
            check_schema(versions.get_revision(session))
        check_pairing(session, root, adopt=adopt)


def check_pairing(session: Session, root: Path, *, adopt: bool) -> None:
    """Raise VolumeMismatchError unless catalog and volume belong together; mark a new volume if asked to."""
    store_id = versions.get_store_id(session)
    if not check_owner(root, store_id, catalog_is_empty=not versions.has_versions(session)) and adopt:
        mark(root, store_id)
