"""The connection of a notebook: one for the whole process, made by `connect` or by the first verb that needs it."""

import atexit
import contextlib
import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bodega_db.errors import SettingsError
from bodega_db.settings import Settings
from bodega_db.store import ModelStore

from bodega.local.find_catalog import catalog_settings


@dataclass(frozen=True, repr=False)
class Connection:
    """A store, the settings it was made with, and what has to end with it."""

    settings: Settings
    store: ModelStore
    ending: ExitStack
    process: int = field(default_factory=os.getpid)

    def close(self) -> None:
        """Give back the connections, and end the Postgres that was started for them, if any."""
        # A fork of the notebook must not end what its parent uses.
        if self.process == os.getpid():
            self.ending.close()

    def __repr__(self) -> str:
        url = urlsplit(self.settings.database_url.get_secret_value())
        place = f"{url.hostname or 'local'}{f':{url.port}' if url.port else ''}{url.path}"
        return f"<bodega connected to {place}, models in {self.settings.models}, API at {self.settings.api_url}>"


# What %autoreload runs again must not forget the connection: a module keeps its names when it is reloaded.
_state: dict[str, Connection] = globals().get("_state", {})
_lock: threading.RLock = globals().get("_lock") or threading.RLock()


def connect(url: str | None = None, models: str | Path | None = None, **settings: Any) -> Connection:
    """Connect this notebook to a catalog and its volume, in place of an earlier connection.

    Without a url it uses BODEGA_DATABASE_URL, or else the catalog of this checkout. Other keywords are the settings of
    `bodega_db.settings.Settings`, such as `formats={"skops", "joblib"}`.
    Raises SettingsError, CatalogUnavailableError or CatalogNotMigratedError.
    """
    chosen = settings | {
        name: value for name, value in (("database_url", url), ("models", models)) if value is not None
    }
    unknown = sorted(set(chosen) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(
            f"There is no setting {', '.join(unknown)}", f"There are: {', '.join(sorted(Settings.model_fields))}."
        )
    with _lock:
        disconnect()
        _state["current"] = _open(chosen)
        return _state["current"]


def disconnect() -> None:
    """Close the connection of this notebook, if there is one; the next verb makes a new one."""
    with _lock:
        former = _state.pop("current", None)
        if former is not None:
            former.close()


def current() -> Connection:
    """Return the connection of this notebook, making it if there is none yet; raise SettingsError."""
    with _lock:
        found = _state.get("current")
        return found if found is not None and found.process == os.getpid() else connect()


def _open(chosen: dict[str, Any]) -> Connection:
    with ExitStack() as undo:
        settings = Settings.read(**chosen) if "database_url" in chosen else _found(undo, chosen)
        store = ModelStore.connect(settings)
        undo.callback(store.close)
        # Better to hear of it here than after an hour of training.
        store.check_catalog()
        # Its imports take seconds: they run while the person trains.
        store.start_rehearsal()
        return Connection(settings, store, undo.pop_all())


def _found(undo: ExitStack, chosen: dict[str, Any]) -> Settings:
    found = undo.enter_context(catalog_settings())
    return Settings.read(**(found.model_dump() | chosen)) if chosen else found


@atexit.register
def _end() -> None:
    with contextlib.suppress(SettingsError):
        disconnect()
