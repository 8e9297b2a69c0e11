"""Checks of the volume: the folder, whose it is, whether artifacts can become durable there, and the space left."""

import grp
import os
import pwd
import secrets
import stat
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.orm import Session

from bodega_db.doctor.findings import Finding, State, judge
from bodega_db.errors import CatalogBehindError, VolumeError, VolumeReadOnlyError
from bodega_db.maintenance import behind
from bodega_db.maintenance.pairing import check_pairing
from bodega_db.records import Digest
from bodega_db.volume.files import READ_ONLY, explain_write_errors, open_temporary
from bodega_db.volume.folder import StagedArtifact, link_staged
from bodega_db.volume.manifests import Manifests
from bodega_db.volume.marker import read_marker

PROBE_BYTES = 4096
USED_WARNING, USED_FAULT = 0.95, 0.999


@dataclass(frozen=True, slots=True)
class Space:
    """What a file system has for files that are not root's, and what of it is free; no inodes means uncounted."""

    total_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int

    @property
    def used(self) -> float:
        """The part of the bytes or of the inodes that is used, whichever is more."""
        bytes_used = 1 - self.free_bytes / self.total_bytes if self.total_bytes else 0.0
        return max(bytes_used, 1 - self.free_inodes / self.inodes if self.inodes else 0.0)


def check_folder(root: Path) -> Finding:
    """Find whether the folder is there, whose it is, and its mode."""
    try:
        status = root.stat()
    except FileNotFoundError:
        advice = "The first registration makes it; if there was one, check which folder BODEGA_MODELS names."
        return Finding("volume", State.WARNING, f"There is no folder {root}.", advice, {"path": str(root)})
    except OSError as exc:
        raise VolumeError(f"{root} cannot be looked at: {exc.strerror}", "Check the folders above it.") from exc
    if not stat.S_ISDIR(status.st_mode):
        raise VolumeError(f"{root} is not a folder", "Check which folder BODEGA_MODELS names.")
    owner, mode = f"{_user(status.st_uid)}:{_group(status.st_gid)}", stat.filemode(status.st_mode)
    return Finding(
        "volume",
        State.OK,
        f"{root} belongs to {owner}, {mode}; this process is {_user(os.geteuid())}.",
        "",
        {"path": str(root), "uid": status.st_uid, "gid": status.st_gid, "mode": f"{stat.S_IMODE(status.st_mode):04o}"},
    )


def check_marker(session: Session, root: Path) -> Finding:
    """Find whether catalog and volume belong together; raise VolumeMismatchError if not."""
    check_pairing(session, root, adopt=False)
    found = read_marker(root)
    said = f"The marker is this catalog's, {found}." if found else "There is no marker yet, and no version either."
    return Finding("marker", State.OK, said, "", {"store": str(found) if found else None})


def check_manifests(session: Session, root: Path) -> Finding:
    """Find versions that the volume knows and the catalog does not, whose numbers must not be given out again."""
    unknown = behind.find_unknown(session, Manifests(root))
    if not unknown:
        return Finding(
            "manifests", State.OK, "The catalog knows every version that has a manifest.", "", {"unknown": {}}
        )
    found, advice = f"{behind.describe(unknown)}.", CatalogBehindError.hint
    return Finding("manifests", State.FAULT, found, advice, {"unknown": dict(unknown)})


def check_writing(root: Path, *, needed: bool, marker: State) -> Finding:
    """Find whether an artifact can become durable: written, synced, linked and removed as a registration does it.

    Where nobody needs to write, a volume that is read-only is as it should be. In one that is another store's, or may
    be and has no folder for what is temporary, nothing is written.
    """
    if reason := _leave_alone(root, marker):
        return Finding("writing", State.NOT_CHECKED, reason, "Fix that first.")
    try:
        milliseconds = probe(root)
    except VolumeReadOnlyError:
        if needed:
            raise
        return Finding("writing", State.OK, "The volume is read-only here, as it should be.", "", {"writable": False})
    return Finding(
        "writing",
        State.OK,
        f"A file was written, synced in {milliseconds:.1f} ms, linked and removed.",
        "",
        {"writable": True, "fsync_ms": round(milliseconds, 3)},
    )


def _leave_alone(root: Path, marker: State) -> str:
    if not root.is_dir():
        return "There is no folder to write to."
    if marker is State.FAULT:
        return "The volume is not this catalog's, so nothing is written there."
    if marker is State.NOT_CHECKED and not (root / "tmp").is_dir():
        return "Whose volume it is could not be checked, and it has no folder tmp/ yet."
    return ""


def probe(root: Path) -> float:
    """Make a file durable in the volume's `tmp/` and take it away; return how many milliseconds its fsync took.

    Raises VolumeReadOnlyError or VolumeError.
    """
    folder = root / "tmp"
    with explain_write_errors(root):
        folder.mkdir(exist_ok=True)
        file, path = open_temporary(folder)
        try:
            with file:
                digest, milliseconds = _write_durably(file)
                _link_and_remove(StagedArtifact(digest, PROBE_BYTES, file, folder, path), folder)
        finally:
            if path is not None:
                Path(path).unlink(missing_ok=True)
    return milliseconds


def _write_durably(file: BinaryIO) -> tuple[Digest, float]:
    content = secrets.token_bytes(PROBE_BYTES)  # so that the name which comes from it is nobody else's
    file.write(content)
    file.flush()
    os.fchmod(file.fileno(), READ_ONLY)
    began = time.perf_counter()
    os.fsync(file.fileno())
    return Digest.of(content), (time.perf_counter() - began) * 1000


def _link_and_remove(staged: StagedArtifact, folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        link_staged(staged, directory)
        os.fsync(directory)
        os.unlink(staged.digest.hex, dir_fd=directory)
    finally:
        os.close(directory)


def check_space(root: Path) -> Finding:
    """Find how much room the volume has, in bytes and in files."""
    if not root.is_dir():
        return Finding("space", State.NOT_CHECKED, "There is no folder.", "Fix that first.")
    there = os.statvfs(root)
    return judge_space(
        Space(there.f_blocks * there.f_frsize, there.f_bavail * there.f_frsize, there.f_files, there.f_favail)
    )


def judge_space(space: Space) -> Finding:
    """Tell how the space of a volume stands."""
    state = judge(space.used, warning=USED_WARNING, fault=USED_FAULT)
    inodes = f"{space.free_inodes:,} of {space.inodes:,} inodes" if space.inodes else "inodes are not counted"
    return Finding(
        "space",
        state,
        f"{size(space.free_bytes)} of {size(space.total_bytes)} are free; {inodes}.",
        "" if state is State.OK else "Make the volume larger, or take files off its disk that are not Bodega's.",
        asdict(space),
    )


def size(count: int) -> str:
    """Write a number of bytes for people, as in '12.3 GB'."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:  # a container's user may have no name
        return str(uid)


def _group(gid: int) -> str:
    try:
        return f"{grp.getgrgid(gid).gr_name} ({gid})"
    except KeyError:
        return str(gid)
