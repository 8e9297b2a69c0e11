"""Searches and tuned thresholds over HTTP: their answers, in every form, are those of the model in the notebook."""

from typing import Any

import numpy as np
import pytest
from bodega_db.store import ModelStore
from conftest import Api
from searches import SEARCHES, fit, search, table

pytestmark = pytest.mark.filterwarnings("ignore")
AT_ONCE = ("grid", "read-by-a-selection", "threshold-of-the-other-class")


@pytest.mark.parametrize(
    "name", [name if name in AT_ONCE else pytest.param(name, marks=pytest.mark.sweep) for name in SEARCHES]
)
def test_answers_are_those_of_the_model_that_was_registered(name: str, store: ModelStore, api: Api) -> None:
    """Rows, columns and CSV, a row alone and many: each output is the one of the search in memory."""
    X, _ = table()
    model = fit(name)
    version = store.register(model, "searched", example=X.head(30))

    for output in version.signature.outputs:
        expected = getattr(model, output)(X)
        as_rows = {"json": {"rows": X.to_dict("records")}}
        as_columns = {"json": {"columns": X.to_dict("list")}}
        as_csv = {"content": X.to_csv(index=False).encode(), "headers": {"Content-Type": "text/csv"}}
        for body in (as_rows, as_columns, as_csv):
            told = predictions(api, output, body)
            assert np.allclose(np.array(told), expected, rtol=1e-12, atol=0), (output, list(body))
            if expected.dtype.kind in "iu":
                assert told == expected.tolist()
        alone = predictions(api, output, {"json": {"rows": X.head(1).to_dict("records")}})
        assert np.allclose(np.array(alone), getattr(model, output)(X.head(1)), rtol=1e-12, atol=0)


def predictions(api: Api, output: str, body: dict[str, Any]) -> Any:
    """Ask for an output and return the predictions."""
    answer = api.client.post("/predict", params={"output": output}, headers=body.pop("headers", None), **body)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_a_version_tells_what_is_stored_of_the_model(store: ModelStore, api: Api) -> None:
    """GET has it under lineage: of which type, where in the model, and what the search found."""
    X, y = table()
    store.register(search().fit(X, y), "searched", example=X)

    told = api.client.get("/models/searched/versions/1").json()["lineage"]["stored_as"]

    assert told == [
        {
            "place": "",
            "type": "GridSearchCV",
            "what": "best_estimator_",
            "best_params": {"C": told[0]["best_params"]["C"]},
        }
    ]
