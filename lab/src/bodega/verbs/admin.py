"""The verbs of a notebook that need an administrator if the catalog has roles: delete, prune, protect an alias."""

import pandas as pd

from bodega.display import frames
from bodega.verbs.connection import current


def delete(reference: str, *, reason: str) -> None:
    """Delete an archived or quarantined version from the catalog; needs a reason.

    Its history and its file stay, and its number is not used again. Raises StatusMoveError for a candidate or a
    version in production, and VersionInUseError for a version with an alias.
    """
    current().store.delete(reference, reason=reason)


def prune(
    name: str, *, keep: int, candidates: bool = False, dry_run: bool = False, reason: str | None = None
) -> pd.DataFrame:
    """Delete the archived versions of a model except the newest `keep`; return the deleted ones, newest first.

    With `candidates` also candidates. Versions with an alias stay, and so does the version that a rollback would return
    to. A dry run deletes nothing. Raises RetentionError if `keep` is below 1.
    """
    store = current().store
    gone = store.prune(name, keep=keep, candidates=candidates, dry_run=dry_run, reason=reason)
    return frames.versions_frame(gone)


def protect_alias(name: str, alias: str, *, reason: str | None = None) -> None:
    """Let only an administrator move or remove an alias; raise AliasNotFoundError or NotPermittedError."""
    current().store.protect_alias(name, alias, reason=reason)


def unprotect_alias(name: str, alias: str, *, reason: str | None = None) -> None:
    """Remove the protection of an alias; raise AliasNotFoundError or NotPermittedError."""
    current().store.unprotect_alias(name, alias, reason=reason)
