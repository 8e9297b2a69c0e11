"""The application: settings in, a FastAPI app out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from bodega_db.settings import Settings
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from bodega_api.errors import ShuttingDownError
from bodega_api.fastpath.fast_path import FastPath
from bodega_api.http.access_log import logged
from bodega_api.http.connections import Connections, Limits
from bodega_api.http.hosts import Hosts
from bodega_api.http.media.coding import packing
from bodega_api.http.methods import as_get, build_routes
from bodega_api.http.problems import answer_error, install_problem_handlers
from bodega_api.http.proxies import Proxies, path_of
from bodega_api.http.traffic import PREDICT
from bodega_api.routes import admin, health, history, metrics, models, predict, resolve
from bodega_api.routes.docs import add_documentation
from bodega_api.services import Services, build_services

DESCRIPTION = "Model versions from the catalog, verified before they are loaded. Every answer names its source."


class Application(FastAPI):
    """The app, with a fast path before it for predictions that need nothing but what is in memory."""

    def __init__(self, services: Services, hosts: Hosts) -> None:
        super().__init__(
            title="Bodega",
            version=version("bodega-api"),
            description=DESCRIPTION,
            lifespan=lifespan,
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
        )
        self.services = self.state.services = services
        self.hosts = hosts
        self.proxies = Proxies(self.answer, services.settings)
        prefix = self.proxies.prefix or ""
        self.fast_path = (
            FastPath(services.routes, services.loaded, services.calls, services.settings, hosts, prefix)
            if services.settings.fast_path
            else None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            await self.proxies(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of which is known where it comes from."""
        seen = as_get(scope)
        told = self.services.traffic.counted(seen, logged(scope, packing(scope, send)), scope["method"])
        if refusal := self.hosts.refusal(scope):
            await answer_error(refusal)(seen, receive, told)
            return
        answer = Ending(told)
        try:
            if self.fast_path is not None and path_of(scope) == PREDICT and scope["method"] == "POST":
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
            await answer_error(ShuttingDownError("The server is shutting down and stopped this request"))(
                scope, receive, self._send
            )


@asynccontextmanager
async def lifespan(app: Application) -> AsyncIterator[dict[str, Any]]:
    """Run what runs beside the requests, and hand on what `uvicorn_protocol` needs."""
    services = app.services
    services.start()
    with Connections(Limits.of(services.settings)).watched() as connections:
        yield {"fast_path": app.fast_path, "connections": connections, "traffic": services.traffic}
    services.stop()


def create_app(settings: Settings) -> Application:
    """Make the API over the catalog and the volume that the settings name; nothing is connected yet.

    Routes that change the catalog are there only with a token file, which is read now. Raises SettingsError.
    """
    hosts = Hosts.of(settings)
    services = build_services(settings)
    app = Application(services, hosts)
    for module in (health, metrics, models, history, resolve, predict):
        app.include_router(module.router)
    if services.administration:
        app.include_router(admin.router)
    metrics.register_collectors(services)
    add_documentation(app, services.store)
    install_problem_handlers(app)
    build_routes(app)
    return app
