"""A floor: an ASGI application that reads a request and answers with the same bytes each time."""

from typing import Any

BODY = b'{"predictions":["Gentoo"]}'


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})
