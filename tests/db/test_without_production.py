"""What answers when no version is named: of a model that had one in production and has none now, nothing does."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import migrate, resolve
from bodega_db.errors import NoProductionError, VersionNotFoundError
from bodega_db.store import ModelStore
from penguins import classifier, example
from sqlalchemy.dialects import postgresql

Connection = psycopg.Connection[Any]


def fill(store: ModelStore) -> None:
    """Register what `penguins` stands for."""
    for strength in (1.0, 2.0, 3.0):
        store.register(classifier(strength), "penguins", example=example(), metrics={"f1": strength})
    store.promote("penguins@1")
    store.promote("penguins@2")


@pytest.fixture
def penguins(store: ModelStore) -> ModelStore:
    """Three versions; the first was in production, then the second, and the third was never promoted."""
    return store


FURNISHED = {"penguins": fill}


def leave_by(verb: str, store: ModelStore) -> None:
    """Take the version in production away from there."""
    if verb == "quarantine":
        store.quarantine("penguins@2", reason="wrong column", actor="ada")
        return
    store.archive("penguins@2", reason="wrong column", actor="ada")
    if verb == "delete":
        store.delete("penguins@2", reason="private rows", actor="ben")


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("quarantine", r"penguins@2 was there last, and was quarantined on .* by ada: wrong column$"),
        ("archive", r"penguins@2 was there last, and was archived on .* by ada: wrong column$"),
        ("delete", r"was archived on .* by ada: wrong column; it was deleted on .* by ben: private rows$"),
    ],
)
def test_a_candidate_does_not_take_the_place_of_production(penguins: ModelStore, verb: str, said: str) -> None:
    """However the version in production left, the refusal says which it was, what happened, when, by whom and why."""
    leave_by(verb, penguins)

    for choose in (lambda: penguins.resolve("penguins"), lambda: penguins.choose(None, None)):
        with pytest.raises(NoProductionError) as refused:
            choose()
        assert refused.value.message.startswith("Model penguins has no version in production: ")
        assert refused.match(said.removesuffix("$"))
    with pytest.raises(NoProductionError):
        penguins.find("penguins")
    with pytest.raises(VersionNotFoundError, match=r"has no version in production: penguins@2 was there last"):
        penguins.resolve("penguins@production")
    chosen = [penguins.resolve(f"penguins@{named}").version.number for named in ("latest", "best:f1", "3", "1")]
    assert chosen == [3, 3, 3, 1]


def test_the_advice_is_true(penguins: ModelStore) -> None:
    """Each command that the refusal names leads to a version that answers."""
    penguins.quarantine("penguins@2", reason="wrong column")
    with pytest.raises(NoProductionError) as refused:
        penguins.resolve("penguins")
    assert "`bodega rollback penguins` puts penguins@1 back" in refused.value.advice
    assert "`bodega release penguins@2 --reason …`" in refused.value.advice
    assert "`bodega promote penguins@NUMBER`" in refused.value.advice

    penguins.release("penguins@2", reason="it was right")
    with pytest.raises(NoProductionError, match="it is a candidate now"):
        penguins.resolve("penguins")
    penguins.promote("penguins@2")
    assert penguins.resolve("penguins").version.number == 2
    penguins.archive("penguins@2")
    penguins.rollback("penguins")
    assert penguins.resolve("penguins").version.number == 2


def test_no_rollback_is_advised_where_none_is_possible(store: ModelStore) -> None:
    """The only version that was in production is in quarantine: there is nothing to go back to."""
    for strength in (1.0, 2.0):
        store.register(classifier(strength), "penguins", example=example())
    store.promote("penguins@1")
    store.quarantine("penguins@1", reason="wrong column")

    with pytest.raises(NoProductionError) as refused:
        store.resolve("penguins")

    assert "rollback" not in refused.value.advice


def test_a_model_that_never_had_one_is_answered_for_by_its_newest_candidate(store: ModelStore) -> None:
    """To archive or quarantine candidates is no change of that; the place of another model is no concern of this one."""
    for name in ("penguins", "others"):
        for strength in (1.0, 2.0, 3.0):
            store.register(classifier(strength), name, example=example())
    store.promote("others@1")
    store.archive("others@1")
    store.quarantine("penguins@3", reason="wrong column")

    assert store.resolve("penguins").version.number == 2
    with pytest.raises(NoProductionError):
        store.resolve("others")


def test_the_settings_let_the_newest_answer(penguins: ModelStore, connect: Callable[..., ModelStore]) -> None:
    """With BODEGA_WITHOUT_PRODUCTION=newest an unnamed request goes on with the newest candidate."""
    lenient = connect(without_production="newest")
    penguins.quarantine("penguins@2", reason="wrong column")

    chosen = lenient.resolve("penguins")

    assert (chosen.version.number, chosen.reason) == (3, "none in production: the newest candidate")
    assert lenient.choose(None, None).version.number == lenient.find("penguins").number == 3


def test_versions_of_another_store_bring_no_place_along(penguins: ModelStore, tmp_path: Any) -> None:
    """An imported version is a candidate, whatever it was there: the model here never had one in production."""
    penguins.export(["penguins@2"], tmp_path / "moved.bodega")
    penguins.import_bundle(tmp_path / "moved.bodega", name="moved")

    assert penguins.resolve("moved").version.number == 1


def test_the_history_of_an_older_catalog_counts(
    penguins: ModelStore, database_url: str, sql_connection: Connection
) -> None:
    """What left production before the migration, also by psql, has left it all the same."""
    migrate.downgrade(database_url, "0005")
    sql_connection.execute("UPDATE version SET status = 'archived' WHERE number = 2")
    migrate.upgrade(database_url)

    with pytest.raises(NoProductionError, match="penguins@2 was there last, and was archived"):
        penguins.resolve("penguins")


def test_the_choice_stays_one_look_into_an_index(penguins: ModelStore, sql_connection: Connection) -> None:
    """Whether a model ever had a version in production is asked of an index that holds nothing else."""
    statement = str(resolve._by("default").compile(dialect=postgresql.dialect()))
    sql_connection.execute("SET enable_seqscan = off")
    plan = sql_connection.execute(f"EXPLAIN {statement}", {"model": "penguins", "param_1": 1}).fetchall()  # type: ignore[arg-type]

    assert any("event_production_idx" in line for (line,) in plan)


def test_after_a_rebuild_nobody_knows_what_was_in_production(penguins: ModelStore, sql_connection: Connection) -> None:
    """Restored versions are archived, and a candidate that is registered later does not answer in their place."""
    sql_connection.execute("ALTER TABLE version DISABLE TRIGGER USER")
    sql_connection.execute("DELETE FROM metric; DELETE FROM version; ALTER TABLE event DISABLE TRIGGER USER")
    sql_connection.execute("DELETE FROM event; ALTER TABLE event ENABLE TRIGGER USER")
    sql_connection.execute("ALTER TABLE version ENABLE TRIGGER USER")
    penguins.rebuild(apply=True)
    penguins.register(classifier(4.0), "penguins", example=example())

    with pytest.raises(NoProductionError, match="which one was in production then is not known"):
        penguins.resolve("penguins")
    penguins.promote("penguins@4")

    assert penguins.resolve("penguins").version.number == 4
