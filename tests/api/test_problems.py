"""The problems: every error of Bodega has a type, the page that documents them is complete, and nothing is given away."""

import inspect
import io
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest
from bodega_api import errors as api_errors
from bodega_api.http.problems import CONNECTION, PREFIX, PROBLEMS, REFUSALS, kind_of, table
from bodega_db import errors as catalog_errors
from bodega_db.records import Digest
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from bodega_model import errors as model_errors
from bodega_model.errors import BodegaError
from conftest import Api
from gallery import GENTOO, MARKER, Exhibit, ask, enter, penguins, problem_of
from sklearn.cluster import BisectingKMeans
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PowerTransformer
from zoo import data

PAGE = Path(__file__).parents[2] / "docs" / "problems.md"
ROW = re.compile(r"\| (\d{3}) \| `([a-z-]+)` \| (.+?) \| (.+) \|")


def test_the_page_lists_exactly_the_problems_there_are() -> None:
    """docs/problems.md holds the status, type and title of every problem, in order, and says when it comes."""
    rows = [match.groups() for match in map(ROW.fullmatch, PAGE.read_text().splitlines()) if match]

    assert [(int(status), slug, title) for status, slug, title, _ in rows] == list(table())
    assert set(table()) == {*PROBLEMS.values(), *REFUSALS.values(), *CONNECTION.values()}
    assert PREFIX in PAGE.read_text()
    assert all(when.strip() for *_, when in rows)


def test_a_type_has_one_status_and_one_title() -> None:
    """No two problems share a type; one that may be the input's fault or the model's has a status for each."""
    kinds = list(
        {*PROBLEMS.values(), *REFUSALS.values(), *CONNECTION.values()} - {PROBLEMS[model_errors.BrokenSignatureError]}
    )

    assert len({kind.slug for kind in kinds}) == len(kinds)
    assert len({kind.title for kind in PROBLEMS.values() if kind.slug == "prediction-failed"}) == 1
    assert all(status == kind.status for status, kind in REFUSALS.items())


def test_the_framework_answers_every_status_in_the_same_form(api: Api) -> None:
    """A refusal that is the framework's own, of whatever status, is a problem with a type that does not change."""
    from fastapi import HTTPException

    @api.app.get("/refuse")
    def refuse() -> None:
        raise HTTPException(418, detail=MARKER, headers={"X-Pot": "tea"})

    response = api.client.get("/refuse")

    problem_of(response, 418, "http-418")
    assert response.headers["x-pot"] == "tea"


# What a registration or a start refuses never reaches a client of the API.
NOT_OVER_HTTP = (
    model_errors.RegistrationError,
    catalog_errors.IdempotencyConflictError,
    catalog_errors.DowngradeError,
    catalog_errors.RolesError,
    catalog_errors.SettingsError,
    catalog_errors.EmbeddedPostgresError,
)
ALL = [
    value
    for module in (model_errors, catalog_errors, api_errors)
    for _, value in inspect.getmembers(module, inspect.isclass)
    if issubclass(value, BodegaError) and value.__module__ == module.__name__
]
# What is said beside the message.
BESIDE: dict[type[BodegaError], tuple[Any, ...]] = {
    model_errors.UntrustedTypeError: ([],),
    api_errors.TooManyGuessesError: (3,),
}


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_that_a_client_can_cause_or_meet_has_its_own_status(error: type[BodegaError]) -> None:
    """An error of the tree falls under a problem of its own or of a base; only what no client meets is internal."""
    made = error("what happened", *BESIDE.get(error, ()))

    internal = kind_of(made).slug == "internal"

    bases = (BodegaError, catalog_errors.ArtifactError, model_errors.LoadError)
    assert internal == (error in bases or issubclass(error, NOT_OVER_HTTP))


