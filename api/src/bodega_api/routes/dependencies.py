"""What the endpoints are handed: store, routes, loaded versions, settings, names, bodies, and known parameters only.

None of it waits, and all of it is `async`: for a plain function the framework takes a thread, at every request.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, cast

from bodega_db.reference import LARGEST_NUMBER, check_known_name
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from fastapi import Depends, Path, Request
from starlette.requests import ClientDisconnect

from bodega_api.errors import BodyError, BodyTooLargeError, MediaTypeError
from bodega_api.http.media.coding import unpacked
from bodega_api.http.media.kinds import Medium, body_medium
from bodega_api.http.strict_json import collect_body
from bodega_api.serving.engine import Engine
from bodega_api.serving.executor import Calls
from bodega_api.serving.inspection import Inspection
from bodega_api.serving.model_cache import LoadedVersions
from bodega_api.serving.preload import Warming
from bodega_api.serving.usage import Usage
from bodega_api.serving.version_router import Routes


async def get_store(request: Request) -> ModelStore:
    """Return the app's store."""
    return cast("ModelStore", request.app.state.store)


async def get_routes(request: Request) -> Routes:
    """Return the app's choices."""
    return cast("Routes", request.app.state.routes)


async def get_loaded(request: Request) -> LoadedVersions[Engine]:
    """Return the app's loaded versions."""
    return cast("LoadedVersions[Engine]", request.app.state.loaded)


async def get_calls(request: Request) -> Calls:
    """Return the app's calls of models."""
    return cast("Calls", request.app.state.calls)


async def get_warming(request: Request) -> Warming:
    """Return the app's warming."""
    return cast("Warming", request.app.state.warming)


async def get_inspection(request: Request) -> Inspection:
    """Return what was found when the volume was held against the catalog."""
    return cast("Inspection", request.app.state.inspection)


async def get_usage(request: Request) -> Usage:
    """Return what the app has answered."""
    return cast("Usage", request.app.state.usage)


async def get_settings(request: Request) -> Settings:
    """Return the app's settings."""
    return cast("Settings", request.app.state.settings)


Store = Annotated[ModelStore, Depends(get_store)]
Choices = Annotated[Routes, Depends(get_routes)]
Loaded = Annotated[LoadedVersions[Engine], Depends(get_loaded)]
ModelCalls = Annotated[Calls, Depends(get_calls)]
Inspected = Annotated[Inspection, Depends(get_inspection)]
Warm = Annotated[Warming, Depends(get_warming)]
Used = Annotated[Usage, Depends(get_usage)]
AppSettings = Annotated[Settings, Depends(get_settings)]


async def get_model_name(name: str) -> str:
    """Return the model's name in the path; one that no model can have is answered like one that no model has."""
    return check_known_name(name)


ModelName = Annotated[str, Depends(get_model_name)]


async def get_reference(name: ModelName, number: Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]) -> str:
    """Return the version in the path as 'penguins@3'."""
    return f"{name}@{number}"


Reference = Annotated[str, Depends(get_reference)]


async def request_body(request: Request, settings: AppSettings) -> bytes:
    """Read the body before the endpoint takes a thread, so that a slow sender does not hold one."""
    if body_medium(request.headers.get("content-type")) is not Medium.JSON:
        raise MediaTypeError("The body is not said to be JSON")
    with reading():
        return await collect_body(body_stream(request, settings.max_body_bytes), settings.max_body_bytes)


def body_stream(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Return a body piece by piece, unpacked; raise BodyTooLargeError before any of one that is said to be too long."""
    size = request.headers.get("content-length", "")
    if size.isdigit() and int(size) > limit:
        raise BodyTooLargeError(f"The body is longer than {limit} bytes")
    return unpacked(request.stream(), ",".join(request.headers.getlist("content-encoding")), limit)


@contextmanager
def reading() -> Iterator[None]:
    """Have a client that hung up be no crash of the server's; nobody reads this answer."""
    try:
        yield
    except ClientDisconnect:
        raise BodyError("The body ended before its announced length") from None
