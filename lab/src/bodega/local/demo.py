"""The demonstration: the stack starts, the first notebook registers two models, the API answers for them.

Each step says what happened, how long it took, and the command that repeats it.
"""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bodega_db.postgres.embedded import find_running
from bodega_model.errors import BodegaError
from rich.console import Console
from rich.text import Text

from bodega.display.receipts import curl_command
from bodega.local.find_catalog import find_stack
from bodega.local.home import Home
from bodega.local.notebook_runner import start_notebook
from bodega.local.stack import Stack, run_stack, settings_of

NOTEBOOK = "01_penguins.ipynb"
MODEL = "penguins"
SECONDS = 120.0


class DemoError(BodegaError):
    """The API did not answer what the demonstration is there to show."""


@dataclass
class Narrator:
    """Tells a person at a terminal what happens, step by step, with the seconds that each took."""

    console: Console
    steps: int = 0
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, and say at its end how long it took."""
        self.steps += 1
        self.console.print()
        self.write(f"{self.steps}. {title}", "bold")
        began = time.monotonic()
        yield
        self.write(f"   {time.monotonic() - began:.2f} s", "dim")

    def tell(self, text: str) -> None:
        """Say what happened."""
        self.write(f"   {text}")

    def repeat(self, command: str) -> None:
        """Say what to type to see it again."""
        self.write(f"   $ {command}", "cyan")

    def write(self, text: str, style: str = "") -> None:
        """Write a line as it is: not folded, so that a command can be copied, and without rich's markup."""
        self.console.print(Text(text, style), soft_wrap=True)


@dataclass(frozen=True)
class Answer:
    """What the API answered, and the command that asks it again."""

    status: int
    body: dict[str, Any]
    curl: str


def run_demo(home: Home, console: Console, *, api_port: int, lab_port: int, stay: bool) -> None:
    """Show the whole way of a model, and stay until Ctrl-C if asked to; raise BodegaError when something fails."""
    narrator = Narrator(console)
    with ExitStack() as ending:
        with narrator.step("Start Postgres and the API" + (" and JupyterLab" if stay else "")):
            # The notebook's kernel starts first: it imports what it needs while the others start.
            notebook = ending.enter_context(start_notebook(home.notebooks / NOTEBOOK, home.logs / "demo.log"))
            api_url, stack = ending.enter_context(open_stack(home, narrator, api_port, lab_port, stay))
        with narrator.step(f"Run notebooks/{NOTEBOOK}: train two models and register them"):
            former = last_number(api_url)
            cells = notebook.run(settings_of(home, find_running(home.postgres) or "") | {"BODEGA_API_URL": api_url})
            narrator.tell(f"All {cells} code cells ran.")
        notebook.close()
        with narrator.step("Ask the API what there is"):
            versions = show_versions(narrator, api_url, former)
        for version in versions:
            with narrator.step(f"Predict with version {version['version']}: {version['note']}"):
                show_prediction(narrator, api_url, version)
        with narrator.step("Ask the most accurate version for probabilities"):
            show_probabilities(narrator, api_url, versions[0])
        with narrator.step("Send text where a number is due, and be refused"):
            show_refusal(narrator, api_url, versions[0])
        console.print()
        narrator.write(f"Everything worked, in {time.monotonic() - narrator.began:.1f} s.", "bold green")
        if stay:
            stay_up(narrator, api_url, stack)


@contextmanager
def open_stack(
    home: Home, narrator: Narrator, api_port: int, lab_port: int, lab: bool
) -> Iterator[tuple[str, Stack | None]]:
    """Yield the API's address, with the stack that was started for it unless one runs in this checkout already."""
    note = find_stack(home) or {}
    if "api_url" in note:
        narrator.tell(f"Bodega runs here already: this uses {note['api_url']}.")
        yield str(note["api_url"]), None
        return
    with run_stack(home, narrator.tell, api_port=api_port, lab_port=lab_port, lab=lab) as stack:
        yield stack.api_url, stack


def stay_up(narrator: Narrator, api_url: str, stack: Stack | None) -> None:
    """Say where everything is, and wait for Ctrl-C if the stack is ours."""
    narrator.console.print()
    narrator.write(f"API         {api_url}  (documentation: {api_url}/docs)")
    if stack is None:
        return
    if stack.lab_url:
        narrator.write(f"JupyterLab  {stack.lab_url}")
    narrator.write("Ctrl-C ends everything.")
    stack.watch()


# --- the steps -------------------------------------------------------------------------------------------


def last_number(api_url: str) -> int:
    """Return the number of the newest version of the model, 0 if there is none."""
    answer = ask(f"{api_url}/models?model={MODEL}&limit=1")
    if answer.status == http.HTTPStatus.NOT_FOUND:
        return 0
    versions = expect(answer, http.HTTPStatus.OK).body["versions"]
    return int(versions[0]["version"]) if versions else 0


