"""Whether a client of one signature can call another one: every difference, and which of them break.

A client sends rows by name, with every column of the signature and no other, and gets JSON back: that decides what
is breaking. How the model itself takes the rows (order, memory, the null of its data) and what was observed in the
example (minimum, maximum) bind no client and are not looked at.
"""

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from bodega_db.signature import Column, Kind, Output, Scalar, Signature

Label = tuple[bool, Scalar]

PREDICT = "predict"
MOST_VALUES, LONGEST_VALUE = 5, 40
# What a client sends as the first, a column of the second reads: all other changes of kind are refused by validation,
# or, text in place of a datetime, read as something else than what was meant.
NUMERIC = frozenset({(Kind.INTEGER, Kind.INTEGER), (Kind.INTEGER, Kind.NUMBER), (Kind.NUMBER, Kind.NUMBER)})
SENT_AS = {bool: Kind.BOOLEAN, int: Kind.INTEGER, float: Kind.NUMBER, str: Kind.STRING}
DATETIME = re.compile(r"datetime64\[(?P<unit>s|ms|us|ns)(, (?P<zone>.+))?\]")
UNITS = ("s", "ms", "us", "ns")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference of two signatures: its place, as in 'column island', and whether it breaks a client."""

    what: str
    detail: str
    breaking: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"what": self.what, "detail": self.detail, "breaking": self.breaking}


def compare_signatures(before: Signature, after: Signature) -> tuple[Change, ...]:
    """Return every difference that a client of the first signature may meet at the second: input, then output."""
    return (*_compare_inputs(before, after), *_compare_outputs(before, after))


# --- what a client sends ---------------------------------------------------------------------------------


def _compare_inputs(before: Signature, after: Signature) -> Iterator[Change]:
    if before.container is not after.container:
        # Rows are objects with names whatever the model is called with: the server makes the container of them.
        yield Change("container", f"{before.container} became {after.container}", breaking=False)
    was, now = ({column.name: column for column in signature.columns} for signature in (before, after))
    for name, column in was.items():
        if name in now:
            yield from _compare_columns(column, now[name])
        else:
            yield Change(f"column {name}", "is gone, and a column too many is refused", breaking=True)
    for name in _beyond(now, was):
        # Validation wants every column in every row, also where it may be null.
        yield Change(f"column {name}", "is new, and a row without it is refused", breaking=True)
    if [name for name in was if name in now] != [name for name in now if name in was]:
        # Also for arrays: their columns are sent by name (x0, x1, …), and the server brings them in order.
        yield Change("columns", "stand in another order, and are sent by name", breaking=False)


def _compare_columns(before: Column, after: Column) -> Iterator[Change]:
    place = f"column {before.name}"
    if (before.kind, before.dtype, _sent_as(before)) != (after.kind, after.dtype, _sent_as(after)):
        yield _retyped(place, before, after)
    if before.nullable and not after.nullable:
        yield Change(place, "no longer takes missing values", breaking=True)
    if after.nullable and not before.nullable:
        yield Change(place, "takes missing values now", breaking=False)
    yield from _compare_categories(place, before, after)


def _retyped(place: str, before: Column, after: Column) -> Change:
    detail = f"{_type(before)} became {_type(after)}"
    if not _reads_all(before, after):
        return Change(place, f"{detail}, which does not take all that was taken", breaking=True)
    if (_sent_as(before), _sent_as(after)) == (Kind.INTEGER, Kind.NUMBER):
        # Strictly a loss beyond 2**53, but a year that came with gaps this time must not break every client.
        return Change(place, f"{detail}, which takes integers as far as it can hold them exactly", breaking=False)
    return Change(place, detail, breaking=False)


def _reads_all(before: Column, after: Column) -> bool:
    sent, read = _sent_as(before), _sent_as(after)
    if (sent, read) in NUMERIC:
        (least, greatest), (lowest, highest) = _bounds(before), _bounds(after)
        return lowest <= least and greatest <= highest
    return sent is read and (sent is not Kind.DATETIME or _reads_moments(before.dtype, after.dtype))


def _reads_moments(before: str, after: str) -> bool:
    was, now = DATETIME.fullmatch(before), DATETIME.fullmatch(after)
    if was is None or now is None:
        return before == after
    if bool(was["zone"]) != bool(now["zone"]):
        return False  # a zone is demanded with one, and refused without
    # A coarser unit refuses the fractions, and nanoseconds end in the year 2262; the others hold the calendar.
    return was["unit"] == now["unit"] or (UNITS.index(was["unit"]) < UNITS.index(now["unit"]) and now["unit"] != "ns")


def _bounds(column: Column) -> tuple[float, float]:
    import numpy as np

    from bodega_db.columns import integer_bounds  # brings pandas, which most comparisons do not need

    if _sent_as(column) is Kind.INTEGER:
        return integer_bounds(column)
    dtype = column.dtype.lower()  # pandas' nullable Float32 is as narrow as numpy's
    largest = float(np.finfo(dtype).max) if dtype in ("float16", "float32") else math.inf
    return -largest, largest


def _compare_categories(place: str, before: Column, after: Column) -> Iterator[Change]:
    if _takes_unknown(before) and not _takes_unknown(after):
        yield Change(place, "no longer takes values beyond its categories", breaking=True)
    if _takes_unknown(after) and not _takes_unknown(before):
        yield Change(place, "takes values beyond its categories now", breaking=False)
    if before.categories is None or after.categories is None:
        if before.categories != after.categories:
            yield Change(place, f"its categories were {_known(before)} and are {_known(after)}", breaking=False)
        return
    new, lost = _beyond(after.categories, before.categories), _beyond(before.categories, after.categories)
    if new:
        yield Change(place, f"new categories: {_shown(new)}", breaking=False)
    if lost:
        # Where unknown values are taken, a lost one is answered with a warning.
        yield Change(place, f"lost categories: {_shown(lost)}", breaking=not after.accepts_unknown)


def _takes_unknown(column: Column) -> bool:
    return column.categories is None or column.accepts_unknown


def _known(column: Column) -> str:
    return "unknown" if column.categories is None else "known"


def _sent_as(column: Column) -> Kind:
    """Return the kind of the JSON values: of a pandas category, the kind of its first one."""
    if column.kind is not Kind.CATEGORY:
        return column.kind
    return SENT_AS[type((column.categories or ("",))[0])]


def _type(column: Column) -> str:
    of = f" of {_sent_as(column)} values" if column.kind is Kind.CATEGORY else f" ({column.dtype})"
    return f"{column.kind}{of}"


# --- what a client gets ----------------------------------------------------------------------------------


def _compare_outputs(before: Signature, after: Signature) -> Iterator[Change]:
    for name, output in before.outputs.items():
        if name in after.outputs:
            yield from _compare_forms(f"output {name}", output, after.outputs[name])
            yield from _compare_classes(name, before, after)
        else:
            yield Change(f"output {name}", "is gone", breaking=True)
    for name in after.outputs:
        if name not in before.outputs:
            yield Change(f"output {name}", "is new", breaking=False)
    if before.outputs and after.outputs and before.default_output != after.default_output:
        detail = f"{after.default_output} answers in place of {before.default_output} where none is named"
        yield Change("default output", detail, breaking=True)


def _compare_forms(place: str, before: Output, after: Output) -> Iterator[Change]:
    if before.kind is not after.kind:
        yield Change(place, f"{before.kind} became {after.kind}", breaking=True)
    if before.shape != after.shape:
        yield Change(place, f"the shape of a row {before.shape} became {after.shape}", breaking=True)
    if before.columns != after.columns:
        # Also where there were no names before: nothing says that the values still mean the same.
        yield Change(place, "its columns have other names", breaking=True)
    if before.per_target != after.per_target:
        now = "for each target" if after.per_target else "once for all targets"
        yield Change(place, f"its classes are listed {now}", breaking=True)


def _compare_classes(name: str, before: Signature, after: Signature) -> Iterator[Change]:
    """Compare what the values stand for: the labels that `predict` answers, or the place of a class in a vector."""
    place, by_place = f"output {name}", name != PREDICT
    was, now = _classes_by_target(before, name), _classes_by_target(after, name)
    if len(was) != len(now):
        # The classes are not part of what `predict` answers: its labels may stay what they are.
        yield Change(place, f"lists of classes: {len(was)} became {len(now)}", breaking=by_place)
        return
    for labels_before, labels_after in zip(was, now, strict=True):
        new, lost = _beyond(labels_after, labels_before), _beyond(labels_before, labels_after)
        # A client reads a label of `predict` by itself: one that never comes does no harm, and one more is what a
        # model learns with new data. Some lost and some new may be the same ones renamed, which no client knows.
        breaking = by_place or bool(new and lost)
        if new:
            yield Change(place, f"new classes: {_shown_labels(new)}", breaking)
        if lost:
            yield Change(place, f"lost classes: {_shown_labels(lost)}", breaking)
        if not new and not lost and labels_before != labels_after:
            yield Change(place, f"class order: now {_shown_labels(labels_after)}", by_place)


def _classes_by_target(signature: Signature, name: str) -> tuple[tuple[Label, ...], ...]:
    output = signature.outputs[name]
    if output.classes is None and name == "decision_function" and PREDICT in signature.outputs:
        # Of two classes it answers a single value without classes, whose sign means the second one of `predict`.
        output = signature.outputs[PREDICT]
    if output.classes is None:
        return ()
    targets: Any = output.classes if output.per_target else (output.classes,)
    return tuple(tuple(_label(value) for value in labels) for labels in targets)


def _label(value: Any) -> Label:
    """Tell True from 1, which Python holds to be equal and JSON does not; 1 and 1.0 are one number in both."""
    return isinstance(value, bool), value


# --- names and values --------------------------------------------------------------------------------


def _beyond(values: Collection[Any], known: Collection[Any]) -> list[Any]:
    found = set(known)
    return [value for value in values if value not in found]


def _shown_labels(labels: Collection[Label]) -> str:
    return _shown([value for _, value in labels])


def _shown(values: Collection[Scalar]) -> str:
    texts = [repr(value) for value in values][:MOST_VALUES]
    shown = ", ".join(text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…" for text in texts)
    return shown if len(values) <= MOST_VALUES else f"{shown} and {len(values) - MOST_VALUES} more"
