"""Searching versions: filters, words, orders and pages over real rows, against a plain reading of them."""

import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from itertools import product
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import migrate
from bodega_db.errors import InvalidSearchError, ModelNotFoundError, SearchTimeoutError
from bodega_db.records import Version
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from gallery import enter, penguins, weaker_penguins
from sqlalchemy import text

SAID: tuple[dict[str, Any], ...] = (
    {"metrics": {"f1": 0.5, "loss": 2}, "tags": {"team": "core"}, "note": "A first baseline", "params": {"C": 1}},
    {"metrics": {"f1": 0.75}, "tags": {"team": "web", "stage": "it's"}, "params": {"C": 0.1, "solver": "lbfgs"}},
    {"metrics": {"f1": 0.75, "loss": 0.25}, "note": "the base of it all", "params": {"C": None, "warm": True}},
    {"params": {"C": "1"}, "tags": {"stage": "core"}},
)


def fill(store: ModelStore) -> list[Version]:
    """Register what `versions` stands for."""
    entered = [enter(store, "penguins", weaker_penguins(), **said) for said in SAID]
    entered.append(enter(store, "whales", penguins(), metrics={"f1": 0.6}, actor="ana"))
    store.promote("penguins@2")
    store.archive("penguins@1")
    store.quarantine("penguins@4", reason="a drill")
    store.set_alias("penguins@3", "stable")
    return entered


@pytest.fixture
def versions(furnished: Any) -> list[Version]:
    """Four versions of penguins and one of whales, of different statuses."""
    made: list[Version] = furnished.made
    return made


FURNISHED = {"versions": fill}


def found(store: ModelStore, **search: Any) -> str:
    """Write what a search finds as 'p3 p2'."""
    return " ".join(f"{version.model[0]}{version.number}" for version in store.versions(**search))


FILTERS = {
    "status=production": "p2",
    "status in (archived, quarantined)": "p4 p1",
    "status!=candidate": "p4 p2 p1",
    "model=whales": "w1",
    "model!=whales and version>=3": "p4 p3",
    "number in (1, 4)": "w1 p4 p1",
    "alias=stable": "p3",
    "alias!=stable and model=penguins": "p4 p2 p1",
    "created_by=ana": "w1",
    "format=skops and size_bytes>0": "w1 p4 p3 p2 p1",
    "created>=2020-01-01 and created<2999-12-31": "w1 p4 p3 p2 p1",
    "created<2020-01-01": "",
    "metrics.f1>=0.75": "p3 p2",
    "metrics.f1=0.75 and metrics.loss<1": "p3",
    "metrics.f1!=0.75": "w1 p1",
    "metrics.loss=2.0": "p1",
    "metrics.none>0": "",
    "tags.team=core": "p1",
    "tags.team!=core": "p2",
    'tags.stage in (core, "it\'s")': "p4 p2",
    "params.C=1": "p1",
    'params.C="1"': "p4",
    "params.C=null": "p3",
    "params.C!=1": "p4 p3 p2",
    "params.C<1": "p2",
    "params.C<=1": "p2 p1",
    "params.warm=true": "p3",
    "params.solver>=a": "p2",
}


@pytest.mark.parametrize(("filter", "expected"), FILTERS.items())
@pytest.mark.usefixtures("versions")
def test_a_filter_keeps_the_versions_that_fulfil_it(filter: str, expected: str, store: ModelStore) -> None:
    """Each comparison means what it says; a version without the metric, param or tag fulfils none of them."""
    assert found(store, filter=filter) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "base": "p3 p1",
        "BASE it": "p3",
        "core": "p4 p1",
        "whale": "w1",
        "penguins baseline": "p1",
        "it's": "p2",
        "' & | ! : * \\": "",
        "  ": "w1 p4 p3 p2 p1",
    }.items(),
)
@pytest.mark.usefixtures("versions")
def test_words_are_found_in_names_notes_and_tags(text: str, expected: str, store: ModelStore) -> None:
    """Each word begins a word of the note or a tag, or stands in the name; no character is an operator."""
    assert found(store, text=text) == expected


