"""The dependencies of the endpoints: the app's services, names, bodies, and known parameters only.

All of them are `async` and do not block: for a plain function the framework would use a thread at every request.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

from bodega_db.reference import LARGEST_NUMBER, check_known_name
from fastapi import Depends, Path, Request
from starlette.requests import ClientDisconnect

from bodega_api.errors import BodyError, BodyTooLargeError, MediaTypeError
from bodega_api.http.media.coding import unpacked
from bodega_api.http.media.kinds import Medium, body_medium
from bodega_api.http.strict_json import collect_body
from bodega_api.services import Services


async def get_services(request: Request) -> Services:
    """Return the app's services."""
    services: Services = request.app.state.services
    return services


Served = Annotated[Services, Depends(get_services)]


async def get_model_name(name: str) -> str:
    """Return the model's name in the path; one that no model can have is answered like one that no model has."""
    return check_known_name(name)


ModelName = Annotated[str, Depends(get_model_name)]


async def get_reference(name: ModelName, number: Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]) -> str:
    """Return the version in the path as 'penguins@3'."""
    return f"{name}@{number}"


Reference = Annotated[str, Depends(get_reference)]


async def request_body(request: Request, services: Served) -> bytes:
    """Read the body before the endpoint takes a thread, so that a slow sender does not hold one."""
    if body_medium(request.headers.get("content-type")) is not Medium.JSON:
        raise MediaTypeError("The body is not said to be JSON")
    return await read_body(request, services.settings.max_body_bytes)


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body of a request, unpacked; raise BodyTooLargeError."""
    with reading():
        return await collect_body(body_stream(request, limit), limit)


def body_stream(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Return a body piece by piece, unpacked; raise BodyTooLargeError before any of one that is said to be too long."""
    size = request.headers.get("content-length", "")
    if size.isdigit() and int(size) > limit:
        raise BodyTooLargeError(f"The body is longer than {limit} bytes")
    return unpacked(request.stream(), ",".join(request.headers.getlist("content-encoding")), limit)


@contextmanager
def reading() -> Iterator[None]:
    """Treat a client disconnect as a 400, not as a server error. Nothing reads this answer."""
    try:
        yield
    except ClientDisconnect:
        raise BodyError("The body ended before its announced length") from None
