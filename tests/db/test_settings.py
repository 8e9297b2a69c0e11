"""Settings that are wrong: what the messages say, and what they never say."""

from pathlib import Path

import pytest
from bodega_db.errors import SettingsError
from bodega_db.settings import Settings
from bodega_db.store import ModelStore


@pytest.mark.parametrize("database_url", ["postgresql://host:port/db", "postgresql://[::1/db", "nonsense"])
def test_a_database_url_that_is_none_is_a_setting_that_is_wrong(tmp_path: Path, database_url: str) -> None:
    """Whatever is wrong with it, the message names the variable, and never the URL, which may hold a password."""
    with pytest.raises(SettingsError, match="BODEGA_DATABASE_URL is not a database URL"):
        ModelStore.connect(Settings.read(database_url=database_url, models=tmp_path))


def test_a_list_that_is_no_json_is_a_setting_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message shows how a list is written."""
    monkeypatch.setenv("BODEGA_FORMATS", "skops")

    with pytest.raises(SettingsError, match="not written as JSON"):
        Settings.read(database_url="postgresql://host/db", models=tmp_path)
