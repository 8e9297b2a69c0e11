"""Registering: bytes before rows, numbers without gaps, and refusals that leave nothing behind."""

import multiprocessing
import os
import pickle
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodega_db.errors import (
    IdempotencyConflictError,
    InvalidMetadataError,
    InvalidNameError,
    VolumeError,
    VolumeMismatchError,
)
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_db.volume.marker import read_marker
from bodega_model.errors import ExampleError, FormatNotAllowedError
from bodega_model.loading.sandbox import shared_rehearsal
from penguins import classifier, example
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression

WRITERS = 50


def test_a_version_is_what_was_registered(store: ModelStore, volume: Path) -> None:
    """The row says where the bytes lie, how many they are and what their sha256 is, and sha256sum agrees."""
    version = store.register(
        classifier(),
        "penguins",
        example=example(),
        metrics={"accuracy": np.float64(0.97)},
        tags={"team": "core"},
        note="first",
    )

    file = volume / version.path
    summed = subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout.split()[0]
    assert (version.number, version.reference, version.status) == (1, "penguins@1", "candidate")
    assert summed == version.digest.hex == file.name
    assert file.stat().st_size == version.size_bytes
    assert file.stat().st_mode & 0o777 == 0o440
    assert (version.metrics, version.tags, version.note) == ({"accuracy": 0.97}, {"team": "core"}, "first")
    assert store.get("penguins", 1) == version


class Scribbler(DummyClassifier):
    """A model that, where it is loaded, tries to change what it is loaded from."""

    def __reduce__(self) -> tuple[Any, ...]:
        plain = DummyClassifier()
        plain.__dict__.update(self.__dict__)
        return eval, (f"(exec({SCRIBBLE!r}), __import__('pickle').loads({pickle.dumps(plain)!r}))[1]",)


SCRIBBLE = """
import mmap, os
for name in os.listdir("/proc/self/fd"):
    try:
        with mmap.mmap(int(name), 0) as memory:
            memory[-1] = 0
    except (OSError, ValueError):
        pass
"""


def test_a_model_cannot_change_its_bytes_while_it_is_tried(connect: Callable[..., ModelStore]) -> None:
    """The process that rehearses may read the file, and holds nothing that it could write it by."""
    store = connect(formats=["skops", "joblib"])

    version = store.register(
        Scribbler().fit(example(), [0] * len(example())), "penguins", example=example(), format="joblib"
    )

    store.artifacts.verify(version.digest, version.size_bytes)


def test_a_registered_model_answers_as_before(store: ModelStore) -> None:
    """What is loaded from the verified bytes predicts what the model in memory predicts."""
    store.register(classifier(), "penguins", example=example())
    version = store.resolve("penguins").version

    runner = store.open(version)

    rows = example()
    columns = {name: [None if pd.isna(value) else value for value in rows[name]] for name in rows}
    assert runner.predict(columns) == classifier().predict(rows).tolist()
    assert runner.predict(columns, "predict_proba") == classifier().predict_proba(rows).tolist()


def test_the_same_model_twice_shares_its_bytes(store: ModelStore, volume: Path) -> None:
    """Two versions of one fitted model are two rows over one file."""
    first = store.register(classifier(), "penguins", example=example())
    second = store.register(classifier(), "penguins", example=example())

    assert (first.number, second.number) == (1, 2)
    assert first.digest == second.digest
    assert len(list(store.artifacts.list())) == 1
    assert list((volume / "tmp").iterdir()) == []


def test_corrupt_bytes_in_the_way_are_set_aside(store: ModelStore, volume: Path) -> None:
    """A file that has the name but not the bytes is kept for a look, and the right bytes take its place."""
    version = store.register(classifier(), "penguins", example=example())
    file = volume / version.path
    file.chmod(0o640)
    file.write_bytes(b"something else")

    again = store.register(classifier(), "penguins", example=example())

    assert [path.read_bytes() for path in (volume / "corrupt").iterdir()] == [b"something else"]
    store.verify(again.digest, again.size_bytes)


