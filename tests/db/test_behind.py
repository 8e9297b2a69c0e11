"""A catalog that is older than its volume, as after a backup was restored: no number is given out a second time."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bodega_db.doctor.run import examine
from bodega_db.errors import CatalogBehindError
from bodega_db.maintenance import behind
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_db.store.register import Registrar
from bodega_db.volume.manifests import Manifests, VersionManifest
from conftest import create_database
from penguins import classifier, example
from psycopg import sql

_copies = count(1)
Restored = Callable[[], ModelStore]


def register(store: ModelStore, strength: float, name: str = "penguins") -> int:
    """Register a model and return its number."""
    return store.register(classifier(strength), name, example=example()).number


@pytest.fixture
def backup(
    store: ModelStore, postgres_url: str, database_url: str, make_settings: Callable[..., Settings]
) -> Iterator[Restored]:
    """Two versions, of which the catalog is backed up; what connects to the backup over the volume as it is by then."""
    for strength in (1.0, 2.0):
        register(store, strength)
    name = f"backup_{next(_copies)}"
    store.close()  # Postgres copies no database that somebody is connected to
    url = create_database(postgres_url, name, database_url.rpartition("/")[2])
    opened: list[ModelStore] = []

    def connect() -> ModelStore:
        opened.append(ModelStore.connect(make_settings(database_url=url)))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def findings(store: ModelStore) -> dict[str, Any]:
    """Return what the doctor finds of a store, by name."""
    return {finding.name: finding for finding in examine(store.catalog.url, store.artifacts.root)}


def test_a_registration_on_an_older_catalog_is_refused_until_it_is_rebuilt(store: ModelStore, backup: Restored) -> None:
    """Nothing is registered, a rebuild brings all of the lost versions back, and the next number is behind them."""
    digests = {number: store.get("penguins", number).digest for number in [register(store, 3.0), register(store, 4.0)]}
    older = backup()

    with pytest.raises(
        CatalogBehindError, match=r"^2 versions are on the volume and not in the catalog: run `bodega r"
    ):
        register(older, 5.0)
    assert [version.number for version in older.versions("penguins")] == [2, 1]
    assert older.find_unknown() == {"penguins": [3, 4]}
    found = findings(older)["manifests"]
    assert (found.state, found.figures) == ("fault", {"unknown": {"penguins": [3, 4]}})
    assert found.found.startswith("2 versions are on the volume and not in the catalog: run `bodega rebuild`")

    older.rebuild(apply=True)

    assert {number: older.get("penguins", number).digest for number in (3, 4)} == digests
    assert (findings(older)["manifests"].state, older.find_unknown(), register(older, 5.0)) == ("ok", {}, 5)


def test_an_import_and_a_model_that_the_catalog_lacks_are_refused_too(
    store: ModelStore, backup: Restored, tmp_path: Path
) -> None:
    """A model that was begun after the backup has manifests, and its number 1 is not free; other models go on."""
    register(store, 3.0, "younger")
    store.export(["penguins@1"], tmp_path / "moved.bodega")
    older = backup()

    with pytest.raises(CatalogBehindError, match="1 version is on the volume and not in the catalog"):
        register(older, 4.0, "younger")
    with pytest.raises(CatalogBehindError, match=r"younger@1"):
        older.import_bundle(tmp_path / "moved.bodega", name="younger")
    assert register(older, 4.0) == 3
    older.rebuild(apply=True)

    assert (register(older, 5.0, "younger"), older.get("younger", 1).status) == (2, "archived")


def test_a_number_whose_version_was_deleted_is_not_given_out_again(store: ModelStore, backup: Restored) -> None:
    """Of a deleted version the volume keeps the number: the older catalog neither takes it nor stays refused."""
    number = register(store, 3.0)
    store.archive(f"penguins@{number}")
    store.delete(f"penguins@{number}", reason="x")
    store.gc(apply=True, force=True)
    older = backup()

    with pytest.raises(CatalogBehindError, match=r"penguins@3"):
        register(older, 4.0)
    assert older.rebuild(apply=True).behind == {"penguins": 3}

    assert register(older, 4.0) == 4


def test_what_cannot_be_restored_does_not_keep_others_from_registering(store: ModelStore, backup: Restored) -> None:
    """A manifest that is damaged and one without its artifact are told by the rebuild, and their numbers are passed."""
    register(store, 3.0)
    lacking = store.get("penguins", register(store, 4.0))
    damaged = store.manifests.path("penguins", 3)
    damaged.chmod(0o640)
    damaged.write_bytes(b"{}")
    (store.artifacts.root / lacking.path).unlink()
    older = backup()

    with pytest.raises(CatalogBehindError, match="2 versions"):
        register(older, 5.0)
    lost = older.rebuild(apply=True)

    assert sorted(reference for reference, _ in lost.refused) == ["penguins@3", "penguins@4"]
    assert register(older, 5.0) == 5


def test_a_catalog_that_went_back_during_a_registration_is_noticed(
    store: ModelStore, backup: Restored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the backup is restored between the look at the volume and the row, the row is not written."""
    register(store, 3.0)
    older = backup()
    monkeypatch.setattr(Registrar, "check_numbers", lambda *_: None)  # as if it had been before the restore

    with pytest.raises(CatalogBehindError, match=r"penguins@3"):
        register(older, 4.0)

    assert [version.number for version in older.versions("penguins")] == [2, 1]
    assert list(older.manifests.list_unfinished()) == []


