"""The volume: content-addressed files, durable before anyone hears of them and verified before anyone reads them.

A store is a small port (put, open verified, list, remove), so that an object store can stand behind it.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bodega_db.errors import (
    ArtifactDigestError,
    ArtifactError,
    ArtifactMissingError,
    ArtifactNotRegularError,
    ArtifactSizeError,
    VolumeError,
)
from bodega_db.records import Digest
from bodega_db.volume.files import (
    NO_LINKS,
    READ_ONLY,
    Pace,
    copy_hashing,
    explain_write_errors,
    give_name,
    open_temporary,
    private_file,
    seal,
    sync_directory,
)

WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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
    folder: Path  # on the volume, for what has no name yet
    temporary_path: str | None  # None where the kernel keeps nameless files

    def reopen(self) -> BinaryIO:
        """Open the bytes once more, for a process that may read them and no more."""
        with explain_write_errors(self.folder):
            return open(self.temporary_path or f"/proc/self/fd/{self.file.fileno()}", "rb")


class ArtifactStore:
    """The artifacts of one catalog in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # --- writing -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def stage(self, write: Callable[[HashingWriter], None]) -> Iterator[StagedArtifact]:
        """Write bytes to a nameless file on the volume, hashing them, and make them durable.

        `fsync` is called once: after a failed one the kernel may have dropped the bytes and say yes the second
        time, so a failure ends this registration. Leaving the context removes whatever was not committed.
        """
        folder = self.root / "tmp"
        with explain_write_errors(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            file, path = open_temporary(folder)
        try:
            with explain_write_errors(self.root):
                writer = HashingWriter(file)
                write(writer)
                writer.flush()
                os.fchmod(file.fileno(), READ_ONLY)
                os.fsync(file.fileno())
            yield StagedArtifact(writer.digest, writer.size, file, folder, path)
        finally:
            # Closing writes what a failed write has left in the buffer, and fails again: that was told already.
            with contextlib.suppress(OSError):
                file.close()
            if path is not None:
                Path(path).unlink(missing_ok=True)

    def commit(self, staged: StagedArtifact) -> None:
        """Give staged bytes their name, durably; bytes that are already there are shared after a fresh hash.

        A file of that name with other bytes is moved to `corrupt/`, never overwritten.
        """
        with explain_write_errors(self.root):
            self._make_directory(staged.digest)
            with self._open_directory(staged.digest) as directory:
                try:
                    link_staged(staged, directory)
                except FileExistsError:
                    if self._holds(staged):
                        self._protect(staged.digest)
                    else:
                        self._set_aside(staged.digest)
                        link_staged(staged, directory)
                # Also when the name existed: whoever made it may not have come as far as this.
                os.fsync(directory)

    def _holds(self, staged: StagedArtifact) -> bool:
        try:
            self.verify(staged.digest, staged.size_bytes)
        except ArtifactError:
            return False
        return True

    def _protect(self, digest: Digest) -> None:
        """Take the right to write from a file that was there already; one that is somebody else's, fsck reports."""
        with self._open_object(digest) as fd:
            if os.fstat(fd).st_mode & WRITABLE:
                with contextlib.suppress(PermissionError):
                    os.fchmod(fd, READ_ONLY)

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
        with self._open_object(digest) as source, private_file() as copy:
            _read_verified(source, copy, digest, size_bytes)
            seal(copy)
            copy.seek(0)
            yield copy

    def verify(self, digest: Digest, size_bytes: int, *, pace: Pace | None = None, past_cache: bool = False) -> None:
        """Hash an artifact anew, from the disk itself if told to; raise what `open_verified` raises."""
        with self._open_object(digest) as source:
            if past_cache and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(source, 0, 0, os.POSIX_FADV_DONTNEED)
            _read_verified(source, None, digest, size_bytes, pace)

    def inspect(self, digest: Digest, size_bytes: int) -> bool:
        """Look at an artifact without reading it, and tell whether it is protected from being written.

        Raises ArtifactMissingError, ArtifactNotRegularError or ArtifactSizeError.
        """
        with self._open_object(digest) as fd:
            return _check_kind(os.fstat(fd), digest, size_bytes).st_mode & WRITABLE == 0

    def list(self) -> Iterator[Digest]:
        """Go through the artifacts on the volume by name; nothing is verified."""
        return (digest for _, digest in self._objects() if digest is not None)

    def list_strays(self) -> Iterator[Path]:
        """Go through what lies among the artifacts and is where no artifact would be."""
        return (path for path, digest in self._objects() if digest is None)

    def _objects(self) -> Iterator[tuple[Path, Digest | None]]:
        for path in sorted((self.root / "objects" / "sha256").glob("*/*")):
            digest = None
            with contextlib.suppress(ValueError):
                digest = Digest(path.name)
            in_place = digest is not None and self.root / digest.path == path
            yield path, digest if in_place else None

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


def _check_kind(found: os.stat_result, digest: Digest, size_bytes: int) -> os.stat_result:
    if not stat.S_ISREG(found.st_mode):
        raise ArtifactNotRegularError(f"{digest.path} is not a regular file")
    if found.st_size != size_bytes:
        raise ArtifactSizeError(f"{digest.path} has {found.st_size} bytes, registered were {size_bytes}")
    return found


def _read_verified(
    source: int, copy: BinaryIO | None, digest: Digest, size_bytes: int, pace: Pace | None = None
) -> None:
    _check_kind(os.fstat(source), digest, size_bytes)
    try:
        actual = copy_hashing(source, copy, size_bytes, pace)
    except OSError as exc:
        raise VolumeError(f"Reading {digest.path} failed: {exc.strerror}", "Check the volume's disk.") from exc
    if actual != digest:
        raise ArtifactDigestError(f"{digest.path} has the sha256 {actual}")


def link_staged(staged: StagedArtifact, directory: int) -> None:
    """Give staged bytes their name in a folder that is open; raise FileExistsError if it is taken."""
    name = staged.digest.hex
    if staged.temporary_path is not None:
        give_name(staged.temporary_path, name, directory)
        return
    try:
        # os.link() follows the link in /proc only when it is called with directory descriptors (linkat(2)).
        nameless = f"/proc/self/fd/{staged.file.fileno()}"
        os.link(nameless, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)
    except OSError as exc:
        if exc.errno not in NO_LINKS:
            raise
        _copy_and_name(staged, directory)


def _copy_and_name(staged: StagedArtifact, directory: int) -> None:
    """Name a copy of the bytes, where nameless files can be made and cannot be linked."""
    path = staged.folder / f"{secrets.token_hex(16)}.part"
    try:
        with path.open("xb") as copy:
            staged.file.seek(0)
            shutil.copyfileobj(staged.file, copy)
            copy.flush()
            os.fchmod(copy.fileno(), READ_ONLY)
            os.fsync(copy.fileno())
        give_name(str(path), staged.digest.hex, directory)
    finally:
        path.unlink(missing_ok=True)
