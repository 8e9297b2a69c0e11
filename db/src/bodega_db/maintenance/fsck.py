"""The check of a whole store: every version against its file, every file against the versions; it changes nothing."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from bodega_model.errors import LoadError
from bodega_model.formats.codecs import check_format, review
from bodega_model.formats.policy import Policy
from bodega_model.loading.environment import check_environment

from bodega_db.catalog.inventory import Holding
from bodega_db.errors import ArtifactError, VolumeError
from bodega_db.maintenance.orphans import Leftovers
from bodega_db.maintenance.progress import Progress
from bodega_db.records import Digest
from bodega_db.volume.folder import ArtifactStore

MOST_NAMES = 5  # of versions or files that share one trouble
Bytes = tuple[Digest, int]


class Sort(Enum):
    """A sort of trouble: its word, and its bit in the status of `bodega fsck`; a warning has none."""

    CORRUPT = ("corrupt", 1)
    REFUSED = ("refused", 2)
    UNREADABLE = ("unreadable", 4)
    ORPHAN = ("orphan", 8)
    WARNING = ("warning", 0)

    def __init__(self, word: str, bit: int) -> None:
        self.word, self.bit = word, bit


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it should be: of which sort, what it concerns, what was found, what to do next."""

    sort: Sort
    subject: str
    found: str
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the trouble as plain JSON values."""
        return {"state": self.sort.word, "subject": self.subject, "found": self.found, "advice": self.advice}


@dataclass(frozen=True, slots=True)
class Report:
    """What a check looked at, and every trouble it found."""

    versions: int
    artifacts: int
    hashed: int
    hashed_bytes: int
    troubles: tuple[Trouble, ...]

    @property
    def status(self) -> int:
        """One bit for each sort of trouble: 1 corrupt, 2 refused, 4 unreadable, 8 orphans; 0 for none."""
        return sum({trouble.sort.bit for trouble in self.troubles})


def check_versions(
    holdings: Iterable[Holding], artifacts: ArtifactStore, policy: Policy, share: float, progress: Progress
) -> Report:
    """Hold every version against its file and the policy; hash a share of the files, from 0 to 1, chosen by chance."""
    versions: dict[Bytes, list[Holding]] = defaultdict(list)
    for holding in holdings:
        versions[holding.digest, holding.size_bytes].append(holding)
    progress.begin("looking at artifacts", len(versions))
    looked = {key: _attempt(partial(_look, artifacts, key), progress, 1) for key in versions}
    whole = [key for key, found in looked.items() if found is None or found.sort is Sort.WARNING]
    chosen = whole if share >= 1 else random.sample(whole, round(len(whole) * share))
    progress.begin("hashing artifacts", sum(size for _, size in chosen))
    hashed = {key: _attempt(partial(_read, artifacts, key, versions[key], policy), progress, key[1]) for key in chosen}
    troubles = [
        replace(found, subject=_names(holding.reference for holding in versions[key]))
        for key, found in (*looked.items(), *hashed.items())
        if found is not None
    ]
    return Report(
        versions=sum(map(len, versions.values())),
        artifacts=len(versions),
        hashed=len(chosen),
        hashed_bytes=sum(size for _, size in chosen),
        troubles=(*troubles, *_refused(versions.values(), policy)),
    )


def _attempt(check: Callable[[], Trouble | None], progress: Progress, amount: int) -> Trouble | None:
    try:
        return check()
    except ArtifactError as exc:
        return Trouble(Sort.CORRUPT, "", exc.message, exc.advice)
    except VolumeError as exc:
        # The disk, the network or the rights here: about the version that says nothing.
        return Trouble(Sort.UNREADABLE, "", exc.message, exc.advice)
    finally:
        progress.advance(amount)


def _look(artifacts: ArtifactStore, key: Bytes) -> Trouble | None:
    if artifacts.inspect(*key):
        return None
    advice = "Hash it with --read-data, then take the right to write away with `chmod 0440`."
    return Trouble(Sort.WARNING, "", f"{key[0].path} can be written", advice)


def _read(artifacts: ArtifactStore, key: Bytes, holdings: list[Holding], policy: Policy) -> Trouble | None:
    """Hash an artifact, and look at what it would have a loader do; the format itself is looked at elsewhere."""
    formats = {holding.format for holding in holdings} & policy.formats
    with artifacts.open_verified(*key) as file:
        for fmt in formats:
            try:
                review(file, fmt, policy)
            except LoadError as exc:
                return Trouble(Sort.REFUSED, "", exc.message, exc.advice)
            except Exception as exc:  # noqa: BLE001 (registered bytes may hold anything, and nothing was constructed)
                return Trouble(Sort.REFUSED, "", f"It cannot be read as {fmt}: {type(exc).__name__}")
    return None


def _refused(versions: Iterable[list[Holding]], policy: Policy) -> Iterator[Trouble]:
    """Go through the versions that a process with this policy would not load, by the reason."""
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for holding in chain.from_iterable(versions):
        try:
            check_format(holding.format, policy)
            check_environment(holding.environment, allow_mismatch=policy.allow_sklearn_mismatch)
        except LoadError as exc:
            reasons[exc.message, exc.advice].append(holding.reference)
    for (found, advice), references in reasons.items():
        yield Trouble(Sort.REFUSED, _names(references), found, advice)


def check_leftovers(leftovers: Leftovers, root: Path) -> Iterator[Trouble]:
    """Go through what lies on the volume and is no version's."""

    def told(sort: Sort, paths: Sequence[object], found: str, advice: str) -> Iterator[Trouble]:
        if paths:
            names = [str(path.relative_to(root) if isinstance(path, Path) else path) for path in paths]
            yield Trouble(sort, _names(names), found, advice)

    collect, restore = "`bodega gc` shows what would be removed.", "`bodega rebuild` shows what can be restored."
    orphans = [digest.path for digest in leftovers.orphans]
    yield from told(Sort.ORPHAN, orphans, "No version names it", collect)
    yield from told(Sort.ORPHAN, leftovers.parts, "A writer that was killed left it behind", collect)
    yield from told(Sort.ORPHAN, leftovers.strays, "No store put it here", "Find out who did, and remove it.")
    forgotten = [place.reference for place, _ in leftovers.forgotten]
    yield from told(Sort.ORPHAN, forgotten, "The volume has a manifest, and the catalog no version", restore)
    unfinished = [place.path for place in leftovers.abandoned]
    yield from told(Sort.ORPHAN, unfinished, "A registration began and did not end", collect)
    damaged = [place.path for place, _ in leftovers.damaged]
    mend = "`bodega fsck --write-manifests` writes what is missing; remove it first."
    yield from told(Sort.WARNING, damaged, "The manifest cannot be read", mend)
    lacking = [*leftovers.missing, *(version.reference for _, version in leftovers.interrupted)]
    write = "Without one it cannot be restored if the catalog is lost: `bodega fsck --write-manifests` writes it."
    yield from told(Sort.WARNING, lacking, "The version has no manifest", write)


def _names(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(every[:MOST_NAMES]) + more