def register_once(settings: Settings, key: str | None, start: Any, results: Any) -> None:
    """Be one of many writers: get ready, wait for the others, register, tell the number."""
    store = ModelStore.connect(settings)
    X = np.arange(4.0).reshape(-1, 1)
    store.register(LinearRegression().fit(X, X[:, 0]), f"warm-up-{os.getpid()}", example=X)
    start.wait(timeout=300)
    actor = f"writer {os.getpid()}"
    version = store.register(classifier(), "penguins", example=example(), idempotency_key=key, actor=actor)
    results.put(version.number)
    store.close()


def register_at_once(settings: Settings, writers: int, key: str | None = None) -> list[int]:
    """Register the same model from many processes at the same moment, and return the numbers they were told."""
    classifier()
    shared_rehearsal().start()
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(writers), context.Queue()
    arguments = (settings, key, start, results)
    processes = [context.Process(target=register_once, args=arguments) for _ in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * writers
    return sorted(results.get(timeout=5) for _ in processes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fifty_processes_get_fifty_numbers(make_settings: Callable[..., Settings], store: ModelStore) -> None:
    """Registering one name from fifty processes at once gives 1 to 50, none lost and none twice."""
    numbers = register_at_once(make_settings(pool_size=1), WRITERS)

    assert numbers == list(range(1, WRITERS + 1))
    assert sorted(version.number for version in store.versions("penguins")) == numbers


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_eight_processes_with_one_key_get_one_version(
    make_settings: Callable[..., Settings], store: ModelStore
) -> None:
    """All are told the same number, and nothing is there twice."""
    assert register_at_once(make_settings(pool_size=1), 8, "the key") == [1] * 8
    assert [version.number for version in store.versions("penguins")] == [1]
    assert store.register(classifier(), "penguins", example=example()).number == 2


def test_threads_share_a_store(store: ModelStore) -> None:
    """One store serves many threads; numbers have no gaps."""
    classifier()
    numbers: list[int] = []

    def register() -> None:
        numbers.append(store.register(classifier(), "penguins", example=example()).number)

    threads = [threading.Thread(target=register) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(numbers) == list(range(1, 9))


def test_an_idempotency_key_repeats_a_registration(store: ModelStore) -> None:
    """The same key and the same model give the same version, however often."""
    first = store.register(classifier(), "penguins", example=example(), idempotency_key="run-7")
    again = store.register(classifier(), "penguins", example=example(), idempotency_key="run-7")

    assert again == first
    assert len(store.versions("penguins")) == 1


def test_an_idempotency_key_belongs_to_one_model(store: ModelStore) -> None:
    """The same key with another model, or under another name, is refused and registers nothing."""
    store.register(classifier(), "penguins", example=example(), idempotency_key="run-7")

    with pytest.raises(IdempotencyConflictError, match="penguins@1"):
        store.register(classifier(2.0), "penguins", example=example(), idempotency_key="run-7")
    with pytest.raises(IdempotencyConflictError):
        store.register(classifier(), "others", example=example(), idempotency_key="run-7")

    assert [version.reference for version in store.versions()] == ["penguins@1"]


@pytest.mark.parametrize(
    "name", ["", "Penguins", "pen guins", "../x", "a/b", ".hidden", "-x", "a" * 129, "é", "a\n", "a@1"]
)
def test_a_bad_name_is_refused(name: str, store: ModelStore) -> None:
    """Names are what the catalog takes, and no path can be made of them."""
    with pytest.raises(InvalidNameError, match="a-z"):
        store.register(classifier(), name, example=example())

    assert store.models() == []


BAD_METADATA: list[dict[str, Any]] = [
    {"metrics": {"accuracy": float("nan")}},
    {"metrics": {"accuracy": float("inf")}},
    {"metrics": {"accuracy": 10**400}},
    {"metrics": {"accuracy": -(2**64)}},
    {"metrics": {"accuracy": "0.9"}},
    {"metrics": {"accuracy": True}},
    {"metrics": {"accuracy": np.array([0.9, 0.8])}},
    {"metrics": {"": 1.0}},
    {"metrics": {"a b": 1.0}},
    {"tags": {"team": 1}},
    {"tags": {"team": "x\x00y"}},
    {"tags": {"team": "\ud800"}},
    {"note": "\x00"},
    {"note": 7},
    {"note": "x" * 10_001},
    {"idempotency_key": ""},
    {"idempotency_key": "a\nb"},
    {"params": {"p": "\x00"}},
]


@pytest.mark.parametrize("metadata", BAD_METADATA, ids=str)
def test_metadata_that_cannot_be_kept_is_refused(metadata: dict[str, Any], store: ModelStore, volume: Path) -> None:
    """Nothing is written before metrics, tags, params and note are sound."""
    with pytest.raises(InvalidMetadataError):
        store.register(classifier(), "penguins", example=example(), **metadata)

    assert store.models() == []
    assert not volume.exists()


def test_a_format_that_is_not_loaded_is_not_registered(store: ModelStore) -> None:
    """joblib runs code when it is loaded: without the setting it does not even get onto the volume."""
    with pytest.raises(FormatNotAllowedError, match="BODEGA_FORMATS"):
        store.register(classifier(), "penguins", example=example(), format="joblib")


def test_joblib_works_where_the_settings_say_so(connect: Callable[..., ModelStore]) -> None:
    """The operator may choose it."""
    store = connect(formats={"skops", "joblib"})

    version = store.register(classifier(), "penguins", example=example(), format="joblib")

    assert store.open(version).predict(version.golden.inputs) == version.golden.outputs["predict"]


def test_a_foreign_volume_is_refused(store: ModelStore, connect: Callable[..., ModelStore], tmp_path: Path) -> None:
    """A volume with another store's marker, or an empty one under a catalog with versions, is not touched."""
    version = store.register(classifier(), "penguins", example=example())
    empty = connect(models=tmp_path / "empty")
    foreign = connect(models=tmp_path / "foreign")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "bodega-store.json").write_text('{"store": "00000000-0000-0000-0000-000000000000"}')

    for wrong in (empty, foreign):
        with pytest.raises(VolumeMismatchError, match="BODEGA_MODELS"):
            wrong.register(classifier(), "penguins", example=example())
        with pytest.raises(VolumeMismatchError):
            wrong.open(version)

    assert not (tmp_path / "empty").exists()
    assert [path.name for path in (tmp_path / "foreign").iterdir()] == ["bodega-store.json"]


def test_looking_at_a_volume_marks_nothing(store: ModelStore, volume: Path) -> None:
    """Only who is about to write makes a new volume this store's own."""
    store.check_volume()
    assert read_marker(volume) is None

    store.check_volume(adopt=True)
    marked = read_marker(volume)
    assert marked is not None
    store.check_volume(adopt=True)
    assert read_marker(volume) == marked


def test_a_volume_that_cannot_be_written_is_named(connect: Callable[..., ModelStore]) -> None:
    """/proc takes no folder, from root either."""
    store = connect(models=Path("/proc/models"))

    with pytest.raises(VolumeError, match="/proc/models"):
        store.register(classifier(), "penguins", example=example())

    assert store.versions() == []


def test_a_model_that_answers_by_chance_is_refused(store: ModelStore) -> None:
    """Golden predictions that cannot be repeated prove nothing, so there are none such."""
    dice = DummyClassifier(strategy="uniform").fit([[0.0]] * 4, [1, 2, 3, 4])

    with pytest.raises(ExampleError, match="two answers"):
        store.register(dice, "dice", example=np.zeros((30, 1)))

    assert store.models() == []


def test_wide_examples_register(store: ModelStore) -> None:
    """A thousand columns are learned, not enumerated one by one in predictions."""
    X = np.random.default_rng(0).normal(size=(50, 1000))
    version = store.register(LinearRegression().fit(X, X[:, 0]), "wide", example=X)

    assert len(version.signature.columns) == 1000
    assert version.signature.columns[0].name == "x0"