def test_an_unforeseen_error_gives_nothing_away(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the program is a 500 without its text; the log has it with its place."""
    from bodega_api.app import create_app
    from starlette.testclient import TestClient

    app = create_app(make_settings())

    @app.get("/crash")
    def crash() -> None:
        raise ZeroDivisionError(MARKER)

    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        response = client.get("/crash")

    problem_of(response, 500, "internal")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("step", "value", "slug"),
    [(PowerTransformer(method="box-cox"), -1.0, "prediction-failed"), ("passthrough", 1.7e308, "output-not-finite")],
)
def test_input_that_only_the_model_cannot_take_is_the_clients_problem(
    step: Any, value: float, slug: str, store: ModelStore, api: Api
) -> None:
    """A model that raises, or answers infinity, for rows that fit its signature is a 422, and answers the next row."""
    X, _ = data.measures()
    model = Pipeline([("step", step), ("sum", LinearRegression())]).fit(X, X.sum(axis=1))
    enter(store, "sums", Exhibit(model, X.head(20)))

    refused = ask(api, {"rows": [dict.fromkeys(X, value)]})

    problem_of(refused, 422, slug)
    assert ask(api, {"rows": [dict.fromkeys(X, 20.0)]}).status_code == 200


# --- a version that its own bytes do not make servable -----------------------------------------------------

# With the trigger away, an operator (or whoever got that far) can write into a row what registration never would.
FORGERIES = {
    "environment-mismatch": "environment = jsonb_set(environment, '{libraries,scikit-learn}', '\"0.19.1\"')",
    "golden-mismatch": "golden = jsonb_set(golden, '{outputs,predict,0}', '\"Dodo\"')",
}


@pytest.mark.parametrize(("slug", "forgery"), FORGERIES.items())
def test_a_forged_row_is_not_served(
    slug: str, forgery: str, store: ModelStore, api: Api, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A row that says of a model what is not true of it is noticed when the version is loaded."""
    enter(store, "penguins", penguins())
    sql_connection.execute("ALTER TABLE version DISABLE TRIGGER version_is_immutable")
    sql_connection.execute(f"UPDATE version SET {forgery}")

    problem = problem_of(ask(api, {"rows": [GENTOO]}), 503, slug)

    assert problem["hint"]


def test_registered_bytes_that_are_no_model_are_not_served(
    store: ModelStore, api: Api, volume: Path, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """Bytes that match their sha256 and are an archive of nothing are refused by the loader, as a problem."""
    enter(store, "penguins", penguins())
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("schema.json", f'["{MARKER}"]')
    digest = Digest.of(file.getvalue())
    (volume / digest.path).parent.mkdir(exist_ok=True)
    (volume / digest.path).write_bytes(file.getvalue())
    sql_connection.execute("ALTER TABLE version DISABLE TRIGGER version_is_immutable")
    sql_connection.execute("UPDATE version SET sha256 = %s, size_bytes = %s", (digest.hex, len(file.getvalue())))

    problem_of(ask(api, {"rows": [GENTOO]}), 503, "artifact-unreadable")


def test_a_type_that_this_server_does_not_trust_is_not_loaded(
    make_settings: Callable[..., Settings], start_api: Callable[..., Api]
) -> None:
    """What the registering side trusts binds no server: it goes by its own settings, and names the types."""
    types = ["sklearn.cluster._bisect_k_means._BisectingTree", "sklearn.cluster._kmeans._kmeans_single_lloyd"]
    X, _ = data.measures()
    with closing(ModelStore.connect(make_settings(trusted_types=types))) as store:
        enter(store, "clusters", Exhibit(BisectingKMeans(2).fit(X), X.head(20)))
    row = dict.fromkeys(X, 20.0)

    refused = ask(start_api(), {"rows": [row]})
    answered = ask(start_api(trusted_types=types), {"rows": [row]})

    assert problem_of(refused, 503, "untrusted-type")["types"] == types
    assert answered.status_code == 200


def test_an_unavailable_version_says_when_to_try_again(
    make_settings: Callable[..., Settings], start_api: Callable[..., Api], volume: Path
) -> None:
    """A 503 carries Retry-After, a 4xx does not: repeating a bad request helps nobody."""
    with closing(ModelStore.connect(make_settings())) as store:
        version = enter(store, "penguins", penguins())
    (volume / version.path).unlink()
    api = start_api()

    missing, unknown = ask(api, {"rows": [GENTOO]}), ask(api, {"rows": [GENTOO]}, version="2")

    assert missing.headers["retry-after"] == "2"
    assert "retry-after" not in unknown.headers
