"""What an answer in JSON says beside its predictions."""

from typing import Any

import orjson
from bodega_db.records import Resolution


def answer_of(resolution: Resolution, method: str, predictions: list[Any], warnings: list[str]) -> dict[str, Any]:
    """Return an answer as JSON has it: its source, the predictions, and what they are."""
    version = resolution.version
    output = version.signature.outputs[method]
    answer: dict[str, Any] = {
        "model": version.model,
        "version": version.number,
        "sha256": version.digest.hex,
        "chosen": resolution.reason,
        "output": method,
        "predictions": predictions,
    }
    optional = {
        "classes": output.classes if method != "predict" else None,
        "columns": output.columns,
        "warnings": warnings,
    }
    return answer | {key: value for key, value in optional.items() if value}


def around_predictions(resolution: Resolution, method: str, warnings: list[str]) -> tuple[bytes, bytes]:
    """Return the JSON of an answer before and after the list of its predictions."""
    # Nothing else in JSON can read like this: within a text its quotes would be escaped.
    head, _, tail = orjson.dumps(answer_of(resolution, method, [], warnings)).partition(b'"predictions":[]')
    return head + b'"predictions":', tail
