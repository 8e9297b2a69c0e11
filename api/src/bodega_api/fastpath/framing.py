"""uvicorn's protocol, held to the letter of HTTP and to the limits of a deployment.

A request that cannot be read is answered with a problem, after the answers to those before it, and then the connection
ends. An offer to upgrade is ignored and the request read as if it were not there (RFC 9110, 7.8): the parser takes what
follows such a head for another protocol, so it never gets to see the offer. The head is read once more without it.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from bodega_api.errors import ShuttingDownError
from bodega_api.http.connections import (
    DRAIN_SECONDS,
    GRACE_SECONDS,
    LINGER_SECONDS,
    MOST_LINGERING,
    SWEEP_SECONDS,
    Connections,
    Limits,
)
from bodega_api.http.problems import CONNECTION, ENDING, Kind, problem

# What of a request is being read.
NOTHING, HEAD, BODY, REST = range(4)  # REST: of what a refused client still sends, and nothing of it is read
VERSIONS = ("1.0", "1.1")
OTHER_VERSION = ("Invalid HTTP version", "Pause on PRI/Upgrade")  # the words of the parser
UNREADABLE = "Send a request as RFC 9112 has it; a library for HTTP does."
LONGEST_TARGET = 65_535  # what the parser below can read


class RefusedError(Exception):
    """A request that is not read to its end: of which kind its problem is, and why."""

    def __init__(self, kind: int | Kind, detail: str, hint: str = UNREADABLE, *headers: tuple[bytes, bytes]) -> None:
        self.kind = CONNECTION[kind] if isinstance(kind, int) else kind
        self.detail, self.hint, self.headers = detail, hint, headers
        super().__init__(detail)


class StrictProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._watch: Connections = app_state["connections"]
        self._limits: Limits = self._watch.limits
        self.reading = NOTHING
        self.since = self._watch.now
        self._segment = 0  # bytes that came last
        self._first = 0  # bytes that came with the first one of the head; some may belong to what was before
        self._further = 0  # bytes that came later and are no body: of the head, or around the chunks of a body
        self._received = 0  # bytes of the body
        self._offered = False  # whether the head that was read last offers an upgrade
        self._running: RequestResponseCycle | None = None  # the request that the application has
        self._last_words = b""  # to be written behind the answers to earlier requests
        self._lingers = False  # whether they were written, and only the client has not ended
        self._unread = 0  # bytes of answers that the client had not taken, when some were last taken
        self._unread_since = 0.0
        self._is_ending = False  # whether the process ends

    # --- bytes -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room for one more connection."""
        super().connection_made(transport)
        self.since = self._watch.now
        if not self._watch.add(self, transport.get_extra_info("socket").fileno()):
            self._refuse(RefusedError(503, "Too many connections", "Try again later, or use another replica."))

    def data_received(self, data: bytes) -> None:
        """Read what came; answer it with a problem if it is no request."""
        if self.reading == REST:
            return
        self._segment = len(data)
        self._further += len(data)
        try:
            self._feed(data)
            if self.reading != NOTHING and self._further > self._limits.header_bytes:
                raise self._head_is_too_long() if self.reading == HEAD else self._trailer_is_too_long()
        except RefusedError as refused:
            self._refuse(refused)
        except httptools.HttpParserError as error:
            self._refuse(_refusal(error))

    def _feed(self, data: "bytes | memoryview") -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as paused:
            rest = memoryview(data)[paused.args[0] :]
        else:
            return
        while True:  # a segment may hold many such requests
            try:
                self._read_head_again()
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as paused:
                rest = rest[paused.args[0] :]
            else:
                return

    def _read_head_again(self) -> None:
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self._offered = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self.parser.feed_data(b"\r\n".join((*lines, b"", b"")))

    # --- what the parser tells ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin to read a head."""
        self.reading, self.since = HEAD, self._watch.now
        self._first, self._further = self._segment, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin a request, unless its head is to be read once more."""
        if self.is_head_read():
            self.begin_request()

    def is_head_read(self) -> bool:
        """Tell whether a head is read, or will be once more; raise RefusedError if it is none that is read here."""
        if self._first + self._further > self._limits.header_bytes and self._is_too_long():
            raise self._head_is_too_long()
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise RefusedError(405, "This is no proxy", "Send the request itself.", (b"allow", b""))
            self._offered = True
            return False
        return True

    def begin_request(self) -> None:
        """Hand a request to the application."""
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            raise RefusedError(505, f"HTTP/{version} is not read here", "Send HTTP/1.1.")
        if len(self.url) > LONGEST_TARGET:
            raise self._head_is_too_long()
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            self._check_coding(version)
        super().on_headers_complete()
        self.headers = []  # for the fields behind a body, which are no headers (RFC 9110, 6.5.1) and are not read
        self.begin_body()

    def begin_body(self) -> None:
        """Begin to read a body."""
        self.reading, self.since, self._received, self._further = BODY, self._watch.now, 0, 0

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self.count_body(body)
        super().on_body(body)

    def count_body(self, body: bytes) -> None:
        """Note that a piece of a body came."""
        self._received += len(body)
        self._further = 0

    def on_message_complete(self) -> None:
        """End a request."""
        if not self._offered:
            self.end_body()
            super().on_message_complete()

    def end_body(self) -> None:
        """End to read a body."""
        self.reading, self.since = NOTHING, self._watch.now

    def _is_too_long(self) -> bool:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        return size > self._limits.header_bytes

    def _head_is_too_long(self) -> RefusedError:
        most = self._limits.header_bytes
        if len(self.url) > min(most // 2, LONGEST_TARGET):
            return RefusedError(414, f"The target is too long: a head may have {most} bytes", "Send a shorter URL.")
        return RefusedError(431, f"The head is longer than {most} bytes", "Send fewer or shorter headers.")

    def _trailer_is_too_long(self) -> RefusedError:
        most = self._limits.header_bytes
        return RefusedError(431, f"More than {most} bytes around the body are no body", "Send no fields behind it.")

    def _check_coding(self, version: str) -> None:
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if version != "1.1":
            raise RefusedError(400, "HTTP/1.0 has no Transfer-Encoding")
        if codings != [b"chunked"]:
            raise RefusedError(501, "A Transfer-Encoding other than chunked is not read here", "Send it chunked.")

    # --- answers -----------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on with the next request that is there; uvicorn would set a timer where `sweep` looks."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.since = self._watch.now
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last_words:
            self._say_last_words()

    def _refuse(self, refused: RefusedError) -> None:
        """Answer what cannot be read, and read nothing more."""
        kind = refused.kind
        self._watch.seldom.warn(kind.slug, f"A connection is ended: {refused.detail}")
        if traffic := self.app_state.get("traffic"):
            traffic.refused(kind.slug, kind.status)
        response = problem(kind, refused.detail, refused.hint)
        headers = (*self.server_state.default_headers, *response.raw_headers, *refused.headers)
        lines = [STATUS_LINE[kind.status], *(b"%b: %b\r\n" % header for header in headers)]
        lines += [b"connection: close\r\n\r\n", bytes(response.body)]
        in_body, self.reading = self.reading == BODY, REST
        if not self.transport.is_closing():
            self._last_words = b"".join(lines)
            self.begin_to_end(in_body=in_body)

    def begin_to_end(self, *, in_body: bool) -> None:
        """Say the last words as soon as what came before is answered; what they answer may have begun."""
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not in_body):
            self._say_last_words()
        elif not in_body:  # the requests before it wait for their answers
            self.flow.resume_reading()  # to see the end of the connection
        elif self.pipeline:
            self.pipeline.popleft()
        else:
            self._interrupt(cycle)

    def _interrupt(self, cycle: RequestResponseCycle) -> None:
        """End a request whose body is not read further."""
        cycle.disconnected = True
        cycle.message_event.set()
        if cycle.response_started:  # the client has an answer, or half of one that nothing can be added to
            self._last_words = b""
        self._say_last_words()

    def _say_last_words(self) -> None:
        self.transport.write(self._last_words)
        self._last_words = b""
        self.since = self._watch.now
        if self._watch.lingering >= MOST_LINGERING or not self.transport.can_write_eof():
            self.transport.close()
        else:  # with bytes unread the system would reset the connection, and the client lose the answer
            self._watch.lingering += 1
            self._lingers = True
            self.flow.resume_reading()
            self.transport.write_eof()

    # --- the end of a connection -------------------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        """End all requests that are under way; uvicorn would end the one that came last."""
        self._watch.discard(self)
        self._watch.lingering -= self._lingers
        self._lingers = False
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Tell whether no request is under way."""
        return self.reading == NOTHING and (self.cycle is None or self.cycle.response_complete)

    def end(self) -> None:
        """End the connection at once; what the client has not taken of its answers until now is dropped."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def sweep(self, now: float) -> None:
        """End the connection if a client takes too long."""
        if self.flow.write_paused and self._does_not_read(now):
            self._watch.seldom.warn("unread", "A connection is ended: its client does not read its answers")
            self.transport.abort()
        elif self.flow.read_paused:  # by us
            self.since += SWEEP_SECONDS
        elif self.reading == HEAD:
            if now - self.since > self._limits.header_seconds:
                self._refuse(self._late(f"The head did not arrive within {self._limits.header_seconds:g} s"))
        elif self.reading == BODY:
            self._sweep_body(now - self.since)
        elif self.reading == REST:
            if self._lingers and now - self.since > LINGER_SECONDS:
                self.end()
        elif now - self.since > self._limits.keep_alive_seconds and self.is_idle():
            self.end()

    def _sweep_body(self, seconds: float) -> None:
        speed = self._limits.body_bytes_per_second
        if self.is_answered():
            if seconds > DRAIN_SECONDS:
                self.end()
        elif self._received < speed * (seconds - GRACE_SECONDS):
            self._refuse(self._late(f"The body arrives with less than {speed} bytes a second"))

    def _late(self, detail: str) -> RefusedError:
        return _ending() if self._is_ending else RefusedError(408, detail, "Send it faster, or in smaller parts.")

    def shutdown(self) -> None:
        """Go on with what has begun, for the process ends; a head that is half there begins nothing any more."""
        self._is_ending = True
        if self.reading == HEAD and (self.cycle is None or self.cycle.response_complete):
            self._refuse(_ending())
        else:
            super().shutdown()

    def is_answered(self) -> bool:
        """Tell whether the request whose body is read has its answer already."""
        return self.cycle is not None and self.cycle.response_complete

    def pause_writing(self) -> None:
        """Note that the client does not take its answers as fast as they are made."""
        self._unread, self._unread_since = self.transport.get_write_buffer_size(), self._watch.now
        super().pause_writing()

    def _does_not_read(self, now: float) -> bool:
        unread, before = self.transport.get_write_buffer_size(), self._unread
        self._unread = unread
        if unread < before:
            self._unread_since = now
        return now - self._unread_since > self._limits.keep_alive_seconds


def _ending() -> RefusedError:
    return RefusedError(ENDING, "The process ends before the request has arrived", ShuttingDownError.hint)


def _refusal(error: httptools.HttpParserError) -> RefusedError:
    """Return how a request is refused that the parser cannot read, or that was refused while it was read."""
    if isinstance(error.__context__, RefusedError):
        return error.__context__
    reason = str(error)
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return RefusedError(400, "The request does not begin with a method of HTTP")
    if isinstance(error, httptools.HttpParserCallbackError):  # what its target is made of
        return RefusedError(400, "The target of the request cannot be read", "Send a path, as in GET /models.")
    if reason in OTHER_VERSION:
        return RefusedError(505, "The request is of a version of HTTP that is not read here", "Send HTTP/1.1.")
    return RefusedError(400, f"Invalid HTTP request: {reason}")
