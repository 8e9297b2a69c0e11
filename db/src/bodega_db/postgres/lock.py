"""A lock of one process on a folder, with a note that says which process holds it.

The claim is a lock of the operating system on a file that is never removed, so it ends with the processes
that hold it, also when they are killed or the power fails. The note alone proves nothing: it is believed
while the lock is held.
"""

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bodega_db.postgres.private_files import open_privately, write_privately

Note = dict[str, Any]
POLL, PATIENCE = 0.02, 45.0  # seconds


class Claim:
    """The claim called `name` on a folder: take it, publish a note under it, release it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.lock = folder / f"{name}.lock"
        self.guests = folder / f"{name}.guests"
        self.note = folder / f"{name}.json"
        self.descriptor: int | None = None

    def take(self, wait: float = 0.0) -> Note | None:
        """Take the claim and return None, or return the note of who still holds it after `wait` seconds."""
        began = time.monotonic()
        descriptor = open_lock(self.lock)
        while not try_lock(descriptor, fcntl.LOCK_EX):
            note = self.read_note()
            # Without a note, or without its owner, the holder is just starting or ending: worth a moment.
            settled = note is not None and is_alive(note["owner"])
            if time.monotonic() - began > (wait if settled else max(wait, PATIENCE)):
                os.close(descriptor)
                return note or {}
            time.sleep(POLL)
        self.descriptor = descriptor
        self.note.unlink(missing_ok=True)  # left by a holder that was killed
        return None

    def publish(self, **facts: object) -> None:
        """Leave a note that only the same user can read, with the facts and who this process is."""
        text = json.dumps({**facts, "owner": os.getpid(), "command": own_command()})
        write_privately(self.note, text)

    def withdraw(self, wait: float = 0.0) -> None:
        """Remove the note, after waiting at most `wait` seconds for guests who use what it names."""
        descriptor = open_lock(self.guests)
        deadline = time.monotonic() + wait
        try:
            while not try_lock(descriptor, fcntl.LOCK_EX) and time.monotonic() < deadline:
                time.sleep(POLL)
            self.note.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the claim up; a child that keeps the descriptor holds it on."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def read_note(self) -> Note | None:
        """Return the note if there is one, whether or not it still holds."""
        try:
            note = json.loads(self.note.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return note if isinstance(note, dict) and isinstance(note.get("owner"), int) else None

    def find(self) -> Note | None:
        """Return the note of the process that holds the lock, or None if none does."""
        note = self.read_note()
        return note if note and self.is_held() else None

    def is_held(self) -> bool:
        """Tell whether a process holds the claim."""
        if not self.lock.exists():
            return False
        descriptor = open_lock(self.lock)
        try:
            return not try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def visit(self) -> Iterator[Note | None]:
        """Use what the holder runs; the holder waits for its guests where it can, see `withdraw`."""
        if not self.lock.exists():
            yield None
            return
        descriptor = open_lock(self.guests)
        try:
            # Not free: the holder is withdrawing its note at this moment.
            yield self.find() if try_lock(descriptor, fcntl.LOCK_SH) else None
        finally:
            os.close(descriptor)


def describe(note: Note) -> str:
    """Say who holds a claim, as in 'process 4711 (bodega up)'."""
    return f"process {note['owner']} ({note['command']})" if "owner" in note else "another process that is starting"


def is_alive(pid: int) -> bool:
    """Tell whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def own_command() -> str:
    """Return what this process was started as, without its arguments' values."""
    first, *rest = sys.argv or ["python"]
    return " ".join([Path(first).name or "python", *rest[:1]])


def open_lock(path: Path) -> int:
    """Open a lock file that only its owner can read, making it if need be."""
    return open_privately(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)


def try_lock(descriptor: int, kind: int) -> bool:
    """Take a lock if it is free now."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
