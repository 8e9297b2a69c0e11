"""The application: settings in, a FastAPI app out."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version
from threading import Thread
from typing import Any

from bodega_db.records import Version
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_model.loading.sandbox_worker import import_what_models_need
from bodega_model.plans.compiling import import_families
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from bodega_api.errors import ShuttingDownError
from bodega_api.fastpath.fast_path import FastPath
from bodega_api.http.access_log import logged
from bodega_api.http.connections import Connections, Limits
from bodega_api.http.credentials import read_token
from bodega_api.http.guesses import Guesses
from bodega_api.http.hosts import Hosts
from bodega_api.http.media.coding import packing
from bodega_api.http.methods import as_get, build_routes
from bodega_api.http.problems import answer_error, install_problem_handlers
from bodega_api.http.proxies import Proxies, path_of
from bodega_api.http.traffic import PREDICT, Traffic
from bodega_api.routes import admin, health, history, metrics, models, predict, resolve
from bodega_api.routes.docs import add_documentation
from bodega_api.serving.counters import Tallies
from bodega_api.serving.engine import Engine
from bodega_api.serving.executor import Calls
from bodega_api.serving.inspection import Inspection
from bodega_api.serving.model_cache import LoadedVersions
from bodega_api.serving.preload import Warming
from bodega_api.serving.scrubber import Scrub
from bodega_api.serving.usage import Usage
from bodega_api.serving.version_router import Routes
from bodega_api.workers.ipc import Siblings
from bodega_api.workers.malloc import Allocator
from bodega_api.workers.shared_arrays import SharedArrays

# The longest wait for a free connection, for a new one, and for an answer: a frozen catalog holds up nobody for ten.
CATALOG_SECONDS = 3
DESCRIPTION = "Model versions from the catalog, verified before they are loaded. Every answer names its source."


class Application(FastAPI):
    """The app, with a fast path before it for predictions that need nothing but what is in memory."""

    fast_path: FastPath | None = None
    hosts: Hosts
    traffic: Traffic
    proxies: Proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            await self.proxies(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of which is known where it comes from."""
        seen = as_get(scope)
        told = self.traffic.counted(seen, logged(scope, packing(scope, send)), scope["method"])
        if refusal := self.hosts.refusal(scope):
            await answer_error(refusal)(seen, receive, told)
            return
        answer = Ending(told)
        try:
            if self.fast_path and path_of(scope) == PREDICT and scope["method"] == "POST":
                rest = await self.fast_path.answer(scope, receive, send)
                if rest is None:
                    return
                receive = rest
            await super().__call__(seen, receive, answer.send)
        except asyncio.CancelledError:
            await answer.end(seen, receive)


class Ending:
    """What sends an answer, and another one in its place if the process ends before that has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        self._begun = True
        await self._send(message)

    async def end(self, scope: Scope, receive: Receive) -> None:
        """Answer a request whose time is over; the server ended its task, as it does when its own grace is."""
        if not self._begun:
            await answer_error(ShuttingDownError("The process ends before the answer is there"))(
                scope, receive, self._send
            )


def import_libraries() -> None:
    """Import what models need, so that the first load need not: most of them are pipelines of scikit-learn."""
    import_what_models_need()
    import_families()
    set_libraries_aside()


@cache
def set_libraries_aside() -> None:
    """Have no later collection of garbage look at what the libraries brought, once they are imported.

    Once, and not after each load: garbage among what is set aside would never be collected.
    """
    gc.collect()
    gc.freeze()


def create_app(settings: Settings) -> FastAPI:
    """Make the API over the catalog and the volume that the settings name; nothing is connected yet.

    Routes that change the catalog are there only with a token file, which is read now. Raises SettingsError.
    """
    hosts = Hosts.of(settings)
    token = None if settings.admin_token_file is None else read_token(settings.admin_token_file)
    store = ModelStore.connect(settings, patience=CATALOG_SECONDS)
    writing_store = store if token is None else admin.connect_writing(settings, store, CATALOG_SECONDS)
    tallies, traffic, usage = Tallies(), Traffic(), Usage(store)
    allocator, siblings = Allocator(), Siblings()
    shared, calls = SharedArrays(siblings), Calls(settings.predict_seconds, settings.max_waiting)

    def open_engine(version: Version) -> Engine:
        tally = tallies.of(version.model, version.number)

        def load(tried: bool) -> Engine:
            runner = store.open(version, rehearse=not tried)
            return Engine.start(runner, version.golden, tally, usage.of(version.model, version.number))

        with allocator.apart():
            engine = shared.load(version, load)
        set_libraries_aside()
        return engine

    loaded = LoadedVersions(open_engine, settings.cache_bytes)
    routes = Routes(store, settings.max_stale, load=loaded.request)
    warming = Warming(store, routes, loaded, wanted=settings.keep_warm)
    inspection = Inspection(store, routes)
    scrub = Scrub(
        store,
        loaded,
        pause_seconds=settings.scrub_seconds,
        bytes_per_second=max(1, settings.scrub_bytes_per_second // settings.workers),
        quarantine=settings.scrub_quarantine,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        routes.start()
        store.start_rehearsal()
        Thread(target=import_libraries, name="imports", daemon=True).start()
        warming.start()
        inspection.start()
        scrub.start()
        usage.start()
        with Connections(Limits.of(settings)).watched() as connections:
            yield {"fast_path": app.fast_path, "connections": connections, "traffic": traffic}  # for `uvicorn_protocol`
        usage.stop()
        scrub.stop()
        inspection.stop()
        warming.stop()
        routes.stop()  # before the loads, which it asks for
        loaded.close()
        store.close()
        writing_store.close()

    app = Application(
        title="Bodega",
        version=version("bodega-api"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    _put_in_state(
        app,
        settings=settings,
        store=store,
        routes=routes,
        loaded=loaded,
        tallies=tallies,
        usage=usage,
        calls=calls,
        warming=warming,
        inspection=inspection,
        scrub=scrub,
        siblings=siblings,
        long_bodies=asyncio.Semaphore(1),  # more at once would only take the lock of the interpreter from each other
    )
    app.state.metrics = metrics.make_registry(metrics.Parts(routes, loaded, tallies, traffic, calls, scrub), siblings)
    for module in (health, metrics, models, history, resolve, predict):
        app.include_router(module.router)
    if token is not None:
        _put_in_state(app, token=token, guesses=Guesses(settings.workers), writing_store=writing_store)
        app.include_router(admin.router)
    app.hosts, app.traffic, app.proxies = hosts, traffic, Proxies(app.answer, settings)
    app.fast_path = FastPath(app, hosts, app.proxies.prefix or "")
    add_documentation(app, store)
    install_problem_handlers(app)
    build_routes(app)
    return app


def _put_in_state(app: FastAPI, **parts: object) -> None:
    """Let requests find the parts of an app."""
    for name, part in parts.items():
        setattr(app.state, name, part)
