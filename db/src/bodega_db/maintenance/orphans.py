"""What lies on a volume and is no version's: artifacts without a row, manifests that the catalog does not confirm."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Protocol

from sqlalchemy.orm import Session

from bodega_db.catalog import inventory, versions
from bodega_db.errors import ManifestError
from bodega_db.records import Digest, Version
from bodega_db.volume.folder import ArtifactStore
from bodega_db.volume.manifests import Manifests, Place, VersionManifest


class Begin(Protocol):
    """Begins a transaction."""

    def __call__(self) -> AbstractContextManager[Session]:
        """Return the transaction."""


@dataclass(slots=True)
class Leftovers:
    """What is left over on a volume, by what may become of it."""

    orphans: list[Digest] = field(default_factory=list)  # of no version, and of none that there was: may go
    forgotten: list[tuple[Place, VersionManifest]] = field(default_factory=list)  # committed once, says the volume
    deleted: list[Place] = field(default_factory=list)  # manifests of versions that were deleted
    interrupted: list[tuple[Place, Version]] = field(default_factory=list)  # unfinished, but the row is there
    abandoned: list[Place] = field(default_factory=list)  # unfinished, and there is no row
    damaged: list[tuple[Place, str]] = field(default_factory=list)  # manifests that cannot be read
    missing: list[str] = field(default_factory=list)  # versions without a manifest
    strays: list[Path] = field(default_factory=list)  # what no store has put where it is
    parts: list[Path] = field(default_factory=list)  # what a killed writer has left

    @property
    def claimed(self) -> set[Digest]:
        """The artifacts of versions that the catalog has forgotten, as after an older backup was restored."""
        return {manifest.version.digest for _, manifest in self.forgotten}


def find_leftovers(begin: Begin, artifacts: ArtifactStore, manifests: Manifests) -> Leftovers:
    """Look through a volume; of artifacts nothing is read, and no manifest while a transaction is open."""
    found = Leftovers(strays=list(artifacts.list_strays()))
    found.parts = [*sorted((artifacts.root / "tmp").glob("*.part")), *manifests.list_parts()]
    # Before the rows, so that nothing here is younger than they are.
    objects, places, unfinished = list(artifacts.list()), list(manifests.list()), list(manifests.list_unfinished())
    with begin() as session:
        # A file comes before its row: only where nobody is between the two, a file without a row is one for good.
        inventory.own_volume(session)
        named = inventory.list_named(session, objects)
        holdings = dict(inventory.list_references(session))
    found.missing = _missing(holdings, places, manifests)
    _sort_numbered(begin, places, holdings.keys(), found)
    _sort_contradicting(places, holdings, found)
    _sort_kept(manifests.list_kept(), found)
    for place in unfinished:
        _sort_unfinished(begin, place, found)
    claimed = found.claimed
    found.orphans = [digest for digest in objects if digest not in named and digest not in claimed]
    return found


def _missing(holdings: Collection[tuple[str, int]], places: Iterable[Place], manifests: Manifests) -> list[str]:
    there = {(place.model, place.number) for place in places}
    absent = sorted(key for key in holdings if key not in there)
    return [f"{model}@{number}" for model, number in absent if not manifests.path(model, number).exists()]


def _sort_numbered(
    begin: Begin, places: Iterable[Place], holdings: Collection[tuple[str, int]], found: Leftovers
) -> None:
    unknown = [place for place in places if (place.model, place.number) not in holdings]
    for model, group in groupby(unknown, key=lambda place: place.model):
        with begin() as session:
            deletions = inventory.list_deletions(session, model)
        for place, manifest in _read(group, found):
            if deletions.get(manifest.version.number) == manifest.version.sha256:
                found.deleted.append(place)
            else:
                found.forgotten.append((place, manifest))


def _sort_contradicting(places: Iterable[Place], holdings: Mapping[tuple[str, int], str], found: Leftovers) -> None:
    """Find manifests of other bytes than the catalog's version of the same number, which it gave out twice."""
    for place in places:
        sha256 = holdings.get((place.model, place.number or 0))
        if sha256 is None:
            continue
        try:
            contradicts = place.read_sha256() != sha256
        except FileNotFoundError:
            continue
        except (ManifestError, OSError) as exc:
            found.damaged.append((place, exc.message if isinstance(exc, ManifestError) else str(exc.strerror)))
            continue
        if contradicts:
            found.forgotten += list(_read([place], found))
            found.missing.append(place.reference)


def _sort_kept(places: Iterable[Place], found: Leftovers) -> None:
    found.forgotten += list(_read(places, found))


def _sort_unfinished(begin: Begin, place: Place, found: Leftovers) -> None:
    for _, manifest in _read([place], found):
        with begin() as session:
            version = versions.find_by_idempotency_key(session, manifest.idempotency_key)
        if version is None:
            found.abandoned.append(place)
        else:
            found.interrupted.append((place, version))


def _read(places: Iterable[Place], found: Leftovers) -> Iterator[tuple[Place, VersionManifest]]:
    for place in places:
        try:
            yield place, place.read()
        except FileNotFoundError:
            continue  # its registration ended meanwhile
        except (ManifestError, OSError) as exc:
            found.damaged.append((place, exc.message if isinstance(exc, ManifestError) else str(exc.strerror)))
