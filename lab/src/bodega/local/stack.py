"""The local stack: embedded Postgres, migrations, the API and JupyterLab, which start, stay and end together."""

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bodega_db.errors import SettingsError
from bodega_db.postgres.binaries import choose_account
from bodega_db.postgres.embedded import EmbeddedPostgres
from bodega_db.postgres.lock import Claim, Note, describe
from bodega_db.postgres.private_files import keep_secret
from bodega_db.postgres.process import PARENT, Child, start_child
from bodega_model.errors import BodegaError

from bodega.local import jupyter
from bodega.local.home import Home
from bodega.local.ports import HOST, Answer, ask, find_port, is_free

SILENCE = 120.0  # seconds without any answer: scikit-learn alone takes some on a cold disk
NOT_READY = 15.0  # seconds of answers other than "ready"
TRIES = 5  # how often a port may be taken between our choice and the server's start
# No user is made for it: that would change the machine, for a start that may have been meant for once.
SHARED = (
    "WARNING: started by root, Postgres runs as 'nobody'. Other programs that run as 'nobody' can read and "
    "change the catalog, and stop it. Start Bodega as its own user to prevent that (docs/settings.md)."
)
Say = Callable[[str], None]
Prepare = Callable[[int], tuple[list[str], dict[str, str]]]  # from a port to a command and its environment


class StackError(BodegaError):
    """The local stack could not be started, or one of its parts ended."""


@dataclass(frozen=True)
class Stack:
    """What runs: where to reach it, and the processes in the order in which they end."""

    api_url: str
    lab_url: str | None
    children: tuple[Child, ...]

    def watch(self) -> None:
        """Return never; raise StackError when a part ends by itself."""
        while True:
            for child in self.children:
                if child.poll() is not None:
                    raise end_of(child)
            time.sleep(0.2)


@contextlib.contextmanager
def run_stack(home: Home, say: Say, *, api_port: int, lab_port: int, lab: bool = True) -> Iterator[Stack]:
    """Start everything, yield it when all of it answers, and end it in order: JupyterLab, API, Postgres."""
    with contextlib.ExitStack() as ending:
        claim = take_claim(home)
        ending.callback(claim.release)
        claim.publish()
        ending.callback(claim.withdraw)
        say("Postgres starts.")
        if choose_account() != PARENT:
            say(SHARED)
        postgres = ending.enter_context(EmbeddedPostgres(home.postgres, tell=say))
        ending.callback(say, "Postgres ends.")
        migrate(postgres.url)
        tell_if_behind(home, postgres.url, say)
        starter = Starter(home, claim, {**os.environ, **settings_of(home, postgres.url)}, say, ending)
        api, api_url = starter.start_api(api_port)
        children, lab_url = [api, postgres.child], None
        if lab:
            notebook, lab_url = starter.start_lab(lab_port, api_url)
            children.insert(0, notebook)
        claim.publish(api_url=api_url, **({"lab_url": lab_url} if lab_url else {}))
        yield Stack(api_url, lab_url, tuple(children))


@dataclass(frozen=True)
class Starter:
    """Starts the servers of one stack, each on its preferred port or the next free one."""

    home: Home
    claim: Claim
    environment: dict[str, str]
    say: Say
    ending: contextlib.ExitStack

    def start_api(self, preferred: int) -> tuple[Child, str]:
        """Start the API and return it with its address, once it is ready."""
        if importlib.util.find_spec("bodega_api") is None:
            raise StackError(
                f"The API is not installed in {sys.prefix}",
                "Install it with `uv sync --all-packages`, or run `./bodega up`.",
            )

        def prepare(port: int) -> tuple[list[str], dict[str, str]]:
            address = {"BODEGA_API_URL": url(port), "BODEGA_API_HOST": HOST, "BODEGA_API_PORT": str(port)}
            return [sys.executable, "-P", "-m", "bodega_api"], {**self.environment, **address}

        child, port = self._start("API", preferred, "/readyz", prepare)
        return child, url(port)

    def start_lab(self, preferred: int, api_url: str) -> tuple[Child, str]:
        """Start JupyterLab and return it with the address that lets its person in, once it answers."""
        self.home.jupyter.mkdir(parents=True, exist_ok=True)
        token = keep_secret(self.home.jupyter / "token")
        jupyter.write_settings(self.home.jupyter, token)
        self.home.notebooks.mkdir(exist_ok=True)
        environment = jupyter.lab_environment(self.home, {**self.environment, "BODEGA_API_URL": api_url})

        def prepare(port: int) -> tuple[list[str], dict[str, str]]:
            return jupyter.lab_command(self.home.notebooks, port), environment

        child, port = self._start("JupyterLab", preferred, "/api", prepare)
        return child, f"{url(port)}/lab?token={token}"

    def _start(self, name: str, preferred: int, path: str, prepare: Prepare) -> tuple[Child, int]:
        self.say(f"{name} starts.")
        port = preferred
        for _ in range(TRIES):
            port = find_port(port)
            child = self._launch(name, *prepare(port))
            with contextlib.ExitStack() as undo:
                undo.callback(child.stop)
                if wait_until_ready(child, port, path):
                    self._keep(child, undo, preferred, port)
                    return child, port
            if is_free(port):
                break
        raise end_of(child)

    def _launch(self, name: str, command: list[str], environment: dict[str, str]) -> Child:
        self.home.logs.mkdir(parents=True, exist_ok=True)
        return start_child(
            command,
            name=name,
            log=self.home.logs / f"{name.lower()}.log",
            env=environment,
            cwd=self.home.root,
            # The claim lasts until the last process is gone, so that the next `up` gets the same ports.
            kept=[] if self.claim.descriptor is None else [self.claim.descriptor],
        )

    def _keep(self, child: Child, undo: contextlib.ExitStack, preferred: int, port: int) -> None:
        if port != preferred:
            self.say(f"Port {preferred} is taken: {child.name} listens on {port}.")
        self.ending.push(undo.pop_all())
        self.ending.callback(self.say, f"{child.name} ends.")


