"""Commands that run things: the stack, the migrations, the tests."""

import contextlib
import os
import sys
from typing import Annotated

import typer
from bodega_db.errors import SettingsError

from bodega.homes import find_home

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}
Port = Annotated[int, typer.Option(min=1, max=65535, help="The preferred port; the next free one if it is taken.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(up)
    app.command()(migrate)
    app.command("test", context_settings=PASS_ON)(run_tests)


def up(
    api_port: Port = 8000,
    lab_port: Port = 8888,
    no_lab: Annotated[bool, typer.Option("--no-lab", help="Leave JupyterLab out.")] = False,
) -> None:
    """Run Postgres, API and JupyterLab until Ctrl-C."""
    from bodega.interrupts import Stopped, raise_on_signals
    from bodega.stack import run_stack

    home = find_home()
    if os.environ.get("BODEGA_DATABASE_URL"):
        say("BODEGA_DATABASE_URL is set, and not used here: `bodega up` runs a Postgres of its own.")
    starting = run_stack(home, say, api_port=api_port, lab_port=lab_port, lab=not no_lab)
    with contextlib.suppress(Stopped), raise_on_signals(), starting as stack:
        say(f"API         {stack.api_url}")
        if stack.lab_url:
            say(f"JupyterLab  {stack.lab_url}")
        say("Ctrl-C ends it.")
        stack.watch()


def migrate() -> None:
    """Bring the database to this program's schema."""
    from bodega_db.migrate import upgrade

    from bodega.catalogs import catalog_database

    with catalog_database() as url:
        upgrade(url)
    say("The catalog has the schema of this program.")


def run_tests(context: typer.Context) -> None:
    """Run the tests of the checkout; arguments go to pytest."""
    home = find_home()
    if not (home.root / "tests").is_dir():
        raise SettingsError(f"There are no tests in {home.root}", "Run this from a checkout of Bodega.")
    # The tests bring their own Postgres and volume: they shall not find the catalog somebody works with.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BODEGA_")}
    os.chdir(home.root)
    sys.stdout.flush()
    # Becoming pytest hands on signals and the exit code, and there is no process in between to be killed.
    os.execve(sys.executable, [sys.executable, "-m", "pytest", *context.args], kept)  # noqa: S606


def say(message: str) -> None:
    """Tell the person at the terminal, who may have closed it (SIGHUP)."""
    with contextlib.suppress(OSError):
        print(message, flush=True)
