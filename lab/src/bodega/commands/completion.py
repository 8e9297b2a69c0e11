"""The command that teaches a shell to complete the others."""

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """The shells that can be taught."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(completion)


def completion(shell: Annotated[Shell, typer.Argument(help="Whose script it is.")]) -> None:
    """Print the script with which a shell completes commands, options and names; docs/command.md says where to."""
    from bodega.completion.scripts import SCRIPTS

    typer.echo(SCRIPTS[shell])
