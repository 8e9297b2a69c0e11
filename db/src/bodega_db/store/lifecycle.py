"""The verbs of a version's life: promote, roll back, archive, quarantine, release, describe, name; each a transaction.

Moves of one model wait for each other, so that two promotions at once end with one version in production and both on
record. A version that is already where it shall be stays as it is, and no event says otherwise.
"""

from collections.abc import Mapping
from datetime import datetime

from bodega_model.signature.compatibility import compare_signatures
from sqlalchemy.orm import Session

from bodega_db.catalog import resolve, transitions, usage, versions
from bodega_db.catalog.access import CatalogAccess
from bodega_db.errors import (
    IncompatibleSignatureError,
    NoFormerVersionError,
    StatusMoveError,
    VersionQuarantinedError,
)
from bodega_db.lifecycle import Status
from bodega_db.metadata import change_tags, check_moment, check_note, check_reason
from bodega_db.records import Holder, ModelSummary, Version
from bodega_db.reference import ByNumber, check_alias, check_model_name
from bodega_db.store.transaction import lock, moving, parse_explicit, recorded
from bodega_db.volume.folder import ArtifactStore


class Lifecycle:
    """Moves, describes and names versions that were registered.

    Each verb takes a reason, kept in the history with the actor (the person who is logged in, unless given), and
    raises ModelNotFoundError, VersionNotFoundError or InvalidReferenceError for what is not there.
    """

    def __init__(self, catalog: CatalogAccess, artifacts: ArtifactStore) -> None:
        self._catalog = catalog
        self._artifacts = artifacts

    # --- moves -------------------------------------------------------------------------------------------

    def promote(
        self, reference: str, *, reason: str | None = None, force: bool = False, actor: str | None = None
    ) -> Version:
        """Put a version into production and archive the former one, at once.

        Raises IncompatibleSignatureError if it would break callers of the former one, unless forced with a reason, and
        StatusMoveError for a quarantined version.
        """
        checked = check_reason(reason, required_for="A forced promotion" if force else None)
        with moving(self._catalog, reference, checked, actor) as move:
            if move.version.status is Status.PRODUCTION:
                return move.version
            if not force and move.production is not None:
                _check_callers(move.session, move.version, move.production)
            return move.into_production()

    def rollback(
        self, name: str, *, to: int | None = None, reason: str | None = None, actor: str | None = None
    ) -> Version:
        """Return to the version that was in production before, or to the given number; archive the current one.

        Repeated rollbacks go further back and skip quarantined versions. Signatures are not compared: callers have
        used that version before. Raises NoFormerVersionError or StatusMoveError.
        """
        check_model_name(name)
        with recorded(self._catalog, check_reason(reason), actor) as session:
            model_id = transitions.lock_model(session, name)
            promotions = transitions.list_promotions(session, name)
            number = _former(session, model_id, promotions) if to is None else to
            move = lock(session, model_id, name, ByNumber(number))
            if move.version.status is Status.PRODUCTION:
                return move.version
            if number not in promotions:
                raise StatusMoveError(f"{move.version.reference} was never in production", "Promote it instead.")
            return move.into_production()

    def archive(self, reference: str, *, reason: str | None = None, actor: str | None = None) -> Version:
        """Archive a version: then only its number or an alias chooses it; raise StatusMoveError if quarantined."""
        with moving(self._catalog, reference, check_reason(reason), actor) as move:
            if move.version.status is Status.QUARANTINED:
                raise StatusMoveError(f"{move.version.reference} is in quarantine", "Release it first.")
            return move.to(Status.ARCHIVED)

    def quarantine(self, reference: str, *, reason: str, actor: str | None = None) -> Version:
        """Stop serving a version on all replicas; needs a reason."""
        checked = check_reason(reason, required_for="A quarantine")
        with moving(self._catalog, reference, checked, actor) as move:
            return move.to(Status.QUARANTINED)

    def release(self, reference: str, *, reason: str, actor: str | None = None) -> Version:
        """Make a quarantined version a candidate again, after hashing its bytes; needs a reason.

        Raises ArtifactError, and changes nothing, if they are not the registered ones.
        """
        checked = check_reason(reason, required_for="A release")
        name, selector = parse_explicit(reference)
        with self._catalog.transaction() as session:
            version = resolve.find_version(session, name, selector)
        self._artifacts.verify(version.digest, version.size_bytes)
        with moving(self._catalog, version.reference, checked, actor) as move:
            if move.version.status is not Status.QUARANTINED:
                raise StatusMoveError(f"{version.reference} is not in quarantine", "")
            return move.to(Status.CANDIDATE)

    # --- words -------------------------------------------------------------------------------------------

    def describe_model(
        self, name: str, description: str | None, *, reason: str | None = None, actor: str | None = None
    ) -> ModelSummary:
        """Set the description of a model; None or an empty text removes it."""
        check_model_name(name)
        checked = check_note(description)
        with recorded(self._catalog, check_reason(reason), actor) as session:
            transitions.set_description(session, transitions.lock_model(session, name), _none_if_blank(checked))
            return versions.get_model(session, name)

    def describe(
        self,
        reference: str,
        *,
        note: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> Version:
        """Change the note and tags of a version; the history keeps the former ones.

        Omitted values stay; an empty note removes the note, and None removes a tag.
        """
        checked = check_note(note)
        with moving(self._catalog, reference, check_reason(reason), actor) as move:
            version = move.version
            noted = version.note if checked is None else _none_if_blank(checked)
            tagged = change_tags(version.tags, tags or {})
            if (noted, tagged) == (version.note, version.tags):
                return version
            transitions.set_words(move.session, move.model_id, version.number, noted, tagged)
            return versions.get_version(move.session, version.model, version.number)

    # --- aliases -----------------------------------------------------------------------------------------

    def set_alias(self, reference: str, alias: str, *, reason: str | None = None, actor: str | None = None) -> Version:
        """Set an alias to a version, also if another version had it; return the version.

        Raises InvalidAliasError, AliasProtectedError, or VersionQuarantinedError.
        """
        check_alias(alias)
        with moving(self._catalog, reference, check_reason(reason), actor) as move:
            if move.version.status is Status.QUARANTINED:
                raise VersionQuarantinedError(f"{move.version.reference} is in quarantine")
            transitions.set_alias(move.session, move.model_id, alias, move.version.number)
            return move.version

    def remove_alias(self, name: str, alias: str, *, reason: str | None = None, actor: str | None = None) -> None:
        """Remove an alias of a model; raise AliasNotFoundError or AliasProtectedError."""
        check_model_name(name)
        with recorded(self._catalog, check_reason(reason), actor) as session:
            transitions.remove_alias(session, transitions.lock_model(session, name), check_alias(alias))

    def protect_alias(self, name: str, alias: str, *, reason: str | None = None, actor: str | None = None) -> None:
        """Let only an administrator of the catalog move or remove an alias; raise AliasNotFoundError.

        Raises NotPermittedError for any other role of the database (docs/roles.md).
        """
        self._protect(name, alias, True, reason, actor)

    def unprotect_alias(self, name: str, alias: str, *, reason: str | None = None, actor: str | None = None) -> None:
        """Remove the protection of an alias; raise as `protect_alias` does."""
        self._protect(name, alias, False, reason, actor)

    def _protect(self, name: str, alias: str, protected: bool, reason: str | None, actor: str | None) -> None:
        check_model_name(name)
        with recorded(self._catalog, check_reason(reason), actor) as session:
            transitions.protect_alias(session, transitions.lock_model(session, name), check_alias(alias), protected)

    def protected_aliases(self, name: str) -> list[str]:
        """Return the names of the aliases that only an administrator moves."""
        with self._catalog.transaction() as session:
            versions.get_model(session, check_model_name(name))
            return transitions.list_protected_aliases(session, name)

    def aliases(self, name: str) -> dict[str, int]:
        """Return the aliases of a model by name, each with the number of its version."""
        with self._catalog.transaction() as session:
            versions.get_model(session, check_model_name(name))
            return transitions.list_aliases(session, name)

    # --- the time machine --------------------------------------------------------------------------------

    def as_of(self, name: str, moment: datetime, *, alias: str | None = None) -> Holder | None:
        """Return the version that was in production, or had an alias, at a time: since when, by whom, why; or None.

        The time, by the database's clock, needs a time zone.
        """
        check_moment(moment)
        with self._catalog.transaction() as session:
            versions.get_model(session, check_model_name(name))
            if alias is None:
                return transitions.find_production_at(session, name, moment)
            return transitions.find_alias_at(session, name, check_alias(alias), moment)


def _none_if_blank(text: str | None) -> str | None:
    return text if text and text.strip() else None


def _former(session: Session, model_id: int, promotions: list[int]) -> int:
    number = transitions.find_former(session, model_id, promotions)
    if number is None:
        raise NoFormerVersionError("No earlier version in production is archived")
    return number


def _check_callers(session: Session, version: Version, production: int) -> None:
    """Raise IncompatibleSignatureError where something breaks; wider or narrower beyond what was used is no reason."""
    former = versions.get_version(session, version.model, production)
    asked = usage.list_asked(session, version.model, production)
    changes = compare_signatures(former.signature, version.signature, asked)
    breaking = [change for change in changes if change.breaking]
    if breaking:
        first = "; ".join(f"{change.what}: {change.detail}" for change in breaking[:5])
        rest = f"; and {len(breaking) - 5} more" if len(breaking) > 5 else ""
        raise IncompatibleSignatureError(
            f"Clients of {former.reference} could not call {version.reference}: {first}{rest}"
        )
