"""LitServe with its batching: `MODEL=pipeline python litserve_app.py PORT`."""

import os
import sys
from typing import Any

import litserve
import pandas as pd
from models import make


class Api(litserve.LitAPI):
    """Rows in, labels out, in batches."""

    def setup(self, device: str) -> None:
        """Fit the model."""
        self.model = make(os.environ["MODEL"])

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take the one row."""
        row: dict[str, Any] = request["rows"][0]
        return row

    def batch(self, inputs: list[dict[str, Any]]) -> pd.DataFrame:
        """Make one frame."""
        return pd.DataFrame(inputs)

    def predict(self, x: pd.DataFrame) -> list[str]:
        """Predict."""
        return list(self.model.predict(x))

    def unbatch(self, output: list[str]) -> list[str]:
        """Give each its own."""
        return output

    def encode_response(self, output: str) -> dict[str, list[str]]:
        """Answer."""
        return {"predictions": [output]}


if __name__ == "__main__":
    server = litserve.LitServer(Api(max_batch_size=64, batch_timeout=0.005), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False)
