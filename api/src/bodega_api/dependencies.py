"""What the endpoints are handed: store, routes, loaded versions, settings, and query parameters that are all known."""

from collections import Counter
from collections.abc import Callable
from typing import Annotated, cast

from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from fastapi import Depends, Request

from bodega_api.loaded import LoadedVersions
from bodega_api.problems import ParameterError
from bodega_api.routing import Routes
from bodega_api.validation import shown


def get_store(request: Request) -> ModelStore:
    """Return the app's store."""
    return cast("ModelStore", request.app.state.store)


def get_routes(request: Request) -> Routes:
    """Return the app's choices."""
    return cast("Routes", request.app.state.routes)


def get_loaded(request: Request) -> LoadedVersions:
    """Return the app's loaded versions."""
    return cast("LoadedVersions", request.app.state.loaded)


def get_settings(request: Request) -> Settings:
    """Return the app's settings."""
    return cast("Settings", request.app.state.settings)


Store = Annotated[ModelStore, Depends(get_store)]
Choices = Annotated[Routes, Depends(get_routes)]
Loaded = Annotated[LoadedVersions, Depends(get_loaded)]
AppSettings = Annotated[Settings, Depends(get_settings)]


def only_parameters(*names: str) -> Callable[[Request], None]:
    """Make a dependency that refuses other query parameters, and any that comes twice.

    A misspelt ?verison=3 would otherwise be answered by another version without a word.
    """

    def check(request: Request) -> None:
        for name, count in Counter(key for key, _ in request.query_params.multi_items()).items():
            if name not in names:
                known = ", ".join(names) or "none"
                raise ParameterError(f"{shown(name)} is not a parameter here", f"Known are: {known}.")
            if count > 1:
                raise ParameterError(f"The parameter {name} is there {count} times", "Give it once.")

    return check
