"""Manifests: what the catalog knows of a version, written beside its artifact, so that a lost catalog can be made anew.

    manifests/penguins/3.json                 version 3, since its row was committed
    manifests/penguins/3.deleted              its number, since the version was deleted
    manifests/penguins/unfinished/<key>.json  a registration whose outcome its writer did not come to write down

The first line of a manifest is JSON, the second the sha256 of the first. The number stands in the name alone: it is
given out by the transaction that makes the version visible, and the manifest is durable before that begins.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec
from pydantic import TypeAdapter, ValidationError

from bodega_db.errors import ManifestError, VolumeError
from bodega_db.records import Registration, Version
from bodega_db.volume.files import READ_ONLY, explain_write_errors, sync_directory
from bodega_db.volume.portable import PortableVersion

FORMAT = 1
FOLDER, UNFINISHED, DELETED = "manifests", "unfinished", ".deleted"
NUMBER = re.compile(r"[1-9][0-9]{0,9}")
# Golden rows, categories and params are bounded, but by nothing that is small.
LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class VersionManifest:
    """One version as its registration saw it: what the row says, the key it was registered under, and why."""

    version: PortableVersion
    idempotency_key: str
    reason: str | None = None
    format: int = FORMAT

    @classmethod
    def of(cls, version: Version, reason: str | None = None) -> Self:
        """Return the manifest of a registered version."""
        return cls(PortableVersion.of(version), version.idempotency_key or "", reason)

    @classmethod
    def promise(cls, registration: Registration, actor: str, reason: str | None = None) -> Self:
        """Return the manifest of a version that is about to be registered: its number is 0."""
        told = {name: getattr(registration, name) for name in ("model", "size_bytes", "format", "note")}
        told |= {name: dict(getattr(registration, name)) for name in ("metrics", "params", "tags")}
        told |= {name: dict(getattr(registration, name)) for name in ("environment", "lineage")}
        version = PortableVersion(
            **told,
            number=0,
            sha256=registration.digest.hex,
            signature=registration.signature.to_dict(),
            golden=registration.golden.to_dict(),
            created_at=datetime.now(UTC).isoformat(),
            created_by=actor,
        )
        return cls(version, registration.idempotency_key, reason)

    def to_bytes(self) -> bytes:
        """Write the manifest; without its number, which is the name of its file."""
        plain = asdict(self)
        del plain["version"]["number"]
        line = json.dumps(plain, sort_keys=True).encode()
        return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"

    @classmethod
    def from_bytes(cls, content: bytes, number: int) -> Self:
        """Read what `to_bytes` wrote; raise ManifestError for anything else."""
        line, _, rest = content.partition(b"\n")
        _check_whole(line, rest)
        try:
            plain = json.loads(line)
            manifest = TypeAdapter(cls).validate_python(plain | {"version": plain["version"] | {"number": number}})
        except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as exc:
            raise ManifestError("It does not say what a manifest says") from exc
        if manifest.format != FORMAT:
            raise ManifestError(f"It has the format {manifest.format}, and this program reads {FORMAT}")
        return manifest


class _OfVersion(msgspec.Struct):
    sha256: str


class _Bytes(msgspec.Struct):
    version: _OfVersion


def _check_whole(line: bytes, rest: bytes) -> None:
    if rest != hashlib.sha256(line).hexdigest().encode() + b"\n":
        raise ManifestError("It is not whole: its content does not have the sha256 that stands below it")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a manifest lies: of which model, and of which of its versions; without a number it is unfinished."""

    path: Path
    model: str
    number: int | None

    @property
    def reference(self) -> str:
        """The version as people write it, as far as it is known."""
        return f"{self.model}@{self.number}" if self.number else f"{self.model} (unfinished)"

    def read(self) -> VersionManifest:
        """Read the manifest; raise ManifestError, or OSError."""
        with self.path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ManifestError(f"It has more than {LARGEST} bytes")
        manifest = VersionManifest.from_bytes(content, self.number or 0)
        if manifest.version.model != self.model:
            raise ManifestError("It is of another model than its folder")
        return manifest

    def read_sha256(self) -> str:
        """Read of which bytes the manifest is, in a fiftieth of the time; raise ManifestError, or OSError."""
        line, _, rest = self.path.read_bytes().partition(b"\n")
        _check_whole(line, rest)
        try:
            return msgspec.json.decode(line, type=_Bytes).version.sha256
        except msgspec.MsgspecError as exc:
            raise ManifestError("It does not say what a manifest says") from exc


