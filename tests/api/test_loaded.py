"""Versions in memory: loaded once however many ask, bounded in bytes, and verified at every load."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import bodega_db.volume.folder
import pytest
from bodega_api.serving.model_cache import LoadedVersions
from bodega_db.errors import ArtifactDigestError, ArtifactError
from bodega_db.records import Version
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_model.loading.runner import Runner
from conftest import Api
from gallery import GENTOO, ask, enter, penguins, problem_of, scaler, texts, weaker_penguins, wine

THREADS = 32


class Opener:
    """Opens versions from the store, and keeps count of how often and which."""

    def __init__(self, store: ModelStore) -> None:
        self.store = store
        self.opened: list[str] = []
        self.gate: threading.Event | None = None  # a load waits for it, if there is one
        self.waits = threading.Event()  # set while a load waits

    def __call__(self, version: Version) -> Runner:
        self.opened.append(version.reference)
        if self.gate is not None:
            self.waits.set()
            assert self.gate.wait(30)
        return self.store.open(version)


@pytest.fixture
def opener(store: ModelStore) -> Opener:
    """The store's own way to open a version, counted."""
    return Opener(store)


def fill(store: ModelStore) -> list[Version]:
    """Register what `versions` stands for."""
    exhibits = [("penguins", penguins()), ("wine", wine()), ("texts", texts()), ("penguins", weaker_penguins())]
    return [enter(store, name, exhibit) for name, exhibit in exhibits]


@pytest.fixture
def versions(furnished: Any) -> list[Version]:
    """Four versions of three models."""
    made: list[Version] = furnished.made
    return made


FURNISHED = {"versions": fill}


