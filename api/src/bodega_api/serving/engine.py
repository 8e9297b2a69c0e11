"""A loaded version as the API asks it: by its plan where that gives the model's own answers, else by the model.

A plan was compared with its model before it serves (`plans.gate`), and is compared again while it does: one answer in
a thousand is asked of both, as long as that takes a fiftieth of the time at most, and a plan that ever differs is never
asked again.
"""

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bodega_model.errors import BodegaError
from bodega_model.golden import Golden
from bodega_model.loading.runner import Runner
from bodega_model.plans import AsideError, NoPlanError, Plan, agrees, check_plan, compile_plan
from bodega_model.plans.odd_rows import turns
from bodega_model.signature.types import Signature
from bodega_model.validation.quick import ColumnsDecoder

from bodega_api.serving.counters import Tally
from bodega_api.serving.executor import start_thread

log = logging.getLogger(__name__)
CHECKED_EVERY = 1000
RESTS = 50  # times as long as a comparison took, no other one begins: models are slow, and would take what plans save
PLAN_SECONDS = 30  # a model may never return from an odd row
BY_ROW_SECONDS = 5.0  # a wide model takes a third of a second for a row, and each golden row is asked alone
# What the event loop computes itself, while everybody else waits: so many rows at once at most, and so many seconds.
MOST_ROWS = 128
QUICK_SECONDS, QUICK_BATCH_SECONDS = 0.001, 0.005
Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Ways:
    """How a model can be asked: by a plan or why not, in the event loop, and for several requests at once.

    `by_row` is what was found here: whether a row is answered alone as among others; None if that was not compared.
    """

    plan: Plan | None
    why_no_plan: str
    quick: bool = False
    by_row: bool | None = None


class Engine:
    """A version in memory that answers for JSON columns; safe to share between threads."""

    def __init__(self, runner: Runner, ways: Ways, tally: Tally, asked: set[str] | None = None) -> None:
        self.runner = runner
        self.plan = ways.plan
        self.why_no_plan = ways.why_no_plan
        self.quick = ways.quick and runner.signature.row_wise is not False
        self.by_row = ways.by_row
        self.decoder = ColumnsDecoder.of(runner.signature)
        # Columns whose numbers have another type beside a missing one.
        self.gaps_turn = tuple(column.name for column in runner.signature.columns if column.nullable and turns(column))
        self.tally = tally
        self.asked = set() if asked is None else asked
        self._answers = itertools.count(1)
        self._rests_until = 0.0  # by time.monotonic()

    @classmethod
    def start(cls, runner: Runner, golden: Golden, tally: Tally, asked: set[str] | None = None) -> "Engine":
        """Find out how a model that was loaded can be asked, and let its plan prove itself.

        The names of the outputs that it answers then go into `asked`.

        A model that answers must not be kept from it by what only makes it faster: whatever becomes of that.
        """
        try:
            ways = start_thread(lambda: _find_ways(runner, golden)).result(timeout=PLAN_SECONDS)
        except TimeoutError:
            ways = Ways(None, f"it was not compared with the model within {PLAN_SECONDS} s")
        except Exception as exc:
            log.exception("Planning a %s failed", type(runner.model).__name__)
            ways = Ways(None, f"planning raised {type(exc).__name__}")
        return cls(runner, ways, tally, asked)

    @property
    def batched(self) -> bool:
        """Whether rows of several requests may be computed together: it was seen here that no answer changes."""
        return self.quick or (self.by_row is True and self.signature.row_wise is not False)

    @property
    def row_wise(self) -> bool:
        """Whether the rows of one request may be taken apart: the signature or a comparison says so, and none no."""
        found = self.by_row, self.signature.row_wise
        return self.quick or (False not in found and True in found)

    @property
    def why_together(self) -> str:
        """Why the rows of one request are not taken apart."""
        if self.signature.row_wise is False:
            return "The answers of the model depend on all rows that are asked together"
        if self.by_row is False:
            return "When it was loaded here, the model did not answer single rows exactly as all of them together"
        return "It is not known whether the answers of the model depend on the rows that are asked together"

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return self.runner.size_bytes

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self.runner.signature

    def predict(self, columns: Columns, output: str) -> list[Any]:
        """Answer for JSON columns that fit the signature; raise what the runner raises."""
        planned = self.try_plan(columns, output)
        if planned is None:
            try:
                native = self.runner.predict(columns, output)
            except BaseException:
                self.tally.failed += 1
                raise
            self.tally.native += 1
            self.tally.rows.observe(len(native))
            self.asked.add(output)
            return native
        if self.is_due():
            self.compare(columns, output, planned)
        return planned

    def try_plan(self, columns: Columns, output: str) -> list[Any] | None:
        """Answer by the plan; None where there is none, or it steps aside."""
        plan = self.plan
        if plan is None:
            return None
        try:
            answers = plan.predict(columns, output)
        except AsideError:
            return None
        except Exception as exc:  # noqa: BLE001 (the model answers, or says itself what is wrong)
            log.info("A plan raised %s", type(exc).__name__)
            return None
        if len(answers) != len(next(iter(columns.values()))):
            log.error("A plan answered another number of rows than were asked")
            return None
        self.tally.planned += 1
        self.tally.rows.observe(len(answers))
        self.asked.add(output)
        return answers

    def is_due(self) -> bool:
        """Tell whether this answer is one that the model shall be asked for too."""
        return next(self._answers) % CHECKED_EVERY == 0 and time.monotonic() >= self._rests_until

    def compare(self, columns: Columns, output: str, planned: Sequence[Any]) -> None:
        """Ask the model too, and never ask the plan again if its answers are not the model's."""
        self.tally.compared += 1
        began = time.monotonic()
        try:
            native = self.runner.predict(columns, output)
        except BodegaError:
            native = []
        now = time.monotonic()
        self._rests_until = now + RESTS * (now - began)
        if len(native) != len(planned) or not all(map(agrees, native, planned)):
            self.plan, self.quick, self.why_no_plan = None, False, "the plan differed from the model in service"
            self.by_row = None  # of the model itself nobody knows
            self.tally.retired += 1
            log.error(
                "A plan of a %s answered otherwise than the model, and is retired", type(self.runner.model).__name__
            )


