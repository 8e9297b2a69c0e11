"""The API's own description: valid OpenAPI, true of its answers, with examples that work, readable without a network."""

import base64
import hashlib
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pandas as pd
import psycopg
import pytest
from bodega_db.store import ModelStore
from conftest import Api
from fastapi.openapi.models import OpenAPI
from gallery import GENTOO, Gallery, ask, enter, penguins, scaler, send, texts
from jsonschema import Draft202012Validator
from sklearn.preprocessing import StandardScaler

ROUTES = {
    *("/healthz", "/readyz", "/metrics", "/predict", "/resolve"),
    *("/models", "/models/{name}", "/models/{name}/versions/{number}"),
    *("/models/{name}/history", "/models/{name}/as-of", "/models/{name}/aliases", "/models/{name}/diff"),
}


@pytest.fixture(scope="module")
def document(gallery: Gallery) -> Any:
    """The OpenAPI document of an API over every exhibit."""
    return gallery.api.client.get("/openapi.json").raise_for_status().json()


def values(node: Any, key: str) -> Iterator[Any]:
    """Go through the values of a key anywhere in a JSON document."""
    for name, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if name == key:
            yield value
        yield from values(value, key)


def descend(node: Any) -> Iterator[Any]:
    """Go through every object in a JSON document."""
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from descend(value)


def look_up(document: Any, reference: str) -> Any:
    """Follow a reference inside of a document."""
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


def check(document: Any, schema: Any, value: Any) -> None:
    """Raise unless a value fits a schema of the document."""
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


# --- /openapi.json -----------------------------------------------------------------------------------------


def test_the_description_is_valid_openapi(document: Any) -> None:
    """The document is OpenAPI 3.1, its references lead somewhere, its schemas are schemas, its operations have names."""
    OpenAPI.model_validate(document)

    assert document["openapi"].startswith("3.1")
    assert document["paths"].keys() == ROUTES
    assert all(look_up(document, reference) for reference in values(document, "$ref"))
    for schema in [*values(document, "schema"), *document["components"]["schemas"].values()]:
        Draft202012Validator.check_schema(schema)


def test_operations_have_names_of_their_own(document: Any) -> None:
    """Programs call operations by these names, so none changes with a handler's."""
    found = {(m.upper(), path): o["operationId"] for path, ms in document["paths"].items() for m, o in ms.items()}

    assert found == {
        ("GET", "/healthz"): "check_health",
        ("GET", "/readyz"): "check_readiness",
        ("GET", "/metrics"): "get_metrics",
        ("GET", "/models"): "list_models",
        ("GET", "/models/{name}"): "get_model",
        ("GET", "/models/{name}/versions/{number}"): "get_version",
        ("GET", "/models/{name}/history"): "list_history",
        ("GET", "/models/{name}/as-of"): "get_holder",
        ("GET", "/models/{name}/aliases"): "list_aliases",
        ("GET", "/models/{name}/diff"): "compare_versions",
        ("GET", "/resolve"): "resolve_version",
        ("POST", "/predict"): "predict",
    }


def test_every_array_says_what_is_in_it(document: Any) -> None:
    """A generator of clients leaves out what has an array without `items`."""
    nodes = [node for schema in values(document, "properties") for node in schema.values()]
    schemas = [*nodes, *values(document, "schema"), *document["components"]["schemas"].values()]
    arrays = [node for node in descend(schemas) if node.get("type") == "array"]

    assert len(arrays) > 10
    assert all("items" in array for array in arrays)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"rows": [{"a": 1.5, "b": "x", "c": None, "d": True}]}, True),
        ({"columns": {"a": [1, 2], "b": ["x", None]}}, True),
        ({"columns": {}}, False),
        ({"columns": {"a": []}}, False),
        ({"columns": {"a": 1}}, False),
        ({"columns": {"a": [[1]]}}, False),
        ({"columns": {"a": [{}]}}, False),
        ({"rows": []}, False),
        ({"rows": [{}]}, False),
        ({"rows": [{"a": [1]}]}, False),
        ({"rows": [{"a": {"b": 1}}]}, False),
        ({"rows": [[1, 2]]}, False),
        ({"rows": [{"a": 1}], "columns": {"a": [1]}}, False),
        ({"rows": [{"a": 1}], "model": "penguins"}, False),
        ({}, False),
    ],
)
def test_the_schema_of_a_body_takes_what_a_model_may(document: Any, body: Any, fits: bool) -> None:
    """Rows are records of single values, columns lists of them; what no model answers does not fit, and is refused."""
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert Draft202012Validator({**schema, "components": document["components"]}).is_valid(body) is fits


