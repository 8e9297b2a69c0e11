"""Artifacts that change under the store's hands: no bit, no moment and no kind of file gets other bytes loaded."""

import io
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from bodega_db.errors import ArtifactError
from bodega_db.records import Digest
from bodega_db.store import ModelStore
from bodega_db.volume.folder import ArtifactStore, HashingWriter
from bodega_model.formats.codecs import dump, load
from bodega_model.formats.policy import Policy
from extent import ALL
from processes import ApiProcess, api_process
from sklearn.linear_model import Ridge

from .invariant import check_invariant
from .registrar import NAME, register

LARGE, FLIPS = 1_000_000, 10_000
SECONDS = 30.0 if ALL else 4.0
PATIENCE = 15
HUGE = 2**40
ROWS = {"rows": [{"x0": 1.0}]}


def put(volume: Path, content: bytes) -> tuple[ArtifactStore, Path, Digest]:
    """Put bytes on a volume as an artifact."""
    artifacts = ArtifactStore(volume)

    def write(out: HashingWriter) -> None:
        out.write(content)

    with artifacts.stage(write) as staged:
        artifacts.commit(staged)
        path = volume / staged.digest.path
        path.chmod(0o640)
        return artifacts, path, staged.digest


def opens(artifacts: ArtifactStore, digest: Digest, size: int) -> bool:
    """Tell whether anything is handed out to be deserialised."""
    try:
        with artifacts.open_verified(digest, size):
            return True
    except ArtifactError:
        return False


