"""docs/pipelines.md: which pipelines Bodega serves, made from the very models that the tests register and ask.

`BODEGA_WRITE_DOCS=1 pytest tests/model/test_pipelines_table.py` writes it anew.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from bodega_model.signature.infer import learn
from bodega_model.signature.types import Signature
from sklearn.pipeline import Pipeline
from zoo import REFUSED, SPECIMENS, Specimen

COUNTS = Path(__file__).parents[1] / "zoo" / "swept.json"
PAGE = Path(__file__).parents[2] / "docs" / "pipelines.md"
HEAD = """# Pipelines

Every model below is registered and asked over HTTP by `tests/api/test_zoo.py`; each output for the example's rows
equals what the model answers in memory, to the last digit. The page is made by `tests/model/test_pipelines_table.py`.

| pipeline | steps | example | null | outputs |
| --- | --- | --- | --- | --- |
"""
REFUSED_HEAD = """
## Refused

These are refused when they are registered, with the reason.

| model | error | the message names |
| --- | --- | --- |
"""


SWEPT = """
## All of scikit-learn, and odd rows

The slow tests (`./bodega test --all`, `tests/api/test_sweep_estimators.py`) register every class of
`sklearn.utils.all_estimators()`, on arrays and on frames, and sixty pipelines that are not in the table above, and ask them over
HTTP: all rows of the example, one alone, and rows with one odd value each (a null of each kind, extremes of the column, unknown
categories, integers around 2⁵³ and 2⁶³). An answer is exact if it is the model's in memory within 1e-12, labels exactly. The tests
fail on a wrong answer and on an error without a reason, and hold these counts:

| what | registered, all answers exact | refused with a reason | wrong | raw errors |
| --- | --- | --- | --- | --- |
{models}
| odd rows | answered exactly | refused, as in memory | refused, where memory answers | wrong |
| --- | --- | --- | --- | --- |
{rows}"""
PARTS = {"estimators": "all estimators", "pipelines": "sixty pipelines"}
OF_MODELS = ("exact", "refused", "wrong", "raw")
OF_ROWS = ("odd rows exact", "odd rows refused as in memory", "odd rows refused before", "odd rows wrong")


def swept() -> str:
    """Write what the sweep found when it ran last."""
    counts = json.loads(COUNTS.read_text())

    def table(outcomes: tuple[str, ...]) -> str:
        return "".join(
            f"| {' | '.join([title, *(str(counts[part].get(outcome, 0)) for outcome in outcomes)])} |\n"
            for part, title in PARTS.items()
        )

    return SWEPT.format(models=table(OF_MODELS), rows=table(OF_ROWS))


def steps(model: Any) -> str:
    """Name what a model is made of, from the first step to the last."""
    parts = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    return " → ".join(f"`{type(part).__name__}`" for part in parts)


def takes_null(signature: Signature) -> str:
    """Say in how many columns a missing value is answered."""
    count = sum(column.nullable for column in signature.columns)
    return {0: "no", len(signature.columns): "yes"}.get(count, f"{count} of {len(signature.columns)} columns")


def row(specimen: Specimen) -> str:
    """Make the table's row for one model."""
    fitted = specimen.build()
    signature, _ = learn(fitted.model, fitted.example)
    outputs = ", ".join(f"`{name}`" for name in signature.outputs)
    cells = (specimen.name, steps(fitted.model), signature.container, takes_null(signature), outputs)
    return f"| {' | '.join(cells)} |\n"


@pytest.mark.filterwarnings("ignore")
def test_the_page_says_what_the_models_say() -> None:
    """The table is what learning the signatures of all models gives, now."""
    refused = (f"| {r.name} | `{r.errors[0].__name__}` | {r.word} |\n" for r in REFUSED)
    page = HEAD + "".join(map(row, SPECIMENS)) + REFUSED_HEAD + "".join(refused) + swept()
    if os.environ.get("BODEGA_WRITE_DOCS"):
        PAGE.write_text(page)

    assert PAGE.read_text() == page
    assert [part for part, of in json.loads(COUNTS.read_text()).items() if of.get("wrong") or of.get("raw")] == []
    assert len(SPECIMENS) >= 40
