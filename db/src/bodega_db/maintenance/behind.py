"""Whether a catalog is behind its volume: numbers that were given out, say the manifests, and that it does not know.

After an older backup of the catalog was restored, the next registration would take a number that another version had,
and that version could not be restored any more.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy.orm import Session

from bodega_db.catalog import inventory, versions
from bodega_db.errors import CatalogBehindError, ManifestError, ModelNotFoundError, VersionNotFoundError
from bodega_db.maintenance.orphans import Begin
from bodega_db.volume.manifests import Manifests, Place

MOST_NAMES = 5

Unknown = Mapping[str, list[int]]  # by model the numbers that only the volume knows, the lowest first


def check_model(begin: Begin, manifests: Manifests, name: str) -> None:
    """Raise CatalogBehindError if the volume knows versions of a model that the catalog does not; read one manifest.

    A registration that is under way has no number on the volume yet, and one that ended has its row before that: so
    the volume is looked at first.
    """
    numbers = manifests.list_numbers(name)
    if not numbers:
        return
    with begin() as session:
        last = inventory.list_last_numbers(session, [name]).get(name, 0)
    if later := sorted(number for number in numbers if number > last):
        raise CatalogBehindError(describe({name: later}))
    _check_same(begin, manifests, name, max(numbers))


def _check_same(begin: Begin, manifests: Manifests, name: str, number: int) -> None:
    """Raise CatalogBehindError if a version of the catalog is another one than its manifest says."""
    try:
        told = Place(manifests.path(name, number), name, number).read().version.sha256
        with begin() as session:
            known = versions.get_version(session, name, number).digest.hex
    except (OSError, ManifestError, ModelNotFoundError, VersionNotFoundError):  # of these `fsck` tells
        return
    if told != known:
        raise CatalogBehindError(
            f"{name}@{number} on the volume is another version than the catalog's: two catalogs have written here",
            "`bodega fsck` lists all such versions. If this catalog is the right one, `bodega fsck --write-manifests` "
            "keeps their manifests under other names; then do this again.",
        )


def find_later(begin: Begin, manifests: Manifests) -> Unknown:
    """Return the numbers behind the last ones that the catalog gave out; nothing is read but names."""
    numbers = {name: manifests.list_numbers(name) for name in manifests.list_models()}
    with begin() as session:
        last = inventory.list_last_numbers(session, numbers)
    later = {name: sorted(n for n in given if n > last.get(name, 0)) for name, given in numbers.items()}
    return {name: found for name, found in later.items() if found}


def find_unknown(session: Session, manifests: Manifests) -> Unknown:
    """Return all numbers that the catalog does not know, also those before its last ones that no deletion explains."""
    numbers = {name: manifests.list_numbers(name) for name in manifests.list_models()}
    last = inventory.list_last_numbers(session, numbers)
    unknown: dict[str, list[int]] = {}
    for name, given in numbers.items():
        missing = given - inventory.list_numbers(session, name)
        explained = inventory.list_deletions(session, name).keys() if missing else set()
        retired = {n for n in missing if n <= last.get(name, 0) and not manifests.path(name, n).exists()}
        if found := sorted(missing - explained - retired):
            unknown[name] = found
    return unknown


def describe(unknown: Unknown) -> str:
    """Say how many versions only the volume knows, and which."""
    count = sum(map(len, unknown.values()))
    are = "1 version is" if count == 1 else f"{count} versions are"
    named = _names(f"{name}@{number}" for name, numbers in unknown.items() for number in numbers)
    return f"{are} on the volume and not in the catalog: run `bodega rebuild` ({named})"


def _names(references: Iterable[str]) -> str:
    names = list(references)
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
