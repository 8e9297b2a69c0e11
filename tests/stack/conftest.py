"""Containers for the tests that ask for them, on a machine where a Docker Engine runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Deployment, deployed, is_running


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker Engine; without one the test is skipped."""
    if not is_running():
        pytest.skip("no Docker Engine with compose runs here")


@pytest.fixture
def deployment(engine: None, tmp_path: Path) -> Iterator[Deployment]:
    """A copy of the checkout that belongs to one test; nothing runs yet."""
    with deployed(tmp_path / "checkout") as deployment:
        yield deployment


@pytest.fixture(scope="module")
def stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment that is up, for all tests of a module."""
    with deployed(tmp_path_factory.mktemp("stack") / "checkout") as deployment:
        deployment.up("--build")
        yield deployment
