"""Whether a model answers a row the same beside any other rows: found out by asking.

Lags, ranks, counts and what is scaled by the mean of the rows that are there look at other rows. In a notebook that is
seen at once; a caller over HTTP has one row, or those of an hour, and gets another answer than the notebook had.
"""

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from bodega_model.errors import BodegaError
from bodega_model.golden import Golden
from bodega_model.signature.conformance import values_of
from bodega_model.signature.inputs import build_input
from bodega_model.signature.several_outputs import Asked
from bodega_model.signature.types import Signature

# One row and many do not take the same kernels, of which those of 32 bits differ in the seventh digit; a row beside
# moves the first ones.
RELATIVE_TOLERANCE, OF_THE_LARGEST = 1e-5, 1e-6
SECONDS = 5.0  # for asking row by row: a slow model is asked for the first and the last ones

Places = Sequence[int]


def answers_row_wise(model: Any, signature: Signature, golden: Golden) -> bool:
    """Tell whether the golden rows are answered alone, fewer, twice and in another order as they were together."""
    deadline = time.monotonic() + SECONDS
    asked: set[tuple[int, ...]] = set()
    for places, must in _selections(golden.rows):
        if not must and time.monotonic() > deadline:
            break
        if tuple(places) not in asked and not _repeats(model, signature, golden, places):
            return False
        asked.add(tuple(places))
    return True


def _selections(count: int) -> Iterator[tuple[Places, bool]]:
    """Go through choices of rows, and whether each has to be asked; what most models show comes first."""
    every = range(count)
    for places in (every[::-1], every[: (count + 1) // 2], every[count // 2 :], [*every, *every], every[:1]):
        yield places, True
    for place in sorted(every, key=lambda place: min(place, count - place)):
        yield [place], False


def _repeats(model: Any, signature: Signature, golden: Golden, places: Places) -> bool:
    columns = {name: [values[place] for place in places] for name, values in golden.inputs.items()}
    try:
        asked = Asked(model, partial(build_input, signature, columns))
        found = {output: asked.answer(output) for output in signature.outputs}
    except (BodegaError, ValueError, TypeError):
        return False  # it cannot do without the others
    return all(_is_as(golden.outputs[output], places, answers) for output, answers in found.items())


def _is_as(expected: Sequence[Any], places: Places, answers: Sequence[Any]) -> bool:
    margin = OF_THE_LARGEST * max((abs(v) for v in values_of(expected) if isinstance(v, float)), default=0.0)
    return all(_is_same(expected[place], answer, margin) for place, answer in zip(places, answers, strict=True))


def _is_same(expected: Any, found: Any, margin: float) -> bool:
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(_is_same(a, b, margin) for a, b in zip(expected, found, strict=True))
    if isinstance(expected, float) and isinstance(found, int | float):
        return math.isclose(expected, found, rel_tol=RELATIVE_TOLERANCE, abs_tol=margin)
    return type(expected) is type(found) and bool(expected == found)
