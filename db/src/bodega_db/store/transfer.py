"""Moving versions between stores: one file out, and through the gate of every registration in again."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bodega_model.errors import BodegaError, FormatNotAllowedError
from bodega_model.formats.policy import Policy
from bodega_model.loading.environment import default_actor
from sqlalchemy.orm import Session

from bodega_db.catalog import resolve, versions
from bodega_db.catalog.access import CatalogAccess
from bodega_db.errors import BundleError, VersionNotFoundError, VersionQuarantinedError
from bodega_db.lifecycle import Status
from bodega_db.maintenance.pairing import check_volume
from bodega_db.records import Registration, Version
from bodega_db.reference import Default, check_model_name, parse_reference
from bodega_db.store.register import Registrar
from bodega_db.volume.bundle import FORMAT, Bundle, Manifest, open_bundle, write_bundle
from bodega_db.volume.folder import ArtifactStore
from bodega_db.volume.portable import PortableVersion


class Transfer:
    """Writes versions into bundles, and registers those that bundles of other stores hold."""

    def __init__(self, catalog: CatalogAccess, artifacts: ArtifactStore, policy: Policy, registrar: Registrar) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._policy = policy
        self._registrar = registrar

    # --- out ---------------------------------------------------------------------------------------------

    def export(
        self, references: Iterable[str], target: Path, *, overwrite: bool = False, actor: str | None = None
    ) -> list[Version]:
        """Write versions into one file, each after its bytes were verified, and return them.

        'penguins@3' or 'penguins@stable' names one version, 'penguins' all versions that are not quarantined.
        Raises VersionQuarantinedError for one that is named, ArtifactError, BundleError or VolumeError; the file is
        there whole or not at all.
        """
        with self._catalog.transaction() as session:
            store = versions.get_store_id(session)
            found = {version.reference: version for one in references for version in _named(session, one)}
        chosen = sorted(found.values(), key=lambda version: (version.model, version.number))
        if not chosen:
            raise VersionNotFoundError("There is no version to export")
        said = tuple(PortableVersion.of(version) for version in chosen)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(FORMAT, store, now, actor or default_actor(), said)
        check_volume(self._catalog, self._artifacts.root)
        write_bundle(
            target,
            manifest,
            lambda version: self._artifacts.open_verified(version.digest, version.size_bytes),
            overwrite=overwrite,
        )
        return chosen

    # --- in ----------------------------------------------------------------------------------------------

    def import_bundle(self, source: Path, *, name: str | None = None, actor: str | None = None) -> list[Version]:
        """Register the versions of a bundle that another store exported, and return them in the bundle's order.

        Each passes the checks of a registration, becomes a candidate with the next number of its model (or of
        `name`), and names its origin in its lineage. A version is imported once, so the same call finishes an
        interrupted import. Raises BundleError for a damaged file, and RegistrationError for a version that cannot be
        registered here.
        """
        if name is not None:
            check_model_name(name)
        check_volume(self._catalog, self._artifacts.root, adopt=True)
        with open_bundle(source) as bundle:
            self._check_names(bundle, source, name)
            return list(self._import_all(bundle, name, actor or default_actor()))

    def _check_names(self, bundle: Bundle, source: Path, name: str | None) -> None:
        models = {version.model for version in bundle.manifest.versions}
        if name is not None and len(models) > 1:
            raise BundleError(
                f"{source} holds versions of {len(models)} models, and one name is for one model",
                "Import them under their own names, or export each model into a file of its own.",
            )
        with self._catalog.transaction() as session:
            here = versions.get_store_id(session)
        if here == bundle.manifest.store and (name is None or name in models):
            raise BundleError(f"{source} was exported from this store", "Give its versions another model's name.")

    def _import_all(self, bundle: Bundle, name: str | None, actor: str) -> Iterator[Version]:
        for target in sorted({name or version.model for version in bundle.manifest.versions}):
            self._registrar.check_numbers(check_model_name(target))
        for version in bundle.manifest.versions:
            with _naming(version):
                yield self._import(bundle, version, name or version.model, actor)

    def _import(self, bundle: Bundle, version: PortableVersion, name: str, actor: str) -> Version:
        origin = f"{bundle.manifest.store}:{version.reference}"
        registration = _registration(version, name, origin)
        if version.format not in self._policy.formats:
            raise FormatNotAllowedError(
                f"This process does not load {version.format!r:.20}, so it does not register it"
            )
        with self._artifacts.stage(lambda out: bundle.copy(version, out)) as staged:
            earlier = self._registrar.find_earlier(registration.idempotency_key, name, staged)
            return earlier or self._registrar.admit(registration, staged, actor, f"imported from {origin}")


def _named(session: Session, reference: str) -> list[Version]:
    name, selector = parse_reference(reference)
    if not isinstance(selector, Default):
        version = resolve.find_version(session, name, selector)
        if version.status is Status.QUARANTINED:
            raise VersionQuarantinedError(f"{version.reference} is in quarantine")
        return [version]
    versions.get_model(session, name)
    return versions.list_full_versions(session, name, without=Status.QUARANTINED)


def _registration(version: PortableVersion, name: str, origin: str) -> Registration:
    imported: dict[str, Any] = {
        "store": origin.partition(":")[0],
        "version": version.reference,
        "registered_at": version.created_at,
        "registered_by": version.created_by,
    }
    return version.to_registration(name, f"imported:{origin}", version.lineage | {"imported": imported})


@contextmanager
def _naming(version: PortableVersion) -> Iterator[None]:
    """Say in an error which version of the bundle it is about; those before it are registered."""
    try:
        yield
    except BodegaError as exc:
        exc.message = f"{version.reference} of the bundle: {exc.message}"
        raise