def _find_ways(runner: Runner, golden: Golden) -> Ways:
    try:
        plan = compile_plan(runner.model, runner.signature)
        check_plan(plan, runner, golden)
    except NoPlanError as exc:
        return Ways(None, str(exc), by_row=_answers_by_row(runner.predict, golden))
    if _is_quick(plan, golden) and _answers_by_row(plan.predict, golden):
        return Ways(plan, "", quick=True, by_row=True)
    return Ways(plan, "", by_row=_answers_by_row(runner.predict, golden))


def _answers_by_row(predict: Callable[[Columns, str], list[Any]], golden: Golden) -> bool | None:
    """Tell whether each golden row is answered alone as among the others, on this machine; None if time ran out."""
    until = time.monotonic() + BY_ROW_SECONDS
    alone = [{name: [values[place]] for name, values in golden.inputs.items()} for place in range(golden.rows)]
    try:
        for output in golden.outputs:
            for expected, row in zip(predict(golden.inputs, output), alone, strict=True):
                if time.monotonic() > until:
                    return None
                if not agrees(expected, predict(row, output)[0]):
                    return False
    except Exception:  # noqa: BLE001 (whatever a row alone is refused for)
        return False
    return True


def _is_quick(plan: Plan, golden: Golden) -> bool:
    """Tell whether each output is so quick, for one row and for as many as are computed at once."""
    few = {name: values[:1] for name, values in golden.inputs.items()}
    many = {name: (list(values) * MOST_ROWS)[:MOST_ROWS] for name, values in golden.inputs.items()}
    return all(
        _seconds(plan, few, output) <= QUICK_SECONDS and _seconds(plan, many, output) <= QUICK_BATCH_SECONDS
        for output in golden.outputs
    )


def _seconds(plan: Plan, columns: Columns, output: str) -> float:
    """Return how many seconds an answer takes, the fastest of a few times."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        plan.predict(columns, output)
        times.append(time.perf_counter() - began)
    return min(times)
