"""The `bodega` command: its groups of commands, and how it ends.

Each group is a module of `bodega.commands` that adds its commands to the app. What is heavy (scikit-learn, pandas,
SQLAlchemy) is imported inside the commands, so that `bodega --help` answers at once.
"""

import os
import sys
from typing import Annotated

import typer
from bodega_model.errors import BodegaError

from bodega.commands import admin, completion, doctor, lifecycle, maintenance, output, run, show, transfer
from bodega.completion.words import VARIABLE, enable_completion

GROUPS = (run, show, output, lifecycle, admin, transfer, doctor, maintenance, completion)

app = typer.Typer(
    name="bodega",
    add_completion=False,
    rich_markup_mode=None,  # its frames around the help cost half a second of imports
    pretty_exceptions_enable=False,  # an error of ours says what to do; any other deserves its plain traceback
)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """A model store: register models from a notebook, list their versions, predict over HTTP."""
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"bodega {version_of('bodega')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


for group in GROUPS:
    group.add_to(app)


def main() -> None:
    """Run the command; an error of Bodega ends it with its message and what to do next, and status 1."""
    if VARIABLE in os.environ:
        enable_completion()
    try:
        app()
    except BodegaError as exc:
        sys.exit(f"bodega: {exc}")