class Manifests:
    """The manifests of one volume."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / FOLDER

    def begin(self, manifest: VersionManifest) -> Path:
        """Write down what is about to be registered, durably, and return where; raise VolumeError."""
        path = self.unfinished_path(manifest.version.model, manifest.idempotency_key)
        with explain_write_errors(self._root):
            self._write(path, manifest.to_bytes())
        return path

    def finish(self, manifest: VersionManifest) -> None:
        """Write the manifest of a version whose row is committed, in place of the unfinished one; raise VolumeError.

        A manifest of the same number and another key is of a version that the catalog has forgotten: it is kept
        under another name.
        """
        path = self.path(manifest.version.model, manifest.version.number)
        with explain_write_errors(self._root):
            if not self._holds(path, manifest.idempotency_key):
                self._write(path, manifest.to_bytes())
            self.unfinished_path(manifest.version.model, manifest.idempotency_key).unlink(missing_ok=True)

    def remove(self, path: Path) -> None:
        """Remove a manifest whose registration did not happen; raise VolumeError."""
        with explain_write_errors(self._root):
            path.unlink(missing_ok=True)

    def retire(self, place: Place) -> None:
        """Leave of the manifest of a deleted version only that its number was given out; raise VolumeError."""
        with explain_write_errors(self._root):
            self._write(place.path.with_suffix(DELETED), b"")
            place.path.unlink(missing_ok=True)
            sync_directory(place.path.parent)

    def path(self, model: str, number: int) -> Path:
        """Return where the manifest of a version lies."""
        return self._folder / model / f"{number}.json"

    def unfinished_path(self, model: str, key: str) -> Path:
        """Return where the manifest of a registration lies whose row may not be committed; a key may hold anything."""
        return self._folder / model / UNFINISHED / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

    def list(self) -> Iterator[Place]:
        """Go through the manifests of all models, without reading them; those kept under other names are no part."""
        for folder in self._models():
            for path in sorted(folder.glob("*.json")):
                if NUMBER.fullmatch(path.stem):
                    yield Place(path, folder.name, int(path.stem))

    def list_unfinished(self) -> Iterator[Place]:
        """Go through the manifests of registrations whose outcome was not written down."""
        for folder in self._models():
            for path in sorted((folder / UNFINISHED).glob("*.json")):
                yield Place(path, folder.name, None)

    def list_kept(self) -> Iterator[Place]:
        """Go through the manifests whose number was given out again by a catalog that had forgotten them."""
        for folder in self._models():
            for path in sorted(folder.glob("*.json")):
                number, dot, _ = path.stem.partition(".")
                if dot and NUMBER.fullmatch(number):
                    yield Place(path, folder.name, int(number))

    def list_deleted(self) -> Iterator[tuple[str, int]]:
        """Go through the versions that were deleted, by model and number."""
        for folder in self._models():
            for path in sorted(folder.glob(f"*{DELETED}")):
                if NUMBER.fullmatch(path.stem):
                    yield folder.name, int(path.stem)

    def list_numbers(self, model: str) -> set[int]:
        """Return the numbers of a model that were given out, as far as the names of its manifests tell.

        A manifest has its number only when the row is committed: if the catalog, asked after this, does not know a
        number, it has lost it. Raises VolumeError.
        """
        folder = self._folder / model
        try:
            with os.scandir(folder) as entries:
                files = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return set()
        except OSError as exc:
            raise VolumeError(f"{folder} cannot be looked at: {exc.strerror}", "Check the volume's disk.") from exc
        stems = {name.partition(".")[0] for name in files if name.endswith((".json", DELETED))}
        return {int(stem) for stem in stems if NUMBER.fullmatch(stem)}

    def list_models(self) -> tuple[str, ...]:
        """Return the names of the models that have manifests; raise VolumeError."""
        try:
            return tuple(folder.name for folder in self._models())
        except OSError as exc:
            raise VolumeError(f"{self._folder} cannot be looked at: {exc.strerror}", "Check the disk.") from exc

    def is_free(self, model: str, number: int) -> bool:
        """Tell whether nothing on the volume says that a number of a model was given out."""
        path = self.path(model, number)
        return not (path.is_file() or path.with_suffix(DELETED).is_file())

    def list_parts(self) -> Iterator[Path]:
        """Go through what writers left behind that were killed."""
        yield from sorted(self._folder.glob("*/.*.part"))
        yield from sorted(self._folder.glob(f"*/{UNFINISHED}/.*.part"))

    def _models(self) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError):
            yield from sorted(path for path in self._folder.iterdir() if path.is_dir())

    def _holds(self, path: Path, key: str) -> bool:
        """Tell whether a manifest is there already; one of something else makes way for it."""
        if not path.exists():
            return False
        with contextlib.suppress(ManifestError):
            if Place(path, path.parent.name, int(path.stem)).read().idempotency_key == key:
                return True
        path.rename(path.with_name(f"{path.stem}.{secrets.token_hex(4)}.json"))
        return False

    def _write(self, path: Path, content: bytes) -> None:
        self._make_folder(path.parent)
        temporary = path.parent / f".{secrets.token_hex(8)}.part"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), READ_ONLY)
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_directory(folder.parent)
