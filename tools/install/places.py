"""Where things are: the checkout, what the installer keeps in it, and the Python that carries everything."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / ".tools"
LOG = TOOLS / "install.log"
VENV = ROOT / ".venv"
# What the environment was made from; stands there only after a complete install. The script reads it too.
STATE = VENV / ".bodega-state"
# Stands while an install is under way: found at a start, the one before it was cut off.
UNFINISHED = TOOLS / "unfinished"
PINNED = ROOT / "tools" / "uv.txt"
# The Python underneath, also when this runs from a virtual environment, which may be about to be made anew.
PYTHON = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def cache_folder(environment: dict[str, str]) -> Path | None:
    """Returns where uv keeps what it downloads, or None without a home."""
    if "UV_CACHE_DIR" in environment:
        return Path(environment["UV_CACHE_DIR"])
    if "XDG_CACHE_HOME" in environment:
        return Path(environment["XDG_CACHE_HOME"]) / "uv"
    return Path(environment["HOME"]) / ".cache" / "uv" if environment.get("HOME") else None


def nearest(folder: Path) -> Path:
    """Returns the folder, or the nearest one above it that exists."""
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