def test_an_order_by_a_metric_hears_of_tags_that_change(store: ModelStore) -> None:
    """What is kept of the tags beside a metric follows them, however many there are and however long."""
    many = {f"tag{n}": str(n) for n in range(40)}
    for tags in ({"team": "core"}, {"team": "web"}, many | {"team": "core"}, {}):
        enter(store, "penguins", penguins(), metrics={"f1": 0.5}, tags=tags)
    order = {"model": "penguins", "order": "metrics.f1"}
    before = found(store, filter="tags.team=core", **order)

    store.describe("penguins@1", tags={"team": None})
    store.describe("penguins@2", tags={"team": "x" * 1_000})
    store.describe("penguins@4", tags={"team": "core", "stage": "b"})
    store.promote("penguins@4")

    assert before == "p1 p3"
    assert found(store, filter="tags.team=core", **order) == "p3 p4"
    assert found(store, filter="tags.team in (web, core)", **order) == "p3 p4"
    assert found(store, filter="tags.team=core and tags.stage=b", **order) == "p4"
    assert found(store, filter="tags.team!=core", **order) == "p2"
    assert found(store, filter="tags.tag39=39", order="metrics.f1") == "p3"


def test_metrics_that_were_there_before_their_tags_were_kept_are_found(store: ModelStore, database_url: str) -> None:
    """The migration that brings the keys makes them for every version there is."""
    enter(store, "penguins", penguins(), metrics={"f1": 0.5}, tags={"team": "core"})
    enter(store, "penguins", penguins(), metrics={"f1": 0.7}, tags={"team": "web"})
    store.close()

    migrate.downgrade(database_url, "0004")
    migrate.upgrade(database_url)

    assert found(store, model="penguins", filter="tags.team=core", order="metrics.f1") == "p1"
    with psycopg.connect(database_url) as connection:
        (unknown,) = connection.execute("SELECT count(*) FROM metric WHERE tag_keys IS NULL").fetchone() or (-1,)
    assert unknown == 0


ORDERS = {
    ("penguins", "version"): "p1 p2 p3 p4",
    ("penguins", "-version"): "p4 p3 p2 p1",
    (None, "created"): "p1 p2 p3 p4 w1",
    (None, "-created"): "w1 p4 p3 p2 p1",
    (None, "metrics.f1"): "p1 w1 p2 p3",
    (None, "-metrics.f1"): "p3 p2 w1 p1",
    ("penguins", "-metrics.loss"): "p1 p3",
}


@pytest.mark.parametrize(("case", "limit"), list(product(ORDERS, [1, 2, 3, 50])))
@pytest.mark.usefixtures("versions")
def test_pages_together_are_the_list_in_its_order(case: tuple[str | None, str], limit: int, store: ModelStore) -> None:
    """Following `next` gives every version once, in order, whatever the size of a page; without the metric, none."""
    model, order = case
    page = store.search(model, order=order, limit=limit)
    seen = list(page.versions)
    while page.next is not None:
        assert len(page.versions) == limit
        page = store.search(model, order=order, limit=limit, after=page.next)
        seen.extend(page.versions)

    assert " ".join(f"{version.model[0]}{version.number}" for version in seen) == ORDERS[case]


def test_a_page_continues_behind_a_version_that_is_gone(
    store: ModelStore, versions: list[Version], sql_connection: "psycopg.Connection[Any]"
) -> None:
    """The version that a page ended with may be deleted meanwhile."""
    page = store.search("penguins", order="version", limit=1)
    sql_connection.execute("DELETE FROM version WHERE number = 1 AND status = 'archived'")

    following = store.search("penguins", order="version", limit=1, after=page.next)

    assert [version.reference for version in following.versions] == ["penguins@2"]
    assert store.model("penguins").versions == 3


def test_what_cannot_be_searched_is_refused(store: ModelStore) -> None:
    """An unknown model, an order that there is not, and too long a text are errors, each its own."""
    with pytest.raises(ModelNotFoundError):
        store.search("unicorns", filter="status=production")
    for search in ({"order": "size"}, {"after": "x"}, {"text": "word " * 11}, {"text": "a\0"}):
        with pytest.raises(InvalidSearchError):
            store.search(**search)  # type: ignore[arg-type]


