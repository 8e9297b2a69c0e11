"""What a plan must pass before it serves: the model's own answers, on rows that are chosen to find a difference."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from bodega_db.records import Golden
from bodega_db.runner import Runner
from bodega_db.signature import Column, Kind, Signature

from bodega_api.plans.compiling import Plan
from bodega_api.plans.registry import NoPlanError

Columns = Mapping[str, Sequence[Any]]
Row = dict[str, Any]
Predict = Callable[[Columns, str], list[Any]]

RELATIVE_TOLERANCE = 1e-12
CALM_ROWS = 200
# The model is asked too, which takes milliseconds for each call: a load shall not take seconds longer.
WILD_ROWS, ALONE = 24, 8
CALM_NUMBERS = (0.0, -0.0, 1.0, -1.0, 5e-324, -1e-310, 1e-17)
WILD_NUMBERS = (2.0**53, 1e20, -1e38, 3.5e38, 1e300, -1.7e308)
CALM_INTEGERS, WILD_INTEGERS = (0, 1, -1), (2**31, -(2**31), 2**53, 2**62, -(2**63))
TEXTS = ("", " ", "no such category", "é", "nan", "None")
REFUSED = object()


def check_plan(plan: Plan, runner: Runner, golden: Golden) -> None:
    """Raise NoPlanError, which says what differs, unless a plan answers as the model does.

    Labels and integers must be equal, floating point numbers within 1e-12 of each other, relative to the largest of
    the row: one row and many do not take the same kernels. Where the model refuses, the plan must not answer; where
    the plan steps aside, the model answers.
    """
    dice = random.Random(1)  # noqa: S311 (the same rows at every load)
    usual = [dict(zip(golden.inputs, values, strict=True)) for values in zip(*golden.inputs.values(), strict=True)]
    calm = usual + calm_rows(runner.signature, usual, dice)
    alone = [[row] for row in dice.sample(calm, min(ALONE, len(calm)))]
    wild = _wild(runner.signature, usual, dice)
    with np.errstate(all="ignore"):  # as in a plan: the model too says in its answer what overflowed
        for output in runner.signature.outputs:
            _check_golden(plan, golden.inputs, output)
            for rows in filter(None, (calm, wild, *alone)):
                columns = {name: [row[name] for row in rows] for name in golden.inputs}
                _compare(output, answers_of(runner.predict, columns, output), answers_of(plan.predict, columns, output))


def _check_golden(plan: Plan, rows: Columns, output: str) -> None:
    """Make the plan answer the golden rows, which it may not step aside from."""
    try:
        plan.predict(rows, output)
    except NoPlanError:
        raise
    except Exception as exc:
        raise NoPlanError(f"the plan fails on the golden rows ({output}): {exc}") from exc


def _compare(output: str, expected: list[Any], found: list[Any]) -> None:
    for native, planned in zip(expected, found, strict=True):
        if planned is not REFUSED and (native is REFUSED or not agrees(native, planned)):
            raise NoPlanError(f"the plan differs from the model ({output})")


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


def answers_of(predict: Predict, columns: Columns, output: str) -> list[Any]:
    """Answer row by row, with REFUSED for those that are: a batch that is refused because of one row is halved."""
    count = len(next(iter(columns.values())))
    try:
        return predict(columns, output)
    except Exception:  # noqa: BLE001 (whatever the arithmetic raises is a refusal)
        if count == 1:
            return [REFUSED]
    first = {name: values[: count // 2] for name, values in columns.items()}
    second = {name: values[count // 2 :] for name, values in columns.items()}
    return answers_of(predict, first, output) + answers_of(predict, second, output)


# --- rows that are chosen to find a difference -----------------------------------------------------------------


def calm_rows(signature: Signature, usual: Sequence[Row], dice: random.Random) -> list[Row]:
    """Return rows with values that are rare and within what the model was made for."""
    pools = {column.name: list(_rare(column)) for column in signature.columns}
    rows = [dice.choice(usual) | {name: value} for name, pool in pools.items() for value in pool]
    dice.shuffle(rows)
    mixed = [_mix(usual, pools, dice) for _ in range(CALM_ROWS // 2)]
    return mixed + rows[: CALM_ROWS // 2]


def _mix(usual: Sequence[Row], pools: Mapping[str, Sequence[Any]], dice: random.Random) -> Row:
    """Return a row of which every value comes from another one, some from the rare ones."""
    return {
        name: dice.choice(pool) if pool and dice.random() < 0.1 else dice.choice(usual)[name]
        for name, pool in pools.items()
    }


def _wild(signature: Signature, usual: Sequence[Row], dice: random.Random) -> list[Row]:
    """Return rows with one value that is legal and may be too large for the arithmetic."""
    rows = [dice.choice(usual) | {column.name: value} for column in signature.columns for value in _extreme(column)]
    return dice.sample(rows, min(WILD_ROWS, len(rows)))


def _rare(column: Column) -> Iterator[Any]:
    if column.nullable:
        yield None
    if column.categories is not None:
        yield from column.categories
    if column.kind is Kind.BOOLEAN:
        yield from (True, False)
    elif column.kind is Kind.NUMBER:
        yield from (*CALM_NUMBERS, *_around(column))
    elif column.kind is Kind.INTEGER:
        yield from CALM_INTEGERS
    elif column.kind is Kind.STRING and column.accepts_unknown:
        yield from TEXTS


def _extreme(column: Column) -> tuple[Any, ...]:
    return {Kind.NUMBER: WILD_NUMBERS, Kind.INTEGER: WILD_INTEGERS}.get(column.kind, ())


def _around(column: Column) -> Iterator[float]:
    for border in (column.minimum, column.maximum):
        if isinstance(border, float):
            yield from (border, math.nextafter(border, math.inf), math.nextafter(border, -math.inf))
