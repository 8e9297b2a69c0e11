"""HTTP by hand, over a socket: requests as no client writes them, and answers read to the byte."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from conftest import Api

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def connected(api: Api) -> Iterator[socket.socket]:
    """Connect to the API."""
    host, port = api.url.removeprefix("http://").split(":")
    with at(host, int(port)) as connection:
        yield connection


@contextmanager
def at(host: str, port: int) -> Iterator[socket.socket]:
    """Connect to an address."""
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def receive(connection: socket.socket, count: int) -> list[Answer]:
    """Read so many answers, or as many as come before the connection ends; nothing may come behind them."""
    answers, file = [], connection.makefile("rb")
    while len(answers) < count and (line := file.readline()):
        if line.startswith(b"HTTP/1.1 100"):
            assert file.readline() == b"\r\n"
            continue
        headers = {}
        while (each := file.readline().rstrip()) != b"":
            name, _, value = each.decode().partition(": ")
            name = name.lower()
            assert name not in headers
            headers[name] = value
        body = _chunks(file) if "transfer-encoding" in headers else file.read(int(headers["content-length"]))
        answers.append((int(line.split()[1]), headers, body))
    return answers


def _chunks(file: BinaryIO) -> bytes:
    body = b""
    while size := int(file.readline(), 16):
        body += file.read(size)
        assert file.readline() == b"\r\n"
    assert file.readline() == b"\r\n"
    return body