def test_every_exhibit_has_a_real_example(gallery: Gallery, document: Any) -> None:
    """For each model there is an example that fits the schema, and that the model answers as it stands."""
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]

    assert content["examples"].keys() == gallery.exhibits.keys()
    for name, example in content["examples"].items():
        check(document, content["schema"], example["value"])
        response = ask(gallery.api, example["value"], model=name)
        assert len(response.json()["predictions"]) == len(example["value"]["rows"]) == 2, response.text


def test_examples_follow_the_catalog(store: ModelStore, api: Api, sql_connection: "psycopg.Connection[Any]") -> None:
    """Examples come with the models, without a restart; a model with nothing to serve does not hide the others."""

    def examples() -> list[str]:
        schema = api.client.get("/openapi.json").json()
        return list(schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"])

    before = examples()
    for name, exhibit in {"a": texts(), "b": scaler(), "c": penguins()}.items():
        enter(store, name, exhibit)
    after = examples()
    sql_connection.execute("UPDATE version SET status = 'quarantined' WHERE id = (SELECT min(id) FROM version)")
    fewer = examples()
    store.promote("b@1")
    store.archive("b@1")

    assert (before, after, fewer, examples()) == ([], ["a", "b", "c"], ["b", "c"], ["c"])


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/healthz", "/healthz"),
        ("/readyz", "/readyz"),
        ("/models", "/models"),
        ("/models?limit=1", "/models"),
        ("/models/penguins", "/models/{name}"),
        ("/models/penguins/versions/1", "/models/{name}/versions/{number}"),
        ("/models/two-labels/versions/1", "/models/{name}/versions/{number}"),
        ("/models/penguins/history?limit=2", "/models/{name}/history"),
        ("/models/penguins/as-of?moment=2026-01-31T12:00:00Z", "/models/{name}/as-of"),
        ("/models/penguins/aliases", "/models/{name}/aliases"),
        ("/models/penguins/diff?before=1&after=2", "/models/{name}/diff"),
        ("/resolve?model=penguins&version=champion", "/resolve"),
    ],
)
def test_answers_are_as_described(gallery: Gallery, document: Any, path: str, route: str) -> None:
    """What a route answers fits the schema that the description gives for it."""
    answer = gallery.api.client.get(path).json()

    described = document["paths"][route]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    check(document, described, answer)


def test_predictions_and_problems_are_as_described(gallery: Gallery, document: Any) -> None:
    """A prediction fits its schema in every form that it takes, and every sort of problem fits the one of problems."""
    responses = document["paths"]["/predict"]["post"]["responses"]
    predictions = [
        gallery.predict([GENTOO]),
        gallery.predict([GENTOO], output="predict_proba"),
        ask(gallery.api, {"rows": [{"text": "alcohol"}]}, model="texts"),
        gallery.predict(
            [dict.fromkeys(gallery.exhibits["two-labels"].example, 1.0)], "two-labels", output="predict_proba"
        ),
    ]
    problems = [
        gallery.predict([{}]),
        send(gallery.api, b"x", model="penguins"),
        gallery.predict([GENTOO], "dodos"),
        gallery.api.client.get("/models?limit=x"),
        gallery.api.client.get("/nowhere"),
    ]

    for answer in predictions:
        check(document, responses["200"]["content"]["application/json"]["schema"], answer.raise_for_status().json())
    for problem in problems:
        check(document, document["components"]["schemas"]["ProblemAnswer"], problem.json())


def test_every_route_describes_its_problems(document: Any) -> None:
    """The problems that a route answers are described as problems, and never as FastAPI's own errors."""
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for route, methods in document["paths"].items():
        responses = next(iter(methods.values()))["responses"]
        assert route in ("/healthz", "/metrics") or "503" in responses
        for status in responses.keys() - {"200"}:
            (media_type,) = responses[status]["content"]
            assert media_type == "application/problem+json"


# --- /docs -------------------------------------------------------------------------------------------------


class Links(HTMLParser):
    """Collects what a page loads, and its inline scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.scripts = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the address in a tag that has one."""
        self.loaded += [value for name, value in attrs if name in ("src", "href", "action", "data") and value]

    def handle_data(self, data: str) -> None:
        """Keep the text of scripts (and titles)."""
        self.scripts += data


