"""What a person does in the lab's container: run the first notebook, register a small model."""

import json
from typing import Any

from containers import Deployment

NOTEBOOK = "01_penguins.ipynb"
ROW = {
    "island": "Biscoe",
    "bill_length_mm": 47.5,
    "bill_depth_mm": 15.0,
    "flipper_length_mm": 218,
    "body_mass_g": 4950,
    "sex": None,
}
# Trains, registers, and asks the API at once: prints the number, and the seconds from the return of `register` until the
# API has listed the version and predicted with it.
REGISTER = """
import json, time, urllib.request
import bodega
from palmerpenguins import load_penguins
from sklearn.ensemble import HistGradientBoostingClassifier

penguins = load_penguins().dropna()
X, y = penguins[["bill_length_mm", "body_mass_g"]], penguins["species"]
model = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(X, y)
bodega.connect()
version = bodega.register(model, "quick", example=X.head(), metrics={"accuracy": float(model.score(X, y))})
began = time.perf_counter()
listed = json.load(urllib.request.urlopen(version.api_url + "/models?model=quick&limit=1"))["versions"][0]
body = json.dumps({"rows": json.loads(X.head().to_json(orient="records"))}).encode()
request = urllib.request.Request(version.url, body, {"Content-Type": "application/json"})
answer = json.load(urllib.request.urlopen(request))
seconds = time.perf_counter() - began
assert answer["predictions"] == list(model.predict(X.head()))
print(json.dumps({"number": version.number, "listed": listed["version"], "predicted": answer["version"], "seconds": seconds}))
"""


def run_notebook(stack: Deployment) -> None:
    """Run the first notebook in the lab's container, with the kernel that JupyterLab would start."""
    stack.execute("lab", "jupyter", "execute", "--output", "/tmp/executed.ipynb", NOTEBOOK)  # noqa: S108


def register_quickly(stack: Deployment) -> dict[str, Any]:
    """Register a small model in the lab's container and ask the API for it at once."""
    answer: dict[str, Any] = json.loads(stack.run_python("lab", REGISTER).splitlines()[-1])
    return answer