def together(work: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """Do a piece of work in many threads that begin at the same moment."""
    barrier = threading.Barrier(count)

    def start(place: int) -> Any:
        barrier.wait()
        return work(place)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def flip_bit(path: Path) -> bytes:
    """Turn a bit of a file, and return what it held before."""
    good = path.read_bytes()
    path.unlink()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    return good


def test_many_who_ask_at_once_share_one_load(opener: Opener, versions: list[Version]) -> None:
    """Of 32 threads that need a version at the same moment one loads it, and all get that one."""
    opener.gate = threading.Event()
    loaded = LoadedVersions(opener, 10**9)
    threading.Timer(0.3, opener.gate.set).start()

    runners = together(lambda _: loaded.get(versions[0]))

    assert opener.opened == ["penguins@1"]
    assert len(set(map(id, runners))) == 1


def test_different_versions_are_loaded_side_by_side(opener: Opener, versions: list[Version]) -> None:
    """One version that takes long to load does not hold up another, nor one that is in memory."""
    loaded = LoadedVersions(opener, 10**9)
    loaded.get(versions[0])
    gate = opener.gate = threading.Event()
    slow = threading.Thread(target=loaded.get, args=[versions[1]])
    slow.start()
    assert opener.waits.wait(30)
    opener.gate = None

    in_memory, quick = loaded.get(versions[0]), loaded.get(versions[2])

    assert slow.is_alive()
    assert loaded.references == ["penguins@1", "texts@1"]
    assert in_memory.signature != quick.signature
    gate.set()
    slow.join(30)
    assert loaded.references == ["penguins@1", "texts@1", "wine@1"]


def test_a_failed_load_fails_all_who_wait_and_is_not_remembered(
    opener: Opener, versions: list[Version], volume: Path
) -> None:
    """Everybody who waited for a load that failed gets its error; whoever asks after the repair gets the version."""
    path = volume / versions[0].path
    good = flip_bit(path)
    opener.gate = threading.Event()
    loaded = LoadedVersions(opener, 10**9)
    threading.Timer(0.3, opener.gate.set).start()

    def attempt(_: int) -> type[Exception]:
        with pytest.raises(ArtifactError) as caught:
            loaded.get(versions[0])
        return caught.type

    failures = together(attempt)

    assert set(failures) == {ArtifactDigestError}
    assert loaded.references == []
    path.unlink()
    path.write_bytes(good)
    assert loaded.get(versions[0]).signature == versions[0].signature
    assert len(opener.opened) < THREADS


def test_what_is_kept_stays_within_its_bytes(opener: Opener, versions: list[Version]) -> None:
    """The version that was asked for longest ago leaves first; what was used again stays."""
    sizes = {version.reference: opener.store.open(version).size_bytes for version in versions}
    room = sizes["penguins@1"] + sizes["texts@1"] + sizes["penguins@2"]
    loaded = LoadedVersions(opener, room)
    first, wines, words, second = versions

    for version in (first, words, first, second):
        loaded.get(version)
    kept = loaded.references
    loaded.get(wines)

    assert kept == ["texts@1", "penguins@1", "penguins@2"]
    assert "texts@1" not in loaded.references
    assert loaded.references[-1] == "wine@1"
    assert sum(sizes[reference] for reference in loaded.references) <= room


def test_a_version_larger_than_all_room_drives_nobody_out(opener: Opener, versions: list[Version]) -> None:
    """A version that would not fit alone answers and is not kept; the others stay in memory."""
    small = enter(opener.store, "scaler", scaler())
    room = opener.store.open(small).size_bytes
    loaded = LoadedVersions(opener, room)
    loaded.get(small)

    large = loaded.get(versions[2])

    assert large.size_bytes > room
    assert loaded.references == ["scaler@1"]
    assert large.predict({"text": ["petal length in cm"]}) == ["iris"]


def test_room_is_never_exceeded_by_many_threads(opener: Opener, versions: list[Version]) -> None:
    """Many threads asking for different versions leave no more in memory than there is room for."""
    sizes = {version.reference: opener.store.open(version).size_bytes for version in versions}
    room = max(sizes.values())
    loaded = LoadedVersions(opener, room)

    def work(place: int) -> bool:
        version = versions[place % len(versions)]
        right = loaded.get(version).signature == version.signature
        return right and sum(sizes[reference] for reference in loaded.references) <= room

    assert all(together(work, 16))


def test_bytes_are_hashed_at_every_load(
    make_settings: Callable[..., Settings], start_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that comes back into memory is verified again; one that stayed is not read again."""
    hashed: list[int] = []
    hashing = bodega_db.volume.folder.copy_hashing

    def counting(source: int, target: Any, size: int, *others: Any) -> Any:
        hashed.append(size)
        return hashing(source, target, size, *others)

    with closing(ModelStore.connect(make_settings())) as store:
        version = enter(store, "penguins", penguins())
    monkeypatch.setattr(bodega_db.volume.folder, "copy_hashing", counting)
    roomy, cramped = start_api(), start_api(cache_bytes=1)

    for _ in range(3):
        ask(roomy, {"rows": [GENTOO]}).raise_for_status()
    in_memory = len(hashed)
    for _ in range(3):
        ask(cramped, {"rows": [GENTOO]}).raise_for_status()

    assert in_memory == 1
    assert hashed == [version.size_bytes] * 4


def test_damage_is_noticed_when_a_version_comes_back(
    make_settings: Callable[..., Settings], start_api: Callable[..., Api], volume: Path
) -> None:
    """A version that left memory is not taken from a file that was damaged meanwhile."""
    with closing(ModelStore.connect(make_settings())) as store:
        version = enter(store, "penguins", penguins())
    api = start_api(cache_bytes=1)
    ask(api, {"rows": [GENTOO]}).raise_for_status()
    flip_bit(volume / version.path)

    problem_of(ask(api, {"rows": [GENTOO]}), 503, "artifact-digest")


def test_many_clients_at_once_load_once_and_get_the_same(store: ModelStore, api: Api) -> None:
    """32 clients that ask a fresh API over HTTP at the same moment get one answer, from one load."""
    enter(store, "penguins", penguins())

    answers = together(lambda _: ask(api, {"rows": [GENTOO]}).json()["predictions"])

    assert answers == [["Gentoo"]] * THREADS
    assert api.services.loaded.loads == 1
    assert api.client.get("/readyz").json()["loaded"] == ["penguins@1"]
