"""The checkout that a person works in: where its volumes, notebooks and logs lie."""

import os
from dataclasses import dataclass
from pathlib import Path

from bodega_db.errors import SettingsError


@dataclass(frozen=True)
class Home:
    """The folders of one checkout."""

    root: Path

    @property
    def notebooks(self) -> Path:
        """What JupyterLab shows."""
        return self.root / "notebooks"

    @property
    def store(self) -> Path:
        """What `bodega up` keeps: a store of its own beside that of `docker compose up` in the same checkout."""
        return self.root / "volumes" / "local"

    @property
    def models(self) -> Path:
        """The volume of the artifacts."""
        return self.store / "models"

    @property
    def postgres(self) -> Path:
        """The embedded Postgres: its data, password and log."""
        return self.store / "postgres"

    @property
    def jupyter(self) -> Path:
        """JupyterLab's settings and its token."""
        return self.store / "jupyter"

    @property
    def logs(self) -> Path:
        """What the API and JupyterLab write."""
        return self.store / "logs"

    @property
    def run(self) -> Path:
        """The note about what runs."""
        return self.store / "run"


def find_home() -> Home:
    """Return BODEGA_HOME, else the checkout that this package is installed from; raise SettingsError if neither."""
    chosen = os.environ.get("BODEGA_HOME")
    root = Path(chosen).absolute() if chosen else Path(__file__).resolve().parents[4]
    if not root.is_dir():
        raise SettingsError(f"BODEGA_HOME names {root}, which is not a folder", "Make it, or name another one.")
    if not chosen and not (root / "lab" / "src" / "bodega").is_dir():
        raise SettingsError(
            "This bodega is not installed from a checkout, so it has no volumes of its own",
            "Set BODEGA_HOME to a folder for them, or BODEGA_DATABASE_URL and BODEGA_MODELS to a catalog.",
        )
    return Home(root)
