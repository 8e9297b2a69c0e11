"""The command that hashes artifacts anew, on real files that are damaged, missing, or on a disk that fails."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Run = Callable[..., "tuple[int | str, str]"]


def flip_a_bit(file: Path) -> None:
    """Change one bit in the middle, as a disk does."""
    file.chmod(0o640)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture
def artifact(two: ModuleType, volume: Path) -> Path:
    """The file of two versions of penguins, whose bytes are the same."""
    return volume / str(two.get("penguins@1").path)


@pytest.mark.usefixtures("artifact")
def test_sound_versions_are_told_to_be_sound(run: Run) -> None:
    """Every version that is named is hashed, by whatever reference, and the status is 0."""
    status, told = run("verify", "penguins@1", "penguins@latest")

    assert status == 0
    assert [line.split()[0] for line in told.splitlines() if "penguins@" in line] == ["penguins@1", "penguins@2"]
    assert told.count("with the sha256 that was registered") == 2


@pytest.mark.parametrize(("damage", "said"), [(flip_a_bit, "has the sha256"), (Path.unlink, "is not on the volume")])
def test_what_is_not_what_was_registered_is_status_1(
    damage: Callable[[Path], None], said: str, artifact: Path, two: ModuleType, run: Run
) -> None:
    """Damage is told with what to do, also of a version in quarantine, where somebody wants to know it most."""
    two.quarantine("penguins@1", reason="strange answers")
    damage(artifact)

    status, told = run("verify", "penguins@1", "--json")

    (answer,) = json.loads(told)["versions"]
    assert (status, answer["model"], answer["version"], answer["state"]) == (1, "penguins", 1, "corrupt")
    assert said in answer["detail"]
    assert "Restore the file from a backup" in answer["detail"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace makes the disk fail")
def test_a_disk_that_fails_says_nothing_about_the_version(artifact: Path, database_url: str, volume: Path) -> None:
    """What could not be read is neither sound nor damaged: that is status 4, and the error of the system is named."""
    environment = os.environ | {"BODEGA_DATABASE_URL": database_url, "BODEGA_MODELS": str(volume)}
    failing = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(artifact), "-e", "inject=read:error=EIO"]
    bodega = [str(Path(sys.executable).parent / "bodega"), "verify", "penguins@1"]

    ended = subprocess.run(
        [*failing, *bodega], env=environment, capture_output=True, text=True, timeout=120, check=False
    )

    assert (ended.returncode, "Input/output error" in ended.stdout) == (4, True), ended.stderr


@pytest.mark.usefixtures("two")
def test_a_version_that_is_not_there_is_no_damage(run: Run) -> None:
    """A wrong name is refused before anything is hashed."""
    status, told = run("verify", "penguins@1", "penguins@3")

    assert ("has no version 3" in str(status), told) == (True, "")
