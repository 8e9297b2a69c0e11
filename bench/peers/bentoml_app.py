"""BentoML with its batching: `MODEL=pipeline bentoml serve bentoml_app:Penguins --port PORT`."""

import os
from typing import Any

import bentoml
import pandas as pd
from models import make


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1000})
class Penguins:
    """Rows in, labels out, in batches."""

    def __init__(self) -> None:
        self.model = make(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, rows: list[dict[str, Any]]) -> list[str]:
        """Predict."""
        found: list[str] = self.model.predict(pd.DataFrame(rows)).tolist()
        return found

    @bentoml.api
    def table(self, columns: dict[str, list[Any]]) -> list[str]:
        """Predict for many rows."""
        found: list[str] = self.model.predict(pd.DataFrame(columns)).tolist()
        return found
