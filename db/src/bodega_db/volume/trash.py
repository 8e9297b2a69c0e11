"""The trash of a volume: artifacts that no version names, kept for a while under the time when they were found so."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bodega_db.records import Digest
from bodega_db.volume.files import explain_write_errors, sync_directory

FOLDER = "trash"
STAMP = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True, slots=True)
class Discarded:
    """An artifact in the trash, and since when it is there."""

    path: Path
    digest: Digest
    since: datetime


class Trash:
    """The trash of one volume; a caller moves a file here only if no registration is about to name it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / FOLDER

    def discard(self, digest: Digest, now: datetime) -> None:
        """Move an artifact into the trash; raise VolumeError."""
        with explain_write_errors(self._root), contextlib.suppress(FileNotFoundError):
            self._move(self._root / digest.path, self._folder / f"{digest}.{now.astimezone(UTC):{STAMP}}")

    def list(self) -> Iterator[Discarded]:
        """Go through the trash; what has another name than its files have is left alone."""
        for path in sorted(self._folder.glob("*.*")):
            sha256, _, stamp = path.name.partition(".")
            with contextlib.suppress(ValueError):
                yield Discarded(path, Digest(sha256), datetime.strptime(stamp, STAMP).replace(tzinfo=UTC))

    def put_back(self, discarded: Discarded) -> None:
        """Give an artifact its place again; raise VolumeError."""
        with explain_write_errors(self._root):
            self._move(discarded.path, self._root / discarded.digest.path)

    def destroy(self, discarded: Discarded) -> None:
        """Remove an artifact for good; raise VolumeError."""
        with explain_write_errors(self._root):
            discarded.path.unlink(missing_ok=True)

    def _move(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
        sync_directory(target.parent)
        sync_directory(source.parent)
