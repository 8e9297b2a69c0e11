"""The command that sets up shell completion."""

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """The supported shells."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(completion)


def completion(shell: Annotated[Shell, typer.Argument(help="The shell.")]) -> None:
    """Print the completion script of a shell; docs/command.md says where to put it."""
    from bodega.completion.scripts import SCRIPTS

    typer.echo(SCRIPTS[shell])
