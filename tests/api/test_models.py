"""The catalog over HTTP: what is registered is listed at once, newest first, page by page."""

from typing import Any

import psycopg
import pytest
from bodega_db.store import ModelStore
from conftest import Api
from gallery import GENTOO, Gallery, ask, enter, name_version, penguins, problem_of, texts, weaker_penguins
from outages import wait_for

SOON = 4.0  # seconds: two until the catalog is asked in any case, and as many for a busy machine


def test_a_model_registered_while_the_api_runs_is_listed_and_answers(store: ModelStore, api: Api) -> None:
    """A registration needs no restart: the next list has it, and the next prediction may ask it."""
    before = api.client.get("/models").json()
    problem = problem_of(ask(api, {"rows": [GENTOO]}, model="penguins"), 404, "model-not-found")

    version = enter(store, "penguins", penguins(), metrics={"accuracy": 0.99}, tags={"team": "birds"}, note="first")

    listed = api.client.get("/models").json()
    answer = ask(api, {"rows": [GENTOO]}, model="penguins").json()
    assert before == {"versions": [], "next": None}
    assert problem["detail"] == "There is no model named penguins"
    assert "GET /models" in problem["hint"]
    assert listed["versions"] == [
        {
            "model": "penguins",
            "version": 1,
            "status": "candidate",
            "format": "skops",
            "sha256": version.digest.hex,
            "path": f"objects/sha256/{version.digest.hex[:2]}/{version.digest.hex}",
            "size_bytes": version.size_bytes,
            "metrics": {"accuracy": 0.99},
            "tags": {"team": "birds"},
            "note": "first",
            "created_at": version.created_at.isoformat().replace("+00:00", "Z"),
            "created_by": version.created_by,
        }
    ]
    assert (answer["predictions"], answer["sha256"]) == (["Gentoo"], version.digest.hex)


def test_an_empty_catalog_says_what_to_do(api: Api) -> None:
    """A prediction without a model in an empty catalog says that there is none yet, and how to register one."""
    problem = problem_of(ask(api, {"rows": [GENTOO]}), 422, "model-ambiguous")

    assert problem["detail"] == "The catalog has no model yet"
    assert "bodega.register" in problem["hint"]


def test_a_newer_version_answers_as_soon_as_it_is_heard_of(store: ModelStore, api: Api) -> None:
    """As long as none is in production, the version registered last answers: at once by number, soon without."""
    enter(store, "penguins", penguins())
    first = ask(api, {"rows": [GENTOO]}).json()
    enter(store, "penguins", weaker_penguins())

    numbered = ask(api, {"rows": [GENTOO]}, version="2").json()
    wait_for(lambda: ask(api, {"rows": [GENTOO]}).json()["version"] == 2, SOON)

    second = ask(api, {"rows": [GENTOO]}).json()
    assert numbered["sha256"] == second["sha256"]

    assert (first["version"], second["version"]) == (1, 2)
    assert first["sha256"] != second["sha256"]


