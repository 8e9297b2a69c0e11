"""The verbs that keep bytes and rows in step; each verb is one transaction, committed inside of it."""

import logging
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from bodega_model.formats.codecs import measure
from bodega_model.formats.policy import Policy
from bodega_model.loading.environment import other_versions
from bodega_model.loading.runner import Runner, start_runner
from bodega_model.loading.sandbox import shared_rehearsal

from bodega_db.catalog import resolve, usage, versions
from bodega_db.catalog.access import CatalogAccess
from bodega_db.catalog.changes import Tell, Watcher
from bodega_db.catalog.connections import STATEMENT_SECONDS
from bodega_db.catalog.diff import Difference, compare
from bodega_db.catalog.schema import check_schema
from bodega_db.catalog.usage import AskedOutput
from bodega_db.maintenance.pairing import check_volume
from bodega_db.records import (
    Changes,
    Digest,
    Event,
    ModelSummary,
    Resolution,
    Version,
    VersionPage,
    VersionSummary,
)
from bodega_db.reference import check_known_name, parse_reference, parse_selector
from bodega_db.search.query import find_page, read_search
from bodega_db.settings import Settings, WithoutProduction
from bodega_db.store.lifecycle import Lifecycle
from bodega_db.store.maintenance import Maintenance
from bodega_db.store.register import Registrar
from bodega_db.store.retention import Retention
from bodega_db.store.transfer import Transfer
from bodega_db.volume.files import Pace
from bodega_db.volume.folder import ArtifactStore
from bodega_db.volume.manifests import Manifests

log = logging.getLogger("bodega_db")


P = ParamSpec("P")
R = TypeVar("R")


