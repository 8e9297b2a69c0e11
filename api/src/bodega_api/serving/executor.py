"""Calls of models, each with a deadline, in threads of their own: one model that hangs holds up no other.

A thread that hangs cannot be ended. So a version that does not return is not called again until it does; it never has
more than its share of the threads, and how many may hang in all is bounded: a process beyond that is not ready.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar
from weakref import WeakValueDictionary

from bodega_model.errors import PredictionError

from bodega_api.errors import ModelBusyError, ModelHangsError, PredictionTimeoutError
from bodega_api.serving.model_cache import Key

T = TypeVar("T")
AT_ONCE = max(8, 2 * (os.cpu_count() or 1))
MOST_HANGING = 64


class Calls:
    """The calls of one process, from one event loop."""

    def __init__(self, seconds: float, most_waiting: int) -> None:
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._waiting: Counter[Key] = Counter()
        self._all = asyncio.Semaphore(AT_ONCE)
        self._shares: WeakValueDictionary[Key, asyncio.Semaphore] = WeakValueDictionary()
        self._hanging: Counter[Key] = Counter()

    @contextmanager
    def admitted(self, key: Key) -> Iterator[None]:
        """Count a request that waits for a version; raise ModelBusyError if too many do already."""
        if self._waiting[key] >= self._most_waiting:
            raise ModelBusyError(f"{self._most_waiting} requests wait for {key[0]}@{key[1]} already")
        self._waiting[key] += 1
        try:
            yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    @property
    def waiting(self) -> int:
        """How many requests wait for versions."""
        return self._waiting.total()

    async def run(self, key: Key, work: Callable[[], T]) -> T:
        """Return what the work of a version returns, or raise what it raises.

        Raises PredictionTimeoutError if it takes too long, ModelHangsError if an earlier call still does, and
        ModelBusyError if there was no turn for it in time.
        """
        self.check(key)
        share = self._shares.setdefault(key, asyncio.Semaphore(AT_ONCE // 2))
        running: Future[T] | None = None
        try:
            async with asyncio.timeout(self._seconds), share, self._all:
                self.check(key)  # others may have waited in front, and in vain
                running = start_thread(work)
                return await asyncio.wrap_future(running)
        except TimeoutError as exc:
            if running is None:
                raise ModelBusyError(f"There was no turn for the prediction within {self._seconds:g} s") from exc
            self._leave(key, running)
            raise PredictionTimeoutError(f"The model gave no answer within {self._seconds:g} s") from exc

    def check(self, key: Key | None = None) -> None:
        """Raise ModelHangsError if a version hangs, or if so many calls do that this process should end."""
        if self._hanging.total() >= MOST_HANGING:
            raise ModelHangsError(f"{MOST_HANGING} calls of models hang in this process", "Start it again.")
        if key is not None and self._hanging[key]:
            raise ModelHangsError(f"An earlier prediction of {key[0]}@{key[1]} has not returned yet")

    @property
    def hanging(self) -> int:
        """How many calls did not return in time and go on."""
        return self._hanging.total()

    def _leave(self, key: Key, running: "Future[T]") -> None:
        loop = asyncio.get_running_loop()
        self._hanging[key] += 1

        def returned(_: object) -> None:
            self._hanging[key] -= 1
            if not self._hanging[key]:
                del self._hanging[key]

        running.add_done_callback(lambda future: _tell(loop, returned, future))


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[object], None], future: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(what, future)


# Threads that wait for work. One that is kept is worth more than its start: the libraries of many models keep a pool of
# their own for each thread that calls them, and would make it anew for every call.
_idle: list["SimpleQueue[Callable[[], None]]"] = []


def start_thread(work: Callable[[], T]) -> "Future[T]":
    """Do some work in a thread that does not keep the process from ending, should it never return."""
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result.set_result(work())
        except Exception as exc:  # noqa: BLE001 (whoever waits raises it)
            result.set_exception(exc)
        except BaseException as exc:  # noqa: BLE001 (SystemExit, of a model: it ends this call and nothing else)
            result.set_exception(PredictionError(f"The model raised {type(exc).__name__}"))

    try:
        tasks = _idle.pop()
    except IndexError:
        tasks = SimpleQueue()
        threading.Thread(target=_serve, args=[tasks], name="prediction", daemon=True).start()
    tasks.put(run)
    return result


def _serve(tasks: "SimpleQueue[Callable[[], None]]") -> None:
    while True:
        tasks.get()()
        if len(_idle) >= AT_ONCE:
            return
        _idle.append(tasks)
