"""Whether a model takes what another one was sent: columns, kinds, missing values, categories."""

import math
import re
from collections.abc import Iterator

from bodega_model.signature.differences import Change, Grade, beyond, grade_of, listed
from bodega_model.signature.types import Column, Kind, Signature

# What a client sends as the first, a column of the second reads: all other changes of kind are refused by validation,
# or, text in place of a datetime, read as something else than what was meant.
NUMERIC = frozenset({(Kind.INTEGER, Kind.INTEGER), (Kind.INTEGER, Kind.NUMBER), (Kind.NUMBER, Kind.NUMBER)})
SENT_AS = {bool: Kind.BOOLEAN, int: Kind.INTEGER, float: Kind.NUMBER, str: Kind.STRING}
DATETIME = re.compile(r"datetime64\[(?P<unit>s|ms|us|ns)(, (?P<zone>.+))?\]")
UNITS = ("s", "ms", "us", "ns")
NANOSECOND_YEARS = range(1678, 2262)  # that nanoseconds hold from the first day to the last
SHOWN_ONLY = "which takes less, but all that the example showed"
NULLS_SHOWN = {
    True: "of which the example had some",
    False: "of which the example had none",
    None: "and whether the example had some is not known of a version that old",
}


def compare_inputs(before: Signature, after: Signature) -> Iterator[Change]:
    """Go through what differs in what a client sends."""
    if before.container is not after.container:
        # Rows are objects with names whatever the model is called with: the server makes the container of them.
        yield Change("container", f"{before.container} became {after.container}", Grade.SAME)
    was, now = ({column.name: column for column in signature.columns} for signature in (before, after))
    for name, column in was.items():
        if name in now:
            yield from _compare_columns(column, now[name])
        else:
            yield Change(f"column {name}", "is gone, and a column too many is refused", Grade.BREAKING)
    for name in beyond(now, was):
        # Validation wants every column in every row, also where it may be null.
        yield Change(f"column {name}", "is new, and a row without it is refused", Grade.BREAKING)
    if [name for name in was if name in now] != [name for name in now if name in was]:
        # Also for arrays: their columns are sent by name (x0, x1, …), and the server brings them in order.
        yield Change("columns", "stand in another order, and are sent by name", Grade.SAME)


def _compare_columns(before: Column, after: Column) -> Iterator[Change]:
    place = f"column {before.name}"
    if (before.kind, before.dtype, _sent_as(before)) != (after.kind, after.dtype, _sent_as(after)):
        yield _retyped(place, before, after)
    if before.nullable and not after.nullable:
        yield Change(
            place,
            f"no longer takes missing values, {NULLS_SHOWN[before.null_shown]}",
            grade_of(before.null_shown is not False),
        )
    if after.nullable and not before.nullable:
        yield Change(place, "takes missing values now", Grade.NOTE)
    yield from _compare_categories(place, before, after)


def _retyped(place: str, before: Column, after: Column) -> Change:
    detail = f"{_type(before)} became {_type(after)}"
    if not _reads_all(before, after):
        if _reads_shown(before, after):
            return Change(place, f"{detail}, {SHOWN_ONLY}", Grade.NOTE)
        return Change(place, f"{detail}, which does not take all that was taken", Grade.BREAKING)
    if (_sent_as(before), _sent_as(after)) == (Kind.INTEGER, Kind.NUMBER):
        # Strictly a loss beyond 2**53, but a year that came with gaps this time must not break every client.
        return Change(place, f"{detail}, which takes integers as far as it can hold them exactly", Grade.NOTE)
    return Change(place, detail, Grade.SAME if _reads_all(after, before) else Grade.NOTE)


def _reads_all(before: Column, after: Column) -> bool:
    sent, read = _sent_as(before), _sent_as(after)
    if (sent, read) in NUMERIC:
        (least, greatest), (lowest, highest) = _bounds(before), _bounds(after)
        return lowest <= least and greatest <= highest
    return sent is read and (sent is not Kind.DATETIME or _reads_moments(before.dtype, after.dtype))


def _reads_shown(before: Column, after: Column) -> bool:
    """Tell whether a column takes what was between the least and the greatest value of the other one's example."""
    if before.minimum is None or before.maximum is None:
        return False
    if isinstance(before.minimum, str) or isinstance(before.maximum, str):
        years = (int(str(moment)[:4]) for moment in (before.minimum, before.maximum))
        return _reads_moments(before.dtype, after.dtype, far=False) and all(y in NANOSECOND_YEARS for y in years)
    lowest, highest = _bounds(after) if (_sent_as(before), _sent_as(after)) in NUMERIC else (math.inf, -math.inf)
    return lowest <= before.minimum and before.maximum <= highest


def _reads_moments(before: str, after: str, *, far: bool = True) -> bool:
    was, now = DATETIME.fullmatch(before), DATETIME.fullmatch(after)
    if was is None or now is None:
        return before == after
    if bool(was["zone"]) != bool(now["zone"]):
        return False  # a zone is demanded with one, and refused without
    # A coarser unit refuses the fractions, and nanoseconds end in the year 2262; the others hold the calendar.
    finer = UNITS.index(was["unit"]) < UNITS.index(now["unit"])
    return was["unit"] == now["unit"] or (finer and (now["unit"] != "ns" or not far))


def _bounds(column: Column) -> tuple[float, float]:
    import numpy as np

    from bodega_model.signature.columns import integer_bounds  # brings pandas, which most comparisons do not need

    if _sent_as(column) is Kind.INTEGER:
        return integer_bounds(column)
    dtype = column.dtype.lower()  # pandas' nullable Float32 is as narrow as numpy's
    largest = float(np.finfo(dtype).max) if dtype in ("float16", "float32") else math.inf
    return -largest, largest


def _compare_categories(place: str, before: Column, after: Column) -> Iterator[Change]:
    if _takes_unknown(before) and not _takes_unknown(after):
        # Where there were categories the example showed those; where there were none it may have shown anything.
        yield Change(place, "no longer takes values beyond its categories", grade_of(before.categories is None))
    if _takes_unknown(after) and not _takes_unknown(before):
        yield Change(place, "takes values beyond its categories now", Grade.NOTE)
    if before.categories is None or after.categories is None:
        if before.categories != after.categories:
            yield Change(place, f"its categories were {_known(before)} and are {_known(after)}", Grade.NOTE)
        return
    new, lost = beyond(after.categories, before.categories), beyond(before.categories, after.categories)
    if new:
        yield Change(place, f"new categories: {listed(new)}", Grade.NOTE)
    if lost:
        # Where unknown values are taken, a lost one is answered with a warning.
        yield Change(place, f"lost categories: {listed(lost)}", grade_of(not after.accepts_unknown))


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
