"""The uv that reads the lock: the caller's if it fits, else the pinned one, checked against its hashes."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

from causes import RefusalError
from installer import Installer, note
from places import PINNED, PYTHON, TOOLS


def provide_uv(installer: Installer) -> Path:
    """Returns a uv that fits the lock, installed now if there is none."""
    return find_uv(installer.environment) or install_uv(installer)


def find_uv(environment: dict[str, str]) -> Path | None:
    """Returns the uv on PATH or the one installed here, if it is of the pinned series.

    Older ones do not read this revision of the lock; later ones cannot build the members with the uv_build
    that their pyproject.toml files ask for, and would have to fetch it, unpinned.
    """
    on_path = shutil.which("uv", path=environment.get("PATH"))
    candidates = [Path(on_path)] if on_path else []
    for uv in [*candidates, uv_home() / "bin" / "uv"]:
        if is_of_series(uv, environment):
            return uv
    return None


def is_of_series(uv: Path, environment: dict[str, str]) -> bool:
    """Tells whether this uv starts and differs from the pinned one in its last number at most."""
    series = pinned_version().rpartition(".")[0]
    try:
        done = subprocess.run(
            [uv, "--version"], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.startswith(f"uv {series}.")


def pinned_version() -> str:
    """Returns the version in tools/uv.txt."""
    found = re.search(r"^uv==([0-9.]+)", PINNED.read_text(), re.MULTILINE)
    if found is None:
        raise RefusalError(f"{PINNED} names no version of uv: restore it with git")
    return found[1]


def uv_home() -> Path:
    """Returns the folder of the uv that is installed here."""
    return TOOLS / f"uv-{pinned_version()}"


def install_uv(installer: Installer) -> Path:
    """Installs the pinned uv with pip, every file checked against its hash, and returns its path."""
    require_ensurepip()
    note(f"installing uv {pinned_version()}")
    home = uv_home()
    partial = home.with_name(f"{home.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    installer.run("python -m venv", PYTHON, "-I", "-m", "venv", partial)
    # Only when very verbose does pip tell a registry that is out of reach from one without a fitting file.
    pip = (partial / "bin" / "python", "-I", "-m", "pip", "-vv", "install", "--no-deps")
    command = (*pip, "--only-binary=:all:", "--require-hashes", "--requirement", PINNED)
    installer.run("pip install uv", *command)
    # Renamed in one step, so that a uv that stands there is whole. The venv's scripts break; uv is no script.
    shutil.rmtree(home, ignore_errors=True)
    partial.rename(home)
    return home / "bin" / "uv"


def require_ensurepip() -> None:
    """Raises RefusalError where Python came without the part that brings pip, as Debian's does."""
    if importlib.util.find_spec("ensurepip") is None:
        raise RefusalError(
            f"{PYTHON} comes without ensurepip, so uv cannot be installed: run `sudo apt install "
            f"python3.{sys.version_info.minor}-venv` (Debian, Ubuntu), or install uv {pinned_version()} "
            "yourself, then start again"
        )