def _verb(part: str, method: Callable[Concatenate[Any, P], R]) -> "Callable[Concatenate[ModelStore, P], R]":
    """Return the method of ModelStore that calls this method of one of its parts."""

    @wraps(method)
    def call(store: "ModelStore", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(getattr(store, part), *args, **kwargs)

    return call


class ModelStore:
    """Register, list, choose, open and change model versions; safe to share between threads."""

    def __init__(
        self,
        catalog: CatalogAccess,
        artifacts: ArtifactStore,
        policy: Policy,
        without_production: WithoutProduction = "refuse",
    ) -> None:
        self.catalog = catalog
        self.artifacts = artifacts
        self.manifests = Manifests(artifacts.root)
        self.policy = policy
        self._without_production = without_production
        self._model_ids: dict[str, int] = {}
        self._rehearsal = shared_rehearsal()
        self._registrar = Registrar(catalog, artifacts, self.manifests, policy, self._rehearsal)
        self._lifecycle = Lifecycle(catalog, artifacts)
        self._retention = Retention(catalog)
        self._transfer = Transfer(catalog, artifacts, policy, self._registrar)
        self._maintenance = Maintenance(catalog, artifacts, self.manifests, policy)

    @classmethod
    def connect(cls, settings: Settings, *, patience: int = STATEMENT_SECONDS + 1) -> Self:
        """Make the store of the settings; it connects with the first verb.

        A catalog that does not respond within the patience, in seconds, counts as down.
        """
        catalog = CatalogAccess.connect(settings.database_url.get_secret_value(), settings.pool_size, patience=patience)
        return cls(catalog, ArtifactStore(settings.models), settings.policy(), settings.without_production)

    def close(self) -> None:
        """Give back the connections."""
        self.catalog.close()

    # --- changing ----------------------------------------------------------------------------------------

    # Each verb has its signature and its docstring in the part that does it, and `help`, editors and mypy show them
    # here as well. Written out again, twenty-five methods that only pass on would state every parameter twice.

    register = _verb("_registrar", Registrar.register)

    promote = _verb("_lifecycle", Lifecycle.promote)
    rollback = _verb("_lifecycle", Lifecycle.rollback)
    archive = _verb("_lifecycle", Lifecycle.archive)
    quarantine = _verb("_lifecycle", Lifecycle.quarantine)
    release = _verb("_lifecycle", Lifecycle.release)
    describe = _verb("_lifecycle", Lifecycle.describe)
    describe_model = _verb("_lifecycle", Lifecycle.describe_model)
    set_alias = _verb("_lifecycle", Lifecycle.set_alias)
    remove_alias = _verb("_lifecycle", Lifecycle.remove_alias)
    protect_alias = _verb("_lifecycle", Lifecycle.protect_alias)
    unprotect_alias = _verb("_lifecycle", Lifecycle.unprotect_alias)
    protected_aliases = _verb("_lifecycle", Lifecycle.protected_aliases)
    aliases = _verb("_lifecycle", Lifecycle.aliases)
    as_of = _verb("_lifecycle", Lifecycle.as_of)

    delete = _verb("_retention", Retention.delete)
    prune = _verb("_retention", Retention.prune)

    export = _verb("_transfer", Transfer.export)
    import_bundle = _verb("_transfer", Transfer.import_bundle)

    fsck = _verb("_maintenance", Maintenance.fsck)
    quarantine_damaged = _verb("_maintenance", Maintenance.quarantine_damaged)
    find_unknown = _verb("_maintenance", Maintenance.find_unknown)
    write_manifests = _verb("_maintenance", Maintenance.write_manifests)
    gc = _verb("_maintenance", Maintenance.gc)
    rebuild = _verb("_maintenance", Maintenance.rebuild)

    def start_rehearsal(self) -> None:
        """Start the sandbox process before the first registration."""
        self._rehearsal.start()

    # --- reading -----------------------------------------------------------------------------------------

    def models(self) -> list[ModelSummary]:
        """Return all models by name."""
        with self.catalog.transaction() as session:
            return versions.list_models(session)

    def model(self, name: str) -> ModelSummary:
        """Return one model; raise ModelNotFoundError."""
        with self.catalog.reading() as connection:
            return versions.get_model(connection, check_known_name(name))

    def only_model_name(self) -> str:
        """Return the name of the one model there is; raise ModelAmbiguousError if there are none or several."""
        with self.catalog.transaction() as session:
            return versions.get_only_model_name(session)

    def versions(
        self,
        model: str | None = None,
        *,
        filter: str | None = None,
        text: str | None = None,
        order: str | None = None,
        limit: int | None = None,
    ) -> list[VersionSummary]:
        """Return versions, newest first, as `search.query` finds them, and all of them unless limited."""
        return list(self.search(model, filter=filter, text=text, order=order, limit=limit).versions)

    def search(
        self,
        model: str | None = None,
        *,
        filter: str | None = None,
        text: str | None = None,
        order: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> VersionPage:
        """Return a page of versions, of one model or of all: docs/search.md explains filters, texts and orders.

        `after` is `next` of the previous page. Raises ModelNotFoundError, InvalidFilterError, InvalidSearchError, or
        SearchTimeoutError.
        """
        name = model and check_known_name(model)
        search = read_search(name, filter=filter, text=text, order=order, after=after, limit=limit)
        with self.catalog.searching() as connection:
            return find_page(connection, search, self._model_ids)

    def get(self, name: str, number: int) -> Version:
        """Return one version; raise ModelNotFoundError or VersionNotFoundError."""
        with self.catalog.reading() as connection:
            return versions.get_version(connection, check_known_name(name), number)

    def find(self, reference: str) -> Version:
        """Return the version of a reference, for showing it and not for serving: by number also a quarantined one."""
        name, selector = parse_reference(reference)
        with self.catalog.reading() as connection:
            return resolve.find_version(connection, name, selector, self._without_production)

    def diff(self, before: str, after: str) -> Difference:
        """Return what differs between the versions of two references, and whether callers of one can call the other."""
        first, second = self.find(before), self.find(after)
        with self.catalog.reading() as connection:
            asked = usage.list_asked(connection, first.model, first.number)
        return compare(first, second, asked)

    def note_asked(self, asked: Collection[AskedOutput]) -> None:
        """Record that these outputs of versions were answered, for later promotions: one row an hour for each."""
        if asked:
            with self.catalog.transaction() as session:
                usage.note_asked(session, asked)

    def resolve(self, reference: str) -> Resolution:
        """Choose the version that 'penguins', 'penguins@3' or 'penguins@best:accuracy' means, and say why."""
        name, selector = parse_reference(reference)
        with self.catalog.reading() as connection:
            return resolve.resolve(connection, name, selector, self._without_production)

    def choose(self, model: str | None, version: str | None) -> Resolution:
        """Choose by model and version; without a model, the only one of the catalog."""
        selector = parse_selector(version)
        name = model if model is None else check_known_name(model)
        with self.catalog.reading() as connection:
            return resolve.choose(connection, name, selector, self._without_production)

    def history(self, name: str, *, before: int | None = None, limit: int = 1000) -> list[Event]:
        """Return what happened to a model, newest first; `before` is the id of the last event seen."""
        with self.catalog.transaction() as session:
            versions.get_model(session, check_known_name(name))
            return versions.list_events(session, name, limit, before)

    # --- hearing of changes ------------------------------------------------------------------------------

    def changes(self, since: int | None) -> Changes:
        """Return which models changed after a generation; without one, all of them may have."""
        with self.catalog.transaction() as session:
            return versions.get_changes(session, since)

    def watch(self, tell: Tell) -> Watcher:
        """Make the watcher that reports every change of this catalog, once it is started."""
        return Watcher(self.catalog.url, tell, self._without_production)

    # --- opening -----------------------------------------------------------------------------------------

    def open(self, version: Version, *, rehearse: bool = False) -> Runner:
        """Load a version from its verified bytes; nothing is deserialised before the sha256 matched.

        With a rehearsal, a sandbox process loads the same bytes first: a crash, a hang or too much memory there is an
        error here. Raises VolumeMismatchError, ArtifactError or LoadError, each naming the step that failed.
        """
        self.check_volume()
        its = version
        with self.artifacts.open_verified(its.digest, its.size_bytes) as file:
            if rehearse:
                measure(file, its.format, self.policy)
                self._rehearsal.run(file, its.format, its.signature, its.golden, its.environment, self.policy)
                file.seek(0)
            runner = start_runner(file, its.format, its.signature, its.golden, its.environment, self.policy)
        for other in other_versions(its.environment):
            log.warning("%s is loaded and repeats its golden rows. %s", its.reference, other)
        return runner

    def verify(self, digest: Digest, size_bytes: int, *, pace: Pace | None = None, past_cache: bool = False) -> None:
        """Re-hash an artifact on the volume; raise ArtifactError if it is not what was registered.

        `pace` is called with the bytes of each chunk and may wait; `past_cache` reads from disk and not from the page
        cache.
        """
        self.artifacts.verify(digest, size_bytes, pace=pace, past_cache=past_cache)

    # --- the two halves together -------------------------------------------------------------------------

    def check_volume(self, *, adopt: bool = False) -> None:
        """Raise VolumeMismatchError unless catalog and volume belong together; mark a new volume if asked to.

        A caller that asks for a mark is about to write: raises CatalogNotMigratedError for another schema.
        """
        check_volume(self.catalog, self.artifacts.root, adopt=adopt)

    def check_catalog(self) -> int:
        """Return the catalog's generation; raise CatalogUnavailableError or CatalogNotMigratedError."""
        with self.catalog.transaction() as session:
            check_schema(versions.get_revision(session))
            return versions.get_generation(session)
