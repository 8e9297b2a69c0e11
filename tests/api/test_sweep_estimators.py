"""Everything that scikit-learn has, and sixty pipelines, asked over HTTP: each answer is exact, or there is a reason.

`BODEGA_WRITE_DOCS=1 ./bodega test --all tests/api/test_sweep_estimators.py` writes the counts anew.
"""

import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodega_db.records import Version
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError
from bodega_model.plans import agrees
from bodega_model.signature.columns import to_wire
from bodega_model.signature.inputs import read_example
from conftest import Api, create_database, running_api
from scipy import sparse
from zoo.odd import frames, odd_values
from zoo.sixty import pairs, shop
from zoo.whole import cases

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]
COUNTS = Path(__file__).parents[1] / "zoo" / "swept.json"
LEAST_REASON = 20  # characters
ONLY = re.compile(os.environ.get("BODEGA_SWEEP", "."))  # to look at a part of it, by name
REFUSED = "refused"
PATIENCE = 600.0  # seconds, for a version to be loaded where much else runs


@pytest.fixture(scope="module")
def catalog(
    postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ModelStore, Api]]:
    """A store and an API for the whole sweep."""
    settings = Settings.read(
        database_url=create_database(postgres_url, "sweep", template),
        models=tmp_path_factory.mktemp("sweep") / "models",
    )
    with closing(ModelStore.connect(settings)) as store, running_api(settings) as api:
        api.client.timeout = PATIENCE
        yield store, api


# --- what memory says, without the code under test ---------------------------------------------------------------


def in_memory(model: Any, output: str, rows: Any) -> list[Any] | str:
    """Return what the model answers as plain values, or that it refuses, or answers nothing finite or not each row."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            answer = plain(getattr(model, output)(rows))
    except Exception:
        return REFUSED
    # SparsePCA answers a single row with as many values as it has columns, and no row.
    return answer if finite(answer) and len(answer) == len(rows) else REFUSED


def plain(answer: Any) -> list[Any]:
    """Write what a method returned with its rows first."""
    if isinstance(answer, list):
        return [list(row) for row in zip(*map(plain, answer), strict=True)]
    return np.asarray(answer.toarray() if sparse.issparse(answer) else answer).tolist()  # type: ignore[no-any-return]


def finite(value: Any) -> bool:
    """Tell whether a value, or all in it, can be written in JSON."""
    if isinstance(value, list):
        return all(map(finite, value))
    return value is not None and not (isinstance(value, float) and not np.isfinite(value))


def agree(expected: list[Any], found: list[Any]) -> bool:
    """Tell whether answers are the same within 1e-12, labels exactly."""
    return len(expected) == len(found) and all(map(agrees, expected, found))


# --- registered, or refused with a reason ----------------------------------------------------------------------------


def enter(store: ModelStore, name: str, model: Any, example: Any) -> Version | str:
    """Register a model; return the reason why not, or what is wrong with the reason."""
    try:
        return store.register(model, name, example=example)
    except BodegaError as exc:
        good = len(exc.message) >= LEAST_REASON and exc.advice and "Traceback" not in str(exc)
        return f"{type(exc).__name__}: {exc.message}" if good else f"RAW {exc!r}"
    except Exception as exc:
        return f"RAW {type(exc).__name__}: {exc}"


def ask(api: Api, name: str, columns: dict[str, list[Any]], output: str) -> list[Any] | str:
    """Return the predictions, or why there are none; a status that is no refusal is RAW."""
    response = api.client.post(
        "/predict",
        params={"model": name, "output": output},
        content=json.dumps({"columns": columns}),
        headers={"Content-Type": "application/json"},
    )
    if response.status_code == 200:
        return response.json()["predictions"]  # type: ignore[no-any-return]
    problem = response.json()
    by_model = response.status_code == 500 and problem["type"].endswith(":prediction-failed")
    good = (by_model or response.status_code in (413, 422)) and problem["detail"] and problem["hint"]
    return f"{'' if good else 'RAW '}{response.status_code} {problem['detail']}"


def check_example(api: Api, name: str, version: Version, model: Any, example: Any) -> Iterator[str]:
    """Go through what is wrong with the answers for all example rows, and for the first of them alone."""
    found = read_example(example, model)
    columns = {column.name: to_wire(column, found.frame[column.name]) for column in found.columns}
    alone = {key: values[:1] for key, values in columns.items()}
    for output in version.signature.outputs:
        for rows, wire in ((example, columns), (example[:1], alone)):
            expected, answered = in_memory(model, output, rows), ask(api, name, wire, output)
            if isinstance(expected, str) and isinstance(answered, str) and not answered.startswith("RAW"):
                continue
            if isinstance(expected, str) or isinstance(answered, str) or not agree(expected, answered):
                yield f"{name}.{output} of {len(rows)} rows: memory {expected!s:.200}, HTTP {answered!s:.200}"


def check_odd(api: Api, name: str, version: Version, model: Any, frame: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Go through rows with an odd value: what came of each, and what is wrong, or why it is refused.

    A refusal is one where memory refuses too, or answers with nothing finite; or one of a value that the signature does
    not take, and memory would have answered something for it.
    """
    output = version.signature.default_output
    rows = [
        dict(zip(version.golden.inputs, values, strict=True))
        for values in zip(*version.golden.inputs.values(), strict=True)
    ]
    usual = next((row for row in rows if None not in row.values()), rows[0])
    for column in frame.columns:
        for value in odd_values(frame[column]):
            row = usual | {column: value}
            expected = [in_memory(model, output, one) for one in frames(frame, row, column)]
            answered = ask(api, name, {key: [one] for key, one in row.items()}, output)
            if isinstance(answered, str):
                like = all(isinstance(one, str) for one in expected)
                outcome = (
                    "wrong" if answered.startswith("RAW") else "refused as in memory" if like else "refused before"
                )
                yield outcome, f"{name} {row}: HTTP {answered}" if outcome == "wrong" else answered
            elif any(not isinstance(one, str) and agree(one, answered) for one in expected):
                yield "exact", ""
            else:
                yield "wrong", f"{name} {column}={value!r} in {row}: memory {expected!s:.150}, HTTP {answered!s:.150}"


