"""How the difference of two versions shows itself, in a terminal and in a notebook."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from bodega_db.compatibility import Change
from bodega_db.diff import Difference

from bodega.receipts import printable, size


@dataclass(frozen=True, repr=False)
class Comparison:
    """What differs between two versions: `difference` has it as values, `compatible` says whether callers can go on."""

    difference: Difference

    @property
    def compatible(self) -> bool:
        """Whether callers of the first version can call the second unchanged."""
        return self.difference.compatible

    def __repr__(self) -> str:
        verdict = "compatible" if self.compatible else "incompatible"
        return f"<bodega diff of {self.difference.before} and {self.difference.after}: {verdict}>"

    def __str__(self) -> str:
        return "\n".join([self._verdict, *(f"  {place}: {what}" for place, what in describe(self.difference))])

    @property
    def _verdict(self) -> str:
        can = "can" if self.compatible else "cannot"
        return f"Callers of {self.difference.before} {can} call {self.difference.after}."

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self) if len(printer.stack) == 1 else repr(self))

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(place)}</th><td style='text-align:left'>{escape(what)}</td></tr>"
            for place, what in describe(self.difference)
        )
        return f"<div><b>{escape(self._verdict)}</b></div><table>{rows}</table>"


def describe(difference: Difference) -> Iterable[tuple[str, str]]:
    """Go through what differs, what breaks callers first, by place."""
    for change in sorted(difference.signature, key=lambda change: not change.breaking):
        yield printable(change.what), printable(_tell(change))
    for group in ("metrics", "params", "tags", "environment"):
        for name, (before, after) in getattr(difference, group).items():
            yield printable(f"{group}.{name}"), printable(f"{_value(before)} → {_value(after)}")
    if difference.format[0] != difference.format[1]:
        yield "format", " → ".join(difference.format)
    if difference.same_bytes:
        yield "artifact", "the same bytes"
    else:
        yield "size", " → ".join(size(count) for count in difference.size_bytes)


def _tell(change: Change) -> str:
    return f"{change.detail} (breaks callers)" if change.breaking else change.detail


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
