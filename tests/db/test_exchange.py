"""Versions that move between two real stores in one file, and files that are damaged or were made to do harm."""

import hashlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import migrate
from bodega_db.catalog.roles import ADMIN, API, LAB, RIGHTS, apply_roles
from bodega_db.errors import (
    ArtifactError,
    BundleError,
    IdempotencyConflictError,
    InvalidMetadataError,
    ModelNotFoundError,
    NotPermittedError,
    VersionNotFoundError,
    VersionQuarantinedError,
    VolumeError,
)
from bodega_db.postgres.embedded import EmbeddedPostgres
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_db.store.register import Registrar
from bodega_db.volume import bundle as bundles
from bodega_model.errors import FormatNotAllowedError, NotServableError, RegistrationError
from conftest import create_database
from penguins import NUMBERS, classifier, data, example
from sklearn.ensemble import RandomForestClassifier
from sqlalchemy.engine import make_url


@pytest.fixture
def other_url(postgres_url: str, template: str, request: pytest.FixtureRequest) -> str:
    """Another database, of another store."""
    name = f"other_{abs(hash(request.node.name))}"
    url = create_database(postgres_url, name, template)
    with psycopg.connect(url) as connection:
        # Each store has an identity of its own; this one is a clone.
        connection.execute("ALTER TABLE store DISABLE TRIGGER USER; UPDATE store SET id = gen_random_uuid()")
    return url


@pytest.fixture
def other(other_url: str, tmp_path: Path) -> Iterator[ModelStore]:
    """Another store: its own database, its own volume."""
    settings = Settings.read(database_url=other_url, models=tmp_path / "other")
    with closing(ModelStore.connect(settings)) as store:
        yield store


def fill(store: ModelStore) -> None:
    """Register what `filled` stands for."""
    for strength in (1.0, 2.0, 3.0):
        store.register(
            classifier(strength),
            "penguins",
            example=example(),
            metrics={"f1": strength},
            tags={"team": "core"},
            params={"C": strength},
            note=f"strength {strength}",
            lineage={"commit": "abc"},
        )
    store.register(classifier(), "others", example=example())
    store.quarantine("penguins@2", reason="a drill")
    store.promote("penguins@3")
    store.set_alias("penguins@1", "stable")


@pytest.fixture
def filled(store: ModelStore) -> ModelStore:
    """A store with three versions of one model, the second in quarantine and the third in production, and another."""
    return store


FURNISHED = {"filled": fill}


@pytest.fixture
def bundle(filled: ModelStore, tmp_path: Path) -> Path:
    """A file with the two versions of penguins that are not in quarantine."""
    filled.export(["penguins"], tmp_path / "penguins.bodega", actor="ada")
    return tmp_path / "penguins.bodega"


def state(store: ModelStore) -> list[tuple[str, str]]:
    """Return the versions of a store with the sha256 of each."""
    return [(version.reference, version.digest.hex) for version in store.versions()]


def objects(store: ModelStore) -> list[str]:
    """Return the names of all artifacts on a store's volume."""
    return [digest.hex for digest in store.artifacts.list()]


# --- there and back ------------------------------------------------------------------------------------------


def test_a_version_is_the_same_in_another_store(filled: ModelStore, other: ModelStore, bundle: Path) -> None:
    """Bytes, signature, golden rows and all that was said come along; number and status are the other store's own."""
    other.register(classifier(9.0), "penguins", example=example())
    moved = other.import_bundle(bundle, actor="bob")

    assert [version.number for version in moved] == [2, 3]
    assert [version.status for version in moved] == ["candidate", "candidate"]
    for version, origin in zip(moved, (filled.get("penguins", 1), filled.get("penguins", 3)), strict=True):
        assert (version.digest, version.signature, version.golden) == (origin.digest, origin.signature, origin.golden)
        assert (version.metrics, version.params, version.tags) == (origin.metrics, origin.params, origin.tags)
        assert (version.note, version.environment, version.created_by) == (origin.note, origin.environment, "bob")
        assert version.lineage["commit"] == "abc"
        imported = version.lineage["imported"]
        assert (imported["version"], imported["registered_by"]) == (origin.reference, origin.created_by)
        assert (
            other.open(version).model.predict(example()).tolist()
            == filled.open(origin).model.predict(example()).tolist()
        )
    assert "imported from" in (other.history("penguins")[0].reason or "")


