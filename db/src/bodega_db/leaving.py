"""How versions leave the catalog: one that is named is deleted. History and number stay, and so does the file."""

from bodega_db import moves
from bodega_db.changing import ChangingVerbs, Move
from bodega_db.errors import StatusMoveError, VersionInUseError
from bodega_db.lifecycle import RETIRED
from bodega_db.metadata import check_reason


class LeavingVerbs(ChangingVerbs):
    """What `ModelStore` does when versions leave the catalog."""

    def delete(self, reference: str, *, reason: str, actor: str | None = None) -> None:
        """Take an archived or quarantined version out of the catalog for good; needs a reason.

        Its history stays, its number is not used again, and its file lies on the volume as before. Raises
        StatusMoveError for a version that is not retired, and VersionInUseError for one that an alias names.
        """
        checked = check_reason(reason, required_for="A deletion")
        with self._moving(reference, checked, actor) as move:
            _check_retired(move)
            moves.delete_versions(move.session, move.model_id, [move.version.number])


def _check_retired(move: Move) -> None:
    version = move.version
    if version.status not in RETIRED:
        raise StatusMoveError(
            f"{version.reference} is {version.status.value} and cannot be deleted", "Archive it first."
        )
    if aliases := moves.list_names(move.session, move.model_id, version.number):
        raise VersionInUseError(f"{version.reference} is named by {', '.join(aliases)}")
