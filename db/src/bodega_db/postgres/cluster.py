"""The folder in which one Postgres keeps its data: made once and completely, owned by whom it runs as."""

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bodega_db.errors import EmbeddedPostgresError
from bodega_db.postgres.binaries import MAJOR, Binaries, make_public
from bodega_db.postgres.private_files import keep_secret, open_privately
from bodega_db.postgres.process import PARENT, start_child

DATABASE = USER = "bodega"
FASTER = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
ENVIRONMENT = {
    "LC_ALL": "C",
    "TZ": "UTC",
    "PATH": "/usr/bin:/bin",
}  # messages in one language, no PG* variables


@dataclass(frozen=True)
class Cluster:
    """The data folder of one Postgres, beside which its password and its logs lie."""

    home: Path  # what the caller chose
    data: Path  # where the data is, which may be elsewhere
    binaries: Binaries
    lock: int  # the descriptor that says that the home is ours
    durable: bool

    def prepare(self) -> str:
        """Make the data folder unless it is there, and return the password."""
        known = (self.home / "password").is_file()
        password = keep_secret(self.home / "password")
        # It is made beside the data folder, so that an interrupted start leaves nothing half made in that.
        draft = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        if not (self.data / "PG_VERSION").is_file():
            self._make(draft, password)
        self._check_version()
        if not known:
            self.run_sql(self.data, f"ALTER ROLE {USER} PASSWORD '{password}'")
        return password

    def _make(self, draft: Path, password: str) -> None:
        draft.mkdir(mode=0o700)
        with open(draft / "password", "w", opener=open_privately) as file:
            file.write(password)
        self._give(draft, draft / "password")
        self.run("initdb", *initdb_options(draft, durable=self.durable))
        self.run_sql(draft / "data", f"CREATE DATABASE {DATABASE}")
        (draft / "data").rename(self.data)
        shutil.rmtree(draft)

    def _give(self, *paths: Path) -> None:
        if self.binaries.account != PARENT:
            for path in paths:
                os.chown(path, *self.binaries.account)

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(MAJOR):
            raise EmbeddedPostgresError(
                f"The data in {self.data} is of Postgres {found}, and this program runs Postgres {MAJOR}",
                f"Dump it with Postgres {found} (pg_dump), move the folder away, start again, restore it.",
            )

    def run(self, program: str, *arguments: str, stdin: bytes = b"") -> None:
        """Run a program of Postgres to its end; raise EmbeddedPostgresError with its last words."""
        child = start_child(
            self.binaries.command(program, *arguments),
            log=self.home / f"{program}.log",
            env=ENVIRONMENT,
            cwd=Path("/"),
            account=self.binaries.account,
            kept=[self.lock],
            stdin=stdin,
        )
        try:
            code = child.wait()
        finally:
            child.stop()
        if code:
            raise EmbeddedPostgresError(
                f"{program} ended with {child.describe_end()}:\n{child.last_lines()}",
                f"All it said is in {child.log}.",
            )

    def run_sql(self, data: Path, statement: str) -> None:
        """Run one statement in a Postgres of its own that listens nowhere."""
        options = ["exit_on_error=on", *(() if self.durable else FASTER)]
        self.run(
            "postgres",
            "--single",
            *[word for option in options for word in ("-c", option)],
            *("-D", str(data), "postgres"),
            stdin=statement.encode() + b"\n",
        )


def initdb_options(draft: Path, *, durable: bool) -> list[str]:
    """Return the arguments of initdb for a new cluster in `draft`/data."""
    return [
        *("-D", str(draft / "data"), "-U", USER, f"--pwfile={draft / 'password'}"),
        *("-A", "scram-sha-256", "--data-checksums", "--no-instructions"),
        # The builtin provider sorts the same on every machine; the system's sorting changes with its libc.
        *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *(() if durable else ("--no-sync",)),
    ]


def place_data(home: Path, binaries: Binaries, outside: Path, tell: Callable[[str], None]) -> Path:
    """Return where a home's data is or shall be: in it, or outside where the account can reach it."""
    link = home / "cluster"
    if link.is_symlink():
        target = Path(os.readlink(link))
        if not target.parent.is_dir():
            raise EmbeddedPostgresError(
                f"The data of the Postgres in {home} was in {target}, which is gone",
                f"Restore that folder from a backup, or remove {link} to begin with an empty catalog.",
            )
        return target
    if binaries.reach(home):
        return link
    if link.exists():
        raise EmbeddedPostgresError(
            f"Postgres runs as 'nobody', who can no longer reach its data in {link}",
            "Start Bodega as an ordinary user, or move the checkout back to where everybody may enter.",
        )
    folder = outside / f"{home.parent.name}-{home.name}-{uuid.uuid4().hex[:12]}"
    make_public(outside)
    make_public(folder)
    link.symlink_to(folder / "cluster")
    tell(f"Postgres runs as 'nobody', who cannot reach {home}: its data is kept in {folder}.")
    return folder / "cluster"
