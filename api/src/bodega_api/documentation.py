"""OpenAPI and its page, without a network: the script is served from here, the examples are the catalog's own."""

from contextlib import suppress
from importlib.resources import files
from typing import Any

from bodega_db.errors import BodegaError, NoProductionError, VersionNotFoundError
from bodega_db.records import Golden, Version
from bodega_db.store import ModelStore
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from bodega_api.dependencies import Store
from bodega_api.problems import MEDIA_TYPE

MOST_EXAMPLES = 20
EXAMPLE_ROWS = 2
NO_ICON = "data:,"


def add_documentation(app: FastAPI) -> None:
    """Add /docs, /openapi.json and the files of Swagger UI to an app."""
    app.mount("/docs/static", StaticFiles(directory=str(files("fastapi_swagger") / "resources")), name="docs-static")

    @app.get("/docs", include_in_schema=False)
    def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/static/swagger-ui-bundle.js",
            swagger_css_url="docs/static/swagger-ui.css",
            swagger_favicon_url=NO_ICON,
            # Swagger's own layout would have its maker's server judge the document.
            swagger_ui_parameters={"validatorUrl": None},
        )

    @app.get("/openapi.json", include_in_schema=False)
    def document(store: Store) -> JSONResponse:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        content = schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
        content["examples"] = real_examples(store)
        _describe_problems(schema)
        return JSONResponse(schema)


def real_examples(store: ModelStore) -> dict[str, Any]:
    """Return, for the first models of the catalog, rows that their served version was registered with."""
    examples: dict[str, Any] = {}
    with suppress(BodegaError):  # without a catalog the page still explains the API
        for model in store.models()[:MOST_EXAMPLES]:
            with suppress(NoProductionError, VersionNotFoundError):  # of this one, nothing is served
                examples[model.name] = _example(store.resolve(model.name).version)
    return examples


def _describe_problems(schema: dict[str, Any]) -> None:
    """Give errors the media type they have: the framework describes every answer as application/json."""
    for operation in (operation for methods in schema["paths"].values() for operation in methods.values()):
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                response["content"] = {MEDIA_TYPE: response["content"]["application/json"]}


def _example(version: Version) -> dict[str, Any]:
    return {
        "summary": f"{version.reference}: {len(version.signature.columns)} columns",
        "description": f"Set the parameter model to {version.model}.",
        "value": {"rows": _rows(version.golden)},
    }


def _rows(golden: Golden) -> list[dict[str, Any]]:
    count = min(golden.rows, EXAMPLE_ROWS)
    return [{name: values[place] for name, values in golden.inputs.items()} for place in range(count)]
