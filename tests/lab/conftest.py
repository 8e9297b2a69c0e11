"""What the tests of the notebook side share: `bodega` connected to this test's catalog, and a small fitted model."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import bodega
import pytest
from fitting import Fitted, fit_tree


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
