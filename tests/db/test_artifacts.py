"""The volume: what is durable before it has a name, and what is verified before it is read."""

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from bodega_db.errors import (
    ArtifactDigestError,
    ArtifactError,
    ArtifactMissingError,
    ArtifactNotRegularError,
    ArtifactSizeError,
    VolumeError,
    VolumeMismatchError,
)
from bodega_db.records import Digest
from bodega_db.volume.files import copy_hashing
from bodega_db.volume.folder import ArtifactStore, StagedArtifact
from bodega_db.volume.marker import check_owner, mark, read_marker

DATA = os.urandom(3 * 1024 * 1024 + 17)  # more than one chunk, and no whole number of them


@pytest.fixture
def artifacts(volume: Path) -> ArtifactStore:
    """A store over an empty folder."""
    return ArtifactStore(volume)


def put(artifacts: ArtifactStore, data: bytes = DATA) -> StagedArtifact:
    """Write bytes and give them their name."""
    with artifacts.stage(lambda out: out.write(data) and None) as staged:
        artifacts.commit(staged)
        return staged


def test_bytes_come_back_as_they_were(artifacts: ArtifactStore) -> None:
    """What is put is found under its sha256 and read back whole."""
    staged = put(artifacts)

    with artifacts.open_verified(staged.digest, staged.size_bytes) as file:
        assert file.read() == DATA
    assert staged.digest == Digest.of(DATA)
    assert list(artifacts.list()) == [staged.digest]


def flip_a_bit(file: Path) -> None:
    """Change one bit in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def swap_for_link(file: Path) -> None:
    """Put a link to the right bytes in its place."""
    file.rename(file.parent.parent / "elsewhere")
    file.symlink_to(file.parent.parent / "elsewhere")


def swap_for_folder(file: Path) -> None:
    """Put a folder in its place."""
    file.unlink()
    file.mkdir()


def swap_for_pipe(file: Path) -> None:
    """Put a pipe in its place: opening one may wait for ever."""
    file.unlink()
    os.mkfifo(file)


def link_the_folder(file: Path) -> None:
    """Put a link in place of the folder above."""
    folder = file.parent
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")


DAMAGE: list[tuple[Callable[[Path], object], type[ArtifactError]]] = [
    (flip_a_bit, ArtifactDigestError),
    (lambda file: file.write_bytes(DATA[:-1]), ArtifactSizeError),
    (lambda file: file.write_bytes(DATA + b"x"), ArtifactSizeError),
    (lambda file: file.write_bytes(b""), ArtifactSizeError),
    (lambda file: file.write_bytes(os.urandom(len(DATA))), ArtifactDigestError),
    (lambda file: file.unlink(), ArtifactMissingError),
    (swap_for_link, ArtifactNotRegularError),
    (swap_for_folder, ArtifactNotRegularError),
    (swap_for_pipe, ArtifactNotRegularError),
    (link_the_folder, ArtifactNotRegularError),
]


@pytest.mark.parametrize(("damage", "error"), DAMAGE)
def test_damage_is_refused_by_its_own_error(
    damage: Callable[[Path], object], error: type[ArtifactError], artifacts: ArtifactStore, volume: Path
) -> None:
    """Whatever stands where the artifact was, no byte of it is handed out."""
    staged = put(artifacts)
    file = volume / staged.digest.path
    file.chmod(0o640)
    damage(file)

    with pytest.raises(error), artifacts.open_verified(staged.digest, staged.size_bytes):
        pytest.fail("damaged bytes were handed out")


def test_what_was_verified_cannot_change_any_more(artifacts: ArtifactStore, volume: Path) -> None:
    """Who can write to the volume, or to the very file that was open, does not reach what is loaded."""
    staged = put(artifacts)
    (volume / staged.digest.path).chmod(0o640)

    with artifacts.open_verified(staged.digest, staged.size_bytes) as file:
        (volume / staged.digest.path).write_bytes(b"\0" * len(DATA))
        seals = fcntl.fcntl(file.fileno(), fcntl.F_GET_SEALS)
        with pytest.raises(OSError, match="not permitted"):
            os.write(file.fileno(), b"x")

        assert file.read() == DATA
    assert seals == fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def test_bytes_that_rotted_are_set_aside_by_whoever_brings_them_anew(artifacts: ArtifactStore, volume: Path) -> None:
    """The right bytes get the name, and the wrong ones are kept to be looked at."""
    staged = put(artifacts)
    path = volume / staged.digest.path
    for times in (1, 2):
        path.chmod(0o640)
        flip_a_bit(path)
        rotten = path.read_bytes()

        put(artifacts)

        artifacts.verify(staged.digest, staged.size_bytes)
        aside = list((volume / "corrupt").iterdir())
        assert len(aside) == times
        assert all(file.name.startswith(f"{staged.digest}.") and file.read_bytes() == rotten for file in aside)


def test_strays_are_told_from_artifacts(artifacts: ArtifactStore, volume: Path) -> None:
    """By the name and the place: a name that is no sha256, and one that lies in another's folder."""
    staged = put(artifacts)
    objects = volume / "objects" / "sha256"
    strays = [objects / "zz" / "notes.txt", objects / "zz" / Digest.of(b"misplaced").hex]
    strays[0].parent.mkdir()
    for path in strays:
        path.write_bytes(b"misplaced")

    assert list(artifacts.list()) == [staged.digest]
    assert sorted(artifacts.list_strays()) == sorted(strays)


