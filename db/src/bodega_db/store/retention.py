"""How versions leave the catalog: one that is named, or many by a rule. History, numbers and files stay."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from bodega_db.catalog import transitions, versions
from bodega_db.catalog.access import CatalogAccess
from bodega_db.errors import RetentionError, StatusMoveError, VersionInUseError
from bodega_db.lifecycle import RETIRED, Status
from bodega_db.metadata import check_reason
from bodega_db.records import VersionSummary
from bodega_db.reference import LARGEST_NUMBER, check_model_name
from bodega_db.store.transaction import Move, moving, recorded

BATCH = 500  # versions in one transaction: who moves others of the model waits for no more than these


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Which versions of a model stay: the newest, and those that may still be served."""

    keep: int
    candidates: bool = False

    @property
    def leaving(self) -> tuple[Status, ...]:
        """The states in which a version leaves. One in quarantine stays: it is evidence, and is deleted by name."""
        return (Status.ARCHIVED, Status.CANDIDATE) if self.candidates else (Status.ARCHIVED,)


class Retention:
    """Takes versions out of the catalog."""

    def __init__(self, catalog: CatalogAccess) -> None:
        self._catalog = catalog

    def delete(self, reference: str, *, reason: str, actor: str | None = None) -> None:
        """Delete an archived or quarantined version from the catalog; needs a reason.

        Its history and its file stay, and its number is not used again. Raises StatusMoveError for a candidate or a
        version in production, and VersionInUseError for a version with an alias.
        """
        checked = check_reason(reason, required_for="A deletion")
        with moving(self._catalog, reference, checked, actor) as move:
            _check_retired(move)
            transitions.delete_versions(move.session, move.model_id, [move.version.number])

    def prune(
        self,
        name: str,
        *,
        keep: int,
        candidates: bool = False,
        dry_run: bool = False,
        reason: str | None = None,
        actor: str | None = None,
    ) -> list[VersionSummary]:
        """Delete the archived versions of a model except the newest `keep`; return the deleted ones, newest first.

        With `candidates` also candidates. Versions with an alias stay, and so does the version that a rollback would
        return to. A dry run deletes nothing. Raises RetentionError if `keep` is below 1.
        """
        check_model_name(name)
        rule = _check_retention(keep, candidates)
        said = check_reason(reason) or f"pruned: the newest {keep} are kept"
        if dry_run:
            with self._catalog.transaction() as session:
                model_id = versions.get_model_id(session, name)
                return transitions.list_leaving(
                    session, model_id, rule.keep, rule.leaving, _spared(session, name, model_id)
                )
        gone: list[VersionSummary] = []
        while batch := self._prune(name, rule, said, actor):
            gone += batch
        return gone

    def _prune(self, name: str, rule: RetentionRule, reason: str, actor: str | None) -> list[VersionSummary]:
        with recorded(self._catalog, reason, actor) as session:
            model_id = transitions.lock_model(session, name)
            spared = _spared(session, name, model_id)
            leaving = transitions.list_leaving(session, model_id, rule.keep, rule.leaving, spared, lock_first=BATCH)
            for version in leaving:
                if version.status is Status.CANDIDATE:
                    transitions.set_status(session, model_id, version.number, Status.ARCHIVED)
            transitions.delete_versions(session, model_id, [version.number for version in leaving])
            return leaving


def _check_retired(move: Move) -> None:
    version = move.version
    if version.status not in RETIRED:
        raise StatusMoveError(
            f"{version.reference} is {version.status.value} and cannot be deleted", "Archive it first."
        )
    if aliases := transitions.list_names(move.session, move.model_id, version.number):
        raise VersionInUseError(f"{version.reference} is named by {', '.join(aliases)}")


def _check_retention(keep: int, candidates: bool) -> RetentionRule:
    if isinstance(keep, bool) or not isinstance(keep, int) or not 1 <= keep <= LARGEST_NUMBER:
        raise RetentionError(
            f"The number of versions to keep must be 1 to {LARGEST_NUMBER}", "Give a whole number, such as 10."
        )
    return RetentionRule(keep, candidates)


def _spared(session: Session, name: str, model_id: int) -> int | None:
    """Return the version that a rollback would lead to."""
    return transitions.find_former(session, model_id, transitions.list_promotions(session, name))