def test_an_import_is_done_once_however_often(other: ModelStore, bundle: Path) -> None:
    """The same file again returns what is there; also under another name a version is not imported twice."""
    first = other.import_bundle(bundle)
    again = other.import_bundle(bundle)

    assert [version.reference for version in again] == [version.reference for version in first]
    assert len(state(other)) == 2
    with pytest.raises(IdempotencyConflictError, match="penguins@1 of the bundle"):
        other.import_bundle(bundle, name="birds")


def test_an_interrupted_import_is_finished_by_the_next(
    other: ModelStore, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ended it between two versions, the same call goes on behind the last one."""
    calls: list[int] = []
    admit = Registrar.admit

    def interrupted(self: Registrar, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return admit(self, *arguments)

    monkeypatch.setattr(Registrar, "admit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        other.import_bundle(bundle)
    half = state(other)
    moved = other.import_bundle(bundle)

    assert [reference for reference, _ in half] == ["penguins@1"]
    assert [version.number for version in moved] == [1, 2]


IMPORT = """
import sys
from pathlib import Path
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
url, models, source = sys.argv[1:]
ModelStore.connect(Settings.read(database_url=url, models=Path(models))).import_bundle(Path(source))
"""


def test_an_import_that_was_killed_is_finished_by_the_next(
    filled: ModelStore, other: ModelStore, other_url: str, tmp_path: Path
) -> None:
    """After kill -9 in the middle of a version its number was not given out, and the next import goes on with it."""
    source = tmp_path / "both.bodega"
    filled.export(["others", "penguins"], source)
    other.register(classifier(9.0), "penguins", example=example())
    with psycopg.connect(other_url) as holder:
        # Whoever holds the model's row lets the import come as far as the second version, and no further.
        holder.execute("SELECT FROM model WHERE name = 'penguins' FOR UPDATE")
        arguments = [sys.executable, "-c", IMPORT, other_url, os.fspath(other.artifacts.root), os.fspath(source)]
        with subprocess.Popen(arguments) as process:
            wait_for(lambda: is_waiting(other_url))
            process.kill()
    half = sorted(state(other))
    moved = other.import_bundle(source)

    assert process.returncode == -signal.SIGKILL
    assert [reference for reference, _ in half] == ["others@1", "penguins@1"]
    assert [version.reference for version in moved] == ["others@1", "penguins@2", "penguins@3"]
    assert len(state(other)) == 4


def is_waiting(url: str) -> bool:
    """Tell whether anybody waits for a lock in a database."""
    with psycopg.connect(url) as connection:
        asked = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(connection.execute(asked).fetchall())


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something holds, and fail if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


def test_imports_at_once_are_one(other: ModelStore, bundle: Path) -> None:
    """Whoever imports the same file at the same moment gets the same versions, and each is registered once."""
    moved: list[list[str]] = []

    def move() -> None:
        moved.append([version.reference for version in other.import_bundle(bundle)])

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert moved == [["penguins@1", "penguins@2"]] * 4
    assert len(state(other)) == 2


def test_the_lab_imports_and_the_api_does_not(bundle: Path, tmp_path: Path) -> None:
    """Where the catalog has roles, the lab's and the administrator's may import, and every one of them may export."""
    with EmbeddedPostgres(tmp_path / "roles", durable=False) as server:
        url = create_database(server.url, "roles")
        migrate.upgrade(url)
        apply_roles(url, dict.fromkeys(RIGHTS, "password"))

        def move(role: str, name: str) -> list[str]:
            login = make_url(url).set(username=role, password="password")
            settings = Settings.read(
                database_url=login.render_as_string(hide_password=False), models=tmp_path / "team's"
            )
            with closing(ModelStore.connect(settings)) as store:
                moved = store.import_bundle(bundle) if name == "import" else store.export(["penguins"], tmp_path / role)
                return [version.reference for version in moved]

        with pytest.raises(NotPermittedError):
            move(API, "import")
        by_lab, by_admin = move(LAB, "import"), move(ADMIN, "import")
        exported = [move(role, "export") for role in (LAB, ADMIN, API)]

    assert by_lab == by_admin == ["penguins@1", "penguins@2"]
    assert exported == [by_lab] * 3


def test_a_model_gets_another_name(filled: ModelStore, other: ModelStore, bundle: Path) -> None:
    """Under another name a store also takes what it exported itself; under its own name it does not."""
    assert [version.reference for version in other.import_bundle(bundle, name="birds")] == ["birds@1", "birds@2"]
    assert [version.reference for version in filled.import_bundle(bundle, name="copies")] == ["copies@1", "copies@2"]
    for name in (None, "penguins"):
        with pytest.raises(BundleError, match="exported from this store"):
            filled.import_bundle(bundle, name=name)


def test_one_name_is_for_one_model(filled: ModelStore, other: ModelStore, tmp_path: Path) -> None:
    """A bundle with several models cannot be given one name: their versions would become those of one model."""
    filled.export(["others", "penguins"], tmp_path / "both.bodega")

    with pytest.raises(BundleError, match="2 models"):
        other.import_bundle(tmp_path / "both.bodega", name="birds")

    assert state(other) == []


def test_versions_are_named_one_by_one(filled: ModelStore, other: ModelStore, tmp_path: Path) -> None:
    """A number, an alias, production, and a whole model; what is named twice is there once, and shared bytes too."""
    named = ["penguins@3", "penguins@production", "penguins@stable", "others"]
    exported = filled.export(named, tmp_path / "some.bodega")
    with zipfile.ZipFile(tmp_path / "some.bodega") as archive:
        members = archive.namelist()

    assert [version.reference for version in exported] == ["others@1", "penguins@1", "penguins@3"]
    assert len([name for name in members if name.startswith("objects/")]) == 2  # others@1 has the bytes of penguins@1
    assert len(other.import_bundle(tmp_path / "some.bodega")) == 3


# --- what is not exported ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "error"),
    [
        (["penguins@2"], VersionQuarantinedError),
        (["penguins@9"], VersionNotFoundError),
        (["pinguins"], ModelNotFoundError),
        ([], VersionNotFoundError),
    ],
)
def test_what_cannot_be_exported_leaves_no_file(
    filled: ModelStore, tmp_path: Path, named: list[str], error: type[Exception]
) -> None:
    """A version in quarantine, or one that is not there, is refused, and no file is begun."""
    with pytest.raises(error):
        filled.export(["others", *named] if named else [], tmp_path / "none.bodega")

    assert list(tmp_path.glob("*bodega*")) == []


def test_a_damaged_artifact_is_not_exported(filled: ModelStore, tmp_path: Path) -> None:
    """Bytes that are no longer the registered ones end the export, and no file is left."""
    path = filled.artifacts.root / filled.get("penguins", 3).digest.path
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(ArtifactError):
        filled.export(["penguins"], tmp_path / "none.bodega")

    assert list(tmp_path.glob("*bodega*")) == []


def test_a_file_is_replaced_only_when_asked_to(filled: ModelStore, bundle: Path) -> None:
    """What is there stays as it is; with `overwrite` the whole new file takes its place."""
    before = bundle.read_bytes()
    with pytest.raises(BundleError, match="is there already"):
        filled.export(["others"], bundle)
    kept = bundle.read_bytes()
    filled.export(["others"], bundle, overwrite=True)

    assert kept == before
    assert bundle.read_bytes() != before
    assert [path.name for path in bundle.parent.iterdir() if "bodega" in path.name] == [bundle.name]
    with pytest.raises(VolumeError, match="cannot be written"):
        filled.export(["others"], bundle.parent / "no" / "folder.bodega")


@pytest.mark.parametrize("limit", ["LARGEST_MANIFEST", "MOST_VERSIONS"])
def test_what_no_store_would_import_is_not_exported(
    filled: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """The limits of the import are those of the export, which says to export fewer at a time."""
    monkeypatch.setattr(bundles, limit, 1)

    with pytest.raises(BundleError, match="fewer at a time"):
        filled.export(["penguins"], tmp_path / "none.bodega")

    assert list(tmp_path.glob("*bodega*")) == []


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow beyond 1024 bytes; not longer than needed, or pytest could not write either."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_an_export(filled: ModelStore, tmp_path: Path) -> None:
    """Where the file cannot be written to its end, it is not there, and what was there is as before."""
    (tmp_path / "old.bodega").write_text("what was there")
    with full_disk(), pytest.raises(VolumeError, match="cannot be written"):
        filled.export(["penguins"], tmp_path / "old.bodega", overwrite=True)

    assert (tmp_path / "old.bodega").read_text() == "what was there"
    assert [path.name for path in tmp_path.glob("*bodega*")] == ["old.bodega"]


# --- what is not imported ------------------------------------------------------------------------------------


def repack(bundle: Path, change: Callable[[dict[str, Any]], None] = lambda _: None, **options: Any) -> Path:
    """Write a bundle anew with another manifest, whose hash is right, and members that are added or packed otherwise."""
    made = bundle.with_name("made.bodega")
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(made, "w", options.get("packed", 0)) as target:
        manifest = json.loads(source.read("manifest.json"))
        change(manifest)
        told = json.dumps(manifest).encode()
        target.writestr("manifest.json", told)
        target.writestr("manifest.sha256", hashlib.sha256(told).hexdigest())
        for name in source.namelist():
            if name.startswith("objects/") and name not in options.get("without", ()):
                target.writestr(name, options.get("bytes", {}).get(name) or source.read(name))
        for name, data in options.get("more", {}).items():
            target.writestr(name, data)
    return made


def first(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    """Change the first version of a manifest."""

    def changed(manifest: dict[str, Any]) -> None:
        change(manifest["versions"][0])

    return changed


def empty(golden: dict[str, dict[str, list[Any]]]) -> dict[str, dict[str, list[Any]]]:
    """Take all rows out of golden rows."""
    return {part: {name: [] for name in columns} for part, columns in golden.items()}


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], None], type[Exception]]] = {
    "another format": (lambda m: m.update(format=2), BundleError),
    "no versions at all": (lambda m: m.update(versions=[]), BundleError),
    "a key that is missing": (lambda m: m.pop("store"), BundleError),
    "a version twice": (lambda m: m["versions"].append(m["versions"][0]), BundleError),
    "a name that is none": (first(lambda v: v.update(model="../x")), BundleError),
    "a name that is long": (first(lambda v: v.update(model="x" * 100_000)), BundleError),
    "a number that is none": (first(lambda v: v.update(number=0)), BundleError),
    "a hash that is none": (first(lambda v: v.update(sha256="../../etc/passwd")), BundleError),
    "another hash": (first(lambda v: v.update(sha256="0" * 64)), BundleError),
    "another size": (first(lambda v: v.update(size_bytes=v["size_bytes"] - 1)), BundleError),
    "a format of pickles": (first(lambda v: v.update(format="pickle")), FormatNotAllowedError),
    "a signature that is none": (first(lambda v: v.update(signature={"inputs": 7})), BundleError),
    "golden rows that are none": (first(lambda v: v.update(golden=[])), BundleError),
    "golden rows of others": (first(lambda v: v["golden"]["outputs"]["predict"].reverse()), NotServableError),
    "golden rows of nothing": (first(lambda v: v.update(golden={"inputs": {}, "outputs": {}})), BundleError),
    "golden rows without answers": (first(lambda v: v["golden"].update(outputs={})), BundleError),
    "golden rows that are not there": (first(lambda v: v["golden"].update(empty(v["golden"]))), BundleError),
    "fewer answers than golden rows": (
        first(lambda v: v["golden"]["outputs"].update(predict=["x"] * 5)),
        BundleError,
    ),
    "golden rows of unequal length": (first(lambda v: v["golden"]["inputs"]["sex"].pop()), BundleError),
    "golden rows of other columns": (first(lambda v: v["golden"]["inputs"].update(x=["x"] * 20)), BundleError),
    "an output without golden rows": (first(lambda v: v["golden"]["outputs"].pop("predict_proba")), BundleError),
    "an output that no golden row has": (
        first(lambda v: v["signature"]["outputs"].update(transform={"kind": "number"})),
        BundleError,
    ),
    "a column twice": (
        first(lambda v: v["signature"]["columns"].append(v["signature"]["columns"][0])),
        BundleError,
    ),
    "a range without end": (
        first(lambda v: v["signature"]["columns"][0].update(minimum=float("nan"))),
        InvalidMetadataError,
    ),
    "an environment without end": (first(lambda v: v["environment"].update(x=float("inf"))), InvalidMetadataError),
    "no environment": (first(lambda v: v.update(environment={})), NotServableError),
    "a store that is none": (lambda m: m.update(store="here"), BundleError),
    "a store without end": (lambda m: m.update(store=random.Random(1).randbytes(9000).hex()), BundleError),
    "metrics that are none": (first(lambda v: v.update(metrics={"f1": "high"})), InvalidMetadataError),
    "a metric without end": (first(lambda v: v.update(metrics={"f1": 10**400})), InvalidMetadataError),
    "a note without end": (first(lambda v: v.update(note="x" * 100_000)), InvalidMetadataError),
    "a NUL": (first(lambda v: v.update(note="\0")), InvalidMetadataError),
    "another scikit-learn": (
        first(lambda v: v["environment"].update(libraries={"scikit-learn": "0.18.0"})),
        NotServableError,
    ),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_lies_registers_nothing(other: ModelStore, bundle: Path, case: str) -> None:
    """Whatever a manifest with a right hash says of its first version, the version is checked like any other."""
    change, error = MANIFESTS[case]
    made = repack(bundle, change)

    with pytest.raises(error) as caught:
        other.import_bundle(made)

    assert len(str(caught.value)) < 1000
    assert state(other) == []
    assert objects(other) == []


def test_a_bundle_holds_exactly_what_its_manifest_names(other: ModelStore, bundle: Path) -> None:
    """One artifact more or less, a member twice, or a compressed one, and nothing is read."""
    with zipfile.ZipFile(bundle) as archive:
        name = next(name for name in archive.namelist() if name.startswith("objects/"))
    cases = [
        {"more": {"objects/../../../../tmp/evil": b"x"}},
        {"more": {"/etc/cron.d/evil": b"x"}},
        {"without": [name]},
        {"bytes": {name: b"short"}},
        {"packed": zipfile.ZIP_DEFLATED},
    ]
    for options in cases:
        with pytest.raises(BundleError):
            other.import_bundle(repack(bundle, **options))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = repack(bundle, more={"manifest.json": b"{}"})
    with pytest.raises(BundleError, match="twice"):
        other.import_bundle(twice)

    assert state(other) == []
    assert objects(other) == []


def test_other_bytes_of_the_same_size_are_refused(other: ModelStore, bundle: Path) -> None:
    """An artifact whose ZIP checksum was made right again still has another sha256."""
    with zipfile.ZipFile(bundle) as archive:
        name = next(name for name in archive.namelist() if name.startswith("objects/"))
        data = bytearray(archive.read(name))
    data[len(data) // 2] ^= 1

    with pytest.raises(BundleError, match="is not the one that was exported"):
        other.import_bundle(repack(bundle, bytes={name: bytes(data)}))

    assert state(other) == []
    assert objects(other) == []


def test_a_full_volume_ends_an_import(filled: ModelStore, other: ModelStore, tmp_path: Path) -> None:
    """An artifact that does not fit on the volume is not registered, and nothing of it stays."""
    inputs, species = data()
    forest = RandomForestClassifier(n_estimators=50, random_state=0).fit(inputs[NUMBERS].fillna(0), species)
    filled.register(forest, "forests", example=inputs[NUMBERS].fillna(0))
    filled.export(["forests"], tmp_path / "forests.bodega")
    other.check_volume(adopt=True)
    with full_disk(), pytest.raises(VolumeError, match="forests@1 of the bundle"):
        other.import_bundle(tmp_path / "forests.bodega")

    assert state(other) == []
    assert [path for path in other.artifacts.root.rglob("*") if path.is_file() and path.suffix != ".json"] == []


class Harmful:
    """What makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (os.fspath(self.path),)


def test_a_pickle_that_calls_itself_skops_is_not_loaded(other: ModelStore, bundle: Path, tmp_path: Path) -> None:
    """With hashes that are right everywhere, bytes of another format are refused by the loader, and do nothing."""
    data = pickle.dumps(Harmful(tmp_path / "harm"))
    digest = hashlib.sha256(data).hexdigest()

    def exchange(manifest: dict[str, Any]) -> None:
        manifest["versions"] = manifest["versions"][:1]
        manifest["versions"][0].update(sha256=digest, size_bytes=len(data))

    with zipfile.ZipFile(bundle) as archive:
        names = [name for name in archive.namelist() if name.startswith("objects/")]
    made = repack(bundle, exchange, without=names, more={f"objects/{digest}": data})

    with pytest.raises(NotServableError, match=r"not a whole skops archive|does not end with its directory"):
        other.import_bundle(made)

    assert not (tmp_path / "harm").exists()
    assert (state(other), objects(other)) == ([], [])
    pickle.loads(data)
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("the kind of file", 0o120777 << 16),  # a link, to whatever path its bytes say
        ("encrypted", 1),
        ("much larger", 2**40),
        ("much smaller", 1),
    ],
)
def test_a_member_that_lies_about_itself_is_refused_or_read_as_bytes(
    filled: ModelStore, other: ModelStore, bundle: Path, place: str, value: int
) -> None:
    """What the directory of the ZIP says of a member other than its bytes leads nowhere: no link, no key, no bomb."""
    made = bundle.with_name("made.bodega")
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(made, "w") as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
        for member in target.infolist()[2:]:  # the local headers are written; the directory is not
            if place == "the kind of file":
                member.create_system, member.external_attr = 3, value
            elif place == "encrypted":
                member.flag_bits |= value
            else:
                member.file_size = member.compress_size = value
    try:
        moved = other.import_bundle(made)
    except BundleError:
        moved = []

    assert [version.digest for version in moved] in ([], [filled.get("penguins", number).digest for number in (1, 3)])
    assert bool(moved) == (place == "the kind of file")
    assert len(objects(other)) == len(moved)
    assert not any(path.is_symlink() for path in other.artifacts.root.rglob("*"))