def test_whoever_paces_a_verification_hears_of_each_chunk(artifacts: ArtifactStore) -> None:
    """So that a background read can be slow, and can end."""
    staged = put(artifacts)
    heard: list[int] = []

    artifacts.verify(staged.digest, staged.size_bytes, pace=heard.append, past_cache=True)

    assert heard == [1024 * 1024] * 3 + [17]


def test_a_file_without_an_end_is_read_to_one_byte_beyond_its_size() -> None:
    """So a file that somebody goes on writing is told from the registered one, and read no further."""
    with open("/dev/zero", "rb", buffering=0) as endless:
        for size in (0, 10, 1024 * 1024, 3 * 1024 * 1024 + 17):
            assert copy_hashing(endless.fileno(), None, size) == Digest.of(bytes(size + 1))


def test_an_artifact_can_be_looked_at_without_being_read(artifacts: ArtifactStore, volume: Path) -> None:
    """Whether it is there, a file, of its size, and protected; what is in it is not looked at."""
    staged = put(artifacts)
    path = volume / staged.digest.path
    assert artifacts.inspect(staged.digest, staged.size_bytes)

    for writable in (0o640, 0o460, 0o442):
        path.chmod(writable)
        assert not artifacts.inspect(staged.digest, staged.size_bytes)
    flip_a_bit(path)
    assert not artifacts.inspect(staged.digest, staged.size_bytes)
    with pytest.raises(ArtifactSizeError, match=f"{staged.size_bytes} bytes, registered were {staged.size_bytes + 1}"):
        artifacts.inspect(staged.digest, staged.size_bytes + 1)
    swap_for_folder(path)
    with pytest.raises(ArtifactNotRegularError):
        artifacts.inspect(staged.digest, staged.size_bytes)


def test_a_writer_that_fails_leaves_nothing(artifacts: ArtifactStore, volume: Path) -> None:
    """Bytes without a name vanish with the attempt."""

    def fail(out: object) -> None:
        raise RuntimeError("the dump failed")

    with pytest.raises(RuntimeError, match="the dump failed"), artifacts.stage(fail):
        pytest.fail("a failed write was staged")

    assert list((volume / "tmp").iterdir()) == []
    assert list(artifacts.list()) == []


