"""The API's own description: valid OpenAPI, true of its answers, with examples that work, readable without a network."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import psycopg
import pytest
from bodega_db.store import ModelStore
from conftest import Api
from fastapi.openapi.models import OpenAPI
from gallery import GENTOO, Gallery, ask, enter, penguins, scaler, send, texts
from jsonschema import Draft202012Validator

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
    names = list(values(document["paths"], "operationId"))
    assert len(names) == len(set(names)) == len(ROUTES)


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
