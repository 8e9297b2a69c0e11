"""What a plan must pass before it serves: the model's own answers, on rows that are chosen to find a difference."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np

from bodega_model.golden import Golden
from bodega_model.loading.runner import Runner
from bodega_model.plans.compiling import Plan
from bodega_model.plans.matrices import AsideError, NoPlanError
from bodega_model.plans.odd_rows import WIDE, OddRows

Columns = Mapping[str, Sequence[Any]]
Predict = Callable[[Columns, str], list[Any]]

RELATIVE_TOLERANCE = 1e-12
# A version that is loaded waits for the comparison. A plan that was not asked everything by then does not serve.
SECONDS = 20.0
# Rows that are asked alone: the model takes milliseconds for each, and some models much longer.
ALONE, LEAST_ALONE, ALONE_SECONDS = 24, 8, 1.0
REFUSED = object()


def check_plan(plan: Plan, runner: Runner, golden: Golden, seconds: float = SECONDS) -> None:
    """Raise NoPlanError, which says what differs, unless a plan answers as the model does.

    Rows that are asked alone must be answered to the last bit. Among many, labels and integers must be equal, and
    floating point numbers within 1e-12 of each other, relative to the largest of the row: one row and many do not
    take the same kernels. Where the model refuses, the plan must not answer; where the plan steps aside, the model
    answers. All odd rows are asked (`odd_rows`), or the plan does not serve.
    """
    began = time.monotonic()
    until = began + seconds
    odd = OddRows(runner.signature, golden.inputs)
    for output in runner.signature.outputs:
        _check_golden(plan, golden.inputs, output)
    with np.errstate(all="ignore"):  # as in a plan: the model too says in its answer what overflowed
        for asked, row in enumerate(odd.alone(ALONE)):
            if asked >= LEAST_ALONE and time.monotonic() > began + ALONE_SECONDS:
                break
            for output in runner.signature.outputs:
                _compare(plan, runner, row, output, until, same=is_same)
        outputs = cycle(runner.signature.outputs)
        at_once = 1 if len(runner.signature.columns) > WIDE else len(runner.signature.outputs)
        for columns in odd.batches():
            for output in islice(outputs, at_once):  # of a wide table each batch for one output, in turn
                _compare(plan, runner, columns, output, until, same=agrees)


def _check_golden(plan: Plan, rows: Columns, output: str) -> None:
    """Make the plan answer the golden rows, which it may not step aside from."""
    try:
        plan.predict(rows, output)
    except NoPlanError:
        raise
    except Exception as exc:
        raise NoPlanError(f"the plan fails on the golden rows ({output}): {exc}") from exc


def _compare(
    plan: Plan, runner: Runner, columns: Columns, output: str, until: float, same: Callable[[Any, Any], bool]
) -> None:
    """Ask the plan, and then the model for the rows that the plan answered, which it must not refuse."""
    answers = answers_of(plan.predict, columns, output, until)
    kept = [place for place, answer in enumerate(answers) if answer is not REFUSED]
    if not kept:
        return
    if len(kept) < len(answers):  # once more together, for the model is asked for them together
        columns = take(columns, kept)
        answers = answers_of(plan.predict, columns, output, until)
    _check_time(until)
    try:
        expected = runner.predict(columns, output)
    except Exception:  # noqa: BLE001 (whatever it is refused for)
        expected = answers_of(runner.predict, columns, output, until)
    if expected == answers and same is agrees and _types(expected) == _types(answers):
        return  # what nearly always is, in a tenth of the time
    for native, planned in zip(expected, answers, strict=True):
        if planned is not REFUSED and (native is REFUSED or not same(native, planned)):
            raise NoPlanError(f"the plan differs from the model ({output})")


def _types(answers: list[Any]) -> list[Any]:
    return [_types(answer) if type(answer) is list else type(answer) for answer in answers]


def is_same(native: Any, planned: Any) -> bool:
    """Tell whether two answers for a row are written the same: to the last bit, and the sign of a zero."""
    return repr(native) == repr(planned)


def agrees(native: Any, planned: Any) -> bool:
    """Tell whether a plan's answer for a row is the model's: labels exactly, numbers within the tolerance."""
    if isinstance(native, list) and isinstance(planned, list):
        numbers = [abs(value) for value in native if isinstance(value, float)]
        largest = max(numbers, default=0.0)
        return len(native) == len(planned) and all(_agree(a, b, largest) for a, b in zip(native, planned, strict=True))
    return _agree(native, planned, 0.0)


def _agree(native: Any, planned: Any, largest: float) -> bool:
    if isinstance(native, list):
        return agrees(native, planned)
    if type(native) is not type(planned):
        return False
    if isinstance(native, float):
        return math.isclose(native, planned, rel_tol=RELATIVE_TOLERANCE, abs_tol=RELATIVE_TOLERANCE * largest)
    return bool(native == planned)


def answers_of(predict: Predict, columns: Columns, output: str, until: float = math.inf) -> list[Any]:
    """Answer row by row, with REFUSED for those that are.

    A batch that is refused because of some rows is asked again without them, or where it is not said which, halved.
    """
    _check_time(until)
    count = len(next(iter(columns.values())))
    try:
        return predict(columns, output)
    except AsideError as exc:
        refused = exc.rows
    except Exception:  # noqa: BLE001 (whatever the arithmetic raises is a refusal)
        refused = None
    if count == 1 or (refused is not None and refused.all()):
        return [REFUSED] * count
    if refused is None or not refused.any() or len(refused) != count:
        refused = np.arange(count) < count // 2
        first = answers_of(predict, take(columns, np.flatnonzero(refused).tolist()), output, until)
    else:
        first = [REFUSED] * int(refused.sum())
    rest = iter(answers_of(predict, take(columns, np.flatnonzero(~refused).tolist()), output, until))
    firsts = iter(first)
    return [next(firsts if is_first else rest) for is_first in refused.tolist()]


def take(columns: Columns, places: Sequence[int]) -> Columns:
    """Return some of the rows."""
    return {
        name: values[np.asarray(places)] if isinstance(values, np.ndarray) else [values[place] for place in places]
        for name, values in columns.items()
    }


def _check_time(until: float) -> None:
    if time.monotonic() > until:
        raise NoPlanError(f"it was not compared with the model on all odd rows within {SECONDS:g} s")
