"""The verbs of a notebook that take an administrator where the catalog has roles: delete, prune, protect an alias."""

import pandas as pd

from bodega.display import frames
from bodega.verbs.connection import current


def delete(reference: str, *, reason: str) -> None:
    """Take an archived or quarantined version out of the catalog for good; needs a reason.

    Its history stays, its number is not used again, and its file lies on the volume as before. Raises StatusMoveError
    for a version that is not retired, and VersionInUseError for one that an alias names.
    """
    current().store.delete(reference, reason=reason)


def prune(
    name: str, *, keep: int, candidates: bool = False, dry_run: bool = False, reason: str | None = None
) -> pd.DataFrame:
    """Delete the archived versions of a model except its newest `keep`, and return what left, newest first.

    With `candidates`, those that were never retired leave too. What an alias names stays, and so does the version that
    a rollback would lead to. A dry run only tells which would leave. Raises RetentionError.
    """
    store = current().store
    gone = store.prune(name, keep=keep, candidates=candidates, dry_run=dry_run, reason=reason)
    return frames.versions_frame(gone)


def protect_alias(name: str, alias: str, *, reason: str | None = None) -> None:
    """Let only an administrator move or remove an alias; raise AliasNotFoundError or NotPermittedError."""
    current().store.protect_alias(name, alias, reason=reason)


def unprotect_alias(name: str, alias: str, *, reason: str | None = None) -> None:
    """Let everybody who may move aliases move this one again; raise AliasNotFoundError or NotPermittedError."""
    current().store.unprotect_alias(name, alias, reason=reason)
