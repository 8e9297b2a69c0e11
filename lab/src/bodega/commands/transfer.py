"""Commands that move versions between stores: export into one file, import from it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bodega.commands.output import AsJson, opened_store, write_json
from bodega.completion.words import complete_reference

if TYPE_CHECKING:
    from bodega_db.records import Version


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(export)
    app.command("import")(import_bundle)


def export(
    references: Annotated[
        list[str],
        typer.Argument(help="Versions, as in penguins@3, or models as in penguins.", autocompletion=complete_reference),
    ],
    to: Annotated[Path, typer.Option("--to", help="The file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write versions into one file that another store can import."""
    with opened_store() as (store, _):
        versions = store.export(references, to, overwrite=overwrite)
    if as_json:
        _write_json(versions)
    else:
        typer.echo(f"{to} holds {', '.join(version.reference for version in versions)}")


def import_bundle(
    source: Annotated[Path, typer.Argument(help="A file that `bodega export` wrote.")],
    name: Annotated[str | None, typer.Option("--as", help="Another name for the model.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register the versions of a file that another store exported, as candidates."""
    from bodega.display.row_wise import warning_of  # this and what it imports is not needed for --help

    with opened_store() as (store, _):
        versions = store.import_bundle(source, name=name)
    if as_json:
        _write_json(versions)
    else:
        for version in versions:
            typer.echo(f"{version.reference} was {version.lineage['imported']['version']}")
    for said in filter(None, map(warning_of, versions)):
        typer.echo(f"Warning: {said}", err=True)


def _write_json(versions: "Sequence[Version]") -> None:
    told = [{"model": v.model, "version": v.number, "sha256": v.digest.hex} for v in versions]
    write_json({"versions": told})
