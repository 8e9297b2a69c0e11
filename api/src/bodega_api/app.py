"""The application: settings in, a FastAPI app out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from fastapi import FastAPI

from bodega_api import health, models, predictions
from bodega_api.documentation import add_documentation
from bodega_api.loaded import LoadedVersions
from bodega_api.problems import install_problem_handlers
from bodega_api.routing import Routes

# The longest wait for a free connection, for a new one, and for an answer: a frozen catalog holds up nobody for ten.
CATALOG_SECONDS = 3
DESCRIPTION = "Model versions from the catalog, verified before they are loaded. Every answer names its source."


def create_app(settings: Settings) -> FastAPI:
    """Make the API over the catalog and the volume that the settings name; nothing is connected yet."""
    store = ModelStore.connect(settings, patience=CATALOG_SECONDS)
    routes = Routes(store, settings.max_stale)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        routes.start()
        yield
        routes.stop()
        store.close()

    app = FastAPI(
        title="Bodega",
        version=version("bodega-api"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.settings = settings
    app.state.store = store
    app.state.routes = routes
    app.state.loaded = LoadedVersions(store.open, settings.cache_bytes)
    for module in (health, models, predictions):
        app.include_router(module.router)
    add_documentation(app)
    install_problem_handlers(app)
    return app
