"""The volume: content-addressed files, durable before anyone hears of them and verified before anyone reads them.

A store is a small port (put, open verified, list, remove), so that an object store can stand behind it.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from bodega_db.errors import (
    ArtifactDigestError,
    ArtifactError,
    ArtifactMissingError,
    ArtifactNotRegularError,
    ArtifactSizeError,
    VolumeError,
    VolumeMismatchError,
    VolumeReadOnlyError,
)
from bodega_db.records import Digest

MARKER = "bodega-store.json"
CHUNK = 1024 * 1024
READ_ONLY = 0o440  # an artifact is never written again; api and lab share the owner and the group
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SEALS = 0x000F  # F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE; macOS's fcntl has no names for them


class HashingWriter:
    """A file that only takes bytes, counts them, and hashes them as they pass."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write all of the data."""
        self._hash.update(data)
        self.size += len(data)
        self._file.write(data)
        return len(data)

    def flush(self) -> None:
        """Hand what is buffered to the kernel."""
        self._file.flush()

    @property
    def digest(self) -> Digest:
        """The sha256 of everything written so far."""
        return Digest(self._hash.hexdigest())


@dataclass(frozen=True, slots=True)
class StagedArtifact:
    """Bytes that are durable on the volume but have no name there yet."""

    digest: Digest
    size_bytes: int
    file: BinaryIO
    temporary_path: str | None  # None where the kernel keeps nameless files


class ArtifactStore:
    """The artifacts of one catalog in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # --- whose volume it is ------------------------------------------------------------------------------

    def read_marker(self) -> UUID | None:
        """Return the identity of the store that owns this volume, or None for a volume that nobody owns."""
        try:
            text = (self.root / MARKER).read_text()
        except FileNotFoundError:
            return None
        try:
            return UUID(json.loads(text)["store"])
        except (ValueError, KeyError, TypeError) as exc:
            raise VolumeMismatchError(f"The marker {MARKER} on the volume cannot be read") from exc

    def check_owner(self, store_id: UUID, *, catalog_is_empty: bool) -> bool:
        """Tell whether the volume carries this store's marker; raise VolumeMismatchError if it must and does not.

        A volume without a marker is fine only while the catalog has no versions.
        """
        found = self.read_marker()
        if found == store_id:
            return True
        if found is not None:
            raise VolumeMismatchError(f"The volume {self.root} belongs to another store ({found}, not {store_id})")
        if not catalog_is_empty:
            raise VolumeMismatchError(f"The volume {self.root} has no marker, but the catalog has versions")
        if (self.root / "objects").exists():
            raise VolumeMismatchError(f"The volume {self.root} holds artifacts of a store without a marker")
        return False

    def adopt(self, store_id: UUID) -> None:
        """Mark a new volume as this store's, durably; whoever is second keeps the first one's marker."""
        content = json.dumps({"store": str(store_id), "created_at": datetime.now(UTC).isoformat()}) + "\n"
        with self._writable():
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.root, prefix=".marker-") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), READ_ONLY)
                os.fsync(file.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(file.name, self.root / MARKER)
            sync_directory(self.root)
        self.check_owner(store_id, catalog_is_empty=True)

    # --- writing -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def stage(self, write: Callable[[HashingWriter], None]) -> Iterator[StagedArtifact]:
        """Write bytes to a nameless file on the volume, hashing them, and make them durable.

        `fsync` is called once: after a failed one the kernel may have dropped the bytes and say yes the second
        time, so a failure ends this registration. Leaving the context removes whatever was not committed.
        """
        with self._writable():
            (self.root / "tmp").mkdir(parents=True, exist_ok=True)
            file, path = _open_temporary(self.root / "tmp")
        try:
            with file:
                with self._writable():
                    writer = HashingWriter(file)
                    write(writer)
                    writer.flush()
                    os.fchmod(file.fileno(), READ_ONLY)
                    os.fsync(file.fileno())
                yield StagedArtifact(writer.digest, writer.size, file, path)
        finally:
            if path is not None:
                Path(path).unlink(missing_ok=True)

    def commit(self, staged: StagedArtifact) -> None:
        """Give staged bytes their name, durably; bytes that are already there are shared after a fresh hash.

        A file of that name with other bytes is moved to `corrupt/`, never overwritten.
        """
        with self._writable():
            self._make_directory(staged.digest)
            with self._open_directory(staged.digest) as directory:
                try:
                    _link(staged, directory)
                except FileExistsError:
                    if not self._holds(staged):
                        self._set_aside(staged.digest)
                        _link(staged, directory)
                # Also when the name existed: whoever made it may not have come as far as this.
                os.fsync(directory)

    def _holds(self, staged: StagedArtifact) -> bool:
        try:
            with self.open_verified(staged.digest, staged.size_bytes):
                return True
        except ArtifactError:
            return False

    def _set_aside(self, digest: Digest) -> None:
        corrupt = self.root / "corrupt"
        corrupt.mkdir(exist_ok=True)
        os.rename(self.root / digest.path, corrupt / f"{digest}.{secrets.token_hex(4)}")
        sync_directory(corrupt)

    def _make_directory(self, digest: Digest) -> None:
        directory = self.root
        for part in Path(digest.path).parent.parts:
            parent, directory = directory, directory / part
            with contextlib.suppress(FileExistsError):
                directory.mkdir()
                sync_directory(parent)

    # --- reading -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def open_verified(self, digest: Digest, size_bytes: int) -> Iterator[BinaryIO]:
        """Open a private, sealed copy of an artifact whose bytes are the registered ones.

        What is yielded is the very memory that was hashed: nobody who can write to the volume, not even through
        a file descriptor that is already open, can change it between the check and the use.
        Raises ArtifactMissingError, ArtifactNotRegularError, ArtifactSizeError or ArtifactDigestError.
        """
        with self._open_object(digest) as source, _private_file(size_bytes) as copy:
            found = os.fstat(source)
            if not stat.S_ISREG(found.st_mode):
                raise ArtifactNotRegularError(f"{digest.path} is not a regular file")
            if found.st_size != size_bytes:
                raise ArtifactSizeError(f"{digest.path} has {found.st_size} bytes, registered were {size_bytes}")
            actual = _copy_hashing(source, copy, size_bytes)
            if actual != digest:
                raise ArtifactDigestError(f"{digest.path} has the sha256 {actual}")
            _seal(copy)
            copy.seek(0)
            yield copy

    def list(self) -> Iterator[Digest]:
        """Go through the artifacts on the volume by name; nothing is verified."""
        for path in sorted((self.root / "objects" / "sha256").glob("??/*")):
            with contextlib.suppress(ValueError):
                yield Digest(path.name)

    def remove(self, digest: Digest) -> None:
        """Take an artifact off the volume; the caller knows that no row names it."""
        with self._writable():
            (self.root / digest.path).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _open_object(self, digest: Digest) -> Iterator[int]:
        try:
            with self._open_directory(digest) as directory:
                # O_NONBLOCK: opening a pipe that somebody put here must not wait for its other end.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(digest.hex, flags, dir_fd=directory)
        except FileNotFoundError as exc:
            raise ArtifactMissingError(f"{digest.path} is not on the volume {self.root}") from exc
        except OSError as exc:
            if exc.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                raise ArtifactNotRegularError(f"{digest.path} is a link or not a file") from exc
            raise VolumeError(
                f"{digest.path} cannot be read: {exc.strerror}", "Check the volume and its owner."
            ) from exc
        try:
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _open_directory(self, digest: Digest) -> Iterator[int]:
        """Walk down from the root without following a link; the root itself is the operator's and may be one."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in Path(digest.path).parent.parts:
                deeper = os.open(part, DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = deeper
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise VolumeReadOnlyError(f"The volume {self.root} cannot be written: {exc.strerror}") from exc
            raise VolumeError(
                f"Writing to the volume {self.root} failed: {exc.strerror}",
                "Nothing was registered. Check the volume's free space and health, then register again.",
            ) from exc


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open_temporary(folder: Path) -> tuple[BinaryIO, str | None]:
    """Open a file that vanishes with its process where the kernel and file system can, else one with a random name."""
    flags = os.O_RDWR | os.O_CLOEXEC
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):  # overlay and network file systems say EOPNOTSUPP, EISDIR or EINVAL
            return os.fdopen(os.open(folder, flags | os.O_TMPFILE, 0o600), "w+b"), None
    path = str(folder / f"{secrets.token_hex(16)}.part")
    return os.fdopen(os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), "w+b"), path


