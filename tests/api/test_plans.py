"""Plans: the model's own answers by direct arithmetic, or no plan; and what becomes of one that ever differs."""

import os
import time
import warnings
from copy import copy
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from bodega_api.serving import engine as engines
from bodega_api.serving.counters import Tally
from bodega_api.serving.engine import CHECKED_EVERY, RESTS, Engine, Ways
from bodega_model.errors import PredictionError
from bodega_model.golden import Golden
from bodega_model.loading.runner import Runner
from bodega_model.plans import NoPlanError, Plan, agrees, check_plan, compile_plan, gate
from bodega_model.plans.odd_rows import OddRows
from bodega_model.plans.tables import Table
from bodega_model.signature.infer import learn
from conftest import Api
from gallery import GENTOO, enter, penguins
from outages import wait_for
from sklearn.linear_model import LinearRegression
from zoo import SPECIMENS, Specimen

PAGE = Path(__file__).parents[2] / "docs" / "plans.md"
TABLE = "\n| pipeline | plan | largest difference, or why there is none |\n| --- | --- | --- |\n"
MOST_ROWS = 1000
by_name = {specimen.name: specimen for specimen in SPECIMENS}
pytestmark = pytest.mark.filterwarnings("ignore")


def runner_of(name: str) -> tuple[Runner, Golden]:
    """Return a model of the zoo as the API has it in memory."""
    fitted = by_name[name].build()
    signature, golden = learn(fitted.model, fitted.example)
    return Runner(fitted.model, signature, 0, golden), golden


def planned(name: str) -> tuple[Plan, Runner, Golden]:
    """Return the plan of a model, which was not checked."""
    runner, golden = runner_of(name)
    return compile_plan(runner.model, runner.signature), runner, golden


def tampered(plan: Plan, by: float, least_rows: int = 1) -> Plan:
    """Return a plan whose answers are a little too large, for so many rows at once."""

    def change(method: Any) -> Any:
        return lambda block: method(block) * (1 + by if len(to_matrix(block)) >= least_rows else 1)

    return replace(plan, methods={name: change(method) for name, method in plan.methods.items()})


# --- all models of the zoo -----------------------------------------------------------------------------------


def largest_difference(plan: Plan, runner: Runner, golden: Golden) -> float:
    """Ask both for a thousand odd rows that the gate did not see; return by how much a number differs at most."""
    columns = rarely_mixed(OddRows(runner.signature, golden.inputs, seed=2))
    largest = 0.0
    for output in runner.signature.outputs:
        expected = gate.answers_of(runner.predict, columns, output)
        for native, found in zip(expected, gate.answers_of(plan.predict, columns, output), strict=True):
            if found is not gate.REFUSED:
                assert agrees(native, found), output
                largest = max(largest, difference(native, found))
    return largest


def rarely_mixed(odd: OddRows) -> dict[str, list[Any]]:
    """Return a thousand rows of which every value comes from another one, some from the rare ones."""
    rows = [odd.mix() for _ in range(MOST_ROWS)]
    return {name: [row[name] for row in rows] for name in rows[0]}


def difference(native: Any, found: Any) -> float:
    """Return by how much two answers differ, relative to the largest number in them."""
    if isinstance(native, list):
        scale = max((abs(value) for value in native if isinstance(value, float)), default=0.0)
        return max((distance(a, b, scale) for a, b in zip(native, found, strict=True)), default=0.0)
    return distance(native, found, 0.0)


def distance(native: Any, found: Any, scale: float) -> float:
    """Return by how much two values differ, relative to the larger one or to a scale."""
    if isinstance(native, list):
        return difference(native, found)
    return (
        abs(native - found) / max(abs(native), abs(found), scale)
        if isinstance(native, float) and native != found
        else 0.0
    )


def line(specimen: Specimen) -> tuple[str, bool, float]:
    """Make the table's line for one model; tell whether it has a plan, and by how much that differs."""
    runner, golden = runner_of(specimen.name)
    try:
        plan = compile_plan(runner.model, runner.signature)
        check_plan(plan, runner, golden, seconds=300)  # however busy the machine is
    except NoPlanError as exc:
        return f"| {specimen.name} | no | {exc} |\n", False, 0.0
    found = largest_difference(plan, runner, golden)
    return f"| {specimen.name} | yes | {'none' if found == 0 else 'in the last digits'} |\n", True, found