def take_claim(home: Home) -> Claim:
    """Return the claim to be the one stack of a checkout; raise StackError with the place of another one."""
    home.run.mkdir(parents=True, exist_ok=True)
    claim = Claim(home.run, "stack")
    other = claim.take()
    if other is None:
        return claim
    raise StackError(
        f"Bodega already runs in {home.root}: {describe(other)}{addresses_of(other)}",
        "Use that one, or end it with Ctrl-C where it was started.",
    )


def addresses_of(note: Note) -> str:
    """Return where the stack of a note can be reached, as far as it is known yet."""
    known = [f"{name} {note[key]}" for name, key in (("API", "api_url"), ("JupyterLab", "lab_url")) if key in note]
    return f"; {', '.join(known)}" if known else ""


def migrate(database_url: str) -> None:
    """Bring the catalog to the schema of this program."""
    from bodega_db.catalog.migrate import upgrade

    upgrade(database_url)


def tell_if_behind(home: Home, database_url: str, say: Say) -> None:
    """Say how many versions the volume has that the catalog has lost, as after an older backup was restored."""
    from bodega_db.maintenance.behind import describe
    from bodega_db.settings import Settings
    from bodega_db.store import ModelStore

    try:
        settings = Settings.read(database_url=database_url, models=home.models)
    except SettingsError:  # the API ends by it, and what it says is shown
        return
    with contextlib.closing(ModelStore.connect(settings)) as store:
        if unknown := store.find_unknown():
            say(f"{describe(unknown)}. Until then the models of these are served and not registered under.")


def settings_of(home: Home, database_url: str) -> dict[str, str]:
    """Return the variables by which the API, JupyterLab and its kernels find the catalog."""
    home.models.mkdir(parents=True, exist_ok=True)
    return {"BODEGA_DATABASE_URL": database_url, "BODEGA_MODELS": str(home.models), "BODEGA_HOME": str(home.root)}


def wait_until_ready(child: Child, port: int, path: str) -> bool:
    """Wait until a server answers with 200 and return True, or False if it ended; raise StackError if neither."""
    began = time.monotonic()
    first: float | None = None
    while child.poll() is None:
        answer = ask(port, path)
        if answer and answer.status == 200:
            return True
        first = first or (time.monotonic() if answer else None)
        limit = first + NOT_READY if first else began + SILENCE
        if time.monotonic() > limit:
            raise not_ready(child, port, answer)
        time.sleep(0.05)
    return False


def not_ready(child: Child, port: int, answer: Answer | None) -> StackError:
    """Return the error for a server that runs and does not get ready, in its own words if it has any."""
    said = f"answers {answer.status}: {answer.words}" if answer else "does not answer"
    return StackError(f"{child.name} at {url(port)} {said}\n{child.last_lines()}", f"All it said is in {child.log}.")


def end_of(child: Child) -> StackError:
    """Return the error for a part that ended by itself, with its last words."""
    return StackError(
        f"{child.name} ended by itself ({child.describe_end()}):\n{child.last_lines()}",
        f"All it said is in {child.log}.",
    )


def url(port: int) -> str:
    """Return the address of a server of this stack."""
    return f"http://{HOST}:{port}"
