"""Whose volume it is: a marker file holds the store's UUID, which the catalog knows too."""

import contextlib
import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from bodega_db.errors import VolumeError, VolumeMismatchError
from bodega_db.volume.files import READ_ONLY, explain_write_errors, give_name

MARKER = "bodega-store.json"


def check_owner(root: Path, store_id: UUID, *, catalog_is_empty: bool) -> bool:
    """Tell whether the volume carries this store's marker; raise VolumeMismatchError if it must and does not.

    A volume without a marker is fine only while the catalog has no versions.
    """
    found = read_marker(root)
    if found == store_id:
        return True
    if found is not None:
        raise VolumeMismatchError(f"The volume {root} belongs to another store ({found}, not {store_id})")
    if not catalog_is_empty:
        raise VolumeMismatchError(f"The volume {root} has no marker, but the catalog has versions")
    if _exists(root / "objects"):
        raise VolumeMismatchError(f"The volume {root} holds artifacts of a store without a marker")
    return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as exc:
        raise VolumeError(f"{path} cannot be looked at: {exc.strerror}", "Check the volume's disk.") from exc


def read_marker(root: Path) -> UUID | None:
    """Return the identity of the store that owns a volume, or None if no store does."""
    try:
        return UUID(json.loads((root / MARKER).read_bytes())["store"])
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise VolumeError(f"The marker {MARKER} on the volume cannot be read: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise VolumeMismatchError(f"The marker {MARKER} on the volume cannot be read") from exc


def mark(root: Path, store_id: UUID) -> None:
    """Write the marker on a new volume, durably; a second writer keeps the first one's marker."""
    content = json.dumps({"store": str(store_id), "created_at": datetime.now(UTC).isoformat()}) + "\n"
    with explain_write_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=root, prefix=".marker-", delete=False) as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), READ_ONLY)
            os.fsync(file.fileno())
        _name(root, file.name)
    check_owner(root, store_id, catalog_is_empty=True)


def _name(root: Path, temporary: str) -> None:
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileExistsError):
            give_name(temporary, MARKER, folder)
        os.fsync(folder)
    finally:
        os.close(folder)
        Path(temporary).unlink(missing_ok=True)
