"""Garbage collection: what no version names goes into the trash, and from there, after a grace period, for good.

An artifact moves only while nobody is between a file and its row, and only if no version names it at that moment; so a
registration that comes at the same time finds its file, or writes it anew. The grace period runs by the database's
clock. What a manifest claims and the catalog has forgotten is no garbage: an older backup may have been restored.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bodega_db.catalog import inventory
from bodega_db.errors import CollectionRefusedError
from bodega_db.maintenance.orphans import Begin, Leftovers, find_leftovers
from bodega_db.maintenance.progress import Progress
from bodega_db.records import Digest, Version
from bodega_db.volume.folder import ArtifactStore
from bodega_db.volume.manifests import Manifests, Place, VersionManifest
from bodega_db.volume.trash import Discarded, Trash

GRACE = timedelta(days=7)
# Younger than this, what a writer seems to have left behind may be what it is writing.
LONGEST_WRITE = timedelta(days=1)
MOST_WITHOUT_FORCE = 0.10
BATCH = 100


@dataclass(slots=True)
class Plan:
    """What a collection does; each of its lists may be empty."""

    artifacts: int  # on the volume, without the trash
    discard: list[Digest] = field(default_factory=list)  # into the trash
    destroy: list[Discarded] = field(default_factory=list)  # out of the trash, for good
    waiting: list[Discarded] = field(default_factory=list)  # in the trash, and stays for now
    put_back: list[Discarded] = field(default_factory=list)  # out of the trash, because a version lacks it
    parts: list[Path] = field(default_factory=list)  # to be removed
    retire: list[Place] = field(default_factory=list)  # manifests of deleted versions
    finish: list[tuple[Place, Version]] = field(default_factory=list)  # manifests that were not finished
    forgotten: list[str] = field(default_factory=list)  # versions that only the volume knows: nothing is done

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return {
            "artifacts": self.artifacts,
            "discard": [digest.path for digest in self.discard],
            "destroy": [discarded.path.name for discarded in self.destroy],
            "waiting": [discarded.path.name for discarded in self.waiting],
            "put_back": [discarded.digest.path for discarded in self.put_back],
            "remove": [path.name for path in self.parts],
            "retire": [place.reference for place in self.retire],
            "finish": [version.reference for _, version in self.finish],
            "forgotten": self.forgotten,
        }


class Collector:
    """Plans and carries out a collection on one volume, which the caller knows to be this catalog's."""

    def __init__(self, begin: Begin, artifacts: ArtifactStore, manifests: Manifests) -> None:
        self._begin = begin
        self._artifacts = artifacts
        self._manifests = manifests
        self._trash = Trash(artifacts.root)

    def plan(self, grace: timedelta) -> Plan:
        """Find what there is to do, and change nothing."""
        leftovers = find_leftovers(self._begin, self._artifacts, self._manifests)
        with self._begin() as session:
            now = inventory.get_time(session)
            trash = list(self._trash.list())
            wanted = inventory.list_named(session, {one.digest for one in trash})
        plan = Plan(artifacts=sum(1 for _ in self._artifacts.list()), discard=leftovers.orphans)
        plan.retire, plan.finish = leftovers.deleted, leftovers.interrupted
        plan.parts = list(_older_than(now - max(grace, LONGEST_WRITE), leftovers))
        plan.forgotten = [place.reference for place, _ in leftovers.forgotten]
        for discarded in trash:
            self._sort(discarded, wanted, now - grace, plan)
        return plan

    def _sort(self, discarded: Discarded, wanted: set[Digest], before: datetime, plan: Plan) -> None:
        if discarded.digest in wanted and not (self._artifacts.root / discarded.digest.path).exists():
            wanted.discard(discarded.digest)  # of several the first one; whoever loads it verifies it
            plan.put_back.append(discarded)
        elif discarded.since <= before:
            plan.destroy.append(discarded)
        else:
            plan.waiting.append(discarded)

    def carry_out(self, plan: Plan, progress: Progress, *, force: bool = False) -> None:
        """Do what was planned, as far as it is still right.

        Raises CollectionRefusedError, before anything is done, where more than a tenth of all artifacts would go.
        """
        if not force and len(plan.discard) > plan.artifacts * MOST_WITHOUT_FORCE:
            raise CollectionRefusedError(
                f"{len(plan.discard)} of {plan.artifacts} artifacts would be removed, which is more than a tenth",
                "Check that the catalog is the right one and whole; then ask again with force (--force).",
            )
        for discarded in plan.put_back:
            self._trash.put_back(discarded)
        for _, version in plan.finish:
            self._manifests.finish(VersionManifest.of(version))
        for place in plan.retire:
            self._manifests.retire(place)
        self._discard(plan.discard, progress)
        self._destroy(plan.destroy, progress)
        for path in plan.parts:
            self._manifests.remove(path)

    def _discard(self, digests: list[Digest], progress: Progress) -> None:
        progress.begin("moving artifacts into the trash", len(digests))
        for start in range(0, len(digests), BATCH):
            batch = digests[start : start + BATCH]
            with self._begin() as session:
                inventory.own_volume(session)
                now, named = inventory.get_time(session), inventory.list_named(session, batch)
                for digest in batch:
                    if digest not in named:
                        self._trash.discard(digest, now)
            progress.advance(len(batch))

    def _destroy(self, trash: list[Discarded], progress: Progress) -> None:
        progress.begin("emptying the trash", len(trash))
        for discarded in trash:
            self._trash.destroy(discarded)
            progress.advance(1)


def _older_than(moment: datetime, leftovers: Leftovers) -> Iterator[Path]:
    for path in (*leftovers.parts, *(place.path for place in leftovers.abandoned)):
        try:
            changed = path.lstat().st_mtime
        except FileNotFoundError:
            continue
        if changed <= moment.timestamp():
            yield path
