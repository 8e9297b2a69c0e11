"""The access log: a line for each request, as uvicorn writes it, without those that tell nothing.

Left out are probes that went well, every few seconds, and predictions that the fast path answered, thousands a second,
whose lines would take longer than their answers: `/metrics` counts them.
"""

import logging
from http import HTTPStatus
from urllib.parse import quote, unquote_plus

from starlette.types import Message, Scope, Send

from bodega_api.http.parameters import PARAMETERS
from bodega_api.http.proxies import path_of

PROBES = ("/healthz", "/readyz", "/metrics")
LEFT_OUT = "[left-out]"  # nothing that a query holds unless it was meant to look like this
LONGEST_QUERY = 2000
KEPT = "=+%:,;@/?!$'()*-._~<>"
log = logging.getLogger(__name__)


def logged(scope: Scope, send: Send) -> Send:
    """Return what sends an answer and writes its line."""

    async def send_and_log(message: Message) -> None:
        if message["type"] == "http.response.start" and is_worth_a_line(path_of(scope), message["status"]):
            log.info('%s - "%s %s HTTP/%s" %d', *_described(scope), message["status"])
        await send(message)

    return send_and_log


def is_worth_a_line(path: str, status: int) -> bool:
    """Tell whether the line of a request tells anything."""
    return path not in PROBES or status != HTTPStatus.OK


def _described(scope: Scope) -> tuple[str, str, str, str]:
    host, port = scope.get("client") or ("", 0)
    query = f"?{described_query(scope['query_string'])}" if scope["query_string"] else ""
    return f"{host}:{port}", scope["method"], quote(scope["path"]) + query, scope["http_version"]


def described_query(query: bytes) -> str:
    """Return a query without what no request takes, which may be a token that was put there by mistake."""
    parts = query[:LONGEST_QUERY].decode("ascii", "replace").split("&")
    return "&".join(quote(part, safe=KEPT) if _is_known(part) else LEFT_OUT for part in parts)


def _is_known(part: str) -> bool:
    name, equals, _ = part.partition("=")
    return bool(equals) and unquote_plus(name) in PARAMETERS
