"""Clients that programs make of the description: generated, type-checked, and used against a running API."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, enter, penguins

ROOT = Path(__file__).parents[2]
TOKEN = "27fa01c93e5b86d4712cd8e0"
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
LIBRARIES = ("mypy==2.3.0", "httpx", "attrs", "python-dateutil", "types-python-dateutil")
# The generator's own file, which is the same for every description, has faults of its own.
NOT_OURS = "[mypy]\n[mypy-generated.client]\nignore_errors = true\n"
TYPESCRIPT = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3")

PYTHON_PROGRAM = """
import json, sys
from generated import AuthenticatedClient
from generated.api.administration import promote_version, quarantine_version
from generated.api.catalog import get_model, list_models
from generated.api.prediction import predict
from generated.models import (
    PredictionAnswer, PredictionColumns, PredictionColumnsColumns, PredictionRows, PredictionRowsRowsItem,
    ProblemAnswer, Promotion, ReasonedOrder, VersionAnswer, VersionDetail, VersionList,
)

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
row: dict[str, bool | float | int | None | str] = json.loads(sys.argv[3])

listed = list_models.sync(client=client, model="penguins")
assert isinstance(listed, VersionList)
item = PredictionRowsRowsItem()
item.additional_properties = row
by_row = predict.sync(client=client, body=PredictionRows(rows=[item, item]), model="penguins")
assert isinstance(by_row, PredictionAnswer)
columns = PredictionColumnsColumns()
columns.additional_properties = {name: [value] for name, value in row.items()}
body = PredictionColumns(columns=columns)
by_column = predict.sync(client=client, body=body, model="penguins", output="predict_proba")
assert isinstance(by_column, PredictionAnswer)
refused = predict.sync(client=client, body=PredictionRows(rows=[PredictionRowsRowsItem()]), model="penguins")
assert isinstance(refused, ProblemAnswer)
promoted = promote_version.sync("penguins", 1, client=client, body=Promotion())
assert isinstance(promoted, VersionDetail)
gone = quarantine_version.sync("penguins", 1, client=client, body=ReasonedOrder(reason="wrong column"))
assert isinstance(gone, VersionDetail)
print(json.dumps({
    "versions": [version.version for version in listed.versions if isinstance(version, VersionAnswer)],
    "predictions": by_row.predictions,
    "probabilities": by_column.predictions,
    "refused": refused.type_,
    "statuses": [promoted.status, gone.status],
}))
"""

TYPESCRIPT_PROGRAM = """
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };

type Row = components["schemas"]["PredictionRows"]["rows"][number];
const [url, token, given] = process.argv.slice(2) as [string, string, string];
const row: Row = JSON.parse(given);
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
const query = { model: "penguins" };

const listed = (await client.GET("/models", { params: { query } })).data!;
const byRow = (await client.POST("/predict", { params: { query }, body: { rows: [row, row] } })).data!;
const columns = Object.fromEntries(Object.entries(row).map(([name, value]) => [name, [value]]));
const byColumn = await client.POST("/predict", {
  params: { query: { ...query, output: "predict_proba" } }, body: { columns },
});
const refused = await client.POST("/predict", { params: { query }, body: { rows: [{}] } });
const predictions = [byRow, byColumn.data!].map((answer) => {
  if (typeof answer === "string") throw new Error("asked for in JSON, it is no CSV");
  return answer.predictions;
});
const path = { name: "penguins", number: 1 };
const order = { params: { path } };
const promoted = await client.POST("/models/{name}/versions/{number}/promote", { ...order, body: {} });
const gone = await client.POST("/models/{name}/versions/{number}/quarantine", { ...order, body: { reason: "old" } });
// @ts-expect-error: a quarantine needs a reason
const unreasoned: components["schemas"]["ReasonedOrder"] = {};
// @ts-expect-error: a value of a row is no object
const nested: Row = { year: { of: 2007 } };
void unreasoned, nested;
console.log(JSON.stringify({
  versions: listed.versions.map((version) => version.version),
  predictions: predictions[0],
  probabilities: predictions[1],
  refused: refused.error!.type,
  statuses: [promoted.data!.status, gone.data!.status],
}));
"""


@pytest.fixture
def live(store: ModelStore, start_api: Callable[..., Api], tmp_path: Path) -> Api:
    """An API with one model, which takes changes."""
    enter(store, "penguins", penguins())
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    return start_api(admin_token_file=token)


@pytest.fixture
def folder(live: Api, tmp_path: Path) -> Path:
    """A folder with the API's description."""
    folder = tmp_path / "client"
    folder.mkdir()
    (folder / "openapi.json").write_bytes(live.client.get("/openapi.json").content)
    return folder


