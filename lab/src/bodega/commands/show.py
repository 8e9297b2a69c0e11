"""The command that shows what Bodega does."""

from typing import Annotated

import typer

from bodega.commands.run import API_PORT, LAB_PORT, Port
from bodega.local.home import find_home

INTERRUPTED = 130  # what a shell answers for a command that Ctrl-C ended


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(demo)


def demo(
    api_port: Port = API_PORT,
    lab_port: Port = LAB_PORT,
    end: Annotated[bool, typer.Option("--exit", help="Stop at the end.")] = False,
) -> None:
    """Start everything, run the first notebook, ask the API."""
    from rich.console import Console

    from bodega.local.demo import run_demo
    from bodega.local.signals import Stopped, raise_on_signals

    console = Console(highlight=False)
    with raise_on_signals():
        try:
            run_demo(find_home(), console, api_port=api_port, lab_port=lab_port, stay=not end)
        except Stopped:
            raise typer.Exit(INTERRUPTED if end else 0) from None