def test_a_moved_alias_and_a_quarantine_hold_as_soon_as_they_are_heard_of(
    store: ModelStore, api: Api, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """What an operator changes in the catalog is followed soon, also for versions that are in memory."""
    for exhibit in (penguins(), weaker_penguins()):
        enter(store, "penguins", exhibit)
    name_version(sql_connection, "penguins", 1, "champion")
    first = ask(api, {"rows": [GENTOO]}, version="champion").json()

    sql_connection.execute("UPDATE alias SET version_id = (SELECT id FROM version WHERE number = 2)")
    wait_for(lambda: ask(api, {"rows": [GENTOO]}, version="champion").json()["version"] == 2, SOON)
    sql_connection.execute("UPDATE version SET status = 'quarantined' WHERE number = 2")
    wait_for(lambda: ask(api, {"rows": [GENTOO]}, version="champion").status_code != 200, SOON)

    assert first["version"] == 1
    problem_of(ask(api, {"rows": [GENTOO]}, version="champion"), 409, "version-quarantined")
    assert ask(api, {"rows": [GENTOO]}).json()["version"] == 1


def references(page: Any) -> list[str]:
    """Name the versions of a page."""
    return [f"{version['model']}@{version['version']}" for version in page["versions"]]


def test_versions_are_listed_newest_first(gallery: Gallery) -> None:
    """The list goes from the newest version to the oldest, over all models."""
    versions = gallery.api.client.get("/models").json()["versions"]

    assert references({"versions": versions})[:3] == ["penguins@3", "penguins@2", "penguins@1"]
    assert versions == sorted(versions, key=lambda version: version["created_at"], reverse=True)
    assert {version["model"] for version in versions} == gallery.exhibits.keys()


def test_a_list_can_be_of_one_model(gallery: Gallery) -> None:
    """?model= keeps the versions of one model, whatever their status."""
    page = gallery.api.client.get("/models", params={"model": "penguins"}).json()

    assert references(page) == ["penguins@3", "penguins@2", "penguins@1"]
    assert [version["status"] for version in page["versions"]] == ["quarantined", "candidate", "candidate"]


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9, 500])
def test_pages_together_are_the_list(gallery: Gallery, limit: int) -> None:
    """Following `next` gives every version once, in order, and ends with null."""
    pages = [gallery.api.client.get("/models", params={"limit": limit}).json()]
    while pages[-1]["next"]:
        parameters = {"limit": limit, "after": pages[-1]["next"]}
        pages.append(gallery.api.client.get("/models", params=parameters).json())

    together = [version for page in pages for version in page["versions"]]
    assert together == gallery.api.client.get("/models").json()["versions"]
    assert [len(page["versions"]) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert len(pages[-1]["versions"]) > 0


def test_a_page_is_not_moved_by_a_registration_in_between(store: ModelStore, api: Api) -> None:
    """Whoever pages through the list misses nothing and sees nothing twice when a version arrives meanwhile."""
    for _ in range(3):
        enter(store, "penguins", penguins())
    first = api.client.get("/models", params={"limit": 2}).json()
    enter(store, "penguins", penguins())

    second = api.client.get("/models", params={"limit": 2, "after": first["next"]}).json()

    assert references(first) + references(second) == ["penguins@3", "penguins@2", "penguins@1"]
    assert second["next"] is None


def test_a_model_is_described_with_its_versions(gallery: Gallery) -> None:
    """GET /models/NAME tells the model, what is in production, and its versions newest first."""
    model = gallery.api.client.get("/models/penguins").json()

    assert (model["name"], model["last_version"], model["production"]) == ("penguins", 3, None)
    assert references(model) == ["penguins@3", "penguins@2", "penguins@1"]


def test_the_production_version_is_told(store: ModelStore, api: Api, sql_connection: "psycopg.Connection[Any]") -> None:
    """GET /models/NAME names the version in production."""
    enter(store, "penguins", penguins())
    sql_connection.execute("UPDATE version SET status = 'production'")

    assert api.client.get("/models/penguins").json()["production"] == 1


def test_a_version_tells_how_to_call_it(gallery: Gallery) -> None:
    """GET /models/NAME/versions/N gives signature, golden rows, environment and lineage; the golden rows are answered."""
    detail = gallery.api.client.get("/models/penguins/versions/1").json()

    answer = ask(gallery.api, {"columns": detail["golden"]["inputs"]}, model="penguins", version="1").json()

    assert detail["created_by"] == "ana"
    assert [column["name"] for column in detail["signature"]["columns"]] == list(GENTOO)
    island = detail["signature"]["columns"][0]
    assert (island["kind"], island["categories"]) == ("category", ["Biscoe", "Dream", "Torgersen"])
    assert "scikit-learn" in str(detail["environment"])
    assert answer["predictions"] == detail["golden"]["outputs"]["predict"]


@pytest.mark.parametrize("name", ["kinds", "two-labels", "texts", "wine", "categories", "scaler"])
def test_every_golden_row_is_taken_and_answered_as_it_was(gallery: Gallery, name: str) -> None:
    """What a version shows as its example is a request that the same version answers, number for number."""
    golden = gallery.api.client.get(f"/models/{name}/versions/1").json()["golden"]

    for output, expected in golden["outputs"].items():
        answer = ask(gallery.api, {"columns": golden["inputs"]}, model=name, output=output)

        assert answer.json()["predictions"] == expected


def test_a_text_with_an_accent_stays_what_it_was(store: ModelStore, api: Api) -> None:
    """Notes and tags come back letter for letter."""
    enter(store, "texts", texts(), note="Größe – 🐧", tags={"who": "Ana Núñez"})

    version = api.client.get("/models/texts/versions/1").json()

    assert (version["note"], version["tags"]) == ("Größe – 🐧", {"who": "Ana Núñez"})
