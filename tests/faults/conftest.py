"""A new store for each fault, however many a test makes."""

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from conftest import create_database
from psycopg import sql

Fresh = Callable[[], tuple[str, Path]]


@pytest.fixture
def fresh(postgres_url: str, template: str, tmp_path: Path) -> Iterator[Fresh]:
    """Make a database and a volume that nothing was ever registered in."""
    numbers = count(1)
    names: list[str] = []

    def make() -> tuple[str, Path]:
        for name in names:
            drop(postgres_url, name)
        names[:] = [f"fault_{tmp_path.name[-40:].lower()}_{next(numbers)}".replace("-", "_")]
        volume = tmp_path / f"volume-{names[0]}"
        shutil.rmtree(tmp_path, ignore_errors=True)
        tmp_path.mkdir()
        return create_database(postgres_url, names[0], template), volume

    yield make
    for name in names:
        drop(postgres_url, name)


def drop(server: str, name: str) -> None:
    """Drop a database, whoever is connected to it."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