def test_no_flipped_bit_gets_in(filled: ModelStore, other: ModelStore, bundle: Path) -> None:
    """Wherever a bit flips on the way, the import is refused, or what it registers is exactly what was exported."""
    whole = bundle.read_bytes()
    exported = {filled.get("penguins", number).digest.hex for number in (1, 3)}
    dice = random.Random(4)  # places, not secrets
    places = [*range(64), *range(len(whole) - 512, len(whole), 3), *(dice.randrange(len(whole)) for _ in range(150))]
    refused = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << dice.randrange(8)
        bundle.write_bytes(damaged)
        try:
            other.import_bundle(bundle)
        except RegistrationError:
            refused += 1

    assert {digest for _, digest in state(other)} <= exported
    assert len(state(other)) <= 2
    assert refused > len(places) // 2


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -22, -1000])
def test_half_a_file_is_no_bundle(other: ModelStore, bundle: Path, keep: int) -> None:
    """A file that was cut off anywhere is refused in words."""
    bundle.write_bytes(bundle.read_bytes()[:keep])

    with pytest.raises(BundleError, match="bundle"):
        other.import_bundle(bundle)


def test_what_is_no_file_is_refused(other: ModelStore, tmp_path: Path) -> None:
    """A path that leads nowhere, to a folder, or to another kind of file is named."""
    (tmp_path / "text").write_text("a letter")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("letter.txt", "a letter")
    for name in ("nothing", ".", "text", "foreign.zip"):
        with pytest.raises(BundleError, match=os.fspath(tmp_path)):
            other.import_bundle(tmp_path / name)