def run(*command: str, folder: Path) -> str:
    """Run a program in a folder and return what it says; what it says goes into the failure if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command[:6])}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def install(*command: str, folder: Path) -> None:
    """Run what a registry has to answer; skip the test where it cannot be reached."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"NOT CHECKED, a registry gave no {command[-1]}: {(done.stdout + done.stderr)[-300:]}")


def check_answers(live: Api, printed: str) -> None:
    """Compare what a client printed with what the API answers to a plain request."""
    said = json.loads(printed.splitlines()[-1])

    def ask(**parameters: str) -> Any:
        response = live.client.post(
            "/predict", json={"rows": [GENTOO]}, params={"model": "penguins", "version": "1", **parameters}
        )
        return response.json()

    assert said["versions"] == [1]
    assert said["predictions"] == ["Gentoo", "Gentoo"]
    assert len(said["probabilities"][0]) == 3
    assert said["refused"] == "urn:bodega:problem:input"
    assert said["statuses"] == ["production", "quarantined"]
    assert ask()["type"] == "urn:bodega:problem:version-quarantined"


@pytest.mark.sweep
def test_a_python_client_works(live: Api, folder: Path) -> None:
    """openapi-python-client leaves out no operation; mypy finds nothing; listing, predicting and changing work."""
    uv = run(sys.executable, "-I", "-B", str(ROOT / "tools" / "install"), "uv", folder=folder).strip()
    python = (uv, "run", "--no-project", "--isolated", "--python", sys.executable)
    programs = [word for library in LIBRARIES for word in ("--with", library)]
    install(*python, *programs, "--with", PYTHON_GENERATOR, "python", "-c", "import mypy", folder=folder)

    generate = ("openapi-python-client", "generate", "--path", "openapi.json", "--meta", "none")
    said = run(
        *python, "--with", PYTHON_GENERATOR, *generate, "--output-path", str(folder / "generated"), folder=folder
    )
    (folder / "program.py").write_text(PYTHON_PROGRAM)
    (folder / "mypy.ini").write_text(NOT_OURS)
    run(*python, *programs, "mypy", "generated", "program.py", folder=folder)
    printed = run(*python, *programs, "python", "program.py", live.url, TOKEN, json.dumps(GENTOO), folder=folder)

    assert "Endpoint will not be generated" not in said
    operations = [
        o["operationId"]
        for methods in json.loads((folder / "openapi.json").read_text())["paths"].values()
        for o in methods.values()
    ]
    assert sorted(operations) == sorted(file.stem for file in (folder / "generated").glob("api/*/[a-z]*.py"))
    check_answers(live, printed)


@pytest.mark.sweep
def test_a_typescript_client_works(live: Api, folder: Path) -> None:
    """openapi-typescript makes types that tsc takes as strictly as it can; listing, predicting and changing work."""
    if shutil.which("npm") is None:
        pytest.skip("NOT CHECKED: there is no npm")
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    install("npm", "install", "--no-fund", "--no-audit", "--ignore-scripts", *TYPESCRIPT, folder=folder)
    program = folder / "node_modules" / ".bin"

    run(str(program / "openapi-typescript"), "openapi.json", "-o", "api.ts", folder=folder)
    (folder / "program.ts").write_text(TYPESCRIPT_PROGRAM)
    options = ("--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    run(str(program / "tsc"), *options, "program.ts", folder=folder)
    printed = run("node", "program.js", live.url, TOKEN, json.dumps(GENTOO), folder=folder)

    check_answers(live, printed)
