"""How a version shows itself: as text in a terminal, as HTML in a notebook, and with a curl that calls it.

The HTML has no script and asks no network; it takes its colours from the notebook, so it fits a dark theme too.
"""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from html import escape
from typing import Any, Self

from bodega_db.records import Version
from bodega_db.settings import Settings
from bodega_model.loading.environment import LIBRARIES, SKLEARN
from bodega_model.signature.types import MOST_TOGETHER, Column, Signature

MOST_CATEGORIES = 6
MOST_COLUMNS = 40
ROWS = {
    True: "each is answered by itself",
    False: f"answered together: those of one request, at most {MOST_TOGETHER} of a table",
}
INDENT = "\n" + " " * 12
# Colours and lines are left to the notebook's theme; only what its tables do otherwise is said here.
CELL = "text-align:left;white-space:pre-wrap;overflow-wrap:anywhere"
CODE = "white-space:pre-wrap;overflow-wrap:anywhere;background:transparent;color:inherit;user-select:all"


@dataclass(frozen=True, repr=False)
class Receipt(Version):
    """A version that shows itself, with where it is served."""

    api_url: str  # for programs that run where this one does
    public_api_url: str  # for people: the same, unless this runs in a container

    @classmethod
    def of(cls, version: Version, settings: Settings) -> Self:
        """Make the receipt of a version."""
        values = {field.name: getattr(version, field.name) for field in fields(Version)}
        here, public = settings.api_url, settings.public_api_url or settings.api_url
        return cls(**values, api_url=here.rstrip("/"), public_api_url=public.rstrip("/"))

    @property
    def sha256(self) -> str:
        """The sha256 of the artifact, as 64 hexadecimal digits."""
        return self.digest.hex

    @property
    def url(self) -> str:
        """Where this version, and no other, predicts, as it is reached from here."""
        return self.api_url + self._query

    @property
    def public_url(self) -> str:
        """Where this version, and no other, predicts, as people reach it."""
        return self.public_api_url + self._query

    @property
    def _query(self) -> str:
        return f"/predict?model={self.model}&version={self.number}"

    @property
    def curl(self) -> str:
        """A command for any POSIX shell that predicts the first golden row."""
        row = {column.name: self.golden.inputs[column.name][0] for column in self.signature.columns}
        return curl_command(self.public_url, {"rows": [row]})

    def __repr__(self) -> str:
        scores = "".join(f", {name}={value:.4g}" for name, value in self.metrics.items())
        return f"<bodega version {self.reference}: {self.status.value}{scores}>"

    def __str__(self) -> str:
        facts = [(name, text.replace("\n", INDENT)) for name, text in describe(self)]
        lines = [
            f"{self.reference}  {self.status.value}",
            *(f"  {name:<10}{text}" for name, text in facts),
            f"  {'takes':<10}{describe_container(self.signature)}",
            *(f"    {name}: {what}" for name, what in describe_columns(self.signature)),
            "  answers",
            *(f"    {name}: {what}" for name, what in describe_outputs(self.signature)),
            f"  {'served at':<10}{self.public_url}",
            f"  {self.curl}",
        ]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # IPython: in full when it is what the cell shows, in one line when it is part of something.
        printer.text(str(self) if len(printer.stack) == 1 else repr(self))

    def _repr_html_(self) -> str:
        return (
            f"<div><b>{escape(self.reference)}</b> {escape(self.status.value)}</div>"
            f"{_table([*describe(self), ('served at', self.public_url)])}"
            f"<details><summary>takes {escape(describe_container(self.signature))}</summary>"
            f"{_table(describe_columns(self.signature))}</details>"
            f"<details><summary>answers {escape(', '.join(self.signature.outputs))}</summary>"
            f"{_table(describe_outputs(self.signature))}</details>"
            # One click selects the whole command.
            f"<div>Predict the first example row:</div><pre style='{CODE}'>{escape(self.curl)}</pre>"
        )


def curl_command(url: str, body: Mapping[str, Any] | None = None) -> str:
    """Return the command that asks a URL from any POSIX shell, with a JSON body if there is one."""
    command = f"curl -sS {shlex.quote(url)}"
    if body is None:
        return command
    text = json.dumps(body, ensure_ascii=False)
    # What does not show, or turns the direction of writing, must not hide in a command that people paste.
    text = text if text.isprintable() else json.dumps(body).replace("\x7f", "\\u007f")
    return f"{command} -H 'Content-Type: application/json' -d {shlex.quote(text)}"


