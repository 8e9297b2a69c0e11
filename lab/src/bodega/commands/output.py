"""Commands that read the catalog: models, versions, one version, two compared; as tables and as JSON."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bodega.completion.words import complete_model, complete_reference

if TYPE_CHECKING:
    from bodega_db.settings import Settings
    from bodega_db.store import ModelStore

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with the names of the API.")]

NEWEST = "-created_at"
NONE_FOUND = "No version is like that."
WIDEST = 100_000  # columns of a pipe or a file


def add_to(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(models)
    app.command()(versions)
    app.command()(show)
    app.command()(diff)
    app.command()(resolve)
    app.command()(history)


def models(as_json: AsJson = False) -> None:
    """List the models."""
    from bodega.display.as_json import model_answer

    with opened_store() as (store, _):
        answers = [model_answer(model) for model in store.models()]
    if as_json:
        write_json({"models": answers})
        return
    columns = ("model", "production", "last version", "versions", "created", "by")
    rows = [
        (a["name"], a["production"], a["last_version"], a["version_count"], day(a["created_at"]), a["created_by"])
        for a in answers
    ]
    write_table(columns, rows, "There is no model yet: register one with bodega.register(…) in a notebook.")


def versions(
    name: Annotated[
        str | None,
        typer.Argument(help="The model's name; default: all models.", autocompletion=complete_model),
    ] = None,
    filter: Annotated[
        str | None, typer.Option("--filter", help="As in 'status=production and metrics.f1>=0.9'")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Words in the name, the note or the tags.")] = None,
    order: Annotated[
        str, typer.Option("--order", help="created_at, version or metrics.NAME; '-' for largest first.")
    ] = NEWEST,
    fields: Annotated[
        str | None, typer.Option("--fields", help="Fields to show, as in version,status,metrics.f1.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The largest number of versions.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the versions of a model, newest first, or those that a search finds."""
    from bodega_db.search.fields import read_fields

    from bodega.display.as_json import version_answer

    chosen = read_fields(fields) if fields is not None else None
    with opened_store() as (store, _):
        page = store.search(name, filter=filter, text=text, order=order, limit=limit)
    answers = [version_answer(version, chosen) for version in page.versions]
    if as_json:
        write_json({"versions": answers, "next": page.next})
    elif chosen is not None:
        write_table(chosen.names, [list(answer.values()) for answer in answers], NONE_FOUND)
    else:
        _write_versions(answers, f"Model {name} has no versions." if name and not (filter or text) else NONE_FOUND)


def _write_versions(answers: Sequence[dict[str, Any]], if_empty: str) -> None:
    models = len({answer["model"] for answer in answers}) > 1
    metrics = list(dict.fromkeys(metric for answer in answers for metric in answer["metrics"]))
    rows = [
        (
            *([a["model"]] if models else []),
            *(a["version"], a["status"], *(short(a["metrics"].get(metric)) for metric in metrics)),
            *(a["sha256"][:12], day(a["created_at"]), a["created_by"], a["note"]),
        )
        for a in answers
    ]
    columns = ("version", "status", *metrics, "sha256", "created", "by", "note")
    write_table((*(["model"] if models else []), *columns), rows, if_empty)


def resolve(
    reference: Annotated[
        str,
        typer.Argument(
            help="As in penguins, penguins@latest or penguins@best:accuracy.", autocompletion=complete_reference
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Print which version serves for a reference, and why."""
    with opened_store() as (store, _):
        resolution = store.resolve(reference)
    version = resolution.version
    if as_json:
        write_json({"model": version.model, "version": version.number, "chosen": resolution.reason})
    else:
        typer.echo(f"{version.reference}: {resolution.reason}")


def history(
    name: Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete_model)],
    as_json: AsJson = False,
) -> None:
    """Print the history of a model, newest first: when, what, who and why."""
    from bodega.display.as_json import event_answer

    with opened_store() as (store, _):
        events = [event_answer(event) for event in store.history(name)]
    if as_json:
        write_json({"events": events})
        return
    rows = [
        (day(e["at"]), e["event"], e["version"], _change(e["before"], e["after"]), e["actor"], e["reason"])
        for e in events
    ]
    write_table(("when", "event", "version", "change", "by", "reason"), rows, f"Nothing happened to {name}.")


def _change(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """Write what an event changed: 'candidate → production'."""
    was, became = before or {}, after or {}
    changed = [key for key in {**was, **became} if was.get(key) != became.get(key) and key not in ("sha256", "alias")]
    return "; ".join(f"{_word(was.get(key))} → {_word(became.get(key))}" for key in changed)


def _word(value: Any) -> str:
    return "–" if value in (None, "", {}) else str(value)


def show(
    reference: Annotated[
        str,
        typer.Argument(
            help="A version, as in penguins@3, or a model for the version that serves.",
            autocompletion=complete_reference,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show all facts about a version."""
    from bodega.display.as_json import version_detail
    from bodega.display.receipts import Receipt

    with opened_store() as (store, settings):
        version = store.find(reference)
    if as_json:
        write_json(version_detail(version))
    else:
        typer.echo(str(Receipt.of(version, settings)))


def diff(
    before: Annotated[
        str, typer.Argument(help="A version, as in penguins@production.", autocompletion=complete_reference)
    ],
    after: Annotated[
        str, typer.Argument(help="Another version, as in penguins@latest.", autocompletion=complete_reference)
    ],
    as_json: AsJson = False,
) -> None:
    """Compare two versions, and say whether the second breaks callers of the first."""
    from bodega.display.comparisons import Comparison

    with opened_store() as (store, _):
        difference = store.diff(before, after)
    if as_json:
        write_json(difference.to_dict())
    else:
        typer.echo(str(Comparison(difference)))


@contextmanager
def opened_store() -> Iterator[tuple["ModelStore", "Settings"]]:
    """Yield a store over the catalog that is meant, and its settings."""
    from bodega_db.store import ModelStore

    from bodega.local.find_catalog import catalog_settings

    with catalog_settings() as settings:
        store = ModelStore.connect(settings)
        try:
            yield store, settings
        finally:
            store.close()


def write_json(answer: dict[str, Any]) -> None:
    """Write plain JSON to standard output, in ASCII, which every terminal and locale takes."""
    typer.echo(json.dumps(answer, indent=2))


def write_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], if_empty: str) -> None:
    """Write a table, as wide as the terminal lets it be; what goes into a pipe or file is not cut."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bodega.display.receipts import printable

    if not rows:
        typer.echo(if_empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), justify="left", overflow="fold")
    for row in rows:
        # As Text, because a note may hold what rich takes for its markup.
        table.add_row(*(Text("" if value is None else printable(str(value))) for value in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDEST
    console.print(table)


def short(value: float | None) -> str | None:
    """Write a metric with as many digits as people compare."""
    return None if value is None else f"{value:.4g}"


def day(moment: str) -> str:
    """Write a moment of an answer to the minute, as in '2026-11-23 19:46'."""
    return moment[:16].replace("T", " ")
