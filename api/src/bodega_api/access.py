"""The access log: a line for each request, as uvicorn writes it, without those that tell nothing.

Left out are probes that went well, every few seconds, and predictions that the fast path answered, thousands a second,
whose lines would take longer than their answers: `/metrics` counts them.
"""

import logging
from http import HTTPStatus
from urllib.parse import quote

from starlette.types import Message, Scope, Send

PROBES = ("/healthz", "/readyz", "/metrics")
log = logging.getLogger(__name__)


def logged(scope: Scope, send: Send) -> Send:
    """Return what sends an answer and writes its line."""

    async def send_and_log(message: Message) -> None:
        if message["type"] == "http.response.start" and is_worth_a_line(scope["path"], message["status"]):
            log.info('%s - "%s %s HTTP/%s" %d', *_described(scope), message["status"])
        await send(message)

    return send_and_log


def is_worth_a_line(path: str, status: int) -> bool:
    """Tell whether the line of a request tells anything."""
    return path not in PROBES or status != HTTPStatus.OK


def _described(scope: Scope) -> tuple[str, str, str, str]:
    host, port = scope.get("client") or ("", 0)
    query = f"?{scope['query_string'].decode('ascii', 'replace')}" if scope["query_string"] else ""
    return f"{host}:{port}", scope["method"], quote(scope["path"]) + query, scope["http_version"]
