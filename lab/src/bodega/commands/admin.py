"""Commands that need an administrator if the catalog has roles: delete, prune, protect an alias."""

from typing import TYPE_CHECKING, Annotated

import typer

from bodega.commands.lifecycle import Alias, Name, NeededReason, Reason, Reference
from bodega.commands.output import AsJson, day, opened_store, write_json, write_table

if TYPE_CHECKING:
    from bodega_db.records import VersionSummary


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(delete)
    app.command()(prune)
    app.command("protect-alias")(protect_alias)
    app.command("unprotect-alias")(unprotect_alias)


def delete(reference: Reference, reason: NeededReason) -> None:
    """Delete an archived or quarantined version from the catalog."""
    with opened_store() as (store, _):
        store.delete(reference, reason=reason)
    typer.echo(f"{reference} is deleted; its history stays")


def prune(
    name: Name,
    keep: Annotated[int, typer.Option("--keep", min=1, help="How many of the newest versions stay.")],
    candidates: Annotated[bool, typer.Option("--candidates", help="Also delete candidates.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the versions, delete nothing.")] = False,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Delete old archived versions; those with an alias, or that a rollback returns to, stay."""
    with opened_store() as (store, _):
        gone = store.prune(name, keep=keep, candidates=candidates, dry_run=dry_run, reason=reason)
    if as_json:
        write_json({"model": name, "versions": [version.number for version in gone], "dry_run": dry_run})
    else:
        _write_gone(gone, f"{len(gone)} versions {'would leave' if dry_run else 'left'}")


def _write_gone(gone: "list[VersionSummary]", told: str) -> None:
    from bodega.display.as_json import timestamp

    rows = [(v.number, v.status.value, day(timestamp(v.created_at)), v.created_by, v.note) for v in gone]
    if rows:
        write_table(("version", "was", "created", "by", "note"), rows, "")
    typer.echo(told)


def protect_alias(name: Name, alias: Alias, reason: Reason = None) -> None:
    """Let only an administrator move or remove an alias."""
    with opened_store() as (store, _):
        store.protect_alias(name, alias, reason=reason)
    typer.echo(f"{name}@{alias} is protected")


def unprotect_alias(name: Name, alias: Alias, reason: Reason = None) -> None:
    """Remove the protection of an alias."""
    with opened_store() as (store, _):
        store.unprotect_alias(name, alias, reason=reason)
    typer.echo(f"{name}@{alias} is no longer protected")
