"""What the tests of the API share: one running API over every exhibit, for the tests that only read."""

from collections.abc import Iterator

import pytest
from gallery import Gallery, open_gallery


@pytest.fixture(scope="session")
def gallery(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    """An API over a catalog with every exhibit; a test that uses it changes nothing."""
    with open_gallery(postgres_url, template, "gallery", tmp_path_factory.mktemp("gallery") / "models") as gallery:
        yield gallery
