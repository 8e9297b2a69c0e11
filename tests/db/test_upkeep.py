"""Keeping a store in order, on real files: what a check finds, what a collection takes, what a rebuild restores."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import migrate
from bodega_db.errors import CollectionRefusedError, VolumeMismatchError
from bodega_db.lifecycle import Status
from bodega_db.maintenance.fsck import Sort
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_db.volume.manifests import Place
from bodega_db.volume.trash import Trash
from conftest import create_database
from extent import ALL
from penguins import classifier, example
from psycopg.conninfo import conninfo_to_dict
from sklearn.cluster import BisectingKMeans
from zoo import data

NOW = timedelta(0)
HOUR = timedelta(hours=1)


def fill(store: ModelStore) -> None:
    """Register what `penguins` stands for."""
    for strength in (1.0, 2.0, 3.0):
        register(store, strength)


@pytest.fixture
def penguins(store: ModelStore) -> ModelStore:
    """A store with three versions of one model, each with bytes of its own."""
    return store


FURNISHED = {"penguins": fill}


def register(store: ModelStore, strength: float, **more: Any) -> Any:
    """Register a classifier whose bytes the strength makes different."""
    return store.register(classifier(strength), "penguins", example=example(), metrics={"strength": strength}, **more)


def troubles(store: ModelStore, share: float = 0.0) -> list[tuple[Sort, str]]:
    """Return what a check finds, by sort and subject."""
    return [(trouble.sort, trouble.subject) for trouble in store.fsck(share=share).troubles]


def delete(store: ModelStore, reference: str) -> None:
    """Take a version out of the catalog."""
    store.archive(reference)
    store.delete(reference, reason="not wanted")


def artifact(store: ModelStore, number: int) -> Path:
    """Return the file of a version."""
    return store.artifacts.root / store.get("penguins", number).path


def name_of(url: str) -> str:
    """Return the database of a URL."""
    return conninfo_to_dict(url)["dbname"]


# --- fsck ----------------------------------------------------------------------------------------------------


def test_a_store_in_order_has_no_trouble(penguins: ModelStore) -> None:
    """Everything is counted, and with a share of all every artifact is hashed."""
    report = penguins.fsck(share=1.0)

    assert (report.status, report.troubles) == (0, ())
    assert (report.versions, report.artifacts, report.hashed) == (3, 3, 3)
    assert report.hashed_bytes == sum(version.size_bytes for version in penguins.versions("penguins"))


def test_a_sample_hashes_some(penguins: ModelStore) -> None:
    """A third of three artifacts is one, and without a share none is read."""
    assert penguins.fsck(share=1 / 3).hashed == 1
    assert penguins.fsck().hashed == 0


def flip_a_bit(file: Path) -> None:
    """Change one bit, and neither size nor mode."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o640)
    file.write_bytes(content)
    file.chmod(0o440)


def make_longer(file: Path) -> None:
    """Append a byte."""
    file.chmod(0o640)
    with file.open("ab") as end:
        end.write(b"\0")


def link(file: Path) -> None:
    """Put a link to the same bytes in the place of the file."""
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


@pytest.mark.parametrize("damage", [Path.unlink, make_longer, link])
def test_damage_that_shows_from_outside_is_found_without_reading(
    penguins: ModelStore, damage: Callable[[Path], None]
) -> None:
    """A file that is missing, of another size or none at all is corrupt, whatever the state of its version."""
    penguins.quarantine("penguins@2", reason="strange")
    damage(artifact(penguins, 2))

    assert (Sort.CORRUPT, "penguins@2") in troubles(penguins)


def test_damage_inside_is_found_by_reading(penguins: ModelStore) -> None:
    """One bit is enough; without reading, nothing can be known of it."""
    flip_a_bit(artifact(penguins, 3))

    assert troubles(penguins) == []
    assert troubles(penguins, 1.0) == [(Sort.CORRUPT, "penguins@3")]
    assert penguins.fsck(share=1.0).status == 1


def test_a_file_that_can_be_written_is_told(penguins: ModelStore) -> None:
    """It is no damage yet, so the status stays 0."""
    artifact(penguins, 1).chmod(0o640)

    assert troubles(penguins) == [(Sort.WARNING, "penguins@1")]
    assert penguins.fsck().status == 0