def show_versions(narrator: Narrator, api_url: str, former: int) -> list[dict[str, Any]]:
    """Show the versions that are newer than a number, and return them, newest first."""
    answer = expect(ask(f"{api_url}/models?model={MODEL}"), http.HTTPStatus.OK)
    versions = [version for version in answer.body["versions"] if version["version"] > former]
    if len(versions) < 2:
        raise DemoError(f"The notebook registered {len(versions)} versions, and not 2", "Run it in JupyterLab.")
    narrator.repeat(answer.curl)
    for version in versions:
        narrator.tell(
            f"{MODEL}@{version['version']}  {version['status']}  accuracy {version['metrics']['accuracy']:.3f}"
            f"  sha256 {version['sha256'][:12]}…  {version['note']}"
        )
    return versions


def show_prediction(narrator: Narrator, api_url: str, version: dict[str, Any]) -> None:
    """Predict the golden rows, which must come out as they did in the notebook, and show the first."""
    detail = detail_of(api_url, version)
    url = f"{api_url}/predict?model={MODEL}&version={version['version']}"
    answers = expect(ask(url, {"columns": detail["golden"]["inputs"]}), http.HTTPStatus.OK)
    if answers.body["predictions"] != detail["golden"]["outputs"]["predict"]:
        raise DemoError(f"{MODEL}@{version['version']} does not answer what it answered in the notebook")
    answer = expect(ask(url, {"rows": [first_row(detail)]}), http.HTTPStatus.OK)
    narrator.repeat(answer.curl)
    narrator.tell(f"{answer.body['predictions'][0]}, says {MODEL}@{answer.body['version']}.")
    narrator.tell(f"The {len(answers.body['predictions'])} example rows come out as they did in the notebook.")


def show_probabilities(narrator: Narrator, api_url: str, version: dict[str, Any]) -> None:
    """Show how sure the most accurate version is of the first golden row."""
    row = first_row(detail_of(api_url, version))
    url = f"{api_url}/predict?model={MODEL}&version=best:accuracy&output=predict_proba"
    answer = expect(ask(url, {"rows": [row]}), http.HTTPStatus.OK)
    narrator.repeat(answer.curl)
    shares = zip(answer.body["classes"], answer.body["predictions"][0], strict=True)
    narrator.tell(", ".join(f"{name} {share:.1%}" for name, share in shares))
    narrator.tell(f"By {MODEL}@{answer.body['version']}, {answer.body['chosen']}.")


def show_refusal(narrator: Narrator, api_url: str, version: dict[str, Any]) -> None:
    """Show the error for a row that does not fit the signature."""
    row = first_row(detail_of(api_url, version)) | {"bill_length_mm": "long"}
    url = f"{api_url}/predict?model={MODEL}&version={version['version']}"
    answer = expect(ask(url, {"rows": [row]}), http.HTTPStatus.UNPROCESSABLE_ENTITY)
    narrator.repeat(answer.curl)
    narrator.tell(f"{answer.status} {answer.body['title']}: {answer.body['detail']}")
    for error in answer.body.get("errors", []):
        narrator.tell(json.dumps(error, ensure_ascii=False))
    narrator.tell(answer.body.get("hint", ""))


def detail_of(api_url: str, version: dict[str, Any]) -> dict[str, Any]:
    """Return everything known about a version, its example rows and their predictions included."""
    return expect(ask(f"{api_url}/models/{MODEL}/versions/{version['version']}"), http.HTTPStatus.OK).body


def first_row(detail: dict[str, Any]) -> dict[str, Any]:
    """Return the first example row, in the order of the signature."""
    return {column["name"]: detail["golden"]["inputs"][column["name"]][0] for column in detail["signature"]["columns"]}


# --- HTTP ------------------------------------------------------------------------------------------------


def ask(url: str, body: dict[str, Any] | None = None) -> Answer:
    """Ask the API, as the curl in the answer does; raise DemoError when it does not answer in JSON."""
    parts = urlsplit(url)
    # Not urllib: it would ask the proxy of the environment.
    connection = http.client.HTTPConnection(parts.netloc, timeout=SECONDS)
    try:
        connection.request(
            "GET" if body is None else "POST",
            url.removeprefix(f"{parts.scheme}://{parts.netloc}"),
            None if body is None else json.dumps(body),
            {} if body is None else {"Content-Type": "application/json"},
        )
        response = connection.getresponse()
        return Answer(response.status, json.loads(response.read()), curl_command(url, body))
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise DemoError(f"{url} does not answer in JSON: {exc}", "See volumes/local/logs/api.log.") from exc
    finally:
        connection.close()


def expect(answer: Answer, status: int) -> Answer:
    """Return the answer; raise DemoError in the API's own words if it has another status."""
    if answer.status != status:
        raise DemoError(
            f"The API answered {answer.status}, and not {status}: {answer.body.get('detail', '')}",
            f"Ask again: {answer.curl}",
        )
    return answer
