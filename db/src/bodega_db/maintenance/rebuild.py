"""Restoring versions that the catalog has lost, from the manifests that registrations wrote beside the artifacts.

What a registration writes once comes back as it was: number, bytes, signature, golden rows, metrics, who and when. What
moved afterwards (status, aliases, descriptions) is not on the volume: so a restored version is archived, and serves
only whoever asks for its number, until somebody promotes it.

Whoever can write to the volume can write a manifest too: a rebuild takes the volume's word for everything but the
bytes, which must have the size and sha256 that the manifest names.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from bodega_model.errors import BodegaError
from sqlalchemy.orm import Session

from bodega_db.catalog import inventory, restore, versions
from bodega_db.errors import VolumeMismatchError
from bodega_db.maintenance.orphans import Begin, find_leftovers
from bodega_db.maintenance.progress import Progress
from bodega_db.records import Registration
from bodega_db.reference import check_model_name
from bodega_db.volume.folder import ArtifactStore
from bodega_db.volume.manifests import Manifests, VersionManifest
from bodega_db.volume.marker import read_marker


@dataclass(slots=True)
class Lost:
    """What a rebuild found on the volume that the catalog lacks."""

    store: UUID  # the identity that the volume's marker names
    restore: list[VersionManifest] = field(default_factory=list)  # whole, with verified bytes
    refused: list[tuple[str, str]] = field(default_factory=list)  # what cannot be restored, and why
    unfinished: list[str] = field(default_factory=list)  # registrations of which nobody knows whether they ended
    numbers: dict[str, int] = field(default_factory=dict)  # the last number of each model that the volume knows
    behind: dict[str, int] = field(default_factory=dict)  # those of them that are later than the catalog's

    def to_dict(self) -> dict[str, Any]:
        """Return what was found as plain JSON values."""
        return {
            "restore": [manifest.version.reference for manifest in self.restore],
            "refused": [{"version": reference, "reason": why} for reference, why in self.refused],
            "unfinished": self.unfinished,
            "last_numbers": self.behind,
        }


class Rebuild:
    """Finds and restores what a catalog has lost of one volume."""

    def __init__(self, begin: Begin, artifacts: ArtifactStore, manifests: Manifests) -> None:
        self._begin = begin
        self._artifacts = artifacts
        self._manifests = manifests

    def find(self, progress: Progress) -> Lost:
        """Find what can be restored, and verify its bytes; raise VolumeMismatchError for a volume of another store."""
        lost = Lost(self._identify())
        leftovers = find_leftovers(self._begin, self._artifacts, self._manifests)
        lost.refused = [(place.reference, f"Its manifest cannot be read: {why}") for place, why in leftovers.damaged]
        lost.unfinished = [place.path.name for place in leftovers.abandoned]
        progress.begin("verifying artifacts", sum(manifest.version.size_bytes for _, manifest in leftovers.forgotten))
        with self._begin() as session:
            taken = {reference for reference, _ in inventory.list_references(session)}
        for place, manifest in leftovers.forgotten:
            try:
                self._check(manifest, taken)
            except BodegaError as exc:
                lost.refused.append((place.reference, exc.message))
            else:
                taken.add((place.model, manifest.version.number))
                lost.restore.append(manifest)
            progress.advance(manifest.version.size_bytes)
        lost.restore.sort(key=lambda manifest: (manifest.version.model, manifest.version.number))
        lost.numbers = self._numbers()
        with self._begin() as session:
            last = inventory.list_last_numbers(session, lost.numbers)
        lost.behind = {name: number for name, number in lost.numbers.items() if number > last.get(name, 0)}
        return lost

    def _identify(self) -> UUID:
        marked = read_marker(self._artifacts.root)
        if marked is None:
            raise VolumeMismatchError(f"The volume {self._artifacts.root} has no marker: nothing was registered here")
        with self._begin() as session:
            if marked != versions.get_store_id(session) and restore.has_models(session):
                raise VolumeMismatchError(
                    "The volume belongs to another store, and this catalog has models of its own",
                    "A lost catalog is rebuilt in a database that is new: `bodega migrate` makes its tables.",
                )
        return marked

    def _check(self, manifest: VersionManifest, taken: set[tuple[str, int]]) -> None:
        version = manifest.version
        check_model_name(version.model)
        if (version.model, version.number) in taken:
            raise VolumeMismatchError(f"Another version was registered as {version.reference} since")
        _registration(manifest)
        with self._begin() as session:
            known = versions.find_by_idempotency_key(session, manifest.idempotency_key)
        if known is not None:
            raise VolumeMismatchError(f"The catalog has that registration as {known.reference}")
        self._artifacts.verify(version.digest, version.size_bytes)

    def _numbers(self) -> dict[str, int]:
        given = {name: self._manifests.list_numbers(name) for name in self._manifests.list_models()}
        return {name: max(numbers) for name, numbers in given.items() if numbers}

    def restore(self, lost: Lost, actor: str) -> None:
        """Write what was found into the catalog, all or nothing; raise NotPermittedError unless one owns the tables."""
        with self._begin() as session:
            restored: dict[int, list[int]] = {}
            with restore.rules_suspended(session):
                restore.set_store_id(session, lost.store)
                for name, manifests in groupby(lost.restore, key=lambda manifest: manifest.version.model):
                    model_id, numbers = _restore_model(session, name, list(manifests))
                    restored[model_id] = numbers
                    restore.record_restoration(session, name, actor)
                for name, number in lost.numbers.items():
                    restore.raise_last_number(session, name, number, actor)
            versions.set_actor(session, actor, "restored from its manifest: its status then is not known")
            for model_id, numbers in restored.items():
                restore.archive_restored(session, model_id, numbers)


def _restore_model(session: Session, name: str, manifests: Iterable[VersionManifest]) -> tuple[int, list[int]]:
    numbers: list[int] = []
    model_id = 0
    for manifest in manifests:
        version, at = manifest.version, datetime.fromisoformat(manifest.version.created_at)
        model_id = model_id or restore.restore_model(session, name, at, version.created_by)
        registration = _registration(manifest)
        restore.restore_version(
            session, model_id, version.number, registration, at, version.created_by, manifest.reason
        )
        numbers.append(version.number)
    return model_id, numbers


def _registration(manifest: VersionManifest) -> Registration:
    version = manifest.version
    return version.to_registration(version.model, manifest.idempotency_key, version.lineage)
