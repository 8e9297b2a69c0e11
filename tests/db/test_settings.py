"""Settings that are wrong: what the messages say, and what they never say."""

from pathlib import Path

import pytest
from bodega_db.errors import SettingsError
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_model.formats.policy import Policy


@pytest.mark.parametrize("database_url", ["postgresql://host:port/db", "postgresql://[::1/db", "nonsense"])
def test_a_database_url_that_is_none_is_a_setting_that_is_wrong(tmp_path: Path, database_url: str) -> None:
    """Whatever is wrong with it, the message names the variable, and never the URL, which may hold a password."""
    with pytest.raises(SettingsError, match="BODEGA_DATABASE_URL is not a database URL"):
        ModelStore.connect(Settings.read(database_url=database_url, models=tmp_path))


def test_a_list_that_is_no_json_is_a_setting_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message shows how a list is written."""
    monkeypatch.setenv("BODEGA_FORMATS", "skops")

    with pytest.raises(SettingsError, match="not valid JSON"):
        Settings.read(database_url="postgresql://host/db", models=tmp_path)


def test_the_policy_comes_from_the_settings(tmp_path: Path) -> None:
    """What a deployment set is what may be loaded."""
    settings = Settings(
        database_url="postgresql://nobody@localhost/none",  # type: ignore[arg-type]
        models=tmp_path,
        formats=frozenset({"joblib"}),
        trusted_types=frozenset({"my.Type"}),
    )

    policy = settings.policy()

    assert policy == Policy(frozenset({"joblib"}), frozenset({"my.Type"}))
