"""What an archive may ask for, read from its directory and headers before anything of it is inflated into an object.

A ZIP of some kilobytes can stand for terabytes, and so can the header of an array. The bytes are the registered ones,
so this is about whoever registered them; a loader that takes the machine down takes every other model with it.
"""

import os
import re
import struct
import zipfile
import zlib
from math import prod
from pathlib import PurePosixPath
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from numpy.lib import format as npy

from bodega_model.errors import ArchiveError
from bodega_model.formats.canonical import SCHEMA

# A forest of 1000 trees has some 5000 members, a directory of 400 kB, and a schema of 5 MB that is 20 deep.
LARGEST_DIRECTORY = 4 * 1024 * 1024
LARGEST_SCHEMA = 256 * 1024 * 1024
DEEPEST_SCHEMA = 200
# Deflate makes at most 1032 of 1. Fitted models were seen to make up to 60; small ones may be all zeros.
LARGEST_RATIO = 250
SMALL = 64 * 1024 * 1024
ENCRYPTED = 0x1
LONGEST_HEADER = 65536
END = struct.Struct("<4s8xI4xH")  # signature, size of the directory, length of a comment
LOCATOR = struct.Struct("<4s4xQ4x")  # signature, where the end of a large directory is
LARGE_END = struct.Struct("<40xQ8x")  # size of the directory
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
OTHERS = bytes(set(range(256)) - set(b"[]{}"))
BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def check_archive(file: BinaryIO, largest: int) -> int:
    """Return how many bytes the members of a skops file have when they are inflated, and leave the file as it was.

    Raises ArchiveError for an archive that is none, that is more than one thing, or that asks for more than `largest`.
    """
    try:
        _check_directory(file)
        with ZipFile(file) as archive:
            members = archive.infolist()
            _check_members(members, largest)
            for member in members:
                if member.filename == SCHEMA:
                    _check_depth(archive.read(member))
                elif member.filename.endswith(".npy"):
                    _check_array(archive, member)
    except BROKEN as exc:
        raise ArchiveError("The file is not a whole skops archive") from exc
    finally:
        file.seek(0)
    return sum(member.file_size for member in members)


def _check_directory(file: BinaryIO) -> None:
    """Refuse an archive whose directory is large before it is read, or that has something behind it."""
    begin = max(0, file.seek(0, os.SEEK_END) - END.size - LOCATOR.size)
    file.seek(begin)
    tail = file.read()
    signature, size, comment = END.unpack(tail[-END.size :])
    if signature != b"PK\5\6" or comment:
        raise ArchiveError("The archive does not end with its directory")
    locator, place = LOCATOR.unpack(tail[: LOCATOR.size])
    if locator == b"PK\6\7":  # of an archive with more members or bytes than 32 bits count
        file.seek(place)
        (size,) = LARGE_END.unpack(file.read(LARGE_END.size))
    if size > LARGEST_DIRECTORY:
        raise ArchiveError(f"The archive has a directory of {size} bytes, and {LARGEST_DIRECTORY} are allowed")


def _check_members(members: list[ZipInfo], largest: int) -> None:
    names = [member.filename for member in members]
    inflated, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    schema = next((member for member in members if member.filename == SCHEMA), None)
    faults = {
        "has no schema": schema is None,
        "has a member twice": len(set(names)) != len(names),
        "has a member that is named like a path": any(not _is_plain(name) for name in names),
        "has an encrypted member": any(member.flag_bits & ENCRYPTED for member in members),
        "is compressed in a way that skops does not use": any(
            member.compress_type not in (ZIP_STORED, ZIP_DEFLATED) for member in members
        ),
        # What stands before or behind makes it a file of another kind too.
        "does not begin with its first member": min((m.header_offset for m in members), default=0) != 0,
        f"has a schema of more than {LARGEST_SCHEMA} bytes": schema is not None and schema.file_size > LARGEST_SCHEMA,
        f"would inflate to {inflated} bytes, and {largest} are allowed (BODEGA_MAX_MODEL_BYTES)": inflated > largest,
        f"would inflate to {LARGEST_RATIO} times its size or more": (
            inflated > SMALL and inflated > LARGEST_RATIO * packed
        ),
    }
    for fault, found in faults.items():
        if found:
            raise ArchiveError(f"The archive {fault}")


def _is_plain(name: str) -> bool:
    return name == PurePosixPath(name).name and "\\" not in name and name != ".."


def _check_depth(schema: bytes) -> None:
    """Refuse a schema that is nested so deeply that a parser or a loader runs out of stack."""
    depth = 0
    for bracket in STRING.sub(b"", schema).translate(None, OTHERS):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEEPEST_SCHEMA:
            raise ArchiveError(f"The archive has a schema that is more than {DEEPEST_SCHEMA} deep")


def _check_array(archive: ZipFile, member: ZipInfo) -> None:
    """Refuse an array whose header claims other than what follows it."""
    with archive.open(member) as file:
        version = npy.read_magic(file)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if reader is None:
            raise ArchiveError("The archive has an array in a format that numpy does not write")
        shape, _, dtype = reader(file, max_header_size=LONGEST_HEADER)
        if dtype.hasobject:
            raise ArchiveError("The archive has an array of Python objects, which would have to be unpickled")
        if prod(shape) * dtype.itemsize != member.file_size - file.tell():
            raise ArchiveError("The archive has an array whose header claims another size than it has")
