"""docs/pipelines.md: which pipelines Bodega serves, made from the very models that the tests register and ask.

`BODEGA_WRITE_DOCS=1 pytest tests/db/test_pipelines_table.py` writes it anew.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from bodega_db.learning import learn
from bodega_db.signature import Signature
from sklearn.pipeline import Pipeline
from zoo import REFUSED, SPECIMENS, Specimen

PAGE = Path(__file__).parents[2] / "docs" / "pipelines.md"
HEAD = """# Pipelines

Every model below is registered and asked over HTTP by `tests/api/test_zoo.py`; each output for the example's rows
equals what the model answers in memory, to the last digit. The page is made by `tests/db/test_pipelines_table.py`.

| pipeline | steps | example | null | outputs |
| --- | --- | --- | --- | --- |
"""
REFUSED_HEAD = """
## Refused

These are refused when they are registered, with the reason.

| model | error | the message names |
| --- | --- | --- |
"""


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
    page = HEAD + "".join(map(row, SPECIMENS)) + REFUSED_HEAD + "".join(refused)
    if os.environ.get("BODEGA_WRITE_DOCS"):
        PAGE.write_text(page)

    assert PAGE.read_text() == page
    assert len(SPECIMENS) >= 40
