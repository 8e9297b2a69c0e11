"""What must hold of a store after whatever happened, looked at without any of the code that is tested.

Every row's file is there and has the size and sha256 of the row; no name among the artifacts has other bytes than it
says; numbers have no gaps; every version has its event. A file that no row names may be there.
"""

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Any

import psycopg

NAME = re.compile(r"[0-9a-f]{64}")


def check_invariant(database_url: str, volume: Path) -> int:
    """Assert that a store is whole, and return how many versions it has."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT name, number, sha256, size_bytes, path, status FROM version JOIN model ON model.id = model_id"
        ).fetchall()
        models = connection.execute("SELECT name, last_version FROM model").fetchall()
        events = connection.execute("SELECT kind, model, number FROM event").fetchall()
    _check_numbers(rows, models, events)
    _check_rows(rows, volume)
    _check_artifacts(volume)
    return len(rows)


def _check_numbers(rows: list[Any], models: list[Any], events: list[Any]) -> None:
    registered = sorted((model, number) for kind, model, number in events if kind == "registered")
    deleted = {(model, number) for kind, model, number in events if kind == "deleted"}
    there = {(name, number) for name, number, *_ in rows}
    assert len(there) == len(rows)
    assert registered == sorted(there | deleted), "a version without its event, or an event without its version"
    given = {(name, number) for name, last in models for number in range(1, last + 1)}
    assert given == there | deleted, "a number that nobody has"
    production = [name for name, _, _, _, _, status in rows if status == "production"]
    assert len(production) == len(set(production)), "two versions of one model in production"


def _check_rows(rows: list[Any], volume: Path) -> None:
    for name, number, sha256, size, path, _ in rows:
        file = volume / path
        found = os.lstat(file)
        assert stat.S_ISREG(found.st_mode), f"{name}@{number} is no file"
        assert found.st_mode & 0o222 == 0, f"{name}@{number} can be written"
        assert found.st_size == size, f"{name}@{number} has another size"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256, f"{name}@{number} has other bytes"


def _check_artifacts(volume: Path) -> None:
    for folder, _, files in os.walk(volume / "objects"):
        for name in files:
            path = Path(folder) / name
            assert NAME.fullmatch(name), f"{path} has a name that no artifact has"
            assert path == volume / "objects" / "sha256" / name[:2] / name, f"{path} lies elsewhere than it should"
            assert hashlib.sha256(path.read_bytes()).hexdigest() == name, f"{path} has other bytes than its name says"