def describe(version: Version) -> Iterable[tuple[str, str]]:
    """Go through what people want to know of a version first, by name."""
    yield "sha256", version.digest.hex
    yield "size", f"{size(version.size_bytes)} ({version.format})"
    yield "created", f"{version.created_at:%Y-%m-%d %H:%M} {version.created_at.tzname()} by {version.created_by}"
    if made_with := ", ".join(describe_environment(version.environment)):
        yield "made with", printable(made_with)
    if version.metrics:
        yield "metrics", ", ".join(f"{name} {value:.6g}" for name, value in version.metrics.items())
    if version.tags:
        yield "tags", printable(", ".join(f"{name}={value}" for name, value in version.tags.items()))
    if version.note:
        yield "note", "\n".join(map(printable, version.note.split("\n")))
    if stored := describe_stored(version.lineage):
        yield "stored as", "\n".join(map(printable, stored))
    if (row_wise := version.signature.row_wise) is not None:
        yield "rows", ROWS[row_wise]
    if source := describe_source(version.lineage):
        yield "made by", printable(source)


def describe_stored(lineage: Mapping[str, Any]) -> Iterable[str]:
    """Say what is stored of the model that was registered, as in 'best_estimator_ of GridSearchCV, C=0.1'."""
    told = lineage.get("stored_as")
    return [_stored(part) for part in told if isinstance(part, dict)] if isinstance(told, list) else []


def _stored(part: Mapping[str, Any]) -> str:
    place = f"{part['place']}: " if part.get("place") else ""
    facts = {name: value for name, value in part.items() if name not in ("place", "type", "what")}
    params = facts.pop("best_params", None)
    found = {**(params if isinstance(params, dict) else {}), **facts}
    values = "".join(f", {name}={f'{v:.6g}' if isinstance(v, float) else v}" for name, v in found.items())
    return f"{place}{part.get('what')} of {part.get('type')}{values}"


def describe_environment(environment: Mapping[str, Any]) -> Iterable[str]:
    """Name Python, scikit-learn and the libraries that further parts of the model come from, with their versions."""
    libraries = environment.get("libraries", {})
    if python := environment.get("python"):
        yield f"Python {python}"
    for name, number in libraries.items():
        if name == SKLEARN or name not in LIBRARIES:
            yield f"{name} {number}"


def describe_source(lineage: Mapping[str, Any]) -> str:
    """Say which notebook or script at which commit a version comes from, as far as it is known."""
    source = lineage.get("notebook") or lineage.get("script") or ""
    commit = str(lineage.get("git_commit", ""))[:12]
    state = " with changes" if lineage.get("git_dirty") else ""
    return f"{source}{' at ' if source and commit else ''}{f'{commit}{state}' if commit else ''}"


def describe_container(signature: Signature) -> str:
    """Say what the model is called with, as in 'dataframe with 7 columns'."""
    count = len(signature.columns)
    return f"{signature.container.value} with {count} column{'' if count == 1 else 's'}"


def describe_columns(signature: Signature) -> Iterable[tuple[str, str]]:
    """Go through the columns of a signature with what each may hold; at most 40 of them."""
    for column in signature.columns[:MOST_COLUMNS]:
        yield printable(column.name), printable(describe_column(column))
    if len(signature.columns) > MOST_COLUMNS:
        yield "…", f"and {len(signature.columns) - MOST_COLUMNS} more"


def describe_column(column: Column) -> str:
    """Say what a column may hold, as in 'number or null, seen 32.1 to 59.6'."""
    words = f"{column.kind.value}{describe_null(column) if column.nullable else ''}"
    if column.categories:
        others = ", others are answered too" if column.accepts_unknown else ", no others"
        return f"{words}: {_some(column.categories)}{others}"
    return words if column.minimum is None else f"{words}, seen {column.minimum} to {column.maximum}"


def describe_null(column: Column) -> str:
    """Say that a null is taken, and what is surprising about it: what it becomes, or that no encoder knows it."""
    if column.null_is_unknown:
        return " or null, answered as an unknown one"
    return " or null (None)" if column.null == "none" else " or null"


def describe_outputs(signature: Signature) -> Iterable[tuple[str, str]]:
    """Go through the methods that answer, with what each answers for one row, as in '3 numbers: Adelie, Gentoo'."""
    for name, output in signature.outputs.items():
        many = "×".join(str(length) for length in output.shape)
        labels = f": {_some(output.classes)}" if output.classes else ""
        promised = "; promised" if name in signature.promised else ""
        yield name, printable(f"{f'{many} {output.kind.value}s' if many else output.kind.value}{labels}{promised}")


def size(count: int) -> str:
    """Write a number of bytes for people, as in '13.4 kB'."""
    amount, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def printable(text: str) -> str:
    """Show control characters instead of obeying them: a note or a column's name is anybody's text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _some(values: tuple[Any, ...]) -> str:
    rest = ", …" if len(values) > MOST_CATEGORIES else ""
    return ", ".join(str(value) for value in values[:MOST_CATEGORIES]) + rest


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(
        f"<tr><th style='{CELL}'>{escape(name)}</th><td style='{CELL}'>{escape(text)}</td></tr>" for name, text in rows
    )
    return f"<table>{cells}</table>"
