"""What writing and reading on the volume rests on: durable names, private memory, failures in our own words."""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from bodega_db.errors import VolumeError, VolumeReadOnlyError
from bodega_db.records import Digest

READ_ONLY = 0o440  # an artifact is never written again; api and lab share the owner and the group
# What file systems without hard links say: FAT, some network and user-space ones.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
CHUNK = 1024 * 1024
SEALS = 0x000F  # F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE; macOS's fcntl has no names for them


@contextlib.contextmanager
def explain_write_errors(root: Path) -> Iterator[None]:
    """Turn the system's refusals to write into VolumeReadOnlyError or VolumeError, naming the volume."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise VolumeReadOnlyError(f"The volume {root} cannot be written: {exc.strerror}") from exc
        raise VolumeError(
            f"Writing to the volume {root} failed: {exc.strerror}",
            "No version that was there is touched. Check the volume's free space and health, then try again.",
        ) from exc


def give_name(path: str, name: str, directory: int) -> None:
    """Give a file that is whole a name in an open folder; raise FileExistsError if it is taken.

    Without hard links the file is moved. Between the look and the move somebody may have come first: then what was
    theirs is replaced, so both must mean the same by the name.
    """
    try:
        os.link(path, name, dst_dir_fd=directory)
    except OSError as exc:
        if exc.errno not in (*NO_LINKS, errno.ENOENT):  # the latter where the file was moved there before
            raise
        with contextlib.suppress(FileNotFoundError):
            os.stat(name, dir_fd=directory, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
        os.rename(path, name, dst_dir_fd=directory)


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_temporary(folder: Path) -> tuple[BinaryIO, str | None]:
    """Open a file that vanishes with its process, if kernel and file system can, else one with a random name."""
    flags = os.O_RDWR | os.O_CLOEXEC
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):  # overlay and network file systems say EOPNOTSUPP, EISDIR or EINVAL
            return os.fdopen(os.open(folder, flags | os.O_TMPFILE, 0o600), "w+b"), None
    path = str(folder / f"{secrets.token_hex(16)}.part")
    return os.fdopen(os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), "w+b"), path


@contextlib.contextmanager
def private_file() -> Iterator[BinaryIO]:
    """Open memory (Linux), else an unlinked temporary file, that no other process can reach by a path."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("bodega", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(fd, "w+b") as file:
            yield file
    else:
        with tempfile.TemporaryFile() as file:
            yield file


def seal(file: BinaryIO) -> None:
    """Take the right to change the memory from everybody, us included; an unlinked file has nobody else."""
    if hasattr(os, "memfd_create"):
        fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, SEALS)


Pace = Callable[[int], None]


def copy_hashing(source: int, target: BinaryIO | None, size_bytes: int, pace: Pace | None = None) -> Digest:
    """Copy (or only hash) at most one byte more than was registered, so that a file that grows meanwhile is noticed.

    The pace is told of each chunk that was read, in bytes, and may wait, or raise to end it.
    """
    digest = hashlib.sha256()
    remaining = size_bytes + 1
    while remaining and (chunk := os.read(source, min(CHUNK, remaining))):
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
        remaining -= len(chunk)
        if pace is not None:
            pace(len(chunk))
    if target is not None:
        target.flush()
    return Digest(digest.hexdigest())
