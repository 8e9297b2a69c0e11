"""How the difference of two versions shows itself, in a terminal and in a notebook."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

from bodega_db.catalog.diff import Difference
from bodega_model.signature.differences import Change, Grade

from bodega.display.receipts import printable, size

VERDICTS = {
    Grade.SAME: "Callers of {before} can call {after}: it takes and answers the same.",
    Grade.NOTE: (
        "Callers of {before} can call {after}: it is wider or narrower, but not in what was shown, promised or asked."
    ),
    Grade.BREAKING: "Callers of {before} cannot call {after}.",
}
MOST_NAMES = 3


@dataclass(frozen=True, repr=False)
class Comparison:
    """What differs between two versions: `difference` has it as values.

    `verdict` is 'same', 'note' (wider or narrower in ways that were not used) or 'breaking', and `compatible` says
    whether callers can go on, which is so but for 'breaking'.
    """

    difference: Difference

    @property
    def compatible(self) -> bool:
        """Whether callers of the first version can call the second unchanged."""
        return self.difference.compatible

    @property
    def verdict(self) -> str:
        """What the second version is to a caller of the first one: 'same', 'note' or 'breaking'."""
        return self.difference.verdict.value

    def __repr__(self) -> str:
        return f"<bodega diff of {self.difference.before} and {self.difference.after}: {self.verdict}>"

    def __str__(self) -> str:
        return "\n".join([self._verdict, *(f"  {place}: {what}" for place, what in describe(self.difference))])

    @property
    def _verdict(self) -> str:
        before, after = self.difference.before, self.difference.after
        return VERDICTS[self.difference.verdict].format(before=before, after=after)

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
    for change in _grouped(sorted(difference.signature, key=lambda change: not change.breaking)):
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


def _grouped(changes: Iterable[Change]) -> Iterable[Change]:
    """Tell of many columns once what is the same of all, as in 'columns a, b, c and 10 more'."""
    groups: dict[tuple[str, str, Grade], list[str]] = {}
    for change in changes:
        sort, _, name = change.what.partition(" ")
        groups.setdefault((sort if name else "", change.detail, change.grade), []).append(name or change.what)
    for (sort, detail, grade), names in groups.items():
        rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        place = f"{sort}{'s' if len(names) > 1 and sort else ''} {', '.join(names[:MOST_NAMES])}{rest}"
        yield Change(place.strip(), detail, grade)


def _tell(change: Change) -> str:
    return f"{change.detail} (breaks callers)" if change.breaking else change.detail


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
