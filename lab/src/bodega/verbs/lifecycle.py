"""The verbs of a notebook for a version's life: promote, roll back, archive, quarantine, describe, name, look back."""

from collections.abc import Mapping
from datetime import datetime

import pandas as pd
from bodega_db.errors import InvalidMetadataError
from bodega_db.records import Holder, Version
from bodega_db.store import ModelStore

from bodega.display.receipts import Receipt
from bodega.verbs.connection import current


def promote(reference: str, *, reason: str | None = None, force: bool = False) -> Receipt:
    """Put a version into production, archive the former one, and return the version.

    Raises IncompatibleSignatureError if it would break callers of the former one; `force=True` with a reason promotes
    it anyway.
    """
    return _receipt(current().store.promote(reference, reason=reason, force=force))


def rollback(name: str, *, to: int | None = None, reason: str | None = None) -> Receipt:
    """Return to the version that was in production before, or to the given number.

    Repeated rollbacks go further back and skip quarantined versions.
    """
    return _receipt(current().store.rollback(name, to=to, reason=reason))


def archive(reference: str, *, reason: str | None = None) -> Receipt:
    """Archive a version: then only its number or an alias chooses it."""
    return _receipt(current().store.archive(reference, reason=reason))


def quarantine(reference: str, *, reason: str) -> Receipt:
    """Stop serving a version on all replicas; needs a reason."""
    return _receipt(current().store.quarantine(reference, reason=reason))


def release(reference: str, *, reason: str) -> Receipt:
    """Make a quarantined version a candidate again, after hashing its bytes; needs a reason."""
    return _receipt(current().store.release(reference, reason=reason))


def describe(
    reference: str,
    *,
    description: str | None = None,
    note: str | None = None,
    tags: Mapping[str, str | None] | None = None,
    reason: str | None = None,
) -> None:
    """Change the note and tags of a version, or, with its name alone, the description of a model.

    Omitted values stay; an empty text removes a note or description, and None removes a tag.
    """
    describe_in(current().store, reference, description, note, tags, reason)


def describe_in(
    store: ModelStore,
    reference: str,
    description: str | None,
    note: str | None,
    tags: Mapping[str, str | None] | None,
    reason: str | None,
) -> None:
    """Describe in a certain store, as `describe` does."""
    if "@" in reference:
        if description is not None:
            raise InvalidMetadataError("A version has no description", "Give it a note, or describe the model.")
        store.describe(reference, note=note, tags=tags, reason=reason)
    elif description is None or note is not None or tags:
        raise InvalidMetadataError(
            "A model has a description, and notes and tags are of versions", "Name a version, as in 'penguins@3'."
        )
    else:
        store.describe_model(reference, description, reason=reason)


def set_alias(reference: str, alias: str, *, reason: str | None = None) -> Receipt:
    """Set an alias such as 'stable' to a version such as 'penguins@3', and return the version."""
    return _receipt(current().store.set_alias(reference, alias, reason=reason))


def remove_alias(name: str, alias: str, *, reason: str | None = None) -> None:
    """Remove an alias of a model; raise AliasNotFoundError."""
    current().store.remove_alias(name, alias, reason=reason)


def aliases(name: str) -> dict[str, int]:
    """Return the aliases of a model, each with the number of the version that it names."""
    return current().store.aliases(name)


def as_of(name: str, moment: str | datetime, *, alias: str | None = None) -> Holder | None:
    """Return which version was in production, or had an alias, at a time: since when, by whom and why; or None.

    The time needs a time zone, as in '2026-11-24 10:00+01:00' or '2026-11-24T09:00Z'.
    """
    return current().store.as_of(name, read_moment(moment), alias=alias)


def read_moment(moment: str | datetime) -> datetime:
    """Return the moment that a text names; raise InvalidMetadataError if it names none."""
    try:
        read = pd.Timestamp(moment)
    except (ValueError, TypeError, OverflowError) as exc:
        raise InvalidMetadataError("Not a date and time", "Write one such as '2026-11-24 10:00+01:00'.") from exc
    if pd.isna(read):
        raise InvalidMetadataError("Not a date and time", "Write one such as '2026-11-24 10:00+01:00'.")
    return read.to_pydatetime(warn=False)


def _receipt(version: Version) -> Receipt:
    return Receipt.of(version, current().settings)
