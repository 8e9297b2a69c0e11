"""The connections of one process: how many there may be, and how long each may take for what.

A sweep looks at all of them twice a second. So no request sets a timer, and a connection only notes in what state it is
and since when.
"""

import asyncio
import errno
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, Self

from bodega_db.settings import Settings

from bodega_api.http.seldom import Seldom

SWEEP_SECONDS = 0.5
GRACE_SECONDS = 10.0  # of a body, before its speed is looked at
LINGER_SECONDS = 2.0  # for a client to read why its connection ends
DRAIN_SECONDS = 30.0  # for the rest of a body whose request is answered already
MOST_DESCRIPTORS = 1024**2
SPARE_DESCRIPTORS = 256  # for the catalog, the volume and temporary files
MOST_LINGERING = 64

log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """What the settings allow a connection, and all of them."""

    header_bytes: int
    header_seconds: float
    body_bytes_per_second: int
    keep_alive_seconds: float
    connections: int
    descriptors: int  # a socket whose number is not below finds the process out of them soon

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take the limits from the settings, and no more connections than this process has descriptors for."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        usable = MOST_DESCRIPTORS if most == resource.RLIM_INFINITY else max(most - SPARE_DESCRIPTORS, most // 2)
        return cls(
            settings.max_header_bytes,
            settings.header_seconds,
            settings.min_body_bytes_per_second,
            settings.keep_alive_seconds,
            min(settings.max_connections, usable),
            usable,
        )


class Connection(Protocol):
    """What is asked of one connection."""

    since: float  # when its state began, by `Connections.now`

    def is_idle(self) -> bool:
        """Tell whether no request is under way."""

    def end(self) -> None:
        """End it at once."""

    def sweep(self, now: float) -> None:
        """End it if it takes too long."""


class Connections:
    """All connections of one process."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.now = 0.0  # by the event loop's clock, as of the last sweep
        self.lingering = 0
        self.seldom = Seldom(log)
        self._all: dict[Connection, None] = {}
        self._none_idle_until = 0.0
        self._sweeping: asyncio.TimerHandle | None = None

    @contextmanager
    def watched(self) -> Iterator[Self]:
        """Sweep while this is entered, in the running event loop."""
        self._sweep(asyncio.get_running_loop())
        yield self
        if self._sweeping is not None:
            self._sweeping.cancel()

    def add(self, connection: Connection, descriptor: int) -> bool:
        """Take a new connection; tell whether there was room, or could be made by ending one that was idle."""
        is_full = len(self._all) >= self.limits.connections or descriptor >= self.limits.descriptors
        room = not is_full or self._end_idle()
        self._all[connection] = None
        return room

    def discard(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._all.pop(connection, None)

    def _end_idle(self) -> bool:
        """End those that have been idle for longest, some at once, since to look at all of them takes a moment."""
        idle: list[Connection] = []
        if self.now >= self._none_idle_until:
            idle = sorted((each for each in self._all if each.is_idle()), key=lambda each: each.since)
            self._none_idle_until = self.now if idle else self.now + SWEEP_SECONDS
        for connection in idle[: 1 + self.limits.connections // 64]:
            self.discard(connection)
            connection.end()
        what = "idle ones are ended" if idle else "none is idle, and new ones are answered 503"
        self.seldom.warn(f"full {bool(idle)}", f"All {self.limits.connections} connections are taken: {what}")
        return bool(idle)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time()
        for connection in list(self._all):
            connection.sweep(self.now)
        self._look_at_descriptors()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def _look_at_descriptors(self) -> None:
        """Say that connections cannot be taken: the loop closes them then, and writes nothing."""
        try:
            os.close(os.dup(0))
        except OSError as exc:
            if exc.errno in (errno.EMFILE, errno.ENFILE):
                most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
                whose = f"of the {most} of this process" if exc.errno == errno.EMFILE else "of the system"
                self.seldom.warn("descriptors", f"No file descriptor {whose} is left: new connections are closed")


def raise_descriptor_limit() -> None:
    """Let this process have as many open files as the system allows it, for each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError) as exc:  # macOS has a lower limit that it does not tell
        log.warning("The limit of open files stays at %d: %s", soft, exc)
