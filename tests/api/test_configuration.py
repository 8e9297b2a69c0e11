"""Models that were fitted under settings of `sklearn.set_config`: the API answers as the notebook did."""

import json

import numpy as np
import pandas as pd
from bodega_db.store import ModelStore
from conftest import Api
from gallery import send
from sklearn import config_context
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

X = pd.DataFrame(np.random.default_rng(3).normal(size=(60, 3)), columns=["a", "b", "c"])


def test_a_model_that_says_its_container_itself_answers_in_every_form(store: ModelStore, api: Api) -> None:
    """Fitted under transform_output="pandas" and told by set_output: rows, columns, CSV and a row alone are exact."""
    few = make_pipeline(StandardScaler(), ColumnTransformer([("few", "passthrough", ["a", "b"])]))
    with config_context(transform_output="pandas"):
        model = make_pipeline(FeatureUnion([("all", StandardScaler()), ("few", few)]), LogisticRegression())
        model.fit(X, X["a"] + X["b"] > 0)
        expected = model.predict_proba(X)
        model.set_output(transform="pandas")
        store.register(model, "framed", example=X)

    for body, kind in (
        (json.dumps({"rows": X.to_dict("records")}), "application/json"),
        (json.dumps({"columns": X.to_dict("list")}), "application/json"),
        (X.to_csv(index=False), "text/csv"),
    ):
        answer = send(api, body.encode(), kind, output="predict_proba")
        assert np.allclose(answer.json()["predictions"], expected, rtol=1e-12, atol=0), kind
    alone = send(api, json.dumps({"rows": [X.iloc[0].to_dict()]}).encode(), output="predict_proba")
    assert np.allclose(alone.json()["predictions"], expected[:1], rtol=1e-12, atol=0)