class Sweep:
    """What was found: counts by outcome, and every fault."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.why: Counter[str] = Counter()

    def model(self, catalog: tuple[ModelStore, Api], name: str, model: Any, example: Any, *, odd: bool) -> None:
        """Register a model, ask it, and count what came of it."""
        store, api = catalog
        version = enter(store, name, model, example)
        if isinstance(version, str):
            self.counts["raw" if version.startswith("RAW") else "refused"] += 1
            self.note(f"{name}: {version}", fault=version.startswith("RAW"))
            return
        wrong = list(check_example(api, name, version, model, example))
        for what in wrong:
            self.note(what, fault=True)
        self.counts["wrong" if wrong else "exact"] += 1
        if odd:
            self.odd(check_odd(api, name, version, model, example))

    def note(self, what: str, *, fault: bool) -> None:
        """Print what was found, at once."""
        print("FAULT" if fault else "refused", what, flush=True)
        if fault:
            self.faults.append(what)

    def odd(self, found: Iterator[tuple[str, str]]) -> None:
        """Count what came of odd rows."""
        for outcome, what in found:
            self.counts[f"odd rows {outcome}"] += 1
            if outcome == "wrong":
                self.note(what, fault=True)
            elif outcome != "exact":
                self.why[f"{outcome}: " + re.sub(r"column \w+", "column", what)] += 1

    def close(self, part: str) -> None:
        """Print what was found, and hold it to the counts that the documentation has."""
        print(f"\n{part}: {dict(self.counts)}", *self.why.most_common(), sep="\n")
        assert self.faults == []
        if ONLY.pattern != ".":
            return
        counts = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
        if os.environ.get("BODEGA_WRITE_DOCS"):
            COUNTS.write_text(json.dumps(counts | {part: dict(sorted(self.counts.items()))}, indent=2) + "\n")
            return
        assert counts[part] == dict(self.counts)


def test_every_estimator_is_exact_or_refused_with_a_reason(catalog: tuple[ModelStore, Api]) -> None:
    """All of scikit-learn, on arrays and on frames: no answer is wrong, no error is raw, and each refusal says why."""
    sweep = Sweep()
    for case in cases():
        name = f"{case.name}-{case.form}".lower()
        if ONLY.search(name):
            sweep.model(catalog, name, case.fit(), case.X, odd=case.form == "frame")

    sweep.close("estimators")


def test_sixty_pipelines_answer_usual_and_odd_rows_as_in_memory(catalog: tuple[ModelStore, Api]) -> None:
    """Nulls of each kind, extremes, unknown categories, integers at the borders: as in memory, or refused with a reason."""
    sweep = Sweep()
    for pair in pairs():
        if ONLY.search(pair.name):
            sweep.model(catalog, pair.name, pair.fit(), shop()[pair.columns], odd=True)

    sweep.close("pipelines")
