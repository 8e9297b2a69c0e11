"""Ctrl-C and the other signals that ask a program to end, as one exception that unwinds it in order."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked for the end; not an error, so that nothing on the way takes it for one."""


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise Stopped in the block at the first Ctrl-C, SIGTERM or SIGHUP; more of them do not disturb the end."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    # What is ignored already stays so: `nohup` relies on it.
    taken = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    former = {each: signal.signal(each, stop) for each in taken}
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
