"""The fast path of `POST /predict`: what is plain is answered in one turn of the event loop.

A request is plain if everything it needs is in memory (the choice of a version, the version, a quick plan), and if its
body is exactly what the signature describes. Whatever is not, and whatever is wrong, is handed on untouched to the
ordinary endpoint (`predictions`), which finds the same version, answers the same, and words every refusal. So nothing
is decided here that is not decided there, and no error is worded twice.

Requests that arrive while others are computed are computed together: one turn of the event loop is one batch.
"""

import logging
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

import orjson
from bodega_db.errors import BodegaError, InvalidReferenceError, OutputNotAvailableError
from bodega_db.outputs import check_output
from fastapi import FastAPI
from msgspec import DecodeError
from starlette.types import Message, Receive, Scope, Send

from bodega_api.batching import Lane
from bodega_api.calls import Calls
from bodega_api.decoding import LongWayError
from bodega_api.engines import MOST_ROWS, Columns, Engine
from bodega_api.loaded import Key, LoadedVersions, key_of
from bodega_api.media.json import around_predictions
from bodega_api.predictions import FOUND_ERROR, freshness
from bodega_api.routing import Choice, Heard, Recalled, Routes, choice_of

log = logging.getLogger(__name__)
MOST_BODY_BYTES = 64 * 1024
MOST_QUESTIONS = 1000
PARAMETERS = frozenset({"model", "version", "output"})
# What headers may say of the bodies of request and answer.
OF_THE_BODY: dict[bytes, tuple[bytes, ...]] = {
    b"content-type": (b"application/json",),
    b"accept": (b"*/*", b"application/json"),
    b"transfer-encoding": (),
}


@dataclass(slots=True)
class Question:
    """What the query of a request asks for, and what was found out for the last one that asked it."""

    choice: Choice
    output: str | None
    prepared: "Prepared | None" = None


class Prepared(NamedTuple):
    """What is the same in all answers to a question until choices are replaced."""

    epoch: int
    key: Key
    recalled: Recalled
    output: str
    head: bytes  # of the answer, before its predictions
    tail: bytes


class FastPath:
    """An ASGI application before another one, which answers what it can."""

    def __init__(self, app: FastAPI) -> None:
        self._routes: Routes = app.state.routes
        self._loaded: LoadedVersions[Engine] = app.state.loaded
        self._calls: Calls = app.state.calls
        self._most_rows: int = app.state.settings.max_rows
        self._max_body: int = min(app.state.settings.max_body_bytes, MOST_BODY_BYTES)
        self._questions: dict[bytes, Question | None] = {}
        self._lanes: WeakKeyDictionary[Engine, Lane] = WeakKeyDictionary()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> Receive | None:
        """Answer a request and return None; or return what reads its body, for whoever goes the long way with it."""
        question = self._question(scope["query_string"])
        if question is None or not self._is_plain(scope["headers"]):
            return receive
        began = perf_counter()
        message = await receive()
        if message.get("more_body") or message["type"] != "http.request":
            return _again(message, receive)
        try:
            found = await self._predict(question, message["body"])
        except BodegaError as exc:
            scope[FOUND_ERROR], found = exc, None
        except Exception:
            log.exception("The fast path failed, and the long way is taken")
            found = None
        if found is None:
            return _again(message, receive)
        await send({"type": "http.response.start", "status": 200, "headers": found.headers})
        await send({"type": "http.response.body", "body": found.body})
        found.engine.tally.seconds.observe(perf_counter() - began)
        if found.engine.quick and found.engine.is_due():  # behind the answer, which does not wait for it
            await self._compare(found)
        return None

    def _question(self, query: bytes) -> Question | None:
        try:
            return self._questions[query]
        except KeyError:
            question = _read_query(query)
            if len(self._questions) < MOST_QUESTIONS:
                self._questions[query] = question
            return question

    def _is_plain(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Tell whether a request says that it is short JSON, and asks for nothing else."""
        size = -1
        for name, value in headers:
            if name == b"content-length":
                size = int(value) if value.isdigit() and len(value) < 10 else -1
            elif name in OF_THE_BODY and value not in OF_THE_BODY[name]:
                return False
        return 0 < size <= self._max_body

    async def _predict(self, question: Question, body: bytes) -> "Answered | None":
        heard = self._routes.hear()  # before the choice
        if heard is None:
            return None
        prepared = question.prepared
        if prepared is None or prepared.epoch != self._routes.epoch:
            prepared = question.prepared = self._prepare(question)
            if prepared is None:
                return None
        engine = self._loaded.peek(prepared.key)
        if engine is None or engine.decoder is None or not engine.row_wise:
            return None
        lane = self._lanes.get(engine)
        if lane is None:
            lane = self._lanes[engine] = Lane(prepared.key, self._calls, self._most_rows)
        try:
            columns, rows = engine.decoder.decode(body)
        except (LongWayError, DecodeError, UnicodeDecodeError):
            return None
        if rows > min(self._most_rows, MOST_ROWS):
            return None
        predictions = await lane.ask(engine, columns, rows, prepared.output)
        if predictions is None:
            return None
        answer = prepared.head + orjson.dumps(predictions) + prepared.tail
        return Answered(prepared, engine, columns, predictions, _headers(prepared, heard, len(answer)), answer)

    def _prepare(self, question: Question) -> Prepared | None:
        epoch = self._routes.epoch  # before the choice: one that is replaced meanwhile is prepared again
        recalled = self._routes.recall(question.choice)
        if recalled is None:
            return None
        version = recalled.resolution.version
        try:
            output = check_output(version.signature, question.output)
        except OutputNotAvailableError:
            return None
        head, tail = around_predictions(recalled.resolution, output, [])
        return Prepared(epoch, key_of(version), recalled, output, head, tail)

    async def _compare(self, it: "Answered") -> None:
        """Have the model answer too, as it is always called: in a thread, with a deadline."""
        try:
            output = it.prepared.output
            await self._calls.run(it.prepared.key, lambda: it.engine.compare(it.columns, output, it.predictions))
        except BodegaError as exc:
            log.warning("A plan could not be compared with its model: %s", exc.message)


class Answered(NamedTuple):
    """A request that was answered: by what, and what for."""

    prepared: Prepared
    engine: Engine
    columns: Columns
    predictions: list[Any]
    headers: list[tuple[bytes, bytes]]
    body: bytes


def _read_query(query: bytes) -> Question | None:
    """Read a query; None for one that is not plain: the long way knows why."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), errors="strict")
        values = dict(pairs)
        if len(values) != len(pairs) or not values.keys() <= PARAMETERS or "" in values.values():
            return None
        return Question(choice_of(values.get("model"), values.get("version")), values.get("output"))
    except (ValueError, InvalidReferenceError):
        return None


def _headers(prepared: Prepared, heard: Heard, length: int) -> list[tuple[bytes, bytes]]:
    return [
        *freshness(*prepared.recalled.heard(heard)),
        (b"content-length", b"%d" % length),
        (b"content-type", b"application/json"),
    ]


def _again(first: Message, receive: Receive) -> Receive:
    """Return what gives a message that was received once more, and then what comes after it."""
    kept: list[Message] = [first]

    async def read() -> Message:
        return kept.pop() if kept else await receive()

    return read
