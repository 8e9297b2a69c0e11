"""Volumes as operators have them on a bad day: full, without a free inode, read-only, not mounted, another's."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count
from pathlib import Path

import pytest
from bodega_db.catalog import migrate
from bodega_db.errors import VolumeError, VolumeMismatchError, VolumeReadOnlyError
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, ask, enter, penguins, problem_of

from .conftest import Fresh
from .invariant import check_invariant
from .registrar import NAME, TESTS, register, running_registrar

KEY = "the key"
BODY = {"rows": [GENTOO]}
NOBODY = 65534
KIB = 1024
pytestmark = pytest.mark.slow


@contextmanager
def mounted(*arguments: str) -> Iterator[Path]:
    """Mount something in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bodega-mount-") as folder:
        done = subprocess.run(["mount", *arguments, folder], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def tmpfs(**options: object) -> AbstractContextManager[Path]:
    """Mount memory with limits of its own."""
    said = ",".join(f"{name}={value}" for name, value in options.items())
    return mounted("-t", "tmpfs", "-o", said, "tmpfs")


def remount(folder: Path, options: str) -> None:
    """Change how a folder is mounted."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@contextmanager
def connected(url: str, volume: Path) -> Iterator[ModelStore]:
    """Connect a store."""
    with closing(ModelStore.connect(Settings.read(database_url=url, models=volume))) as store:
        yield store


def try_to_register(store: ModelStore) -> str:
    """Register, and return what came of it; anything but an error of ours that speaks of the volume is raised."""
    try:
        return register(store, KEY, 1.0).reference
    except VolumeError as exc:
        assert str(store.artifacts.root) in exc.message
        return type(exc).__name__


def check_refused_then_registered(url: str, volume: Path, make_room: Callable[[], object]) -> str:
    """Register on a bad day and then on a good one, and check the store after both; return what the first gave."""
    with connected(url, volume) as store:
        outcome = try_to_register(store)
        there = check_invariant(url, volume)
        assert there == (outcome == f"{NAME}@1")
        make_room()
        assert try_to_register(store) == f"{NAME}@1"
        assert check_invariant(url, volume) == 1
        assert [trouble.detail for trouble in store.fsck(share=1.0).troubles] == []
    return outcome


def test_a_full_volume_takes_a_version_whole_or_not_at_all(fresh: Fresh) -> None:
    """Whatever room is left, from nothing to enough, and wherever the writing stops."""
    outcomes: Counter[str] = Counter()
    for pages in range(12):
        url, _ = fresh()
        with tmpfs(size="256k") as volume:
            filler = volume / "filler"
            filler.write_bytes(b"x" * (256 - 4 * pages) * KIB)
            outcomes[check_refused_then_registered(url, volume, filler.unlink)] += 1
    assert outcomes["VolumeError"] >= 3
    assert outcomes[f"{NAME}@1"] >= 1
    assert outcomes.keys() == {"VolumeError", f"{NAME}@1"}


def test_a_volume_without_free_inodes_takes_a_version_whole_or_not_at_all(fresh: Fresh) -> None:
    """Each file and folder that a registration makes is once the one that cannot be made."""
    for inodes in count(2):
        url, _ = fresh()
        with tmpfs(nr_inodes=inodes) as volume:
            if check_refused_then_registered(url, volume, lambda: remount(volume, "nr_inodes=1000")) != "VolumeError":
                break
    assert inodes > 7


def test_files_may_be_no_larger_than_a_limit(fresh: Fresh) -> None:
    """`ulimit -f` stops a registration in the middle of a file, and nothing of it stays."""
    outcomes: Counter[str] = Counter()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    for limit in (0, 1, 100, 1000, 2000, 64 * KIB):
        url, volume = fresh()
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            outcomes[check_refused_then_registered(url, volume, lift)] += 1
        finally:
            lift()
    assert outcomes == {"VolumeError": 5, f"{NAME}@1": 1}


def test_a_read_only_volume_serves_and_takes_nothing(database_url: str, start_api: Callable[..., Api]) -> None:
    """It is looked at, checked and served from; what would write says so, and goes on once it may."""
    with tmpfs(size="4m") as volume, connected(database_url, volume) as store:
        enter(store, "penguins", penguins())
        remount(volume, "ro")
        api = start_api(models=volume)

        assert ask(api, BODY, model="penguins").json()["version"] == 1
        with pytest.raises(VolumeReadOnlyError, match="Read-only file system"):
            register(store, KEY, 1.0)
        assert store.fsck(share=1.0).troubles == ()

        remount(volume, "rw")
        assert register(store, KEY, 1.0).number == 1
        assert check_invariant(database_url, volume) == 2


def test_a_volume_that_is_not_mounted_is_not_taken_for_an_empty_one(
    database_url: str, start_api: Callable[..., Api], tmp_path: Path
) -> None:
    """Nothing is written into the folder beneath, nothing collected; what is loaded answers, and mounted it all heals."""
    real = tmp_path / "real"
    real.mkdir()
    with mounted("--bind", str(real)) as volume, connected(database_url, volume) as store:
        for _ in range(2):
            enter(store, "penguins", penguins())
        api = start_api(models=volume)
        assert ask(api, BODY, model="penguins", version="1").status_code == 200
        subprocess.run(["umount", str(volume)], check=True)

        with pytest.raises(VolumeMismatchError, match="no marker"):
            register(store, KEY, 1.0)
        with pytest.raises(VolumeMismatchError, match="no marker"):
            store.gc(apply=True)
        with pytest.raises(VolumeMismatchError, match="no marker"):
            store.fsck()
        problem_of(ask(api, BODY, model="penguins", version="2"), 503, "volume-mismatch")
        assert ask(api, BODY, model="penguins", version="1").status_code == 200
        assert list(volume.iterdir()) == []

        subprocess.run(["mount", "--bind", str(real), str(volume)], check=True)
        assert ask(api, BODY, model="penguins", version="2").status_code == 200
        assert register(store, KEY, 1.0).number == 1
        assert check_invariant(database_url, volume) == 3


def test_a_volume_of_another_store_is_not_touched(database_url: str, empty_database_url: str, volume: Path) -> None:
    """Its marker names its owner, and a catalog that is new does not take it over."""
    migrate.upgrade(empty_database_url)
    with connected(database_url, volume) as theirs:
        register(theirs, KEY, 1.0)
    before = sorted(volume.rglob("*"))

    with (
        connected(empty_database_url, volume) as store,
        pytest.raises(VolumeMismatchError, match="belongs to another store"),
    ):
        register(store, KEY, 2.0)

    assert (check_invariant(empty_database_url, volume), sorted(volume.rglob("*"))) == (0, before)


AS_SOMEBODY = """
import sys
from pathlib import Path
from bodega_model.errors import BodegaError
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from faults.registrar import register
store = ModelStore.connect(Settings.read(database_url=sys.argv[1], models=Path(sys.argv[2])))
for work in (lambda: register(store, "k", 1.0), lambda: store.open(store.get("small", 1)), lambda: store.fsck().status):
    try:
        print(work())
    except BodegaError as exc:
        print(f"{type(exc).__name__}: {exc.message}")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_a_volume_of_another_user_is_named(database_url: str) -> None:
    """Who may not write there, or not read one file, hears what the system said; no version is called corrupt."""
    with tempfile.TemporaryDirectory(prefix="bodega-") as folder:
        Path(folder).chmod(0o755)
        volume = Path(folder) / "models"
        with connected(database_url, volume) as store:
            version = register(store, "first", 2.0)
        for path in volume.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o444)
        (volume / version.digest.path).chmod(0o400)
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", sys.executable, "-c"]
        done = subprocess.run(
            [*command, AS_SOMEBODY, database_url, str(volume)],
            cwd=TESTS,
            env={"PATH": os.environ["PATH"], "HOME": folder},
            capture_output=True,
            text=True,
            check=True,
        )
    registered, opened, checked = done.stdout.splitlines()
    assert registered == f"VolumeReadOnlyError: The volume {volume} cannot be written: Permission denied"
    assert opened == f"VolumeError: {version.digest.path} cannot be read: Permission denied"
    assert checked == "4"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes the system refuse, and is not installed")
@pytest.mark.parametrize("error", ["EPERM", "EOPNOTSUPP", "EMLINK"])
def test_a_volume_without_hard_links_takes_versions(error: str, fresh: Fresh) -> None:
    """Marker and artifact get their names all the same, once."""
    url, volume = fresh()
    with running_registrar() as registrar:
        assert registrar.register(url, volume, KEY, inject=f"link,linkat:error={error}") == "registered"
        assert registrar.register(url, volume, KEY, inject=f"link,linkat:error={error}") == "registered"
    assert check_invariant(url, volume) == 1
    assert list((volume / "tmp").iterdir()) == []
