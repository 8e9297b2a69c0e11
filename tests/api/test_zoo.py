"""Every kind of pipeline, registered and asked over HTTP: it answers as it does in memory."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError
from bodega_model.signature.columns import to_wire
from bodega_model.signature.inputs import read_example
from bodega_model.signature.outputs import call
from conftest import Api, create_database, running_api
from zoo import REFUSED, SPECIMENS, Refused, Specimen


def as_json(model: Any, example: Any) -> dict[str, list[Any]]:
    """Write the example as the body of a request."""
    found = read_example(example, model)
    return {column.name: to_wire(column, found.frame[column.name]) for column in found.columns}


@pytest.fixture(scope="module")
def zoo(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ModelStore, Api]]:
    """A store for all specimens, each a model of its own, and an API over it."""
    settings = Settings.read(
        database_url=create_database(postgres_url, "zoo", template), models=tmp_path_factory.mktemp("zoo") / "models"
    )
    with closing(ModelStore.connect(settings)) as store, running_api(settings) as api:
        yield store, api


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda specimen: specimen.name)
@pytest.mark.filterwarnings("ignore")
def test_a_pipeline_answers_over_http_exactly_as_in_memory(specimen: Specimen, zoo: tuple[ModelStore, Api]) -> None:
    """A client gets the numbers that the data scientist saw, to the last digit."""
    store, api = zoo
    fitted = specimen.build()
    version = store.register(fitted.model, specimen.name, example=fitted.example)
    columns = as_json(fitted.model, fitted.example)
    # NMF stops when all rows together change little.
    assert version.signature.row_wise or specimen.name == "nmf"

    for output in version.signature.outputs:
        asked = {"model": specimen.name, "output": output}
        answer = api.client.post("/predict", params=asked, json={"columns": columns})

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