def test_every_plan_gives_the_answers_of_its_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Over a thousand odd rows for each model; the page says which have a plan, and why the others have none."""
    with warnings.catch_warnings(action="ignore"):
        lines = [line(specimen) for specimen in SPECIMENS]
    page = PAGE.read_text()
    table = TABLE + "".join(text for text, _, _ in lines)
    if os.environ.get("BODEGA_WRITE_DOCS"):
        PAGE.write_text(page.partition(TABLE)[0] + table)

    count = sum(has for _, has, _ in lines)
    with capsys.disabled():
        print(
            f"\n{count} of {len(lines)} models have a plan; the largest difference is {max(d for *_, d in lines):.1e}"
        )
    assert count >= 60
    assert max(found for *_, found in lines) <= gate.RELATIVE_TOLERANCE
    written = {row.split(" | ")[0]: row.split(" | ")[1] for row in PAGE.read_text().partition(TABLE)[2].splitlines()}
    assert written == {text.split(" | ")[0]: text.split(" | ")[1] for text, _, _ in lines}


# --- the gate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "forest-regressor", "voting-regressor"])
def test_a_plan_that_differs_in_the_eleventh_digit_does_not_serve(name: str) -> None:
    """Among many rows it may within the tolerance; a little beyond, the gate names the output that differs."""
    plan, runner, golden = planned(name)

    check_plan(tampered(plan, 1e-14, least_rows=2), runner, golden)
    with pytest.raises(NoPlanError, match=r"the plan differs from the model \(predict\)"):
        check_plan(tampered(plan, 1e-11, least_rows=2), runner, golden)


@pytest.mark.parametrize("name", ["linear", "forest-regressor", "voting-regressor"])
def test_a_plan_that_differs_in_the_last_digit_of_a_row_alone_does_not_serve(name: str) -> None:
    """What is asked alone is answered to the last bit, by a plan too."""
    plan, runner, golden = planned(name)

    check_plan(plan, runner, golden)
    with pytest.raises(NoPlanError, match=r"the plan differs from the model \(predict\)"):
        check_plan(tampered(plan, 4e-16), runner, golden)


def test_a_plan_that_answers_what_the_model_refuses_does_not_serve() -> None:
    """A value that is too large for the arithmetic is the model's to refuse."""
    plan, runner, golden = planned("tree")
    lenient = replace(plan, methods={name: (lambda block, m=m: m(clip(block))) for name, m in plan.methods.items()})

    with pytest.raises(NoPlanError, match="the plan differs"):
        check_plan(lenient, runner, golden)


def clip(block: Any) -> Any:
    """Take a large value for a smaller one, as no model does."""
    return to_matrix(block).clip(-1e30, 1e30)


def to_matrix(block: Any) -> Any:
    """Return a block of numbers as a matrix."""
    return block.matrix() if isinstance(block, Table) else block


def test_what_is_too_large_is_refused_in_the_models_own_words() -> None:
    """The plan steps aside, and the engine raises what the model raises."""
    plan, runner, golden = planned("tree")
    engine = Engine(runner, Ways(plan, ""), Tally())
    row = {name: [1e300] for name in golden.inputs}

    with pytest.raises(PredictionError, match=r"DecisionTreeClassifier\.predict raised ValueError"):
        engine.predict(row, "predict")


def test_a_difference_in_one_column_of_many_at_its_extreme_is_found() -> None:
    """However wide the model: each column has its turn with each of its odd values."""
    X = pd.DataFrame(np.random.default_rng(1).normal(size=(60, 300)), columns=[f"c{place}" for place in range(300)])
    model = LinearRegression().fit(X, X["c7"])
    signature, golden = learn(model, X[:20])
    runner, plan = Runner(model, signature, 0, golden), compile_plan(model, signature)

    def tamper(block: Any) -> Any:
        answers = plan.methods["predict"](block)
        return np.where(to_matrix(block)[:, 211] == 2.0**33 + 1, answers + 1, answers)

    check_plan(plan, runner, golden)
    with pytest.raises(NoPlanError, match="the plan differs from the model"):
        check_plan(replace(plan, methods={"predict": tamper}), runner, golden)


