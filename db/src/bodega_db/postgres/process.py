"""Child processes that always end with their parent, together with their own children."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from bodega_db.postgres import guard
from bodega_db.postgres.private_files import open_privately

HANGS = 15.0  # seconds beyond the grace after which the guard itself is given up
KEPT_LINES = 20


class Account(NamedTuple):
    """The user that a child runs as, if that is another one."""

    uid: int
    gid: int


PARENT = Account(-1, -1)


@dataclass(frozen=True, slots=True)
class Child:
    """A running child process, seen through its guard."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]
    orders: IO[bytes]
    grace: float

    def poll(self) -> int | None:
        """Return the exit code, or None while the child runs; 128 + n stands for signal n."""
        return self.process.poll()

    def wait(self) -> int:
        """Wait until the child ends by itself and return its exit code."""
        code = self.process.wait()
        self.orders.close()
        return code

    def stop(self) -> int:
        """Ask the child to end, kill it when its grace is over, return its exit code; twice is no harm."""
        if not self.orders.closed:
            # A byte, not just the end of the file: a copy of this process made by fork() holds the pipe too.
            with contextlib.suppress(BrokenPipeError):
                self.orders.write(b"!")
            self.orders.close()
        try:
            return self.process.wait(self.grace + guard.SWEEP + HANGS)
        except subprocess.TimeoutExpired:
            # The guard hangs (somebody stopped it). On Linux its death ends the child all the same.
            self.process.kill()
            return self.process.wait()

    def describe_end(self) -> str:
        """Say how the child ended, as in 'exit status 3' or 'signal SIGKILL'."""
        code = self.process.wait()
        if code < 0:
            return f"its guard was ended by signal {signal_name(-code)}"
        return f"signal {signal_name(code - 128)}" if code > 128 else f"exit status {code}"

    def last_lines(self, count: int = KEPT_LINES) -> str:
        """Return the end of the child's log."""
        return "\n".join(read_tail(self.log).splitlines()[-count:])


def start_child(
    command: Sequence[str],
    *,
    log: Path,
    name: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    polite: signal.Signals = signal.SIGTERM,
    grace: float = 10.0,
    kept: Iterable[int] = (),
    stdin: bytes = b"",
    portable: bool = False,
) -> Child:
    """Start a command that writes to a new log and ends when this process does.

    `grace` is in seconds; `kept` are descriptors (locks) that stay open until the child and all it started
    are gone; `portable` does without what only Linux has. What cannot be started ends with exit status 127.
    """
    orders, give = os.pipe()
    plan = guard.Plan(orders, os.getpid(), polite, grace, *(account or PARENT), portable, tuple(kept))
    with contextlib.ExitStack() as undo:
        pipe = undo.enter_context(os.fdopen(give, "wb", buffering=0))
        try:
            process = launch(plan, command, log, env, cwd)
        finally:
            os.close(orders)
        hand_over(process, stdin)
        undo.pop_all()
    return Child(name or Path(command[0]).name, log, process, pipe, grace)


def launch(
    plan: guard.Plan, command: Sequence[str], log: Path, env: Mapping[str, str] | None, cwd: Path | None
) -> subprocess.Popen[bytes]:
    """Start the guard, which starts the command."""
    with open_log(log) as out:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, plan.write(), *command],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            pass_fds=(plan.orders, *plan.kept),
            start_new_session=True,  # Ctrl-C reaches the parent alone, which ends its children in order
        )


def hand_over(process: subprocess.Popen[bytes], stdin: bytes) -> None:
    """Write all that the child gets to read; it may have ended without reading it."""
    assert process.stdin is not None  # noqa: S101 (asked for in `launch`)
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(stdin)


def open_log(path: Path) -> IO[bytes]:
    """Open an empty log for its owner's eyes; the one before it is kept with '.1' at the end of its name."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.1"))
    return open(path, "wb", opener=open_privately)


def read_tail(path: Path, size: int = 8192) -> str:
    """Return the last bytes of a log as text; a log that is gone is empty."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - size))
            return log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def signal_name(number: int) -> str:
    """Return a signal's name, as in 'SIGKILL'."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
