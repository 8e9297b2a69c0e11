"""The fast path of `POST /predict`: plain requests are answered in one turn of the event loop.

A request is plain if everything it needs is in memory (the choice of a version, the version, a quick plan), and if its
body is exactly what the signature describes. Every other request, right or wrong, goes untouched to the ordinary
endpoint (`routes.predict`). That finds the same version, answers the same, and formats every error. So nothing is
decided here that is not decided there, and no error is formatted twice.

Requests that arrive while others are computed are computed together: one turn of the event loop is one batch.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

import orjson
from bodega_db.errors import InvalidReferenceError
from bodega_db.settings import Settings
from bodega_model.errors import BodegaError, OutputNotAvailableError
from bodega_model.signature.outputs import check_output
from bodega_model.validation.quick import LongWayError
from msgspec import DecodeError
from starlette.types import Message, Receive, Scope, Send

from bodega_api.http.hosts import Hosts
from bodega_api.http.media.json import around_predictions
from bodega_api.http.problems import FOUND_ERROR
from bodega_api.serving.batcher import Lane
from bodega_api.serving.engine import MOST_ROWS, Columns, Engine
from bodega_api.serving.executor import Calls
from bodega_api.serving.model_cache import Key, LoadedVersions, key_of
from bodega_api.serving.version_router import Choice, Heard, Recalled, Routes, choice_of, freshness

log = logging.getLogger(__name__)
MOST_BODY_BYTES = 64 * 1024
MOST_QUESTIONS = 1000
PARAMETERS = frozenset({"model", "version", "output"})
# What headers may say of the bodies of request and answer.
OF_THE_BODY: dict[bytes, tuple[bytes, ...]] = {
    b"content-type": (b"application/json",),
    b"accept": (b"*/*", b"application/json"),
    b"transfer-encoding": (),
    b"content-encoding": (),
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


Headers = tuple[tuple[bytes, bytes], ...]


@lru_cache(maxsize=64)
def _headers(generation: int, age_seconds: float) -> Headers:
    return (*freshness(generation, age_seconds), (b"content-type", b"application/json"))


class Asked(NamedTuple):
    """A plain request that was read: what it asks of which engine, and when."""

    prepared: Prepared
    engine: Engine
    lane: Lane
    columns: Columns
    rows: int
    heard: Heard
    began: float

    def body(self, predictions: list[Any] | None) -> bytes | None:
        """Return the body of the answer, or None where the long way has to find one."""
        try:
            return None if predictions is None else self.prepared.head + orjson.dumps(predictions) + self.prepared.tail
        except orjson.JSONEncodeError:  # an integer beyond 64 bits
            return None

    def headers(self) -> Headers:
        """Return the headers of the answer, but for the one that tells its length."""
        generation, age_seconds = self.prepared.recalled.heard(self.heard)
        return _headers(generation, round(age_seconds, 1))

    def observe(self) -> bool:
        """Count the request as answered; tell whether the model shall be asked too."""
        self.engine.tally.seconds.observe(perf_counter() - self.began)
        return self.engine.quick and self.engine.is_due()


class FastPath:
    """Answers plain requests: as ASGI middleware, and below ASGI for `uvicorn_protocol`."""

    def __init__(
        self,
        routes: Routes,
        loaded: LoadedVersions[Engine],
        calls: Calls,
        settings: Settings,
        hosts: Hosts,
        prefix: str = "",
    ) -> None:
        self._hosts = hosts
        self.paths = frozenset({b"/predict", prefix.encode() + b"/predict"})  # a proxy may leave the prefix there
        self._routes, self._loaded, self._calls = routes, loaded, calls
        self._batch_rows = settings.max_rows
        self._most_rows = min(self._batch_rows, MOST_ROWS)
        self._max_body = min(settings.max_body_bytes, MOST_BODY_BYTES)
        self._questions: dict[bytes, Question | None] = {}
        self._lanes: WeakKeyDictionary[Engine, Lane] = WeakKeyDictionary()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> Receive | None:
        """Answer a request and return None; or return a reader of its body for the ordinary path."""
        question = self.question(scope["query_string"], scope["headers"])
        if question is None:
            return receive
        message = await receive()
        if message.get("more_body") or message["type"] != "http.request":
            return _again(message, receive)
        asked = self.read(question, message["body"])
        if asked is None:
            return _again(message, receive)
        try:
            predictions = await asked.lane.ask(asked.engine, asked.columns, asked.rows, asked.prepared.output)
        except BodegaError as exc:
            scope[FOUND_ERROR], predictions = exc, None
        except Exception:
            log.exception("The fast path failed, and the long way is taken")
            predictions = None
        body = asked.body(predictions)
        if predictions is None or body is None:
            return _again(message, receive)
        headers = [*asked.headers(), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if asked.observe():  # behind the answer, which does not wait for it
            await self.compare(asked, predictions)
        return None

    def question(self, query: bytes, headers: list[tuple[bytes, bytes]]) -> Question | None:
        """Return what a request asks, or None if it is not plain: short JSON that asks for nothing else."""
        try:
            question = self._questions[query]
        except KeyError:
            question = _read_query(query)
            if len(self._questions) < MOST_QUESTIONS:
                self._questions[query] = question
        return question if question is not None and self._is_plain(headers) else None

    def _is_plain(self, headers: list[tuple[bytes, bytes]]) -> bool:
        size, hosts = -1, 0
        for name, value in headers:
            if name == b"content-length":
                size = int(value) if value.isdigit() and len(value) < 10 else -1
            elif name == b"host":
                hosts += 1
                if value not in self._hosts.known and not self._hosts.admit(value):
                    return False
            elif name in OF_THE_BODY and value not in OF_THE_BODY[name]:
                return False
        return hosts == 1 and 0 < size <= self._max_body

    def read(self, question: Question, body: bytes, *, quick: bool = False) -> Asked | None:
        """Return what a request asks of which engine (only of a quick one?), or None if memory does not have it all."""
        began = perf_counter()
        try:
            heard = self._routes.hear()  # before the choice
            prepared = self._prepared(question)
            if heard is None or prepared is None:
                return None
            engine = self._loaded.peek(prepared.key)
            if engine is None or engine.decoder is None or not (engine.quick if quick else engine.batched):
                return None
            columns, rows = engine.decoder.decode(body)
            if rows > self._most_rows:
                return None
            return Asked(prepared, engine, self._lane(prepared.key, engine), columns, rows, heard, began)
        except (LongWayError, DecodeError, UnicodeDecodeError):
            return None
        except Exception:
            log.exception("The fast path failed, and the long way is taken")
            return None

    def _prepared(self, question: Question) -> Prepared | None:
        prepared = question.prepared
        if prepared is None or prepared.epoch != self._routes.epoch:
            prepared = question.prepared = self._prepare(question)
        return prepared

    def _lane(self, key: Key, engine: Engine) -> Lane:
        lane = self._lanes.get(engine)
        if lane is None:
            lane = self._lanes[engine] = Lane(key, self._calls, self._batch_rows)
        return lane

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

    async def compare(self, asked: Asked, predictions: list[Any]) -> None:
        """Also call the model, as usual in a thread with a deadline, and compare."""
        output = asked.prepared.output
        try:
            await self._calls.run(asked.prepared.key, lambda: asked.engine.compare(asked.columns, output, predictions))
        except BodegaError as exc:
            log.warning("A plan could not be compared with its model: %s", exc.message)


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


def _again(first: Message, receive: Receive) -> Receive:
    """Return what gives a message that was received once more, and then what comes after it."""
    kept: list[Message] = [first]

    async def read() -> Message:
        return kept.pop() if kept else await receive()

    return read
