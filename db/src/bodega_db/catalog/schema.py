"""Which schema a database has, held against the one that this program works with."""

import re

from bodega_db.catalog.tables import HEAD
from bodega_db.errors import CatalogNotMigratedError, ProgramOlderError

NUMBER = re.compile(r"[0-9]{1,9}")  # at the beginning of a migration's name
UPGRADE = (
    "`git pull` in the checkout and then `./bodega --version` install the newer one, in containers `docker compose up "
    f"--build --wait`. Or the newer one takes the database back: `bodega migrate --down-to {HEAD}`."
)


def check_schema(found: str | None) -> None:
    """Raise ProgramOlderError or CatalogNotMigratedError unless a migration is the one that this program works with."""
    if found == HEAD:
        return
    check_not_newer(found)
    raise CatalogNotMigratedError(f"The database is at migration {_shown(found)}, this program works with {HEAD}")


def check_not_newer(found: str | None) -> None:
    """Raise ProgramOlderError if a migration is later than the one that this program works with, or unknown to it."""
    if is_newer(found):
        shown = (found or "")[:32]
        raise ProgramOlderError(
            f"This program is older than the database ({shown} > {HEAD}): upgrade the program", UPGRADE
        )


def is_newer(found: str | None) -> bool:
    """Tell whether a migration is later than this program's: by its number, or because it has none that we know."""
    if found is None or found == HEAD:
        return False
    number = NUMBER.match(found)
    # A migration with our number and another name is not ours either: it is of a program that we do not know.
    return number is None or int(number[0]) >= int(HEAD)


def _shown(found: str | None) -> str:
    return "none" if found is None else found
