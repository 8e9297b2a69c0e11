"""The methods that a path takes: HEAD wherever GET is, OPTIONS everywhere, and all of them in `Allow`."""

from fastapi import FastAPI, Response
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from bodega_api.http.proxies import path_of

EVERY_PATH = "*"  # what OPTIONS asks of the server as a whole (RFC 9110, 9.3.7)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def as_get(scope: Scope) -> Scope:
    """Return the scope of a request that is answered like a GET; the server leaves the body out (RFC 9110, 9.3.2)."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def allowed(app: FastAPI, scope: Scope) -> str:
    """Return what `Allow` says of a path: routes of several methods are several routes, and each knows its own."""
    if path_of(scope) == EVERY_PATH:
        taken = set().union(*(route.methods or () for route in iter_route_contexts(app.routes)))
        found = [method for method in METHODS if method in taken]
    else:
        found = [method for method in METHODS if any(_takes(route, scope, method) for route in app.router.routes)]
    return ", ".join([*(["HEAD"] if "GET" in found else []), *found, "OPTIONS"])


def _takes(route: BaseRoute, scope: Scope, method: str) -> bool:
    return route.matches({**scope, "method": method})[0] is Match.FULL


def answer_options(app: FastAPI, scope: Scope) -> Response:
    """Tell which methods a path takes."""
    return Response(status_code=204, headers={"Allow": allowed(app, scope)})


def build_routes(app: FastAPI) -> None:
    """Build the routes of all routers now, which FastAPI would do while the first request waits."""
    scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []}
    for route in app.routes:
        route.matches(scope)
