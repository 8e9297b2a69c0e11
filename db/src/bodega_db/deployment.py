"""What a deployment does before its services start: `python -m bodega_db.deployment`.

It migrates as the catalog's owner, gives the roles of the API and the lab their rights and passwords, and pairs catalog
and volume. Whatever is in place already stays as it is, so it can run before every start.
"""

import sys
from functools import partial
from pathlib import Path

from bodega_model.errors import BodegaError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from bodega_db.catalog.connections import create_catalog_engine
from bodega_db.catalog.failures import translate_errors
from bodega_db.catalog.migrate import upgrade
from bodega_db.catalog.roles import apply_roles
from bodega_db.catalog.tables import HEAD
from bodega_db.errors import SettingsError
from bodega_db.maintenance.behind import describe, find_later
from bodega_db.maintenance.pairing import check_pairing
from bodega_db.settings import Settings
from bodega_db.volume.manifests import Manifests

ROLES = Path("/run/roles")  # one folder for each role, with the secret that its own service has
URL = "bodega_database_url"


def main() -> None:
    """Prepare the catalog and the volume, or say why not, with exit status 1."""
    try:
        settings = Settings.read()
        database_url = settings.database_url.get_secret_value()
        upgrade(database_url)
        print(f"migrate: the catalog is at migration {HEAD}", flush=True)
        passwords = read_passwords(ROLES)
        apply_roles(database_url, passwords)
        print(f"migrate: {', '.join(sorted(passwords))} have their rights", flush=True)
        look_at_volume(database_url, settings.models)
    except BodegaError as exc:
        sys.exit(f"migrate: {exc}")


def read_passwords(folder: Path) -> dict[str, str]:
    """Return the password of each role from the database URL that its service was given; raise SettingsError."""
    return {file.parent.name: password_in(file) for file in sorted(folder.glob(f"*/{URL}"))}


def password_in(file: Path) -> str:
    """Return the password in a file that holds a database URL."""
    try:
        password = make_url(file.read_text().strip()).password
    except OSError as exc:
        raise SettingsError(f"{file} cannot be read: {exc.strerror}", "Check its owner.") from exc
    except ArgumentError:
        password = None
    if not password:
        raise SettingsError(f"{file} holds no database URL with a password", "Remove the file and start again.")
    return str(password)


def look_at_volume(database_url: str, root: Path) -> None:
    """Mark a new volume as this catalog's, and say how many versions it has that the catalog has lost.

    The services start all the same. Raises VolumeMismatchError for a volume that is another catalog's.
    """
    engine = create_catalog_engine(database_url, pool_size=1)
    try:
        with translate_errors(), Session(engine) as session:
            check_pairing(session, root, adopt=True)
        print("migrate: catalog and volume belong together", flush=True)
        with translate_errors():
            unknown = find_later(partial(Session, engine), Manifests(root))
    finally:
        engine.dispose()
    if unknown:
        print(f"migrate: {describe(unknown)}", flush=True)


if __name__ == "__main__":
    main()