def _link(staged: StagedArtifact, directory: int) -> None:
    if staged.temporary_path is None:
        # os.link() follows the link in /proc only when it is called with directory descriptors (linkat(2)).
        os.link(
            f"/proc/self/fd/{staged.file.fileno()}",
            staged.digest.hex,
            src_dir_fd=directory,
            dst_dir_fd=directory,
            follow_symlinks=True,
        )
    else:
        os.link(staged.temporary_path, staged.digest.hex, dst_dir_fd=directory)


@contextlib.contextmanager
def _private_file(size_bytes: int) -> Iterator[BinaryIO]:
    """Open memory (Linux), else an unlinked temporary file, that no other process can reach by a path."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("bodega", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(fd, "w+b") as file:
            yield file
    else:
        with tempfile.TemporaryFile() as file:
            yield file


def _copy_hashing(source: int, target: BinaryIO, size_bytes: int) -> Digest:
    """Copy at most one byte more than was registered, so that a file that grows meanwhile is noticed."""
    digest = hashlib.sha256()
    remaining = size_bytes + 1
    while remaining and (chunk := os.read(source, min(CHUNK, remaining))):
        digest.update(chunk)
        target.write(chunk)
        remaining -= len(chunk)
    target.flush()
    return Digest(digest.hexdigest())


def _seal(file: BinaryIO) -> None:
    """Take the right to change the memory from everybody, us included; an unlinked file has nobody else."""
    if hasattr(os, "memfd_create"):
        fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, SEALS)