def test_what_this_process_would_not_load_is_refused(
    penguins: ModelStore, connect: Callable[..., ModelStore], sql_connection: "psycopg.Connection[Any]"
) -> None:
    """Another minor version of scikit-learn, and a format that is not allowed, are told with the version."""
    joblib = connect(formats=["skops", "joblib"])
    register(joblib, 4.0, format="joblib")
    sql_connection.execute("ALTER TABLE version DISABLE TRIGGER version_is_immutable")
    older = '{"libraries": {"scikit-learn": "1.0.2"}}'
    sql_connection.execute("UPDATE version SET environment = %s WHERE number = 1", (older,))

    report = penguins.fsck()
    assert {(t.sort, t.subject) for t in report.troubles} == {
        (Sort.REFUSED, "penguins@1"),
        (Sort.REFUSED, "penguins@4"),
    }
    assert report.status == 2
    assert "1.0.2" in next(t.found for t in report.troubles if t.subject == "penguins@1")


def test_what_this_process_does_not_trust_is_refused_by_reading(
    store: ModelStore, connect: Callable[..., ModelStore]
) -> None:
    """Types that another process trusts are named, and nothing of the file is constructed."""
    X, _ = data.measures()
    types = ["sklearn.cluster._bisect_k_means._BisectingTree", "sklearn.cluster._kmeans._kmeans_single_lloyd"]
    connect(trusted_types=types).register(BisectingKMeans(2).fit(X), "clusters", example=X.head(20))

    assert store.fsck().status == 0
    (trouble,) = store.fsck(share=1.0).troubles
    assert (trouble.sort, trouble.subject) == (Sort.REFUSED, "clusters@1")
    assert types[0] in trouble.found


def test_what_no_version_names_is_an_orphan(penguins: ModelStore) -> None:
    """An artifact of a deleted version, a foreign file, and what a killed writer left behind."""
    gone = penguins.get("penguins", 1).path
    delete(penguins, "penguins@1")
    stray = penguins.artifacts.root / "objects" / "sha256" / "ab" / "notes.txt"
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("mine")
    (penguins.artifacts.root / "tmp" / "1234.part").write_bytes(b"half")

    report = penguins.fsck()

    assert {(t.sort, t.subject) for t in report.troubles} == {
        (Sort.ORPHAN, gone),
        (Sort.ORPHAN, "objects/sha256/ab/notes.txt"),
        (Sort.ORPHAN, "tmp/1234.part"),
    }
    assert report.status == 8


def test_sorts_of_trouble_add_up(penguins: ModelStore) -> None:
    """The status has one bit for each sort, however often it was met."""
    for number in (1, 2):
        artifact(penguins, number).unlink()
    (penguins.artifacts.root / "tmp" / "1234.part").write_bytes(b"half")

    assert penguins.fsck().status == 9


def test_a_volume_of_another_store_is_not_checked(penguins: ModelStore, connect: Callable[..., ModelStore]) -> None:
    """Its files say nothing about this catalog's versions."""
    shutil.rmtree(penguins.artifacts.root)
    penguins.artifacts.root.mkdir()

    for verb in (penguins.fsck, penguins.gc, penguins.write_manifests):
        with pytest.raises(VolumeMismatchError):
            verb()
    assert list(penguins.artifacts.root.iterdir()) == []


def test_missing_manifests_are_written_from_the_catalog(penguins: ModelStore) -> None:
    """They are the same that the registration would have written."""
    path = penguins.manifests.path("penguins", 2)
    before = path.read_bytes()
    path.unlink()

    assert troubles(penguins) == [(Sort.WARNING, "penguins@2")]
    assert penguins.write_manifests() == ["penguins@2"]
    assert path.read_bytes() == before
    assert troubles(penguins) == []


# --- gc ------------------------------------------------------------------------------------------------------


def test_a_plan_changes_nothing(penguins: ModelStore) -> None:
    """Whoever asks without `apply` hears what would be done, as often as he asks."""
    gone = penguins.get("penguins", 1).digest
    delete(penguins, "penguins@1")
    before = sorted(penguins.artifacts.root.rglob("*"))

    for _ in range(2):
        assert penguins.gc(grace=NOW).discard == [gone]
    assert sorted(penguins.artifacts.root.rglob("*")) == before


def test_an_orphan_goes_by_way_of_the_trash(penguins: ModelStore) -> None:
    """First into the trash, where it stays for the grace; then for good; and what versions name stays as it is."""
    path = artifact(penguins, 1)
    delete(penguins, "penguins@1")

    penguins.gc(apply=True, force=True)
    trash = penguins.artifacts.root / "trash"
    assert not path.exists()
    assert len(list(trash.iterdir())) == 1

    assert len(penguins.gc(grace=HOUR, apply=True).waiting) == 1
    assert len(list(trash.iterdir())) == 1

    assert len(penguins.gc(grace=NOW, apply=True).destroy) == 1
    assert list(trash.iterdir()) == []
    assert troubles(penguins, 1.0) == []


