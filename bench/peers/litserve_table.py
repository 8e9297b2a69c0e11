"""LitServe for tables: columns in, labels out: `MODEL=pipeline python litserve_table.py PORT`."""

import os
import sys
from typing import Any

import litserve
import pandas as pd
from models import make


class Api(litserve.LitAPI):
    """The columns of a frame in, labels out."""

    def setup(self, device: str) -> None:
        """Fit the model."""
        self.model = make(os.environ["MODEL"])

    def decode_request(self, request: dict[str, Any]) -> pd.DataFrame:
        """Make a frame."""
        return pd.DataFrame(request["columns"])

    def predict(self, x: pd.DataFrame) -> list[str]:
        """Predict."""
        return list(self.model.predict(x))

    def encode_response(self, output: list[str]) -> dict[str, list[str]]:
        """Answer."""
        return {"predictions": output}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False)
