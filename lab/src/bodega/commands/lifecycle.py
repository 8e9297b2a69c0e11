"""Commands that change a version's status and aliases, and show which version was in production when."""

from typing import TYPE_CHECKING, Annotated

import typer

from bodega.commands.output import AsJson, opened_store, write_json, write_table
from bodega.completion.words import complete_alias, complete_model, complete_reference, complete_version

if TYPE_CHECKING:
    from bodega_db.records import Version

Reference = Annotated[
    str, typer.Argument(help="A version, as in penguins@3 or penguins@latest.", autocompletion=complete_version)
]
Name = Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete_model)]
Alias = Annotated[str, typer.Argument(help="The alias, as in stable.", autocompletion=complete_alias)]
Reason = Annotated[str | None, typer.Option("--reason", help="The reason, kept in the history.")]
NeededReason = Annotated[str, typer.Option("--reason", help="The reason, kept in the history. Required.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (promote, rollback, archive, quarantine, release, describe, aliases):
        app.command()(command)
    app.command("set-alias")(set_alias)
    app.command("remove-alias")(remove_alias)
    app.command("as-of")(as_of)


def promote(
    reference: Reference,
    reason: Reason = None,
    force: Annotated[bool, typer.Option("--force", help="Promote although it breaks callers; needs --reason.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a version into production; the former one is archived."""
    with opened_store() as (store, _):
        _tell(store.promote(reference, reason=reason, force=force), as_json)


def rollback(
    name: Name,
    to: Annotated[int | None, typer.Option("--to", help="The number of the version; default: the one before.")] = None,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Return to the version that was in production before."""
    with opened_store() as (store, _):
        _tell(store.rollback(name, to=to, reason=reason), as_json)


def archive(reference: Reference, reason: Reason = None, as_json: AsJson = False) -> None:
    """Archive a version: then only its number or an alias chooses it."""
    with opened_store() as (store, _):
        _tell(store.archive(reference, reason=reason), as_json)


def quarantine(reference: Reference, reason: NeededReason, as_json: AsJson = False) -> None:
    """Stop serving a version on all replicas."""
    with opened_store() as (store, _):
        _tell(store.quarantine(reference, reason=reason), as_json)


def release(reference: Reference, reason: NeededReason, as_json: AsJson = False) -> None:
    """Make a quarantined version a candidate again, after hashing its bytes."""
    with opened_store() as (store, _):
        _tell(store.release(reference, reason=reason), as_json)


def describe(
    reference: Annotated[
        str, typer.Argument(help="A version, as in penguins@3, or a model's name.", autocompletion=complete_reference)
    ],
    description: Annotated[str | None, typer.Option("--description", help="What the model is for.")] = None,
    note: Annotated[str | None, typer.Option("--note", help="The version's note; '' removes it.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="NAME=VALUE; repeatable.")] = None,
    untag: Annotated[list[str] | None, typer.Option("--untag", help="NAME of a tag to remove.")] = None,
    reason: Reason = None,
) -> None:
    """Change the note and tags of a version, or the description of a model."""
    from bodega.verbs.lifecycle import describe_in

    tags = {**dict(_name_and_value(text) for text in tag or []), **dict.fromkeys(untag or [])}
    with opened_store() as (store, _):
        describe_in(store, reference, description, note, tags, reason)
    typer.echo(f"{reference} is described")


def set_alias(reference: Reference, alias: Alias, reason: Reason = None, as_json: AsJson = False) -> None:
    """Set an alias to a version, as in `bodega set-alias penguins@3 stable`."""
    with opened_store() as (store, _):
        version = store.set_alias(reference, alias, reason=reason)
    if as_json:
        write_json({"alias": alias, "model": version.model, "version": version.number})
    else:
        typer.echo(f"{version.model}@{alias} is {version.reference}")


def remove_alias(name: Name, alias: Alias, reason: Reason = None) -> None:
    """Remove an alias."""
    with opened_store() as (store, _):
        store.remove_alias(name, alias, reason=reason)
    typer.echo(f"{name}@{alias} is no more")


def aliases(name: Name, as_json: AsJson = False) -> None:
    """List the aliases of a model."""
    with opened_store() as (store, _):
        found, protected = store.aliases(name), store.protected_aliases(name)
    if as_json:
        write_json({"aliases": found, "protected": protected})
    else:
        rows = [(alias, number, "yes" if alias in protected else None) for alias, number in found.items()]
        write_table(("alias", "version", "protected"), rows, f"Model {name} has no aliases.")


def as_of(
    name: Name,
    moment: Annotated[str, typer.Argument(help="A time with its time zone, as in '2026-11-24 10:00+01:00'.")],
    alias: Annotated[
        str | None, typer.Option("--alias", help="Find the version with this alias.", autocompletion=complete_alias)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print which version was in production at a time, since when, who promoted it, and why."""
    from bodega.display.as_json import timestamp
    from bodega.verbs.lifecycle import read_moment

    with opened_store() as (store, _):
        holder = store.as_of(name, read_moment(moment), alias=alias)
    if as_json:
        found = holder and {
            "model": holder.model,
            "version": holder.number,
            "since": timestamp(holder.since),
            "actor": holder.actor,
            "reason": holder.reason,
        }
        write_json({"held_by": found})
    elif holder is None:
        typer.echo(f"None: no version of {name} was {f'called {alias}' if alias else 'in production'} then.")
    else:
        why = f": {holder.reason}" if holder.reason else ""
        typer.echo(f"{holder.reference} since {holder.since:%Y-%m-%d %H:%M:%S %Z}, by {holder.actor}{why}")


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def _tell(version: "Version", as_json: bool) -> None:
    from bodega.display.as_json import version_detail

    if as_json:
        write_json(version_detail(version))
    else:
        typer.echo(f"{version.reference} is {version.status.value}")
