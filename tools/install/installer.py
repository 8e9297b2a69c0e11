"""One installer at a time: the lock, the log, and how a step is run."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from causes import RefusalError, explain_command
from environment import clean
from places import LOG, ROOT, TOOLS


class Installer(NamedTuple):
    """What every step of an install needs: the cleaned environment and the lock to hand on."""

    environment: dict[str, str]
    lock: int

    def run(self, step: str, *command: str | Path) -> None:
        """Runs one command with its output in the log; raises RefusalError when it fails."""
        with LOG.open("ab") as log:
            log.write(f"\n# {step}: {[*map(str, command)]}\n".encode(errors="replace"))
            log.flush()
            start = log.tell()
            # The child inherits the lock: if this process is killed, nobody installs beside the orphan.
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self.lock,),
                check=False,
            )
        if done.returncode:
            output = LOG.read_bytes()[start:].decode(errors="replace")
            raise RefusalError(explain_command(step, done.returncode, output, self.environment))


@contextmanager
def open_installer() -> Iterator[Installer]:
    """Waits for its turn and gives the tools to work with."""
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "lock").open("a") as lock:
        wait_for(lock.fileno())
        yield Installer(clean(dict(os.environ)), lock.fileno())


def wait_for(lock: int) -> None:
    """Takes the lock, which the kernel gives back by itself when its holders are dead."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("another start is installing; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as failure:
        # Some network file systems have no locks; one start at a time works there all the same.
        if failure.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise


def note(text: str) -> None:
    """Tells a person at a terminal what takes so long."""
    if sys.stderr.isatty():
        print(f"bodega: {text} …", file=sys.stderr)
