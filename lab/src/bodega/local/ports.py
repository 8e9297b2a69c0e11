"""Ports of 127.0.0.1, and waiting until a server listens there."""

import http.client
import json
import socket
from typing import NamedTuple

HOST = "127.0.0.1"
HIGHEST = 65535


class Answer(NamedTuple):
    """What a server said: the status, and for a problem its own words."""

    status: int
    words: str


def find_port(preferred: int) -> int:
    """Return the preferred port, or the next one that is free."""
    return next((port for port in range(preferred, HIGHEST + 1) if is_free(port)), 0)


def is_free(port: int) -> bool:
    """Tell whether a port is free."""
    with socket.socket() as probe:
        # What a server of a moment ago left behind (TIME_WAIT) is no obstacle to the next one.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    with socket.socket() as caller:
        # On macOS the above succeeds beside a server that listens on all addresses.
        return caller.connect_ex((HOST, port)) != 0


def ask(port: int, path: str, timeout: float = 5.0) -> Answer | None:
    """Return what a server on this machine answers, or None while it does not."""
    # Not urllib: it would ask the proxy of the environment.
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, read_problem(response.read()))
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def read_problem(body: bytes) -> str:
    """Return the detail and hint of a problem+json body, or nothing."""
    try:
        problem = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(problem, dict):
        return ""
    return ". ".join(str(problem[key]).rstrip(".") for key in ("detail", "hint") if problem.get(key))
