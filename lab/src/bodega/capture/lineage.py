"""Where a version comes from: the commit, the notebook or script, the person and the machine."""

import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bodega_model.loading.environment import default_actor

GIT_SECONDS = 5  # a repository that answers slower than this is not worth the wait
UNCHANGED = ("-c", "core.fsmonitor=false")  # a folder's own settings must not start a program here


def capture_lineage() -> dict[str, Any]:
    """Return git commit, source file, user, host and bodega's version; what cannot be known is left out."""
    source = find_source()
    folder = source[1].parent if source else Path.cwd()
    root = _git(folder, "rev-parse", "--show-toplevel")
    found: dict[str, Any] = _commit(folder, source[1] if source else None) if root else {}
    if source:
        found[source[0]] = _shorten(source[1], root)
    return found | {"user": default_actor(), "host": socket.gethostname(), "bodega": version("bodega")}


def find_source() -> tuple[str, Path] | None:
    """Return ("notebook", path) or ("script", path) of the running code, or None if it is unknown."""
    main = sys.modules.get("__main__")
    # A script that a notebook starts inherits the notebook's variable, so what the process itself says comes first.
    for kind, name in (
        ("notebook", getattr(main, "__vsc_ipynb_file__", None)),
        ("script", getattr(main, "__file__", None)),
        ("notebook", os.environ.get("JPY_SESSION_NAME")),
    ):
        # JupyterLab's consoles have a session too, and its name is no file.
        if name and (kind == "script" or name.endswith(".ipynb")):
            return kind, Path(name).absolute()
    return None


def _commit(folder: Path, source: Path | None) -> dict[str, Any]:
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    # Untracked data files say nothing about the code; an untracked notebook says that no commit has it.
    missing = source and _git(folder, "status", "--porcelain", "--", str(source))
    return {"git_commit": commit, "git_dirty": bool(changed or missing)}


def _shorten(path: Path, root: str) -> str:
    """Name a file by its place in the repository: that is the same on every machine."""
    real = path.resolve()
    return str(real.relative_to(root)) if root and real.is_relative_to(root) else str(path)


def _git(folder: Path, *arguments: str) -> str:
    """Return what git says about a folder; nothing where there is no git, no repository or no answer."""
    try:
        answer = subprocess.run(
            ["git", *UNCHANGED, "-C", str(folder), *arguments],
            capture_output=True,
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
            # Without it `git status` takes the repository's lock to refresh the index, and may fail the person's git.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return os.fsdecode(answer.stdout).removesuffix("\n")
