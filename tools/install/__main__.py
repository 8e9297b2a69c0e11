"""Brings `.venv` of this checkout to what `uv.lock` says, and puts it into one sentence when it cannot.

The script `bodega` starts this folder with a suitable Python; it uses the standard library only. `sync STATE`
installs and then writes STATE down; `uv` prints the path of the uv that fits the lock.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from causes import RefusalError, explain_failure
from installer import Installer, note, open_installer
from pinned_uv import provide_uv
from places import LOG, PYTHON, STATE, TOOLS, UNFINISHED, VENV

# Who has a mirror named it for uv or for pip.
MIRRORS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


def main(arguments: list[str]) -> int:
    """Carries out `sync STATE` or `uv` and returns the exit status."""
    try:
        with open_installer() as installer:
            if arguments[0] == "uv":
                print(provide_uv(installer))
            else:
                sync(installer, arguments[1])
    except RefusalError as refusal:
        print(f"bodega: {refusal} (log: {LOG})", file=sys.stderr)
    except OSError as failure:
        print(f"bodega: {explain_failure(failure)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("bodega: the install was interrupted: start again to finish it", file=sys.stderr)
        return 130
    else:
        return 0
    return 1


def sync(installer: Installer, state: str) -> None:
    """Makes `.venv` what the lock says and writes `state` down, unless another start just did so."""
    if is_done(state):
        return
    LOG.write_bytes(b"")
    note("installing what uv.lock names; the first time takes a minute or two")
    uv = provide_uv(installer)
    begin(installer, uv, state)
    fill_from_mirror(installer, uv)
    command = (*uv_command(uv, "sync"), "--all-packages", "--locked", "--no-build")
    installer.run("uv sync", *command, "--python", PYTHON)
    finish(state)


def is_done(state: str) -> bool:
    """Tells whether another start installed this very state, with this Python, while this one waited."""
    python, command = VENV / "bin" / "python", VENV / "bin" / "bodega"
    is_there = python.exists() and command.exists() and not UNFINISHED.exists()
    return is_there and read_state() == state and os.path.samefile(python, PYTHON)


def begin(installer: Installer, uv: Path, state: str) -> None:
    """Marks the install as under way; an environment that cannot be built upon is emptied first."""
    is_spoilt = UNFINISHED.exists() or is_damaged(state)
    UNFINISHED.touch()
    STATE.unlink(missing_ok=True)
    if is_spoilt and VENV.exists():
        make_venv(installer, uv)


def is_damaged(state: str) -> bool:
    """Tells whether a complete install was moved to another folder, or lost parts that uv would not miss."""
    old = read_state()
    return old is not None and (old == state or old.splitlines()[0] != state.splitlines()[0])


def make_venv(installer: Installer, uv: Path) -> None:
    """Puts an empty environment in the place of whatever is there."""
    installer.run("uv venv", *uv_command(uv, "venv"), "--clear", "--python", PYTHON, VENV)


def fill_from_mirror(installer: Installer, uv: Path) -> None:
    """Installs the locked packages from the company's mirror, if the caller names one.

    The lock holds the public registry's addresses, and uv goes nowhere else for a locked package; so the same
    versions with the same hashes are installed from the mirror first, and the sync finds them there.
    """
    mirror = next(filter(None, map(os.environ.get, MIRRORS)), None)
    if mirror is None:
        return
    locked = TOOLS / "locked.txt"
    export = (*uv_command(uv, "export"), "--all-packages", "--locked", "--no-emit-local", "--python", PYTHON)
    installer.run("uv export", *export, "--output-file", locked)
    if not (VENV / "bin" / "python").exists():
        make_venv(installer, uv)
    # Through the environment: an address may hold a password, and every user may read a command line.
    mirrored = installer._replace(environment=installer.environment | {"UV_DEFAULT_INDEX": mirror})
    install = (*uv_command(uv, "pip"), "install", "--require-hashes", "--no-deps", "--no-build")
    mirrored.run("uv pip install", *install, "--python", VENV / "bin" / "python", "--requirement", locked)


def uv_command(uv: Path, verb: str) -> tuple[str | Path, ...]:
    """Returns the start of a uv command that heeds no settings but this project's."""
    return (uv, "--no-config", "--no-progress", verb)


def finish(state: str) -> None:
    """Writes down that the environment is complete, in one step."""
    new = STATE.with_name(f"{STATE.name}.new")
    new.write_text(state)
    UNFINISHED.unlink()
    new.replace(STATE)


def read_state() -> str | None:
    """Returns what the last complete install wrote down."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return STATE.read_text()
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
