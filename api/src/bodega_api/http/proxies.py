"""What a proxy before the API changes: the path prefix, the client's address and the scheme, if the proxy is trusted.

A proxy may take the prefix off the path or leave it there; either way the application sees where it is (`root_path`),
so that redirects and the description of the API keep the prefix. Redirects name no host: behind a proxy it is another.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from bodega_db.errors import SettingsError
from bodega_db.settings import Settings
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
LONGEST = 200
EVERY = "*"


class Proxies:
    """Stands between a server and an application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.prefix = _read_prefix(settings.root_path)
        if self.prefix is None:
            raise SettingsError(
                "BODEGA_ROOT_PATH is no prefix of a path", "Write it with a slash before and none behind: /bodega"
            )
        self._app = app
        self._trusting = ProxyHeadersMiddleware(self._go_on, _check(settings.trusted_proxies))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through."""
        prefix = self.prefix
        client = scope.get("client")
        if client and client[0] in self._trusting.trusted_hosts:
            prefix = _read_prefix(Headers(scope=scope).get("x-forwarded-prefix", "")) or prefix
        if prefix:
            rest = scope["path"].removeprefix(prefix)
            path = rest if rest.startswith("/") else scope["path"]
            scope.update(root_path=prefix, path=prefix + path)
        await self._trusting(scope, receive, without_host(send))  # type: ignore[arg-type]

    async def _go_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def path_of(scope: Scope) -> str:
    """Return the path of a request without the prefix."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def without_host(send: Send) -> Send:
    """Return what sends an answer, whose redirect leads to a path and not to a host."""

    async def send_path(message: Message) -> None:
        if message["type"] == "http.response.start" and 300 < message["status"] < 309:
            headers = MutableHeaders(scope=message)
            if location := headers.get("location"):
                url = urlsplit(location)
                headers["location"] = url.path + (f"?{url.query}" if url.query else "")
        await send(message)

    return send_path


def _read_prefix(text: str) -> str | None:
    """Return a prefix without the slash at its end; None if it is none that a page can hold."""
    text = text.strip().removesuffix("/")
    return text if not text or (len(text) <= LONGEST and PREFIX.fullmatch(text)) else None


def _check(proxies: frozenset[str]) -> list[str]:
    for proxy in proxies - {EVERY}:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            raise SettingsError(
                f"BODEGA_TRUSTED_PROXIES: {proxy!r} is no address and no network",
                'Write addresses, as in BODEGA_TRUSTED_PROXIES=\'["10.0.0.7", "172.16.0.0/12"]\'.',
            ) from None
    return sorted(proxies)