def test_the_grace_runs_by_the_databases_clock(penguins: ModelStore) -> None:
    """The name in the trash carries the database's time, whatever the clock here says and the file's own times are."""
    delete(penguins, "penguins@1")
    penguins.gc(apply=True, force=True)
    (discarded,) = (penguins.artifacts.root / "trash").iterdir()
    digest = discarded.name.partition(".")[0]
    discarded.rename(discarded.with_name(f"{digest}.20200101T000000000000Z"))

    assert len(penguins.gc().destroy) == 1


def test_more_than_a_tenth_needs_force(penguins: ModelStore) -> None:
    """A catalog that names next to nothing on a full volume is rather the wrong one."""
    path = artifact(penguins, 1)
    delete(penguins, "penguins@1")

    with pytest.raises(CollectionRefusedError, match="1 of 3 artifacts"):
        penguins.gc(grace=NOW, apply=True)
    assert path.exists()


def test_bytes_that_another_version_shares_stay(penguins: ModelStore) -> None:
    """The same model registered again is the same file: deleting one version leaves it to the other."""
    register(penguins, 1.0)
    delete(penguins, "penguins@1")

    assert penguins.gc(grace=NOW, apply=True).discard == []
    assert troubles(penguins, 1.0) == []


def test_what_is_registered_again_is_found_again(penguins: ModelStore) -> None:
    """Bytes in the trash are no obstacle, and emptying it later does not touch the new file."""
    delete(penguins, "penguins@1")
    penguins.gc(apply=True, force=True)
    again = register(penguins, 1.0)
    penguins.gc(grace=NOW, apply=True)

    assert again.number == 4
    assert (troubles(penguins, 1.0), list((penguins.artifacts.root / "trash").iterdir())) == ([], [])


def test_what_a_version_lacks_comes_back_from_the_trash(penguins: ModelStore) -> None:
    """After a backup of the catalog was restored, a version may be back whose file was discarded meanwhile."""
    Trash(penguins.artifacts.root).discard(penguins.get("penguins", 2).digest, datetime.now(UTC))
    assert penguins.fsck().status == 1

    assert len(penguins.gc(grace=NOW, apply=True).put_back) == 1
    assert troubles(penguins, 1.0) == []


def test_old_parts_and_abandoned_manifests_are_removed(penguins: ModelStore) -> None:
    """Not before a day, however short the grace: until then somebody may be writing them."""
    root = penguins.artifacts.root
    part = root / "tmp" / "1234.part"
    part.write_bytes(b"half")
    unfinished = root / "manifests" / "penguins" / "unfinished" / f"{'0' * 32}.json"
    shutil.copy(penguins.manifests.path("penguins", 1), unfinished)
    key = penguins.get("penguins", 1).idempotency_key
    assert key is not None
    manifest = next(iter(penguins.manifests.list())).read()
    unfinished.chmod(0o640)
    unfinished.write_bytes(replace(manifest, idempotency_key="never committed").to_bytes())

    assert penguins.gc(grace=NOW, apply=True).parts == []
    for path in (part, unfinished):
        os.utime(path, (0, 0))
    assert penguins.gc(grace=NOW, apply=True).parts == [part, unfinished]
    assert troubles(penguins) == []


