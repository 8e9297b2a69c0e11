"""Every kind of pipeline, registered and asked over HTTP: it answers as it does in memory."""

from pathlib import Path
from typing import Any

import pytest
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError
from bodega_model.signature.columns import to_wire
from bodega_model.signature.inputs import read_example
from bodega_model.signature.outputs import call
from conftest import Api
from zoo import REFUSED, SPECIMENS, Refused, Specimen


def as_json(model: Any, example: Any) -> dict[str, list[Any]]:
    """Write the example as the body of a request."""
    found = read_example(example, model)
    return {column.name: to_wire(column, found.frame[column.name]) for column in found.columns}


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda specimen: specimen.name)
@pytest.mark.filterwarnings("ignore")
def test_a_pipeline_answers_over_http_exactly_as_in_memory(specimen: Specimen, store: ModelStore, api: Api) -> None:
    """A client gets the numbers that the data scientist saw, to the last digit."""
    fitted = specimen.build()
    version = store.register(fitted.model, "specimen", example=fitted.example)
    columns = as_json(fitted.model, fitted.example)
    # NMF stops when all rows together change little.
    assert version.signature.row_wise or specimen.name == "nmf"

    for output in version.signature.outputs:
        answer = api.client.post("/predict", params={"output": output}, json={"columns": columns})

        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"] == call(fitted.model, output, fitted.example)


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.name)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_served_is_refused_with_the_reason(refused: Refused, store: ModelStore, volume: Path) -> None:
    """A model that no server could answer with never gets a number."""
    fitted = refused.build()

    with pytest.raises(refused.errors) as caught:
        store.register(fitted.model, "refused", example=fitted.example)

    assert refused.word in str(caught.value)
    assert store.versions() == []
    assert isinstance(caught.value, BodegaError)
