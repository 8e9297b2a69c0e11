"""The worker processes of one API, as one of them sees the others: questions that the supervisor passes on to all.

A question is a line of text with a socket to answer on, and an answer a file in memory. The supervisor, over which they
go (`supervisor`), knows none of them: it hands each to all workers but the one that asks. Who does not know the answer,
or has ended, says nothing.
"""

import contextlib
import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

log = logging.getLogger(__name__)
LONGEST = 256  # bytes of a question
PATIENCE = 1.0  # seconds: a sibling that computes answers late

Answer = Callable[[str], int | None]  # from what is asked about to the descriptor of a file, which is closed then


class Siblings:
    """The other workers; there are none until `join`, nor for a process that serves alone."""

    def __init__(self) -> None:
        self.number: int | None = None  # of this worker
        self._line: socket.socket | None = None
        self._turns: int | None = None
        self._answers: dict[str, Answer] = {}

    def answer(self, question: str, answer: Answer) -> None:
        """Answer siblings that ask a question, which is one word, in a thread of this process."""
        self._answers[question] = answer

    def join(self, number: int, line: socket.socket, turns: int, *, orphaned: Callable[[], None]) -> None:
        """Be one of several workers; `orphaned` is called when the supervisor has ended.

        `line` leads to the supervisor, and `turns` is an empty file that all have open.
        """
        self.number, self._line, self._turns = number, line, turns
        threading.Thread(target=self._listen, args=[line, orphaned], name="siblings", daemon=True).start()

    def ask(self, question: str) -> Iterator[BinaryIO]:
        """Ask all siblings; return what they answer, until all have or a second is over."""
        if self._line is None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs, contextlib.suppress(ConnectionError):  # without a supervisor nobody answers
                socket.send_fds(self._line, [question.encode()], [theirs.fileno()])
            until = time.monotonic() + PATIENCE
            while file := _next_file(ours, until):
                with file:
                    yield file

    @contextlib.contextmanager
    def in_turn(self, what: int) -> Iterator[None]:
        """Wait until no sibling is in here with the same number, which has up to 62 bits."""
        if self._turns is None:
            yield
            return
        fcntl.lockf(self._turns, fcntl.LOCK_EX, 1, what)
        try:
            yield
        finally:
            fcntl.lockf(self._turns, fcntl.LOCK_UN, 1, what)

    def _listen(self, line: socket.socket, orphaned: Callable[[], None]) -> None:
        while True:
            try:
                question, descriptors, _, _ = socket.recv_fds(line, LONGEST, 1)
            except ConnectionError:  # the supervisor ended, and had not read all questions
                descriptors = []
            if not descriptors:
                orphaned()
                return
            with socket.socket(fileno=descriptors[0]) as reply:
                try:
                    self._reply(question.decode(), reply)
                except Exception:  # whatever it is, the next question has a right to be answered
                    log.exception("A question of another worker was not answered")

    def _reply(self, question: str, reply: socket.socket) -> None:
        word, _, about = question.partition(" ")
        answer = self._answers[word](about)
        if answer is not None:
            with os.fdopen(answer, "rb"), contextlib.suppress(ConnectionError):  # it waits no longer
                socket.send_fds(reply, [b"+"], [answer])


def write_in_memory(content: bytes) -> int:
    """Return the descriptor of a file in memory, to answer with."""
    with os.fdopen(os.memfd_create("bodega-answer"), "wb", closefd=False) as file:
        file.write(content)
        file.flush()
        file.seek(0)
        return file.fileno()


def _next_file(reply: socket.socket, until: float) -> BinaryIO | None:
    """Return the next answer; None if there is none in time, or if no process is left to give one."""
    reply.settimeout(max(until - time.monotonic(), 0.001))
    try:
        _, descriptors, _, _ = socket.recv_fds(reply, 1, 1)
    except TimeoutError:
        return None
    return os.fdopen(descriptors[0], "rb") if descriptors else None
