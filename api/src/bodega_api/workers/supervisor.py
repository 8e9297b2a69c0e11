"""Several worker processes behind one port: started by forking, started again when one ends.

The workers are forked from a process that has imported everything and connected to nothing, so that they have the
libraries in memory once. What they ask each other passes through here (`ipc`).
"""

import contextlib
import logging
import math
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from bodega_db.errors import SettingsError

from bodega_api.workers.ipc import LONGEST, Siblings
from bodega_api.workers.malloc import is_glibc
from bodega_api.workers.sockets import open_listeners

if TYPE_CHECKING:
    from uvicorn import Config

log = logging.getLogger(__name__)
ORDERS = (signal.SIGTERM, signal.SIGINT)
PAUSE = 1.0  # seconds from one start of a worker to the next, at least
MORE_GRACE = 5.0  # seconds for what a worker does after its last answer
CANNOT_START = 3  # uvicorn's exit status; so would every other worker

Work = Callable[[int, socket.socket], int]  # from the worker's number and its line to here, to its exit status


def check_workers(count: int) -> None:
    """Raise SettingsError if this system cannot have so many."""
    if count > 1 and not is_glibc():
        raise SettingsError(
            f"BODEGA_WORKERS: {count} workers need Linux with the GNU C library, and this is {sys.platform}",
            "Start several copies of the API, each with a port of its own, and a proxy before them.",
        )


def supervise(config: "Config", siblings: Siblings, count: int, grace: float) -> int:
    """Serve an application, which has begun nothing yet, by several workers; return the exit status.

    Raises SettingsError if its address cannot be listened on.
    """
    from uvicorn import Server

    listeners = open_listeners(config.host, config.port, count)
    turns = os.memfd_create("bodega-turns")

    def close_listeners() -> None:
        for listener in listeners:
            listener.close()

    def work(number: int, line: socket.socket) -> int:
        # Nobody would start this worker again, nor end it.
        siblings.join(number, line, turns, orphaned=lambda: os.kill(os.getpid(), signal.SIGTERM))
        own = listeners.pop(number - 1)
        close_listeners()
        server = Server(config)
        server.run(sockets=[own])
        return 0 if server.started else CANNOT_START

    log.info("%d workers serve at http://%s:%d", count, config.host, listeners[0].getsockname()[1])
    return Supervisor(work, count, grace + MORE_GRACE, close_listeners).run()


@dataclass(slots=True)
class Worker:
    """One worker process, and the line to it; `number` counts from 1 and is that of the worker it replaces."""

    number: int
    pid: int
    line: socket.socket
    began: float


class Supervisor:
    """The process whose children serve."""

    def __init__(self, work: Work, count: int, grace: float, before_end: Callable[[], None]) -> None:
        self._work = work
        self._before_end = before_end  # it may be called several times
        self._missing = dict.fromkeys(range(1, count + 1), 0.0)  # numbers of workers, and when each may start
        self._workers: dict[int, Worker] = {}
        self._grace = grace  # seconds from the order to end to SIGKILL
        self._ending = False
        self._kills_at = math.inf  # by time.monotonic(), as all moments here
        self._status = 0
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Run the workers until a signal ends them; return the exit status."""
        with _signals() as signals:
            self._selector.register(signals, selectors.EVENT_READ)
            while self._workers or not self._ending:
                self._start_missing()
                for key, _ in self._selector.select(self._seconds_to_wait()):
                    if isinstance(key.data, Worker):
                        self._pass_on(key.data)
                    else:
                        self._obey(signals.recv(LONGEST))
                self._bury()
                if time.monotonic() > self._kills_at:
                    self._signal(signal.SIGKILL)
        return self._status

    # --- the begin of a worker ---------------------------------------------------------------------------

    def _start_missing(self) -> None:
        for number, earliest in list(self._missing.items()):
            if time.monotonic() >= earliest:
                del self._missing[number]
                self._start(number)

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)  # one to the child waits until it has handlers of its own
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become_a_worker(number, theirs)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)
        theirs.close()
        ours.setblocking(False)
        self._workers[pid] = Worker(number, pid, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, self._workers[pid])

    def _become_a_worker(self, number: int, line: socket.socket) -> NoReturn:
        status = 1
        try:
            # While it held a line of another worker, that one would not notice the end of the supervisor.
            for sibling in self._workers.values():
                sibling.line.close()
            self._selector.close()
            signal.set_wakeup_fd(-1)
            for order in (signal.SIGCHLD, *ORDERS):
                signal.signal(order, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)
            status = self._work(number, line)
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else 1
        except BaseException:
            log.exception("Worker %d cannot go on", number)
        finally:
            os._exit(status)

    # --- the end of a worker -----------------------------------------------------------------------------

    def _bury(self) -> None:
        for worker in list(self._workers.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                del self._workers[pid]
                self._selector.unregister(worker.line)
                worker.line.close()
                if not self._ending:
                    self._replace(worker, os.waitstatus_to_exitcode(status))

    def _replace(self, worker: Worker, code: int) -> None:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        if code == CANNOT_START:
            log.error("Worker %d %s, as every other one would", worker.number, how)
            self._status = code
            self._end(signal.SIGTERM)
        else:
            log.error("Worker %d (process %d) %s; another one takes its place", worker.number, worker.pid, how)
            self._missing[worker.number] = worker.began + PAUSE

    # --- signals and questions ---------------------------------------------------------------------------

    def _obey(self, signals: bytes) -> None:
        for number in signals:
            if number in ORDERS:
                self._end(number)

    def _end(self, order: int) -> None:
        self._ending = True
        self._before_end()
        self._missing.clear()
        self._kills_at = min(self._kills_at, time.monotonic() + self._grace)
        self._signal(order)

    def _signal(self, number: int) -> None:
        for pid in self._workers:
            os.kill(pid, number)  # it is there, if only as a zombie, until it is buried

    def _seconds_to_wait(self) -> float | None:
        moment = min([self._kills_at, *self._missing.values()])
        return None if moment == math.inf else max(0.0, moment - time.monotonic())

    def _pass_on(self, worker: Worker) -> None:
        try:
            question, descriptors, _, _ = socket.recv_fds(worker.line, LONGEST, 1)
        except ConnectionError:  # it ended, and had not read all questions
            return
        for reply in descriptors:
            for sibling in self._workers.values():
                if sibling is not worker:
                    with contextlib.suppress(OSError):  # it ended, or has not listened for hundreds of questions
                        socket.send_fds(sibling.line, [question], [reply])
            os.close(reply)


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Yield a socket from which the numbers of signals are read as they come; none of them ends the process."""
    read, write = socket.socketpair()
    with read, write:
        write.setblocking(False)
        signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *ORDERS):
            signal.signal(number, _ignore)
        try:
            yield read
        finally:
            signal.set_wakeup_fd(-1)  # a child that is buried later would be told to a closed socket


def _ignore(_: int, __: FrameType | None) -> None:
    """Be there, so that the number is written."""
