"""Content codings: bodies that come packed are unpacked within the limits, and long answers are packed."""

import asyncio
import zlib
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

from bodega_api.errors import BodyError, BodyTooLargeError, ContentCodingError

WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's `wbits`, which tell the format
PIECE = 64 * 1024  # bytes that are unpacked or packed in the event loop at once
SHORTEST = 1024  # bytes of an answer that is packed
LEVEL = 4
PACKED = ("vnd.apache.parquet", "image/", "zip", "woff")  # in media types: what is packed already


async def unpacked(chunks: AsyncIterable[bytes], coding: str, limit: int) -> AsyncIterator[bytes]:
    """Unpack a body piece by piece; raise ContentCodingError for an unknown coding, BodyError for a damaged body.

    Raises BodyTooLargeError as soon as it has more bytes than the limit, packed or unpacked.
    """
    names = [name for name in coding.lower().replace(" ", "").split(",") if name not in ("", "identity")]
    if not names:
        async for chunk in chunks:
            yield chunk
        return
    if len(names) > 1 or names[0] not in WINDOWS:
        raise ContentCodingError("The body has an unsupported Content-Encoding")
    body = _Packed(WINDOWS[names[0]])
    taken = given = 0
    async for chunk in chunks:
        taken += len(chunk)
        for piece in body.unpack(chunk):
            given += len(piece)
            if max(taken, given) > limit:
                raise BodyTooLargeError(f"The body is longer than {limit} bytes")
            yield piece
            await asyncio.sleep(0)
        if taken > limit:
            raise BodyTooLargeError(f"The body is longer than {limit} bytes")
    if not body.is_complete:
        raise BodyError("The packed body ends too early")


class _Packed:
    """A body in gzip, which may be several one after the other, or in zlib's format."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._unpacker: Any = zlib.decompressobj(window)

    @property
    def is_complete(self) -> bool:
        return bool(self._unpacker.eof)

    def unpack(self, data: bytes) -> Any:
        """Go through what some more bytes hold, in pieces of bounded size."""
        while data:
            if self._unpacker.eof:
                if self._window != WINDOWS["gzip"]:
                    raise BodyError("Something follows the packed body")
                self._unpacker = zlib.decompressobj(self._window)
            try:
                piece = self._unpacker.decompress(data, PIECE)
            except zlib.error:
                raise BodyError("The body is not packed as Content-Encoding says") from None
            data = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if piece:
                yield piece


def packing(scope: Scope, send: Send) -> Send:
    """Return what sends an answer, packed if it is long and the client takes that."""
    accepted = next((value for name, value in scope["headers"] if name == b"accept-encoding"), b"")
    return _Packing(send).send if _takes_gzip(accepted.decode("latin-1")) and scope["method"] != "HEAD" else _vary(send)


def _takes_gzip(accepted: str) -> bool:
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        weight = parameter.replace(" ", "").removeprefix("q=")
        try:
            weights[name.strip()] = float(weight) if parameter else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _vary(send: Send) -> Send:
    async def send_and_vary(message: Message) -> None:
        if message["type"] == "http.response.start" and _is_worth_packing(MutableHeaders(raw=list(message["headers"]))):
            MutableHeaders(scope=message).add_vary_header("Accept-Encoding")
        await send(message)

    return send_and_vary


def _is_worth_packing(headers: MutableHeaders) -> bool:
    size = headers.get("content-length")
    media_type = headers.get("content-type", "")
    return (
        "content-encoding" not in headers
        and (size is None or int(size) >= SHORTEST)
        and bool(media_type)
        and not any(packed in media_type for packed in PACKED)
    )


class _Packing:
    """One answer, which is packed as it is sent; of long pieces in a thread, for it takes a while."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._packer: Any = None
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            if message["status"] != 200 or not _is_worth_packing(MutableHeaders(raw=list(message["headers"]))):
                await self._send(message)
                return
            self._packer = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOWS["gzip"])
            self._start = _packed_start(message)
        elif self._packer is None:
            await self._send(message)
        else:
            await self._pack(message)

    async def _pack(self, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        is_long = len(body) > PIECE
        packed = await asyncio.to_thread(self._packer.compress, body) if is_long else self._packer.compress(body)
        if not more:
            packed += self._packer.flush()
        if self._start is not None:
            start, self._start = self._start, None
            if not more:
                MutableHeaders(scope=start)["content-length"] = str(len(packed))
            await self._send(start)
        if packed or not more:
            await self._send({"type": "http.response.body", "body": packed, "more_body": more})


def _packed_start(message: Message) -> Message:
    start = {**message, "headers": list(message["headers"])}
    headers = MutableHeaders(scope=start)
    headers["content-encoding"] = "gzip"
    headers.add_vary_header("Accept-Encoding")
    del headers["content-length"]
    tag = headers.get("etag", "")
    if tag and not tag.startswith("W/"):  # the same content, and not the same bytes
        headers["etag"] = f"W/{tag}"
    return start