@pytest.mark.usefixtures("versions")
def test_a_model_that_has_another_row_meanwhile_is_found(
    store: ModelStore, sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A store that goes on over a catalog that was restored beneath it never shows another model's versions."""
    order = {"model": "penguins", "order": "metrics.f1"}
    assert len(store.versions(**order)) == 3

    sql_connection.execute("SET session_replication_role = replica")
    for name, other in (("penguins", "dolphins"), ("whales", "penguins")):
        sql_connection.execute("UPDATE model SET name = %s WHERE name = %s", (other, name))

    assert [version.metrics["f1"] for version in store.versions(**order)] == [0.6]


@pytest.mark.usefixtures("versions")
def test_a_search_that_takes_too_long_is_ended_with_its_reason(
    make_settings: Callable[..., Settings], sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A search beyond its time says so, and the next one is answered."""
    with closing(ModelStore.connect(make_settings(), patience=2)) as store:
        sql_connection.execute("ALTER TABLE version RENAME TO kept")
        sql_connection.execute("CREATE VIEW version AS SELECT kept.* FROM kept, pg_sleep(3)")
        with pytest.raises(SearchTimeoutError):
            store.versions()
        sql_connection.execute("DROP VIEW version")
        sql_connection.execute("ALTER TABLE kept RENAME TO version")

        assert len(store.versions()) == 5


def test_metrics_are_rows_in_step_with_their_versions(
    store: ModelStore, versions: list[Version], sql_connection: "psycopg.Connection[Any]"
) -> None:
    """Each metric has a row, which tells whether its version may be served, and goes with it."""
    rows = "SELECT number, name, value, servable FROM metric ORDER BY model_id, number, name"
    before = sql_connection.execute(rows).fetchall()
    sql_connection.execute("DELETE FROM version WHERE number = 1 AND status = 'archived'")

    assert before == [
        (1, "f1", Decimal("0.5"), False),
        (1, "loss", Decimal(2), False),
        (2, "f1", Decimal("0.75"), True),
        (3, "f1", Decimal("0.75"), True),
        (3, "loss", Decimal("0.25"), True),
        (1, "f1", Decimal("0.6"), True),
    ]
    assert sql_connection.execute(rows).fetchall() == before[2:]


def test_the_migration_makes_rows_of_the_metrics_that_there_are(
    database_url: str, store: ModelStore, versions: list[Version], sql_connection: "psycopg.Connection[Any]"
) -> None:
    """A catalog with versions is migrated with all their metrics and the count of the deleted."""
    rows = "SELECT version_id, name, value, servable, number FROM metric ORDER BY 1, 2"
    before = sql_connection.execute(rows).fetchall()
    migrate.downgrade(database_url, "0003")
    sql_connection.execute("DELETE FROM version WHERE number = 4")

    migrate.upgrade(database_url)

    assert sql_connection.execute(rows).fetchall() == before  # the deleted one had no metrics
    assert (store.model("penguins").versions, store.model("penguins").last_version) == (3, 4)


def test_a_search_is_planned_for_its_own_values(store: ModelStore) -> None:
    """However often it is repeated: one plan for all values reads a hundred thousand rows where a tag is rare."""
    for _ in range(12):
        store.search(filter="tags.team=core", order="-metrics.f1", limit=50)
        store.models()
    with store.catalog.reading() as session:
        prepared = session.execute(text("SELECT statement FROM pg_prepared_statements")).scalars().all()

    assert [statement for statement in prepared if "ORDER BY metric.value" in statement] == []
    assert prepared != []  # whatever is chosen by an index alone is prepared once


def test_params_come_back_exactly(store: ModelStore) -> None:
    """Integers of 64 bits, small floats, nested values and any text are read as they were written, in both ways."""
    params = {"seed": 2**63 - 1, "least": 1 - 2**63, "tol": 5e-324, "deep": [{"é": [None, True, 1.5]}]}
    version = enter(store, "penguins", penguins(), params=params)

    assert version.params == params
    assert store.versions("penguins")[0].params == params


def test_a_number_beyond_all_floats_hides_no_row(store: ModelStore, sql_connection: "psycopg.Connection[Any]") -> None:
    """A number that no float holds, written past the store, leaves its version and all others to be read."""
    enter(store, "penguins", penguins())
    enter(store, "penguins", penguins())
    sql_connection.execute("SET session_replication_role = replica")  # no trigger holds it up
    beyond = f'{{"C": {10**320}.5}}'
    sql_connection.execute("UPDATE version SET params = %s WHERE number = 1", [beyond])

    assert [version.params for version in store.versions("penguins")] == [{}, {"C": math.inf}]
    assert store.find("penguins@1").params == {"C": math.inf}


def test_what_searches_a_catalog_imports_no_scikit_learn() -> None:
    """A command that lists versions starts in half of the time."""
    script = "import sys, bodega_db.store; print(sorted({'sklearn', 'scipy.stats', 'skops'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)

    assert done.stdout == "[]\n"
