"""Registration: a model becomes bytes, a file and a row, in this order (docs/registration.md)."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, cast
from uuid import uuid4

from bodega_model.errors import BodegaError, FormatNotAllowedError, LoadError, NotServableError
from bodega_model.foreign import asking
from bodega_model.formats.codecs import dump
from bodega_model.formats.policy import Policy
from bodega_model.loading.environment import capture_environment, default_actor
from bodega_model.loading.sandbox import Rehearsal
from bodega_model.signature.contracts import promise

from bodega_db.catalog import inventory, versions
from bodega_db.catalog.access import CatalogAccess
from bodega_db.errors import (
    CatalogBehindError,
    CatalogLockedError,
    CatalogUnavailableError,
    IdempotencyConflictError,
    VolumeError,
)
from bodega_db.maintenance import behind
from bodega_db.maintenance.pairing import check_volume
from bodega_db.metadata import (
    check_idempotency_key,
    check_metrics,
    check_note,
    check_params,
    check_storable,
    check_tags,
)
from bodega_db.records import Registration, Version
from bodega_db.reference import check_model_name
from bodega_db.volume.folder import ArtifactStore, HashingWriter, StagedArtifact
from bodega_db.volume.manifests import Manifests, VersionManifest

OWN_KEY = "bodega:"
RECONNECT_SECONDS = 20.0  # in which a catalog that went away may come back

log = logging.getLogger("bodega_db")


@dataclass(slots=True)
class Attempt:
    """What is being registered, and whether Postgres was ever asked to commit it."""

    registration: Registration
    actor: str
    reason: str | None
    may_be_committed: bool = False

    def given_up(self) -> CatalogUnavailableError:
        """Return the error that says truly what is known when the catalog does not come back."""
        if not self.may_be_committed:
            return CatalogUnavailableError("The catalog went away before the version was registered: nothing was")
        return CatalogUnavailableError(
            "The catalog went away while it committed the version: it may be registered, or not",
            "Once the catalog is back, look with `bodega versions NAME`; with an idempotency key of your own, the same "
            "registration again gives exactly one version.",
        )


class Registrar:
    """Registers versions: the gate that every one passes, of this process's own models and of other stores'."""

    def __init__(
        self,
        catalog: CatalogAccess,
        artifacts: ArtifactStore,
        manifests: Manifests,
        policy: Policy,
        rehearsal: Rehearsal,
    ) -> None:
        self._catalog = catalog
        self._artifacts = artifacts
        self._manifests = manifests
        self._policy = policy
        self._rehearsal = rehearsal

    def register(
        self,
        model: Any,
        name: str,
        *,
        example: Any,
        metrics: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        note: str | None = None,
        format: str = "skops",
        lineage: Mapping[str, Any] | None = None,
        outputs: Sequence[str] | str | None = None,
        idempotency_key: str | None = None,
        actor: str | None = None,
    ) -> Version:
        """Write a fitted model to the volume and then to the catalog, and return the new version.

        File first, row last (docs/registration.md): a crash anywhere leaves at most a file that no row names.
        With an idempotency key that was used for the same bytes, that version is returned and nothing is written;
        without one, a key of its own tells whether a COMMIT whose answer was lost has happened.
        `outputs` are those that callers may rely on beside the default one: a version without them is not promoted
        over this one unless forced. The others are answered too.
        Raises RegistrationError and its kin with the reason, before anything is visible to anybody.
        """
        # These bring scikit-learn along, which listing versions does not need.
        from bodega_model.formats.cores import check_core, find_core
        from bodega_model.signature.configuration import by_default
        from bodega_model.signature.infer import learn

        check_model_name(name)
        given_key = check_idempotency_key(idempotency_key)
        with asking(model):
            core = find_core(model)
        described = {
            "metrics": check_metrics(metrics),
            "params": check_params(params),
            "tags": check_tags(tags),
            "note": check_note(note),
            "lineage": check_params({**(lineage or {}), **core.lineage()}),
        }
        if format not in self._policy.formats:
            raise FormatNotAllowedError(f"This process does not load {format!r:.20}, so it does not register it either")
        check_volume(self._catalog, self._artifacts.root, adopt=True)
        self.check_numbers(name)
        signature, golden = learn(core.model, example, core.name())
        if core.model is not model:
            with asking(model), by_default():
                check_core(model, core, signature, golden)
        signature = promise(signature, outputs)
        check_storable("example and categories", [signature.to_dict(), golden.to_dict()])
        environment = capture_environment(core.model)

        def write(out: HashingWriter) -> None:
            # Its core anew: some parts keep of each call what no file can hold.
            dump(find_core(core.model).model, format, cast("BinaryIO", out))

        with self._artifacts.stage(write) as staged:
            if given_key and (earlier := self.find_earlier(given_key, name, staged)):
                self._finish_manifest(earlier)
                return earlier
            registration = Registration(
                model=name,
                digest=staged.digest,
                size_bytes=staged.size_bytes,
                format=format,
                signature=signature,
                golden=golden,
                environment=environment,
                idempotency_key=given_key or f"{OWN_KEY}{uuid4()}",
                **described,  # type: ignore[arg-type]
            )
            return self.admit(registration, staged, actor or default_actor())

    def check_numbers(self, name: str) -> None:
        """Raise CatalogBehindError if the volume has versions of a model that the catalog has lost."""
        behind.check_model(self._catalog.transaction, self._manifests, name)

    def admit(
        self, registration: Registration, staged: StagedArtifact, actor: str, reason: str | None = None
    ) -> Version:
        """Rehearse a version, and make first its file and then its row visible."""
        its = registration
        try:
            with staged.reopen() as file:
                self._rehearsal.run(file, its.format, its.signature, its.golden, its.environment, self._policy)
        except LoadError as exc:
            raise NotServableError(exc.message, exc.advice) from exc
        unfinished = self._manifests.begin(VersionManifest.promise(registration, actor, reason))
        try:
            version = self._insert(registration, staged, actor, reason)
        except CatalogUnavailableError:
            raise  # perhaps the row is committed: whoever finds the manifest asks the catalog
        except BodegaError:
            with suppress(VolumeError):
                self._manifests.remove(unfinished)
            raise
        self._finish_manifest(version, reason)
        return version

    def _insert(self, registration: Registration, staged: StagedArtifact, actor: str, reason: str | None) -> Version:
        """Make the file and then the row visible, once, also where the catalog goes away meanwhile and comes back.

        A COMMIT whose answer was lost may have happened, or be on its way. Doing all of it again settles that: the key
        is unique, so the second attempt waits for what the first one left open, and finds its row or writes its own.
        """
        attempt = Attempt(registration, actor, reason)
        deadline = time.monotonic() + RECONNECT_SECONDS
        while True:
            try:
                return self._attempt(attempt, staged)
            except CatalogLockedError as exc:
                # Before anything was committed nothing was registered. Behind a lost COMMIT it may be its own lock.
                if not attempt.may_be_committed:
                    raise
                if time.monotonic() > deadline:
                    raise attempt.given_up() from exc
            except CatalogUnavailableError as exc:
                if time.monotonic() > deadline:
                    raise attempt.given_up() from exc
                time.sleep(0.5)

    def _attempt(self, attempt: Attempt, staged: StagedArtifact) -> Version:
        its = attempt.registration
        try:
            with self._catalog.transaction() as session:
                inventory.share_volume(session)  # from here to the row, no collection takes the file for garbage
                self._artifacts.commit(staged)
                versions.set_actor(session, attempt.actor, attempt.reason)
                version = versions.insert_version(session, its, attempt.actor)
                if not self._manifests.is_free(version.model, version.number):  # lost since it was looked for
                    raise CatalogBehindError(behind.describe({version.model: [version.number]}))
                attempt.may_be_committed = True
        except IdempotencyConflictError:
            # An earlier attempt, or somebody with the same key: theirs is this one, if it is of the same bytes.
            if earlier := self.find_earlier(its.idempotency_key, its.model, staged):
                return earlier
            raise
        return version

    def _finish_manifest(self, version: Version, reason: str | None = None) -> None:
        """Write the manifest of a committed version; where that fails, the version is registered all the same."""
        try:
            self._manifests.finish(VersionManifest.of(version, reason))
        except VolumeError as exc:
            log.warning("The manifest of %s is not written: %s", version.reference, exc.message)

    def find_earlier(self, key: str, name: str, staged: StagedArtifact) -> Version | None:
        """Return the version registered under a key; raise IdempotencyConflictError if it is something else."""
        with self._catalog.transaction() as session:
            earlier = versions.find_by_idempotency_key(session, key)
        if earlier is None:
            return None
        if (earlier.model, earlier.digest) != (name, staged.digest):
            raise IdempotencyConflictError(f"The idempotency key belongs to {earlier.reference}, a different model")
        return earlier
