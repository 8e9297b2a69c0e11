"""The verbs that keep a store in order: check it, write missing manifests, collect garbage, restore the lost."""

from dataclasses import replace
from datetime import timedelta

from bodega_model.formats.policy import Policy
from bodega_model.loading.environment import default_actor

from bodega_db.catalog import inventory, resolve, transitions, versions
from bodega_db.catalog.access import CatalogAccess
from bodega_db.catalog.schema import check_schema
from bodega_db.errors import ArtifactError, ArtifactMissingError, VolumeMismatchError
from bodega_db.maintenance.behind import Unknown, find_later
from bodega_db.maintenance.fsck import Report, check_leftovers, check_versions
from bodega_db.maintenance.gc import GRACE, Collector, Plan
from bodega_db.maintenance.orphans import find_leftovers
from bodega_db.maintenance.pairing import check_volume
from bodega_db.maintenance.progress import Progress, Silence
from bodega_db.maintenance.rebuild import Lost, Rebuild
from bodega_db.records import VersionSummary
from bodega_db.reference import parse_reference
from bodega_db.volume.folder import ArtifactStore
from bodega_db.volume.manifests import Manifests, VersionManifest
from bodega_db.volume.marker import read_marker


class Maintenance:
    """Keeps a catalog and its volume in order."""

    def __init__(self, catalog: CatalogAccess, artifacts: ArtifactStore, manifests: Manifests, policy: Policy) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._manifests = manifests
        self._policy = policy

    def _check_schema(self) -> None:
        """Raise CatalogNotMigratedError: what another program has made is not judged by this one."""
        with self._catalog.transaction() as session:
            check_schema(versions.get_revision(session))

    def fsck(self, *, share: float = 0.0, progress: Progress | None = None) -> Report:
        """Compare every version with its file, and every file with the versions; change nothing.

        A share of the artifacts, from 0 to 1, is hashed again. Raises VolumeMismatchError for a volume of another
        store, and CatalogUnavailableError.
        """
        check_volume(self._catalog, self._artifacts.root)
        with self._catalog.transaction() as session:
            holdings = list(inventory.list_holdings(session))
        report = check_versions(holdings, self._artifacts, self._policy, share, progress or Silence())
        leftovers = find_leftovers(self._catalog.transaction, self._artifacts, self._manifests)
        lying = tuple(check_leftovers(leftovers, self._artifacts.root))
        return replace(report, troubles=report.troubles + lying)

    def quarantine_damaged(self, version: VersionSummary, damage: ArtifactError) -> bool:
        """Quarantine a version whose artifact was found damaged, if a second read, past the cache, finds that too.

        The API's role may do this. Return whether this call quarantined it. Raises VolumeError or
        ArtifactMissingError if the second read fails, which is a fault of this machine and not of the version.
        """
        try:
            self._artifacts.verify(version.digest, version.size_bytes, past_cache=True)
        except ArtifactMissingError:
            raise
        except ArtifactError as again:
            reason = f"Two reads found the artifact damaged: {damage.message}; {again.message}"
            with self._catalog.transaction() as session:
                return transitions.quarantine(session, version.model, version.number, reason)
        return False

    def find_unknown(self) -> Unknown:
        """Return by model the numbers on the volume after the catalog's last ones: the catalog has lost them."""
        return find_later(self._catalog.transaction, self._manifests)

    def write_manifests(self) -> list[str]:
        """Write the manifests that versions lack, and return which versions did; raise VolumeError."""
        self._check_schema()
        check_volume(self._catalog, self._artifacts.root)
        leftovers = find_leftovers(self._catalog.transaction, self._artifacts, self._manifests)
        lacking = [*leftovers.missing, *(version.reference for _, version in leftovers.interrupted)]
        for reference in lacking:
            self._write_manifest(reference)
        return lacking

    def _write_manifest(self, reference: str) -> None:
        name, selector = parse_reference(reference)
        with self._catalog.transaction() as session:
            version = resolve.find_version(session, name, selector)
        self._manifests.finish(VersionManifest.of(version))

    def gc(
        self,
        *,
        grace: timedelta = GRACE,
        apply: bool = False,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Plan:
        """Move artifacts that no version names to the trash, and delete those that were there longer than the grace.

        Without `apply` nothing is changed and the plan is returned. Raises VolumeMismatchError for a volume that is
        empty or of another store, and CollectionRefusedError if more than a tenth would go without `force`.
        """
        self._check_schema()
        check_volume(self._catalog, self._artifacts.root)
        if read_marker(self._artifacts.root) is None:
            raise VolumeMismatchError(f"The volume {self._artifacts.root} has no marker: nothing was registered here")
        collector = Collector(self._catalog.transaction, self._artifacts, self._manifests)
        plan = collector.plan(grace)
        if apply:
            collector.carry_out(plan, progress or Silence(), force=force)
        return plan

    def rebuild(self, *, apply: bool = False, actor: str | None = None, progress: Progress | None = None) -> Lost:
        """Restore versions that have a manifest on the volume and are missing in the catalog, as archived ones.

        Without `apply` nothing is changed and the findings are returned. It needs the owner of the tables. Used
        numbers are not used again, also if their version cannot be restored. Raises VolumeMismatchError for a volume
        that is empty, or of another store than a catalog that has models.
        """
        self._check_schema()
        rebuild = Rebuild(self._catalog.transaction, self._artifacts, self._manifests)
        lost = rebuild.find(progress or Silence())
        if apply and (lost.restore or lost.behind):
            rebuild.restore(lost, actor or default_actor())
        return lost
