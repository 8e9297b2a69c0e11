"""Which catalog a person means: the one that is configured, the one that runs here, or the one kept here."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bodega_db.errors import PostgresClaimedError, SettingsError
from bodega_db.postgres.embedded import EmbeddedPostgres, find_running, visit_running
from bodega_db.postgres.lock import Claim, Note
from bodega_db.settings import SECRETS, Settings

from bodega.local.home import Home, find_home

CROWD = 60.0  # seconds that programs who come at the same moment make way for each other
LINGER = 10.0  # seconds that a Postgres of the moment waits for others who have come to use it


@contextmanager
def catalog_settings() -> Iterator[Settings]:
    """Yield the settings of the catalog that is meant.

    BODEGA_DATABASE_URL comes first; then what `bodega up` runs in this checkout; then the catalog kept in this
    checkout, for which a Postgres runs until the end of the block. Raises SettingsError when there is none.
    """
    if is_configured():
        yield Settings.read()
        return
    home = find_home()
    if not (home.postgres / "password").exists():
        raise SettingsError(
            f"There is no catalog in {home.root} yet",
            "Start one with `./bodega up`, or set BODEGA_DATABASE_URL and BODEGA_MODELS to one elsewhere.",
        )
    with open_database(home) as url:
        stack = find_stack(home) or {}
        address = {"api_url": stack["api_url"]} if "api_url" in stack else {}
        yield Settings.read(database_url=url, models=home.models, **address)


@contextmanager
def catalog_database() -> Iterator[str]:
    """Yield the URL of the database that is meant, making that of this checkout if need be."""
    if is_configured():
        # Who migrates a database needs no volume.
        yield Settings.read(models=Path()).database_url.get_secret_value()
        return
    with open_database(find_home()) as url:
        yield url


def running_database() -> str | None:
    """Return the URL of the database that is meant if it is configured or runs already, else None; start nothing."""
    if is_configured():
        return Settings.read(models=Path()).database_url.get_secret_value()
    return find_running(find_home().postgres)


def is_configured() -> bool:
    """Tell whether a database is named in the environment or by a secret file."""
    return bool(os.environ.get("BODEGA_DATABASE_URL")) or (SECRETS / "bodega_database_url").is_file()


@contextmanager
def open_database(home: Home) -> Iterator[str]:
    """Yield the URL of the embedded Postgres of a checkout: the one that runs, else one for the moment."""
    postgres = EmbeddedPostgres(home.postgres, linger=LINGER)
    deadline = time.monotonic() + CROWD
    while True:
        with visit_running(home.postgres) as url:
            if url:
                yield url
                return
        try:
            postgres.start()
            break
        except PostgresClaimedError:
            # Another program starts one, or ends the one that we nearly visited: its turn comes first.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    try:
        yield postgres.url
    finally:
        postgres.stop()


def find_stack(home: Home) -> Note | None:
    """Return the note of the `bodega up` that runs in a checkout, or None."""
    return Claim(home.run, "stack").find()
