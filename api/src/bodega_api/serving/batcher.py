"""Batches without a timer: a single request does not wait, and simultaneous requests are computed together.

A quick plan is asked in the event loop: all that came in one of its turns are one batch. Everything else is asked in a
thread, one batch of a version at a time: what gathers meanwhile is the next one. So the busier a model is, the larger
are its batches, and the less each row costs.
"""

import asyncio
from functools import partial
from typing import Any, NamedTuple, Protocol

from bodega_model.errors import BodegaError

from bodega_api.errors import ModelBusyError, ModelHangsError, PredictionTimeoutError
from bodega_api.serving.engine import MOST_ROWS, Columns, Engine
from bodega_api.serving.executor import Calls
from bodega_api.serving.model_cache import Key

BATCH_ROWS = 1024  # of a batch in a thread: beyond, larger ones save little and make their first rows wait
Group = tuple[str, tuple[bool, ...]]
QUICK: tuple[bool, ...] = ()  # in place of the gaps, which are looked at when the batch is there
OF_THE_CALL = (ModelBusyError, ModelHangsError, PredictionTimeoutError)  # and of no row


class Answer(Protocol):
    """What the answer of one request is put in: a future, or the connection that asks (`uvicorn_protocol`)."""

    def done(self) -> bool:
        """Tell whether no request waits for it."""

    def set_result(self, result: list[Any] | None, /) -> None:
        """Take the answer, or None if the ordinary path has to find it."""

    def set_exception(self, exception: BodegaError, /) -> None:
        """Take what went wrong."""


class Waiting(NamedTuple):
    """The rows of one request, and what its answer is put in."""

    columns: Columns
    rows: int
    answer: Answer


class Lane:
    """The requests that wait for one version; it keeps no engine, so that it goes with the one that it belongs to."""

    def __init__(self, key: Key, calls: Calls, most_rows: int) -> None:
        self._key = key
        self._calls = calls
        self._most_rows = min(most_rows, BATCH_ROWS)
        self._loop = asyncio.get_running_loop()  # kept, for Python 3.11 asks the system for it each time
        self._waiting: dict[Group, list[Waiting]] = {}
        self._workers: set[asyncio.Task[None]] = set()

    async def ask(self, engine: Engine, columns: Columns, rows: int, output: str) -> list[Any] | None:
        """Return the answers for some rows, or None if they have to be asked for alone.

        Raises ModelBusyError, ModelHangsError or PredictionTimeoutError, or for rows that were a batch of their own
        what the model says of them.
        """
        answer: asyncio.Future[list[Any] | None] = self._loop.create_future()
        waiting = Waiting(columns, rows, answer)
        if engine.quick:
            self.put(engine, waiting, output)
            return await answer
        with self._calls.admitted(self._key):
            # A gap changes the type of its column, for all rows beside it.
            group = (output, tuple(None in values for values in columns.values()))
            if self._add(group, waiting):
                worker = self._loop.create_task(self._work(engine, group))
                self._workers.add(worker)
                worker.add_done_callback(self._workers.discard)
            return await answer

    def put(self, engine: Engine, waiting: Waiting, output: str) -> None:
        """Let a quick plan answer together with the other requests of this turn of the event loop."""
        if self._add((output, QUICK), waiting):
            self._loop.call_soon(self.flush, engine, output)

    def flush(self, engine: Engine, output: str) -> None:
        """Compute all waiting requests with the plan now."""
        waiting = self._waiting.pop((output, QUICK), [])
        while waiting:
            _plan(engine, _take(waiting, MOST_ROWS), output)

    def _add(self, group: Group, waiting: Waiting) -> bool:
        """Add a waiting request; return whether it is the first of its group."""
        if group in self._waiting:
            self._waiting[group].append(waiting)
            return False
        self._waiting[group] = [waiting]
        return True

    async def _work(self, engine: Engine, group: Group) -> None:
        output, _ = group
        while waiting := self._waiting[group]:
            batch = _take(waiting, self._most_rows)
            columns = _together(batch)
            try:
                _share(batch, await self._calls.run(self._key, partial(engine.predict, columns, output)))
            except BodegaError as exc:
                engine.tally.failed += isinstance(exc, PredictionTimeoutError)  # the model itself counts what it raises
                if len(batch) == 1 or isinstance(exc, OF_THE_CALL):
                    _fail(batch, exc)
                else:  # because of one of them
                    _share(batch, None)
            except Exception:  # noqa: BLE001 (whoever asks for it alone raises it again)
                _share(batch, None)
        del self._waiting[group]


def _plan(engine: Engine, batch: list[Waiting], output: str) -> None:
    if len(batch) > 1 and engine.gaps_turn and _has_gap(engine, batch):
        # Beside a gap integers are floating point numbers, and what comes of them may be another number.
        groups: dict[tuple[bool, ...], list[Waiting]] = {}
        for waiting in batch:
            gaps = tuple(None in waiting.columns[name] for name in engine.gaps_turn)
            groups.setdefault(gaps, []).append(waiting)
        for group in groups.values():
            _answer(engine, group, output)
        return
    _answer(engine, batch, output)


def _has_gap(engine: Engine, batch: list[Waiting]) -> bool:
    return any(None in waiting.columns[name] for waiting in batch for name in engine.gaps_turn)


def _answer(engine: Engine, batch: list[Waiting], output: str) -> None:
    answers = engine.try_plan(_together(batch), output)
    if answers is None and len(batch) > 1:  # because of one of them, for which the others need not wait
        for waiting in batch:
            _answer(engine, [waiting], output)
        return
    _share(batch, answers)


def _take(waiting: list[Waiting], most_rows: int) -> list[Waiting]:
    """Take the first of those who wait, as many as have so many rows; at least one."""
    rows = count = 0
    for count, each in enumerate(waiting):
        rows += each.rows
        if rows > most_rows and count:
            break
    else:
        count = len(waiting)
    batch, waiting[:count] = waiting[:count], []
    return batch


def _together(batch: list[Waiting]) -> Columns:
    if len(batch) == 1:
        return batch[0].columns
    return {name: [value for w in batch for value in w.columns[name]] for name in batch[0].columns}


def _share(batch: list[Waiting], answers: list[Any] | None) -> None:
    begin = 0
    for waiting in batch:
        end = begin + waiting.rows
        if not waiting.answer.done():  # whoever asked may have gone
            waiting.answer.set_result(None if answers is None else answers[begin:end])
        begin = end


def _fail(batch: list[Waiting], error: BodegaError) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