def test_without_nameless_files_a_random_name_does(
    artifacts: ArtifactStore, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS and some network file systems have no O_TMPFILE; the bytes get there all the same."""
    monkeypatch.delattr(os, "O_TMPFILE")

    staged = put(artifacts)

    assert staged.temporary_path is not None
    assert (volume / staged.digest.path).read_bytes() == DATA
    assert list((volume / "tmp").iterdir()) == []


@pytest.mark.parametrize("nameless", [True, False])
def test_without_hard_links_the_file_is_moved(
    nameless: bool, artifacts: ArtifactStore, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT and some network file systems refuse links; marker and bytes get their names all the same, once."""
    store_id = uuid4()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(os, "link", refuse)
    mark(volume, store_id)
    mark(volume, store_id)
    staged = put(artifacts)
    put(artifacts)

    assert read_marker(volume) == store_id
    assert (volume / staged.digest.path).read_bytes() == DATA
    assert list((volume / "tmp").iterdir()) == []
    assert sorted(path.name for path in volume.iterdir()) == ["bodega-store.json", "objects", "tmp"]


def test_a_file_that_was_there_is_protected(artifacts: ArtifactStore, volume: Path) -> None:
    """Bytes that are shared with an earlier version cannot be written from then on, whatever was done to them."""
    path = volume / put(artifacts).digest.path
    path.chmod(0o666)

    put(artifacts)

    assert path.stat().st_mode & 0o777 == 0o440


def test_without_memfd_an_unlinked_file_does(artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no memfd, what is hashed is still what is read."""
    staged = put(artifacts)
    monkeypatch.delattr(os, "memfd_create")

    with artifacts.open_verified(staged.digest, staged.size_bytes) as file:
        assert file.read() == DATA


def test_many_put_the_same_bytes_at_once(artifacts: ArtifactStore) -> None:
    """Whoever is first, all end with the one file, durable and right."""
    artifacts.root.mkdir()
    failures: list[Exception] = []

    def put_once() -> None:
        try:
            put(artifacts)
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=put_once) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert list(artifacts.list()) == [Digest.of(DATA)]


def test_a_full_volume_says_so(volume: Path) -> None:
    """Writing beyond the space there is names the volume and what to do; nothing stays behind."""
    resource = pytest.importorskip("resource")
    artifacts = ArtifactStore(volume)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(VolumeError, match="try again"):
            put(artifacts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert list(artifacts.list()) == []
    assert list((volume / "tmp").iterdir()) == []


def test_a_new_volume_is_adopted_once(artifacts: ArtifactStore) -> None:
    """The first store marks the volume; another one is refused from then on."""
    mine, other = uuid4(), uuid4()
    assert check_owner(artifacts.root, mine, catalog_is_empty=True) is False
    mark(artifacts.root, mine)

    assert check_owner(artifacts.root, mine, catalog_is_empty=False) is True
    with pytest.raises(VolumeMismatchError, match=str(mine)):
        mark(artifacts.root, other)


@pytest.mark.parametrize("content", [b"{}", b"", b'{"store": 5}', b"[]", b"\xff\xfe"])
def test_a_marker_that_cannot_be_read_is_not_overwritten(
    content: bytes, artifacts: ArtifactStore, volume: Path
) -> None:
    """A damaged marker needs a person, not a new marker."""
    volume.mkdir()
    (volume / "bodega-store.json").write_bytes(content)

    with pytest.raises(VolumeMismatchError, match="marker"):
        mark(artifacts.root, uuid4())

    assert (volume / "bodega-store.json").read_bytes() == content


def test_something_else_in_place_of_the_marker_is_named(artifacts: ArtifactStore, volume: Path) -> None:
    """A folder where the marker should be is an error of the volume."""
    (volume / "bodega-store.json").mkdir(parents=True)

    with pytest.raises(VolumeError, match="marker"):
        check_owner(artifacts.root, uuid4(), catalog_is_empty=True)


def test_artifacts_without_a_marker_are_nobodys(artifacts: ArtifactStore) -> None:
    """A volume with objects but no marker is not taken over by a new catalog."""
    put(artifacts)

    with pytest.raises(VolumeMismatchError, match="without a marker"):
        check_owner(artifacts.root, uuid4(), catalog_is_empty=True)