def test_a_number_that_two_catalogs_gave_out_is_noticed(store: ModelStore, backup: Restored) -> None:
    """Where a program of old registered on the older catalog, its version and the lost one have one number."""
    register(store, 3.0)
    lost = store.manifests.path("penguins", 3).read_bytes()
    older = backup()
    store.manifests.path("penguins", 3).unlink()
    register(older, 4.0)
    own = older.manifests.path("penguins", 3)
    own.unlink()
    own.write_bytes(lost)

    with pytest.raises(CatalogBehindError, match="penguins@3 on the volume is another version than the catalog's"):
        register(older, 5.0)
    report = older.fsck()
    assert [trouble.subject for trouble in report.troubles] == ["penguins@3", "penguins@3"]
    assert older.gc().discard == []  # the bytes of the lost one are claimed by its manifest
    older.write_manifests()

    assert (register(older, 5.0), own.read_bytes() == lost) == (4, False)
    assert [place.number for place in older.manifests.list_kept()] == [3]


def test_registrations_at_once_do_not_take_each_other_for_lost(store: ModelStore) -> None:
    """While eight register the same model from two stores, each looks at the volume in between, and none is refused."""
    register(store, 1.0)
    done = threading.Event()
    refused: list[Exception] = []

    def look() -> None:
        while not done.is_set():
            try:
                behind.check_model(store.catalog.transaction, store.manifests, "penguins")
            except CatalogBehindError as exc:
                refused.append(exc)

    watching = threading.Thread(target=look)
    watching.start()
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda strength: register(store, strength), [float(n) for n in range(2, 10)]))
    done.set()
    watching.join()

    assert (sorted(numbers), refused) == (list(range(2, 10)), [])


def test_what_a_crash_leaves_is_no_lost_version(store: ModelStore) -> None:
    """An unfinished manifest has no number: whether its row was committed or not, the next registration goes on."""
    first = store.get("penguins", register(store, 1.0))
    manifest = VersionManifest.of(first)
    store.manifests.path("penguins", 1).unlink()
    store.manifests.begin(manifest)  # as if the process had ended behind the commit

    assert register(store, 2.0) == 2
    assert findings(store)["manifests"].state == "ok"


def test_the_look_is_at_one_model_only(store: ModelStore, volume: Path) -> None:
    """However many models the volume has, a registration reads the names of one folder and at most one manifest."""
    register(store, 1.0)
    for number in range(200):
        (volume / "manifests" / f"other{number}").mkdir()
        (volume / "manifests" / f"other{number}" / "7.json").write_bytes(b"no manifest")

    assert register(store, 2.0) == 2


@pytest.mark.sweep
def test_seventy_two_versions_and_a_backup_of_sixty(
    postgres_url: str, template: str, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """Twelve of 72 versions were registered after the backup: refused, rebuilt, and the next one is the 73rd."""
    name = f"many_{next(_copies)}"
    url = create_database(postgres_url, name, template)
    with closing(ModelStore.connect(make_settings(database_url=url))) as store:
        for number in range(60):
            register(store, 1.0 + number)
    older_url = create_database(postgres_url, f"{name}_backup", name)
    with closing(ModelStore.connect(make_settings(database_url=url))) as store:
        for number in range(60, 72):
            register(store, 1.0 + number)
        digests = {version.number: version.digest for version in store.versions("penguins")}
    with closing(ModelStore.connect(make_settings(database_url=older_url))) as older:
        with pytest.raises(CatalogBehindError, match="12 versions are on the volume and not in the catalog"):
            register(older, 100.0)
        older.rebuild(apply=True)

        assert {version.number: version.digest for version in older.versions("penguins")} == digests
        assert register(older, 100.0) == 73


def test_a_copy_of_the_manifests_alone_is_enough_to_notice(store: ModelStore, backup: Restored, tmp_path: Path) -> None:
    """Numbers are looked for among names: also a manifest that was kept under another name counts."""
    register(store, 3.0)
    path = store.manifests.path("penguins", 3)
    shutil.move(path, path.with_name("3.0123abcd.json"))

    assert Manifests(store.artifacts.root).list_numbers("penguins") == {1, 2, 3}
    with pytest.raises(CatalogBehindError, match=r"penguins@3"):
        register(backup(), 4.0)
