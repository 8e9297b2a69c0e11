"""The sockets that several workers listen on: one port, and a queue of connections for each worker.

With one queue for all, whoever wakes first takes what is there: of 64 connections at once a worker may get none. The
kernel spreads them over the sockets of a port evenly (SO_REUSEPORT). The supervisor holds all sockets open, so that
what waits in the queue of a worker that ended is there for the one that takes its place.
"""

import contextlib
import os
import socket

from bodega_db.errors import SettingsError


def open_listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """Bind this many sockets to one address (port 0 is any free one); raise SettingsError if it is in use."""
    with contextlib.ExitStack() as undo:
        try:
            family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
            listeners: list[socket.socket] = []
            for _ in range(count):
                listeners.append(undo.enter_context(_bind(family, address, share=bool(listeners))))
                address = listeners[0].getsockname()
        except OSError as exc:
            why = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else str(exc)
            raise SettingsError(
                f"The API cannot listen on {host}:{port}: {why}",
                "Set BODEGA_API_HOST and BODEGA_API_PORT to an address of this machine that is free.",
            ) from exc
        undo.pop_all()
    return listeners


def _bind(family: int, address: "tuple[object, ...]", *, share: bool) -> socket.socket:
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The first does not share yet, or it would join whatever other program of this user shares the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)
        listener.bind(address)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except BaseException:
        listener.close()
        raise
    return listener
