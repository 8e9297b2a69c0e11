"""What the tests of the notebook side share: `bodega` connected to this test's catalog, and a small fitted model."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import bodega
import pytest
from bodega import cli
from fitting import Fitted, fit_tree

Run = Callable[..., "tuple[int | str, str]"]


@pytest.fixture
def lab(database_url: str, volume: Path) -> Iterator[ModuleType]:
    """The module `bodega`, connected to this test's database and volume."""
    bodega.connect(database_url, volume)
    yield importlib.import_module("bodega")
    bodega.disconnect()


@pytest.fixture
def fitted() -> Fitted:
    """A small model of penguins."""
    return fit_tree()


@pytest.fixture
def two(lab: ModuleType) -> ModuleType:
    """The module `bodega`, with two versions of one model."""
    for fitted in (fit_tree(), fit_tree()):
        lab.register(fitted.model, "penguins", example=fitted.X)
    return lab


@pytest.fixture
def run(database_url: str, volume: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the `bodega` command on this test's catalog; return its status, or its last words, and its output."""
    monkeypatch.setenv("BODEGA_DATABASE_URL", database_url)
    monkeypatch.setenv("BODEGA_MODELS", str(volume))

    def run_command(*arguments: str) -> tuple[int | str, str]:
        monkeypatch.setattr(sys, "argv", ["bodega", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().out

    return run_command
