"""A store of a benchmark's own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bodega_db.catalog import migrate
from bodega_db.postgres.embedded import EmbeddedPostgres
from bodega_db.settings import Settings


@contextmanager
def private_store() -> Iterator[Settings]:
    """Run a migrated Postgres beside an empty volume, and yield the settings of both."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        folder.chmod(0o755)  # as root Postgres runs as nobody
        with EmbeddedPostgres(folder / "postgres") as server:
            migrate.upgrade(server.url)
            yield Settings.read(database_url=server.url, models=folder / "models")
