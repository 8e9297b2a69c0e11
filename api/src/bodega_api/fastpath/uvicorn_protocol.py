"""uvicorn's protocol, which answers plain predictions before they become requests of an ASGI application.

For a prediction that takes some microseconds most of the time would go into what stands between a connection and an
application: a task, an event, and messages there and back. Here a plain request (`fast_path`) is read and answered
where its bytes arrive. Every other request goes to uvicorn unchanged.
"""

import asyncio
from functools import lru_cache
from typing import Any

from bodega_model.errors import BodegaError
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from bodega_api.fastpath.fast_path import Asked, FastPath, Headers, Question
from bodega_api.fastpath.framing import StrictProtocol
from bodega_api.http.hosts import TARGET
from bodega_api.serving.batcher import Waiting


@lru_cache(maxsize=64)
def _head(headers: Headers) -> bytes:
    return b"".join((STATUS_LINE[200], *(b"%b: %b\r\n" % header for header in headers)))


class PredictionProtocol(StrictProtocol):
    """One connection; `fast_path` in the application's lifespan state is what answers plain requests.

    A request is held from the end of its headers to its answer. Meanwhile no other one of the connection begins: before
    it does (pipelining) the one that is held is answered, so answers keep the order of their requests.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        plain = not config.root_path and config.limit_concurrency is None
        self._fast_path: FastPath | None = app_state.get("fast_path") if plain else None
        self._question: Question | None = None  # while a request is held
        self._body = b""
        self._asked: Asked | None = None  # while it waits for its answer

    # --- what the parser tells ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request, after the answer to the one before."""
        if self._asked is not None:
            self._finish()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hold a request that is plain as far as its headers tell."""
        if not self.is_head_read():
            return
        self._question = self._plain_question()
        self._body = b""
        if self._question is None:
            if self.url[:1] not in b"/*":  # what the application is told is only the path
                self.scope[TARGET] = self.url  # type: ignore[literal-required]
            self.begin_request()
        else:
            self.begin_body()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if self._question is None:
            super().on_body(body)
        else:
            self.count_body(body)
            self._body += body

    def on_message_complete(self) -> None:
        """Ask for the answer of a request that is held."""
        if self._question is None or self._fast_path is None:
            super().on_message_complete()
            return
        self.end_body()
        asked = self._fast_path.read(self._question, self._body, quick=True)
        if asked is None:
            self._go_the_long_way()
            super().on_message_complete()
        else:
            self._asked = asked
            asked.lane.put(asked.engine, Waiting(asked.columns, asked.rows, self), asked.prepared.output)

    def _plain_question(self) -> Question | None:
        path, _, query = self.url.partition(b"?")
        parser = self.parser
        if (
            self._fast_path is None
            or path not in self._fast_path.paths
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or self.expect_100_continue
            or self.flow.write_paused
            or not (self.cycle is None or self.cycle.response_complete)
        ):
            return None
        return self._fast_path.question(query, self.headers)

    def _go_the_long_way(self) -> None:
        """Hand uvicorn what there is of the request that is held."""
        self._question = None
        super().on_headers_complete()
        super().on_body(self._body)

    # --- what the lane tells -----------------------------------------------------------------------------

    def done(self) -> bool:
        """Tell whether no request waits for an answer."""
        return self._asked is None

    def set_result(self, result: list[Any] | None) -> None:
        """Write the answer, or retry on the ordinary path."""
        asked, self._asked = self._asked, None
        if asked is None:
            return
        body = asked.body(result)
        if result is None or body is None:
            self._go_the_long_way()
            super().on_message_complete()
            return
        self._question = None
        head = _head((*self.server_state.default_headers, *asked.headers()))
        self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        self.on_response_complete()
        if asked.observe() and self._fast_path is not None:  # behind the answer, which does not wait for it
            comparing = self.loop.create_task(self._fast_path.compare(asked, result))
            self.tasks.add(comparing)
            comparing.add_done_callback(self.tasks.discard)

    def set_exception(self, _: BodegaError) -> None:
        """Retry on the ordinary path, which formats the error. Plans raise none."""
        self.set_result(None)

    def _finish(self) -> None:
        """Answer the held request now, if there is one."""
        if self._asked is not None:
            self._asked.lane.flush(self._asked.engine, self._asked.prepared.output)

    # --- the end of a connection -------------------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the held request: its client has gone."""
        self._question = self._asked = None
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Tell whether no request is under way."""
        return self._question is None and super().is_idle()

    def is_answered(self) -> bool:
        """Tell whether the request whose body is read has its answer already."""
        return self._question is None and super().is_answered()

    def begin_to_end(self, *, in_body: bool) -> None:
        """Say the last words behind the answer to the request that is held, or in its place if its body fails."""
        self._finish()
        held, self._question = self._question, None
        super().begin_to_end(in_body=in_body and held is None)

    def shutdown(self) -> None:
        """End the connection after the request that is held."""
        self._finish()
        if self._question is not None:  # its body is still on its way
            self._go_the_long_way()
        super().shutdown()
