"""Commands that run things: the stack, the migrations, the tests."""

import contextlib
import os
import sys
from typing import Annotated

import typer
from bodega_db.errors import SettingsError

from bodega.local.home import find_home

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}
API_PORT, LAB_PORT = 8000, 8888
PORT = typer.Option(min=1, max=65535, help="The preferred port; the next free one if it is taken.")
Port = Annotated[int, PORT]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(up)
    app.command()(migrate)
    app.command("apply-roles")(apply_roles)
    app.command("test", context_settings=PASS_ON)(run_tests)


def up(
    api_port: Annotated[int | None, PORT] = None,
    lab_port: Annotated[int | None, PORT] = None,
    no_lab: Annotated[bool, typer.Option("--no-lab", help="Without JupyterLab.")] = False,
    docker: Annotated[bool, typer.Option("--docker", help="Start the containers of compose.yaml and exit.")] = False,
) -> None:
    """Run Postgres, API and JupyterLab until Ctrl-C, or in containers; on 8000 and 8888 unless told otherwise."""
    if docker:
        up_in_containers(api_port, lab_port, lab=not no_lab)
        return
    from bodega.local.signals import Stopped, raise_on_signals
    from bodega.local.stack import run_stack

    home = find_home()
    if os.environ.get("BODEGA_DATABASE_URL"):
        say("BODEGA_DATABASE_URL is set, and not used here: `bodega up` runs a Postgres of its own.")
    starting = run_stack(home, say, api_port=api_port or API_PORT, lab_port=lab_port or LAB_PORT, lab=not no_lab)
    with contextlib.suppress(Stopped), raise_on_signals(), starting as stack:
        say(f"API         {stack.api_url}")
        if stack.lab_url:
            say(f"JupyterLab  {stack.lab_url}")
        say("Ctrl-C ends it.")
        stack.watch()


def up_in_containers(api_port: int | None, lab_port: int | None, *, lab: bool) -> None:
    """Bring the containers up and say where they are; ports that are not given are compose.yaml's, or those of .env."""
    from bodega.local.docker import run_containers

    ports = {"BODEGA_API_PORT": api_port, "BODEGA_LAB_PORT": lab_port}
    given = {name: port for name, port in ports.items() if port is not None}
    found = run_containers(find_home().root, say, ports=given, lab=lab)
    say(f"API         {found.api_url}")
    if found.lab_url:
        say(f"JupyterLab  {found.lab_url}")
    say("`docker compose logs` shows what they say, `docker compose down` ends them; models and notebooks stay.")


def migrate(
    down_to: Annotated[
        str | None, typer.Option("--down-to", metavar="REVISION", help="Undo migrations, for an older program.")
    ] = None,
    lose: Annotated[bool, typer.Option("--lose", help="With --down-to: also if data is lost for good.")] = False,
) -> None:
    """Bring the database to this program's schema, or take it back to that of an older one."""
    from bodega_db.catalog.migrate import downgrade, upgrade

    from bodega.local.find_catalog import catalog_database

    with catalog_database() as url:
        if down_to is None:
            upgrade(url)
        else:
            downgrade(url, down_to, lose=lose)
    if down_to is None:
        say("The catalog has the schema of this program.")
    else:
        say(f"The catalog is at migration {down_to}. Where it has roles: `bodega apply-roles` after the next upgrade.")


def apply_roles() -> None:
    """Make the roles of the database and give them their rights, and no others; as the owner of the catalog.

    Passwords come from the variables bodega_admin, bodega_api and bodega_lab; without one a role keeps its own.
    """
    from bodega_db.catalog import roles

    from bodega.local.find_catalog import catalog_database

    with catalog_database() as url:
        roles.apply_roles(url, {role: os.environ.get(role) or None for role in roles.RIGHTS})
    say(f"{', '.join(sorted(roles.RIGHTS))} have their rights, and no other role has any.")


def run_tests(
    context: typer.Context,
    all_tests: Annotated[bool, typer.Option("--all", help="Also run the slow sweeps: an hour or more.")] = False,
) -> None:
    """Run the tests of the checkout; arguments go to pytest."""
    home = find_home()
    if not (home.root / "tests").is_dir():
        raise SettingsError(f"There are no tests in {home.root}", "Run this from a checkout of Bodega.")
    # The tests bring their own Postgres and volume: they shall not find the catalog somebody works with.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BODEGA_")}
    if all_tests:
        kept["TESTS"] = "all"
    os.chdir(home.root)
    sys.stdout.flush()
    # On all cores, file by file: what a module's tests share is made once. `-n 0` runs them one after the other.
    spread = ["-n", "auto", "--dist", "loadfile"]
    # Becoming pytest hands on signals and the exit code, and there is no process in between to be killed.
    os.execve(sys.executable, [sys.executable, "-m", "pytest", *spread, *context.args], kept)  # noqa: S606


def say(message: str) -> None:
    """Tell the person at the terminal, who may have closed it (SIGHUP)."""
    with contextlib.suppress(OSError):
        print(message, flush=True)
