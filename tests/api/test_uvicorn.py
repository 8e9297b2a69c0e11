"""uvicorn's internals that the fast path uses: a version of uvicorn without one of them fails here, and names it."""

import ast
import asyncio
import inspect
from types import ModuleType

import uvicorn
from bodega_api.fastpath import framing, uvicorn_protocol
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

MODULES = (framing, uvicorn_protocol)
OVERRIDDEN = {
    *("connection_made", "connection_lost", "data_received", "pause_writing", "shutdown"),
    *("on_message_begin", "on_headers_complete", "on_body", "on_message_complete", "on_response_complete"),
    "_start_asgi_task",
}
PARTS = {"cycle": RequestResponseCycle}  # of a connection: attributes of what stands in this attribute are used too


def used_of(module: ModuleType, owner: str) -> set[str]:
    """Return the attributes of `self`, or of another object by its name, that a module uses."""
    nodes = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Attribute)]
    return {
        node.attr
        for node in nodes
        if (isinstance(node.value, ast.Name) and node.value.id == owner)
        or (isinstance(node.value, ast.Attribute) and node.value.attr == owner)
    }


def made_by(module: ModuleType) -> set[str]:
    """Return the names that a module's own classes define or assign."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


async def connection() -> HttpToolsProtocol:
    """Make a connection of uvicorn's own that has begun a request."""

    async def nothing(scope: object, receive: object, send: object) -> None: ...

    config = uvicorn.Config(nothing, lifespan="off", log_config=None)
    protocol = HttpToolsProtocol(config, ServerState(), {})
    protocol.on_message_begin()
    return protocol


def test_a_connection_of_uvicorn_has_what_the_protocol_uses() -> None:
    """Every inherited attribute and method is there in the installed version."""
    theirs = set(dir(asyncio.run(connection())))
    ours = set().union(*map(made_by, MODULES))
    used = set().union(*(used_of(module, "self") for module in MODULES))

    assert used - ours - theirs == set()
    assert len(used & theirs) > 10  # so the names were found at all


def test_what_the_protocol_overrides_is_what_uvicorn_calls() -> None:
    """A hook that uvicorn renamed would never be called, and its work left undone without an error."""
    own = set().union(*(vars(cls) for cls in (framing.StrictProtocol, uvicorn_protocol.PredictionProtocol)))

    assert {name for name in own & set(dir(HttpToolsProtocol)) if not name.startswith("__")} == OVERRIDDEN


def test_a_request_of_uvicorn_has_what_the_protocol_uses() -> None:
    """The cycle of a request and its answer has the attributes that are read and set."""
    for name, cls in PARTS.items():
        used = set().union(*(used_of(module, name) for module in MODULES))
        source = inspect.getsource(cls)

        assert {
            attribute for attribute in used if f"self.{attribute}" not in source and not hasattr(cls, attribute)
        } == set()
        assert used


def test_an_answer_begins_as_uvicorn_writes_it() -> None:
    """The status line is bytes for each status."""
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