def test_collections_beside_registrations_take_nothing(
    penguins: ModelStore, connect: Callable[..., ModelStore]
) -> None:
    """While eight writers register fifty versions, some of the same bytes, collections run without a pause."""
    ended, errors = threading.Event(), []

    def collect() -> None:
        collector = connect()
        while not ended.is_set():
            collector.gc(grace=NOW, apply=True, force=True)

    def write(writer: int) -> None:
        try:
            for strength in range(50 // 8 + 1):
                register(penguins, 10.0 + (strength + writer) % 5)
        except Exception as exc:
            errors.append(exc)

    collecting = threading.Thread(target=collect)
    collecting.start()
    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    collecting.join()

    assert errors == []
    assert len(penguins.versions("penguins")) == 3 + 8 * 7
    assert troubles(penguins, 1.0) == []


COLLECT = """
import sys
from datetime import timedelta
from pathlib import Path
from bodega_db.volume.manifests import Place
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
store = ModelStore.connect(Settings.read(database_url=sys.argv[1], models=Path(sys.argv[2])))
store.gc(grace=timedelta(0), apply=True, force=True)
"""
MOVES = ("rename", "unlink", "fsync", "mkdir")  # all that changes the volume; Python has no other names for them here


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace kills at a chosen system call")
def test_a_collection_that_is_killed_anywhere_loses_nothing(
    penguins: ModelStore, database_url: str, volume: Path
) -> None:
    """Killed at calls that change the volume, every version is whole, and the next collection ends the work.

    At every second one; `./bodega test --all tests/db/test_upkeep.py` takes them all.
    """
    delete(penguins, "penguins@1")
    penguins.gc(apply=True, force=True)  # in the trash, to be destroyed
    register(penguins, 4.0)
    delete(penguins, "penguins@2")  # to be discarded, and its manifest retired
    Trash(volume).discard(penguins.get("penguins", 3).digest, datetime.now(UTC))  # to be put back
    manifest = penguins.manifests.path("penguins", 4)
    penguins.manifests.begin(Place(manifest, "penguins", 4).read())  # to be finished
    manifest.unlink()
    pristine = shutil.copytree(volume, volume.with_name("pristine"))
    killed = 0
    for call in MOVES:
        for point in count(1, step=1 if ALL else 2):
            shutil.rmtree(volume)
            shutil.copytree(pristine, volume)
            ended = collect_under_strace(f"{call}:signal=KILL:when={point}", database_url, volume)
            corrupt = {s for s in penguins.fsck(share=1.0).troubles if s.sort is Sort.CORRUPT}
            assert {trouble.subject for trouble in corrupt} <= {"penguins@3"}, (call, point)
            penguins.gc(grace=NOW, apply=True, force=True)
            assert penguins.gc(grace=NOW, apply=True, force=True).waiting == []
            left = [
                found for found in troubles(penguins, 1.0) if not found[1].endswith(".part")
            ]  # those wait for a day
            assert (left, list((volume / "trash").iterdir())) == ([], []), (call, point)
            if ended == 0:
                break
            assert ended in (-signal.SIGKILL, 128 + signal.SIGKILL)
            killed += 1

    assert killed >= (15 if ALL else 8)


def collect_under_strace(inject: str, *arguments: object) -> int:
    """Collect garbage in a process of its own that strace injects a fault into; return its status."""
    call = inject.partition(":")[0]
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={inject}"]
    program = [sys.executable, "-B", "-c", COLLECT, *map(str, arguments)]
    return subprocess.run([*strace, *program], capture_output=True, check=False).returncode


# --- rebuild -------------------------------------------------------------------------------------------------


@pytest.fixture
def rebuilt(postgres_url: str, volume: Path) -> Iterator[ModelStore]:
    """A store over the same volume and a database that is new."""
    url = create_database(postgres_url, f"rebuilt_{volume.parent.name[-40:].lower()}".replace("-", "_"))
    migrate.upgrade(url)
    with closing(ModelStore.connect(Settings.read(database_url=url, models=volume))) as store:
        yield store


ONCE = ("model", "number", "digest", "size_bytes", "format", "metrics", "params", "tags", "note", "created_at")
ALSO = ("created_by", "signature", "golden", "environment", "lineage", "idempotency_key")


def written_once(store: ModelStore) -> list[tuple[Any, ...]]:
    """Return all that registrations wrote of the versions of a model."""
    versions = [store.get("penguins", v.number) for v in store.versions("penguins", order="version")]
    return [tuple(getattr(version, name) for name in ONCE + ALSO) for version in versions]


def registrations(store: ModelStore) -> list[tuple[Any, ...]]:
    """Return who registered which version when and why."""
    events = [event for event in store.history("penguins") if event.kind == "registered"]
    return sorted((e.number, e.actor, e.reason, e.after) for e in events)


def test_a_rebuilt_catalog_is_as_the_lost_one_was_registered(penguins: ModelStore, rebuilt: ModelStore) -> None:
    """All that is written once is the same; versions are archived, deleted numbers are not used again."""
    register(penguins, 4.0, note="für Ada 🐧", tags={"team": "core"}, idempotency_key="a key", actor="ada")
    penguins.promote("penguins@1")
    delete(penguins, "penguins@2")
    register(penguins, 5.0)
    delete(penguins, "penguins@5")
    penguins.gc(apply=True, force=True)

    found = rebuilt.rebuild()
    assert [manifest.version.reference for manifest in found.restore] == ["penguins@1", "penguins@3", "penguins@4"]
    assert rebuilt.models() == []
    rebuilt.rebuild(apply=True, actor="grace")

    assert written_once(rebuilt) == written_once(penguins)
    assert registrations(rebuilt) == [row for row in registrations(penguins) if row[0] not in (2, 5)]
    assert {version.status for version in rebuilt.versions("penguins")} == {Status.ARCHIVED}
    assert troubles(rebuilt, 1.0) == []
    model = rebuilt.model("penguins")
    assert (model.versions, model.last_version) == (3, 5)
    status = next(event for event in rebuilt.history("penguins") if event.kind == "status")
    assert (status.actor, status.reason) == ("grace", "restored from its manifest: its status then is not known")

    assert rebuilt.promote("penguins@1").status is Status.PRODUCTION
    assert rebuilt.open(rebuilt.get("penguins", 4)).predict(rebuilt.get("penguins", 4).golden.inputs)
    again = rebuilt.register(
        classifier(4.0), "penguins", example=example(), metrics={"strength": 4.0}, idempotency_key="a key"
    )
    assert again.number == 4
    assert register(rebuilt, 6.0).number == 6
    assert rebuilt.rebuild().restore == []


def test_what_is_damaged_is_not_restored(penguins: ModelStore, rebuilt: ModelStore) -> None:
    """An artifact with another bit, and a manifest with another one, are refused with the reason; the rest comes."""
    flip_a_bit(artifact(penguins, 1))
    flip_a_bit(penguins.manifests.path("penguins", 2))

    lost = rebuilt.rebuild(apply=True)

    refused = dict(lost.refused)
    assert "has the sha256" in refused["penguins@1"]
    assert "It is not whole" in refused["penguins@2"]
    assert [version.number for version in rebuilt.versions("penguins")] == [3]
    assert register(rebuilt, 7.0).number == 4


def test_an_older_backup_gets_back_what_it_lacks(
    penguins: ModelStore, postgres_url: str, database_url: str, volume: Path
) -> None:
    """What was registered after the backup is no garbage; it is restored beside what the backup has."""
    penguins.close()  # Postgres copies no database that somebody uses
    url = create_database(postgres_url, f"backup_of_{name_of(database_url)}", name_of(database_url))
    later = register(penguins, 8.0)
    with closing(ModelStore.connect(Settings.read(database_url=url, models=volume))) as older:
        assert [(t.sort, t.subject) for t in older.fsck().troubles] == [(Sort.ORPHAN, "penguins@4")]
        assert older.gc(grace=NOW, apply=True).forgotten == ["penguins@4"]
        older.rebuild(apply=True)

        assert older.get("penguins", 4).digest == later.digest
        assert {v.number: v.status for v in older.versions("penguins")}[3] is Status.CANDIDATE
        assert troubles(older, 1.0) == []


def test_a_number_that_was_given_out_again_keeps_both(
    penguins: ModelStore, postgres_url: str, database_url: str, volume: Path
) -> None:
    """Where a program of old went on after an older backup, no bytes are lost: they are told, and not collected."""
    penguins.close()  # Postgres copies no database that somebody uses
    url = create_database(postgres_url, f"forked_of_{name_of(database_url)}", name_of(database_url))
    lost = register(penguins, 8.0)
    with closing(ModelStore.connect(Settings.read(database_url=url, models=volume))) as older:
        manifest = older.manifests.path("penguins", 4)
        kept = manifest.rename(volume / "kept")  # which that program did not look at
        assert register(older, 9.0).number == 4
        kept.rename(manifest.with_name("4.0123abcd.json"))  # as it kept the one of the lost version
        assert older.gc(grace=NOW, apply=True).forgotten == ["penguins@4"]
        (refused,) = older.rebuild(apply=True).refused

        assert refused == ("penguins@4", "Another version was registered as penguins@4 since")
        assert (volume / lost.path).exists()


def test_a_catalog_with_models_takes_no_other_volume(penguins: ModelStore, rebuilt: ModelStore, tmp_path: Path) -> None:
    """Two stores are not mixed; and an empty folder has nothing to restore."""
    assert penguins.models()
    other = ModelStore.connect(Settings.read(database_url=rebuilt.catalog.url, models=tmp_path / "other"))
    with closing(other):
        with pytest.raises(VolumeMismatchError, match="has no marker"):
            other.rebuild()
        register(other, 1.0)
    with pytest.raises(VolumeMismatchError, match="has models of its own"):
        rebuilt.rebuild()
