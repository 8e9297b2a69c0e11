"""MLServer with its batching: `python mlserver_app.py NAME FOLDER` writes the folder that `mlserver start` serves."""

import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import PandasCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from models import make


class Penguins(MLModel):  # type: ignore[misc]
    """Tensors of columns in, labels out."""

    async def load(self) -> bool:
        """Fit the model."""
        self.model = make(os.environ["MODEL"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict for what was gathered."""
        labels = self.model.predict(PandasCodec.decode_request(payload)).tolist()
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("predict", labels)])


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    folder.mkdir()
    settings = {"parallel_workers": 0, "debug": False, "metrics_endpoint": None, "host": "127.0.0.1"}
    model = {"name": "bench", "implementation": "mlserver_app.Penguins", "max_batch_size": 64, "max_batch_time": 0.005}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
