"""Files for their owner's eyes: secrets, notes that hold secrets, logs."""

import os
import secrets
from pathlib import Path


def open_privately(path: str, flags: int) -> int:
    """Open a file that only its owner can read, as the `opener` of `open`."""
    return os.open(path, flags, 0o600)


def write_privately(path: Path, text: str) -> None:
    """Write a whole file that only its owner can read; a reader sees the old text or the new one."""
    draft = path.with_name(f"{path.name}.new")
    with open(draft, "w", opener=open_privately) as file:
        file.write(text)
    draft.replace(path)


def keep_secret(path: Path) -> str:
    """Return the secret in a file; the first time it is made, at random."""
    if not path.is_file():
        write_privately(path, secrets.token_urlsafe(24))
    return path.read_text().strip()
