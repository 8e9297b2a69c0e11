"""Versions in one file, to be moved between stores: what it holds, how it is written, how it is read without trust.

A bundle is a ZIP without compression: `manifest.json` with all that the catalog knows of each version, its sha256
beside it, and each artifact once, under its own. Whatever is not exactly that is refused before any of it is used.
"""

import contextlib
import hashlib
import json
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from uuid import UUID

from pydantic import TypeAdapter

from bodega_db.errors import BundleError, VolumeError
from bodega_db.reference import LARGEST_NUMBER, MODEL_NAME
from bodega_db.volume.files import CHUNK, sync_directory
from bodega_db.volume.portable import BROKEN, HINT, PortableVersion, explain

FORMAT = 1
MANIFEST, MANIFEST_HASH = "manifest.json", "manifest.sha256"
# Read into Python's values a manifest that was made to do harm takes about 40 times its size: measured.
LARGEST_MANIFEST = 64 * 1024 * 1024
MOST_VERSIONS = 100_000
FEWER = "Export fewer at a time."


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says that it holds: of which store, when and by whom it was written, and its versions."""

    format: int
    store: UUID
    exported_at: str
    exported_by: str
    versions: tuple[PortableVersion, ...]


class Writer(Protocol):
    """A sink for bytes."""

    def write(self, data: bytes) -> int:
        """Take all of the data."""


# --- writing -------------------------------------------------------------------------------------------------


def write_bundle(
    target: Path,
    manifest: Manifest,
    open_artifact: Callable[[PortableVersion], AbstractContextManager[BinaryIO]],
    *,
    overwrite: bool = False,
) -> None:
    """Write a bundle, which has its name only when it is whole and durable; raise BundleError or VolumeError.

    `open_artifact` yields verified bytes.
    """
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.part"
    try:
        with temporary.open("xb") as file:
            _write(file, manifest, open_artifact)
            file.flush()
            os.fsync(file.fileno())
        _name(temporary, target, overwrite)
    except FileExistsError as exc:
        raise BundleError(
            f"{target} is there already", "Choose another name, or ask for it to be overwritten."
        ) from exc
    except OSError as exc:
        raise VolumeError(
            f"{target} cannot be written: {exc.strerror}", "Check the folder and its free space."
        ) from exc
    finally:
        temporary.unlink(missing_ok=True)


def _write(
    file: BinaryIO,
    manifest: Manifest,
    open_artifact: Callable[[PortableVersion], AbstractContextManager[BinaryIO]],
) -> None:
    told = _serialise(manifest)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle:
        bundle.writestr(MANIFEST, told)
        bundle.writestr(MANIFEST_HASH, hashlib.sha256(told).hexdigest())
        for digest, version in {version.sha256: version for version in manifest.versions}.items():
            with open_artifact(version) as source, bundle.open(_member(digest), "w", force_zip64=True) as member:
                while chunk := source.read(CHUNK):
                    member.write(chunk)


def _serialise(manifest: Manifest) -> bytes:
    told = json.dumps(_plain(manifest), allow_nan=False).encode()
    if len(told) > LARGEST_MANIFEST or len(manifest.versions) > MOST_VERSIONS:
        raise BundleError("Those are more versions than an import would read", FEWER)
    return told


def _name(temporary: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(target)
    else:
        _link(temporary, target)
    sync_directory(target.parent)


def _link(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)  # and no rename, which would replace what somebody else put there meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without links, as on a memory stick
        if target.exists():
            raise FileExistsError from None
        temporary.replace(target)


def _plain(manifest: Manifest) -> dict[str, Any]:
    versions = [
        {field.name: getattr(version, field.name) for field in fields(version)} for version in manifest.versions
    ]
    told = {field.name: getattr(manifest, field.name) for field in fields(manifest)}
    return told | {"store": str(manifest.store), "versions": versions}


def _member(digest: str) -> str:
    return f"objects/{digest}"


# --- reading -------------------------------------------------------------------------------------------------


class Bundle:
    """An open bundle, whose manifest is the one that was written."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self.manifest = self._read_manifest(self._members())

    def copy(self, version: PortableVersion, target: Writer) -> None:
        """Copy a version's artifact; raise BundleError unless it has the sha256 that the manifest says."""
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks(version):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
        if (digest.hexdigest(), size) != (version.sha256, version.size_bytes):
            raise BundleError(
                f"The artifact of {version.reference} in {self._path} is not the one that was exported", HINT
            )

    def _chunks(self, version: PortableVersion) -> Iterator[bytes]:
        what = f"The artifact of {version.reference} in {self._path} cannot be read"
        with explain(what), self._archive.open(_member(version.sha256)) as member:
            while chunk := member.read(CHUNK):
                yield chunk

    def _members(self) -> Mapping[str, int]:
        members = self._archive.infolist()
        sizes = {member.filename: member.file_size for member in members}
        if len(sizes) != len(members):
            raise BundleError(f"{self._path} has a member twice", HINT)
        if any(m.compress_type != zipfile.ZIP_STORED or m.compress_size != m.file_size for m in members):
            raise BundleError(f"{self._path} has a compressed member, and bundles have none", HINT)
        if not {MANIFEST, MANIFEST_HASH} <= sizes.keys():
            raise BundleError(f"{self._path} has no manifest", "It is no file that `bodega export` wrote.")
        return sizes

    def _read_manifest(self, sizes: Mapping[str, int]) -> Manifest:
        if sizes[MANIFEST] > LARGEST_MANIFEST or sizes[MANIFEST_HASH] != 64:  # a sha256 in hex
            raise BundleError(f"The manifest of {self._path} is too large", HINT)
        with explain(f"The manifest of {self._path} cannot be read"):
            told = self._archive.read(MANIFEST)
            written = self._archive.read(MANIFEST_HASH).decode("ascii")
        if hashlib.sha256(told).hexdigest() != written:
            raise BundleError(f"The manifest of {self._path} is not the one that was exported", HINT)
        with explain(f"The manifest of {self._path} cannot be read"):
            manifest = _manifests().validate_json(told)
        self._check(manifest, sizes)
        return manifest

    def _check(self, manifest: Manifest, sizes: Mapping[str, int]) -> None:
        if manifest.format != FORMAT:
            raise BundleError(f"{self._path} has the format {manifest.format}", f"This program reads format {FORMAT}.")
        if len(manifest.versions) > MOST_VERSIONS:
            raise BundleError(f"{self._path} holds more than {MOST_VERSIONS} versions", FEWER)
        for version in manifest.versions:  # before any message quotes their names
            if not MODEL_NAME.fullmatch(version.model) or not 1 <= version.number <= LARGEST_NUMBER:
                raise BundleError(f"{self._path} names a version that no store has", HINT)
        if len({version.reference for version in manifest.versions}) != len(manifest.versions):
            raise BundleError(f"{self._path} has a version twice", HINT)
        said = {_member(version.digest.hex): version.size_bytes for version in manifest.versions}
        held = {name: size for name, size in sizes.items() if name not in (MANIFEST, MANIFEST_HASH)}
        if held != said:
            raise BundleError(f"{self._path} does not hold exactly the artifacts that its manifest names", HINT)


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle that was written by whomever; raise BundleError if it is none, or is damaged."""
    try:
        archive = zipfile.ZipFile(path)
    except OSError as exc:
        raise BundleError(
            f"{path} cannot be read: {exc.strerror}", "Check the path, and that you may read it."
        ) from exc
    except BROKEN as exc:
        raise BundleError(f"{path} is not a whole bundle", HINT) from exc
    with archive:
        with explain(f"{path} is not a whole bundle"):
            bundle = Bundle(path, archive)
        yield bundle


def _manifests() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)