def test_a_plan_that_was_not_asked_everything_in_time_does_not_serve() -> None:
    """The budget is stated, and its end is no pass."""
    plan, runner, golden = planned("linear")

    with pytest.raises(NoPlanError, match=r"not compared with the model on all odd rows within 20 s"):
        check_plan(plan, runner, golden, seconds=0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_odd_rows_hold_what_a_column_of_that_dtype_can(dtype: str) -> None:
    """Nothing is asked that the API would refuse, and the greatest that it takes is."""
    X = pd.DataFrame({"n": np.arange(20).astype(dtype), "m": np.arange(20).astype(dtype)})
    signature, golden = learn(LinearRegression().fit(X, X["n"]), X)
    bounds: Any = np.iinfo(dtype) if dtype == "int64" else np.finfo(dtype)

    asked = {value for columns in OddRows(signature, golden.inputs).batches() for value in columns["n"]}

    assert (min(asked), max(asked)) == (bounds.min, bounds.max)
    assert {2**31, 0, -1, 19} <= asked


def test_rows_that_a_plan_steps_aside_for_are_found_without_asking_each() -> None:
    """A plan says which rows were too large, so a thousand of them cost a few calls."""
    plan, _, golden = planned("tree")
    calls: list[int] = []

    def predict(columns: Any, output: str) -> list[Any]:
        calls.append(len(next(iter(columns.values()))))
        return plan.predict(columns, output)

    columns = {name: (list(values) * 100)[:1000] for name, values in golden.inputs.items()}
    first = next(iter(columns))
    columns[first][100:900] = [1e300] * 800
    answers = gate.answers_of(predict, columns, "predict")

    assert [answer is gate.REFUSED for answer in answers] == [False] * 100 + [True] * 800 + [False] * 100
    assert calls == [1000, 200]


# --- in service ----------------------------------------------------------------------------------------------


def test_a_plan_that_differs_in_service_is_retired() -> None:
    """One answer in a thousand is asked of the model too; from the first difference on, the model answers."""
    plan, runner, golden = planned("linear")
    tally = Tally()
    engine = Engine(runner, Ways(tampered(plan, 1e-6), ""), tally)
    row = {name: values[:1] for name, values in golden.inputs.items()}
    right = runner.predict(row, "predict")

    for _ in range(CHECKED_EVERY):
        engine.predict(row, "predict")

    assert engine.plan is None
    assert engine.why_no_plan == "the plan differed from the model in service"
    assert (tally.planned, tally.compared, tally.retired) == (CHECKED_EVERY, 1, 1)
    assert engine.predict(row, "predict") == right
    assert tally.native == 1


class Slow:
    """A model that takes a tenth of a second longer."""

    def __init__(self, runner: Any) -> None:
        self.signature, self.predict_soon = runner.signature, runner.predict

    def predict(self, columns: Any, output: str) -> Any:
        """Answer, a little later."""
        time.sleep(0.1)
        return self.predict_soon(columns, output)


def test_comparing_takes_a_fiftieth_of_the_time_at_most() -> None:
    """A thousand answers after a comparison that took a tenth of a second none is made; seconds later one is."""
    plan, runner, golden = planned("linear")
    tally = Tally()
    engine = Engine(cast(Runner, Slow(runner)), Ways(plan, ""), tally)
    row = {name: values[:1] for name, values in golden.inputs.items()}

    def ask_a_thousand_times() -> int:
        for _ in range(CHECKED_EVERY):
            engine.predict(row, "predict")
        return tally.compared

    assert ask_a_thousand_times() == 1
    until = time.monotonic() + 0.1 * (RESTS - 5)
    while time.monotonic() < until:
        assert ask_a_thousand_times() == 1
    wait_for(lambda: ask_a_thousand_times() == 2)
    assert (tally.native, tally.retired) == (0, 0)


def test_the_api_says_whether_a_version_has_a_plan(api: Api) -> None:
    """In the details of a version, while it is in memory; and the metrics count who answered."""
    store = api.services.store
    enter(store, "penguins", penguins())
    details = api.client.get("/models/penguins/versions/1").raise_for_status().json()
    assert "serving" not in details

    for _ in range(3):
        api.client.post("/predict", json={"rows": [GENTOO]}).raise_for_status()

    details = api.client.get("/models/penguins/versions/1").raise_for_status().json()
    assert details["serving"] == {"plan": True, "batched": True}
    assert 'bodega_answers_total{by="plan",model="penguins",version="1"} 3.0' in api.client.get("/metrics").text


def test_a_plan_that_passed_serves_although_rows_alone_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide model takes long for each row: whether it looks at other rows is then not known, and the plan stays."""
    monkeypatch.setattr(engines, "BY_ROW_SECONDS", 0.2)
    monkeypatch.setattr(engines, "QUICK_SECONDS", 0.0)
    runner, golden = runner_of("linear")
    model = copy(runner.model)
    asked: list[int] = []

    def predict(X: Any) -> Any:
        asked.append(len(X))
        time.sleep(0.05)
        return runner.model.predict(X)

    model.predict = predict
    engine = Engine.start(replace(runner, model=model), golden, Tally())

    assert engine.plan is not None
    assert engine.by_row is None
    assert not engine.batched
    assert golden.rows == 20
    assert asked.count(1) < golden.rows + 10  # of which ten at most for the gate
    row = {name: values[:1] for name, values in golden.inputs.items()}
    assert engine.predict(row, "predict") == runner.predict(row, "predict")


def test_a_model_that_hangs_on_odd_rows_answers_without_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the gate are not those of anybody: a model that never returns from one is asked for it once."""
    monkeypatch.setattr(engines, "PLAN_SECONDS", 0.5)
    runner, golden = runner_of("linear")
    model = copy(runner.model)
    model.predict = lambda X: Event().wait() if (X == 5e-324).any(axis=None) else runner.model.predict(X)

    engine = Engine.start(replace(runner, model=model), golden, Tally())

    assert engine.why_no_plan == "it was not compared with the model within 0.5 s"
    row = {name: values[:1] for name, values in golden.inputs.items()}
    assert engine.predict(row, "predict") == runner.predict(row, "predict")