def test_no_flipped_bit_of_a_small_artifact_is_handed_out(store: ModelStore, volume: Path) -> None:
    """Each bit of a registered model is turned, one after another, and turned back."""
    version = register(store, None, 1.0)
    path = volume / version.path
    path.chmod(0o640)
    content = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for bit in range(len(content) * 8):
            os.pwrite(file.fileno(), bytes([content[bit // 8] ^ 1 << bit % 8]), bit // 8)
            assert not opens(store.artifacts, version.digest, version.size_bytes), bit
            os.pwrite(file.fileno(), content[bit // 8 : bit // 8 + 1], bit // 8)

    assert opens(store.artifacts, version.digest, version.size_bytes)


def test_no_flipped_bit_of_a_large_artifact_is_handed_out(volume: Path) -> None:
    """Ten thousand bits by chance; a tenth of them where only a sample is asked for."""
    dice = random.Random(5)
    content = dice.randbytes(LARGE)
    artifacts, path, digest = put(volume, content)
    with path.open("r+b", buffering=0) as file:
        for _ in range(FLIPS if ALL else FLIPS // 10):
            bit = dice.randrange(LARGE * 8)
            os.pwrite(file.fileno(), bytes([content[bit // 8] ^ 1 << bit % 8]), bit // 8)
            assert not opens(artifacts, digest, LARGE), bit
            os.pwrite(file.fileno(), content[bit // 8 : bit // 8 + 1], bit // 8)

    assert opens(artifacts, digest, LARGE)


def link_elsewhere(path: Path) -> None:
    """A link to a file that has the right bytes."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def hard_link(path: Path) -> None:
    """Another file under this name, which its owner goes on writing."""
    foreign = path.with_name("foreign")
    foreign.write_bytes(b"x" * path.stat().st_size)
    path.unlink()
    path.hardlink_to(foreign)


def device(path: Path) -> None:
    """An endless device."""
    path.unlink()
    os.mknod(path, 0o20666, os.makedev(1, 5))


def pipe(path: Path) -> None:
    """A pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    """A folder."""
    path.unlink()
    path.mkdir()


def sparse(path: Path) -> None:
    """A file of a terabyte that takes no room."""
    os.truncate(path, HUGE)


def grown(path: Path) -> None:
    """The right bytes, and more."""
    with path.open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize("damage", [link_elsewhere, hard_link, device, pipe, folder, sparse, grown, Path.unlink])
def test_whatever_else_has_the_name_is_refused_at_once(damage: Callable[[Path], None], volume: Path) -> None:
    """No link is followed, nothing is waited for, and no more is read than was registered."""
    artifacts, path, digest = put(volume, b"an artifact" * 100)
    if damage is device and os.getuid() != 0:
        pytest.skip("only root makes devices")
    damage(path)
    begun = time.monotonic()

    assert not opens(artifacts, digest, 1100)
    assert time.monotonic() - begun < 5


# --- while it is loaded --------------------------------------------------------------------------------------


@pytest.fixture
def cramped(store: ModelStore, database_url: str, volume: Path) -> Iterator[ApiProcess]:
    """An API that keeps nothing in memory, so that each prediction loads, over one registered model."""
    register(store, None, 1.0)
    with api_process(database_url, volume, cache_bytes=1) as api:
        api.predict(ROWS, model=NAME).raise_for_status()
        yield api


def other_model(size: int) -> bytes:
    """Return a model that answers otherwise, in a file of the same size that loads: only the hash tells them apart."""
    file = io.BytesIO()
    dump(Ridge(alpha=2.0).fit([[0.0], [1.0]], [5.0, 9.0]), "skops", file)
    with ZipFile(file, "a") as archive:
        archive.comment = b" " * (size - len(file.getvalue()))
    file.seek(0)
    assert load(file, "skops", Policy()).predict([[1.0]]) > 5
    assert len(file.getvalue()) == size
    return file.getvalue()


def vandalise(path: Path, good: bytes, bad: bytes, ended: threading.Event) -> None:
    """Swap, rewrite in place, cut off and link again, as fast as it goes, and leave the right bytes."""
    dice = random.Random(3)
    beside = path.parents[3] / "beside"

    def swap(content: bytes) -> None:
        beside.write_bytes(content)
        beside.replace(path)

    def rewrite(content: bytes) -> None:
        with path.open("r+b") as file:
            file.write(content)

    def cut(_: bytes) -> None:
        os.truncate(path, dice.randrange(len(good)))

    def link(content: bytes) -> None:
        beside.write_bytes(content)
        path.unlink()
        path.hardlink_to(beside)

    while not ended.is_set():
        dice.choice([swap, rewrite, cut, link])(dice.choice([good, bad]))
        time.sleep(dice.random() * 0.01)
        swap(good)
        time.sleep(dice.random() * 0.02)
    swap(good)


def test_an_artifact_that_changes_while_it_is_loaded_never_answers_wrong(
    cramped: ApiProcess, store: ModelStore, database_url: str, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every answer is the registered model's; everything else is a refusal that says why."""
    version = store.get(NAME, 1)
    right = cramped.predict(ROWS, model=NAME).json()["predictions"]
    path = volume / version.path
    good = path.read_bytes()
    bad = other_model(len(good))
    ended = threading.Event()
    vandal = threading.Thread(target=vandalise, args=(path, good, bad, ended))
    vandal.start()
    outcomes: Counter[str] = Counter()
    began = time.monotonic()
    # On a machine that is busy it goes on until the hash was what told the difference.
    while (spent := time.monotonic() - began) < SECONDS or ("sha256" not in outcomes and spent < PATIENCE * SECONDS):
        response = cramped.predict(ROWS, model=NAME)
        answer = response.json()
        if response.status_code == 200:
            assert (answer["predictions"], answer["sha256"]) == (right, version.digest.hex)
        outcomes[answer.get("step", "answered")] += 1
    ended.set()
    vandal.join()

    with capsys.disabled():
        print(f"\n{outcomes.total()} loads of an artifact that changes: {dict(outcomes)}; no wrong answer")
    assert outcomes["answered"] > 0
    # A step behind the hash, such as "golden", would mean that other bytes were deserialised.
    assert {"sha256"} <= outcomes.keys() <= {"answered", "file", "size", "sha256"}
    path.chmod(0o440)
    cramped.predict(ROWS, model=NAME).raise_for_status()
    assert check_invariant(database_url, volume) == 1