def test_the_page_loads_from_nowhere_else(gallery: Gallery) -> None:
    """/docs and all that it loads come from the API itself, so that it works where there is no network."""
    response = gallery.api.client.get("/docs")
    links = Links(response.text)

    files = [gallery.api.client.get(urljoin("/docs", link)) for link in links.loaded if not link.startswith("data:")]

    assert response.headers["content-type"].startswith("text/html")
    assert not re.search(r"(?:https?:)?//\w", response.text)
    assert len(files) == 2
    assert all(file.status_code == 200 and len(file.content) > 10_000 for file in files)
    assert not any(
        re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", f.text) for f in files if "css" in f.headers["content-type"]
    )
    assert "openapi.json" in links.scripts
    assert re.search(r'"validatorUrl":\s*null', links.scripts)


def test_the_page_runs_nothing_of_others_and_is_in_no_frame(gallery: Gallery) -> None:
    """The policy of the page names its one script by digest, and the headers of the page and its files say the rest."""
    response = gallery.api.client.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    (script,) = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)

    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert response.headers["x-frame-options"] == "DENY"
    for path in ("/docs", "/docs/static/swagger-ui-bundle.js", "/docs/static/swagger-ui.css", "/openapi.json"):
        headers = gallery.api.client.get(path).headers
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


def test_a_browser_shows_the_page_under_its_policy(gallery: Gallery) -> None:
    """Chromium draws the operations and an example, breaks no rule of the policy, and shows the page in no frame."""
    browsers = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    said: list[str] = []
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(f"{gallery.api.url}/docs")
            page.locator("#operations-prediction-predict button").first.click(timeout=30_000)
            page.get_by_role("button", name="Try it out").click()
            page.get_by_role("button", name="Execute").click()
            curl = page.locator(".curl-command").inner_text(timeout=30_000)
            complaints = [text for text in said if "Content Security Policy" in text]
            page.set_content(f'<iframe src="{gallery.api.url}/docs"></iframe>')
            page.wait_for_timeout(500)
            framed = page.frames[1].url
        finally:
            browser.close()

    assert complaints == []
    assert f"'{gallery.api.url}/predict" in curl
    assert framed.startswith("chrome-error:")


def test_the_description_is_made_once_for_each_generation(
    store: ModelStore, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred readers at once let the catalog list its models once; a change lets it be listed once more."""
    enter(store, "penguins", penguins())
    lists: list[int] = []
    models = type(api.services.store).models
    monkeypatch.setattr(type(api.services.store), "models", lambda self: (lists.append(1), models(self))[1])

    def read(_: int) -> str:
        return str(api.client.get("/openapi.json").raise_for_status().headers["etag"])

    with ThreadPoolExecutor(20) as crowd:
        first = set(crowd.map(read, range(100)))
        enter(store, "texts", texts())
        second = set(crowd.map(read, range(100)))

    assert (len(first), len(second), len(first | second)) == (1, 1, 2)
    assert len(lists) == 2


def test_who_has_the_description_is_not_sent_it_again(store: ModelStore, api: Api) -> None:
    """With its tag in If-None-Match the answer is an empty 304, until the catalog changes."""
    tag = api.client.get("/openapi.json").headers["etag"]

    def ask_again(condition: str) -> tuple[int, int]:
        response = api.client.get("/openapi.json", headers={"If-None-Match": condition})
        return response.status_code, len(response.content)

    assert [ask_again(condition) for condition in (tag, f"W/{tag}", f'"other", {tag}', "*")] == [(304, 0)] * 4
    assert ask_again('"other"')[0] == 200
    enter(store, "penguins", penguins())
    assert ask_again(tag)[0] == 200


def test_an_example_of_thousands_of_columns_is_left_out(store: ModelStore, api: Api) -> None:
    """One wide model does not make the description too long to read; the others have their examples."""
    wide = pd.DataFrame(np.arange(2_000 * 20.0).reshape(20, 2_000)).add_prefix("column_")
    store.register(StandardScaler().fit(wide), "wide", example=wide)
    enter(store, "penguins", penguins())

    response = api.client.get("/openapi.json")

    content = response.json()["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert content["examples"].keys() == {"penguins"}
    assert len(response.content) < 200_000
