"""OpenAPI and its page, without a network: the script is served from here, the examples are the catalog's own."""

import asyncio
import base64
import hashlib
import re
import time
from importlib.resources import files
from typing import Any, NamedTuple

import orjson
from bodega_db.errors import NoProductionError, VersionNotFoundError
from bodega_db.records import Version
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError
from bodega_model.golden import Golden
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from bodega_api.http.problems import MEDIA_TYPE
from bodega_api.routes.admin_requests import NEEDED

MOST_EXAMPLES = 20
EXAMPLE_ROWS = 2
LONGEST_EXAMPLE = 16 * 1024  # bytes; rows of thousands of columns explain nothing
AGAIN_SECONDS = 5.0  # until a catalog that did not answer is asked for examples again
SERVER = b'"servers":[{"url":"."}]'  # where the document is: right behind any prefix, for readers that can tell
NO_ICON = "data:,"
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
# Only what the API itself serves, and the one script in the page by its digest. No other page may have it in a frame.
POLICY = (
    "default-src 'none'; script-src 'self' '{digest}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Made(NamedTuple):
    """A document as it is sent, of a generation of the catalog (None: of no catalog), and its tag."""

    generation: int | None
    complete: bool
    body: bytes
    tag: str
    at: float

    def behind(self, prefix: str) -> "Made":
        """Return the document for readers behind a proxy, who see the API below a prefix."""
        if not prefix:
            return self
        body = self.body.replace(SERVER, SERVER.replace(b'"."', orjson.dumps(prefix)), 1)
        return self._replace(body=body, tag=hashlib.sha256(body).hexdigest()[:32])


class Description:
    """The OpenAPI document of an app, made once for each generation of the catalog, in a thread.

    A request reads only the catalog's generation, and simultaneous requests share one read. So even a hundred readers
    neither block the event loop nor list the models.
    """

    def __init__(self, app: FastAPI, store: ModelStore) -> None:
        self._app, self._store = app, store
        self._schema: dict[str, Any] | None = None
        self._made: Made | None = None
        self._looks = 0
        self._turn = asyncio.Lock()

    async def get(self) -> Made:
        """Return the document as of now."""
        looks = self._looks
        async with self._turn:
            if self._made is None or self._looks == looks:  # none began since
                self._looks += 1
                self._made = await run_in_threadpool(self._look)
            return self._made

    def _look(self) -> Made:
        made = self._made
        try:
            generation = self._store.check_catalog()  # before the examples: a change meanwhile makes it anew
        except BodegaError:  # without a catalog the page still explains the API
            return made or self._make(None, {}, complete=False)
        if made and made.generation == generation and (made.complete or time.monotonic() < made.at + AGAIN_SECONDS):
            return made
        try:
            return self._make(generation, real_examples(self._store), complete=True)
        except BodegaError:
            return self._make(generation, {}, complete=False)

    def _make(self, generation: int | None, examples: dict[str, Any], *, complete: bool) -> Made:
        schema = self._schema = self._schema or describe(self._app)
        content = schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
        content["examples"] = examples
        body = orjson.dumps(schema)
        return Made(generation, complete, body, hashlib.sha256(body).hexdigest()[:32], time.monotonic())


def add_documentation(app: FastAPI, store: ModelStore) -> None:
    """Add /docs, /openapi.json and the files of Swagger UI to an app."""
    static = StaticFiles(directory=str(files("fastapi_swagger") / "resources"))
    description, page = Description(app, store), make_page(app.title)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return page

    @app.get("/docs/static/{name}", include_in_schema=False)
    async def file(name: str, request: Request) -> Response:
        response = await static.get_response(name, request.scope)
        response.headers.update(SAFE)
        return response

    @app.get("/openapi.json", include_in_schema=False)
    async def document(request: Request) -> Response:
        made = (await description.get()).behind(request.scope.get("root_path", ""))
        headers = {"ETag": f'"{made.tag}"', "Cache-Control": "no-cache", **SAFE}
        if _has(made.tag, request):
            return Response(status_code=304, headers=headers)
        return Response(made.body, media_type="application/json", headers=headers)


def make_page(title: str) -> Response:
    """Make the page that shows the document."""
    made = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=title,
        swagger_js_url="docs/static/swagger-ui-bundle.js",
        swagger_css_url="docs/static/swagger-ui.css",
        swagger_favicon_url=NO_ICON,
        # Swagger's own layout would have its maker's server judge the document.
        swagger_ui_parameters={"validatorUrl": None},
    )
    page = bytes(made.body)
    (script,) = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    digest = f"sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}"
    headers = {"Content-Security-Policy": POLICY.format(digest=digest), "X-Frame-Options": "DENY", **SAFE}
    return HTMLResponse(page, headers=headers)


def _has(tag: str, request: Request) -> bool:
    """Tell whether a client has the document with a tag already (RFC 9110, 13.1.2)."""
    given = ",".join(request.headers.getlist("if-none-match"))
    return f'"{tag}"' in given or given.strip() == "*"


def describe(app: FastAPI) -> dict[str, Any]:
    """Describe an app, without examples."""
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=orjson.loads(b"{%b}" % SERVER)["servers"],
    )
    for operation in [operation for methods in schema["paths"].values() for operation in methods.values()]:
        _describe_problems(operation)
        _require(operation.pop(NEEDED, []), operation)
        _name_bodies(operation, schema["components"]["schemas"])
    return schema


def real_examples(store: ModelStore) -> dict[str, Any]:
    """Return, for the first models of the catalog, rows that their served version was registered with."""
    examples: dict[str, Any] = {}
    for model in store.models()[:MOST_EXAMPLES]:
        try:
            example = _example(store.resolve(model.name).version)
        except (NoProductionError, VersionNotFoundError):  # of this one, nothing is served
            continue
        if len(orjson.dumps(example)) <= LONGEST_EXAMPLE:
            examples[model.name] = example
    return examples


def _describe_problems(operation: dict[str, Any]) -> None:
    """Give errors the media type they have: the framework describes every answer as application/json."""
    for status, response in operation["responses"].items():
        if not status.startswith("2"):
            response["content"] = {MEDIA_TYPE: response["content"]["application/json"]}


def _require(names: list[str], operation: dict[str, Any]) -> None:
    """Describe parameters as needed that the framework need not see: without one the verb itself says what is wrong."""
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in names:
            parameter |= {"required": True, "schema": {"type": "string", "minLength": 1}}


def _name_bodies(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Put the schemas of a body in JSON among the named ones, of which programs make types."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    for place in content.get("schema", {}).get("oneOf", [content.get("schema", {})]):
        if "title" in place:
            name = place["title"]
            schemas[name] = dict(place)
            for key in schemas[name]["properties"].values():
                key.pop("default", None)  # generators take what has one as always there, which an answer is
            place.clear()
            place["$ref"] = f"#/components/schemas/{name}"


def _example(version: Version) -> dict[str, Any]:
    return {
        "summary": f"{version.reference}: {len(version.signature.columns)} columns",
        "description": f"Set the parameter model to {version.model}.",
        "value": {"rows": _rows(version.golden)},
    }


def _rows(golden: Golden) -> list[dict[str, Any]]:
    count = min(golden.rows, EXAMPLE_ROWS)
    return [{name: values[place] for name, values in golden.inputs.items()} for place in range(count)]
