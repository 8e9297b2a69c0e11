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

    Raises IncompatibleSignatureError where callers of the former one could not call this one; `force=True` with a
    reason does it all the same.
    """
    return _receipt(current().store.promote(reference, reason=reason, force=force))


def rollback(name: str, *, to: int | None = None, reason: str | None = None) -> Receipt:
    """Put back the version that was in production before, or the numbered one that was, and return it.

    One rollback after the other goes further back; versions in quarantine are passed over.
    """
    return _receipt(current().store.rollback(name, to=to, reason=reason))


def archive(reference: str, *, reason: str | None = None) -> Receipt:
    """Retire a version: from now on only its number chooses it."""
    return _receipt(current().store.archive(reference, reason=reason))


def quarantine(reference: str, *, reason: str) -> Receipt:
    """Stop a version from being served at all, by whatever name; needs a reason."""
    return _receipt(current().store.quarantine(reference, reason=reason))


def release(reference: str, *, reason: str) -> Receipt:
    """Make a candidate again of a version in quarantine, after its bytes were hashed anew; needs a reason."""
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

    What is not given stays; a blank text takes a note or description away, and a tag that is None that tag.
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
    """Give a version a name of its own, as in set_alias('penguins@3', 'stable'), and return the version."""
    return _receipt(current().store.set_alias(reference, alias, reason=reason))


def remove_alias(name: str, alias: str, *, reason: str | None = None) -> None:
    """Take an alias of a model away; raise AliasNotFoundError."""
    current().store.remove_alias(name, alias, reason=reason)


def aliases(name: str) -> dict[str, int]:
    """Return the aliases of a model, each with the number of the version that it names."""
    return current().store.aliases(name)


def as_of(name: str, moment: str | datetime, *, alias: str | None = None) -> Holder | None:
    """Return which version was in production at a moment, or had an alias: since when, by whom and why; or None.

    The moment has a time zone, as in '2026-11-24 10:00+01:00' or '2026-11-24T09:00Z'.
    """
    return current().store.as_of(name, read_moment(moment), alias=alias)


def read_moment(moment: str | datetime) -> datetime:
    """Return the moment that a text names; raise InvalidMetadataError if it names none."""
    try:
        read = pd.Timestamp(moment)
    except (ValueError, TypeError, OverflowError) as exc:
        raise InvalidMetadataError("That is not a moment", "Write one as in '2026-11-24 10:00+01:00'.") from exc
    if pd.isna(read):
        raise InvalidMetadataError("That is not a moment", "Write one as in '2026-11-24 10:00+01:00'.")
    return read.to_pydatetime(warn=False)


def _receipt(version: Version) -> Receipt:
    return Receipt.of(version, current().settings)
