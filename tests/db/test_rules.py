"""The rules that Postgres holds whoever writes: each refusal meets an operator with psql too."""

from itertools import permutations
from typing import Any

import psycopg
import pytest
from bodega_db.lifecycle import ALLOWED, Status
from bodega_db.store import ModelStore
from penguins import classifier, example

Connection = psycopg.Connection[Any]


def fill(store: ModelStore) -> None:
    """Register what `penguins` stands for."""
    store.register(classifier(), "penguins", example=example(), metrics={"accuracy": 0.9})


@pytest.fixture
def penguins(store: ModelStore) -> None:
    """One registered version."""


FURNISHED = {"penguins": fill}


REFUSED = {
    "UPDATE version SET sha256 = repeat('0', 64)": "version_is_immutable",
    "UPDATE version SET number = 2": "version_is_immutable",
    "UPDATE version SET size_bytes = 1": "version_is_immutable",
    "UPDATE version SET format = 'joblib'": "version_is_immutable",
    "UPDATE version SET metrics = '{\"accuracy\": 1}'": "version_is_immutable",
    "UPDATE version SET signature = '{}'": "version_is_immutable",
    "UPDATE version SET golden = '{}'": "version_is_immutable",
    "UPDATE version SET environment = '{}'": "version_is_immutable",
    "UPDATE version SET lineage = '{\"user\": 1}'": "version_is_immutable",
    "UPDATE version SET params = '{\"C\": 1}'": "version_is_immutable",
    "UPDATE version SET created_by = 'mallory'": "version_is_immutable",
    "UPDATE version SET created_at = now()": "version_is_immutable",
    "UPDATE version SET idempotency_key = 'k'": "version_is_immutable",
    "DELETE FROM version": "version_leaves_only_when_retired",
    "TRUNCATE version CASCADE": "version_leaves_only_when_retired",
    "UPDATE model SET name = 'pinguins'": "model_is_immutable",
    "UPDATE model SET last_version = 0": "model_numbers_go_up_by_one",
    "UPDATE model SET last_version = 3": "model_numbers_go_up_by_one",
    "UPDATE model SET last_version = last_version + 1": "model_numbers_name_versions",
    "INSERT INTO model (name, created_by, last_version) VALUES ('x', 'x', 7)": "model_numbers_go_up_by_one",
    "INSERT INTO model (name, created_by, last_version) VALUES ('x', 'x', 1)": "model_numbers_name_versions",
    "DELETE FROM model": "model_is_kept",
    "UPDATE event SET actor = 'mallory'": "event_is_append_only",
    "DELETE FROM event": "event_is_append_only",
    "TRUNCATE event": "event_is_append_only",
    "UPDATE generation SET value = 0": "generation_only_grows",
    "DELETE FROM generation": "generation_only_grows",
    "UPDATE store SET id = gen_random_uuid()": "store_keeps_its_identity",
    "INSERT INTO model (name, created_by) VALUES ('Not A Name', 'x')": "model_name_check",
    "INSERT INTO model (name, created_by) VALUES ('../etc', 'x')": "model_name_check",
    "INSERT INTO alias SELECT m.id, 'latest', v.id FROM model m, version v": "alias_reserved_check",
    "INSERT INTO alias SELECT m.id, '12', v.id FROM model m, version v": "alias_name_check",
}


@pytest.mark.parametrize(("statement", "rule"), REFUSED.items())
@pytest.mark.usefixtures("penguins")
def test_postgres_refuses_and_names_the_rule(statement: str, rule: str, sql_connection: Connection) -> None:
    """A statement that would break a promise fails with the name of the rule it breaks."""
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        sql_connection.execute(statement)  # type: ignore[call-overload]

    assert caught.value.diag.constraint_name == rule


@pytest.mark.usefixtures("penguins")
def test_the_path_cannot_be_written(sql_connection: Connection, store: ModelStore) -> None:
    """The path follows the sha256 and takes no value from anybody."""
    with pytest.raises(psycopg.errors.GeneratedAlways):
        sql_connection.execute("UPDATE version SET path = '/etc/passwd'")

    assert store.get("penguins", 1).path == store.get("penguins", 1).digest.path


@pytest.mark.usefixtures("penguins")
def test_a_number_that_was_not_given_out_is_refused(sql_connection: Connection) -> None:
    """Only the model's own counter gives out numbers."""
    columns = "model_id, sha256, size_bytes, format, signature, golden, metrics, params, tags, environment, lineage, generation, created_by"

    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        sql_connection.execute(f"INSERT INTO version (number, {columns}) SELECT 7, {columns} FROM version")  # type: ignore[call-overload]

    assert caught.value.diag.constraint_name == "version_takes_its_number"


@pytest.mark.parametrize(("before", "after"), list(permutations(Status, 2)))
def test_postgres_and_the_program_allow_the_same_moves(
    before: Status, after: Status, store: ModelStore, sql_connection: Connection
) -> None:
    """The table of moves stands in two languages and says the same in both."""
    store.register(classifier(), "penguins", example=example())
    bring_to(sql_connection, before)

    if after in ALLOWED[before]:
        sql_connection.execute("UPDATE version SET status = %s", [after])
        assert store.get("penguins", 1).status is after
    else:
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            sql_connection.execute("UPDATE version SET status = %s", [after])
        assert caught.value.diag.constraint_name == "version_status_move"


def bring_to(connection: Connection, status: Status) -> None:
    """Move a new version to a status by an allowed way."""
    if status is not Status.CANDIDATE:
        connection.execute("UPDATE version SET status = %s", [status])


def test_there_is_one_version_in_production(store: ModelStore, sql_connection: Connection) -> None:
    """A second one is refused by an index, whatever the order of two promotions."""
    for strength in (1.0, 2.0):
        store.register(classifier(strength), "penguins", example=example())
    sql_connection.execute("UPDATE version SET status = 'production' WHERE number = 1")

    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        sql_connection.execute("UPDATE version SET status = 'production' WHERE number = 2")

    assert caught.value.diag.constraint_name == "version_one_production"


@pytest.mark.usefixtures("penguins")
def test_every_change_is_an_event_with_its_generation(store: ModelStore, sql_connection: Connection) -> None:
    """What, who, before and after, in the transaction of the change and with the generation it made."""
    before = store.check_catalog()
    with sql_connection.transaction():
        sql_connection.execute(
            "SELECT set_config('bodega.actor', 'ada', true), set_config('bodega.reason', 'better', true)"
        )
        sql_connection.execute("UPDATE version SET status = 'production'")
    sql_connection.execute("UPDATE version SET note = 'seen', tags = '{\"team\": \"core\"}'")
    sql_connection.execute("INSERT INTO alias SELECT m.id, 'stable', v.id FROM model m, version v")

    alias, described, promoted, registered, created = store.history("penguins")

    assert (created.kind, registered.kind, registered.number) == ("model created", "registered", 1)
    assert (promoted.kind, promoted.actor, promoted.reason) == ("status", "ada", "better")
    assert (promoted.before, promoted.after) == ({"status": "candidate"}, {"status": "production"})
    assert described.after == {"note": "seen", "tags": {"team": "core"}}
    assert (alias.kind, alias.after) == ("alias", {"alias": "stable", "number": 1})
    assert [promoted.generation, described.generation, alias.generation] == [before + 1, before + 2, before + 3]
    assert store.check_catalog() == before + 3


@pytest.mark.usefixtures("penguins")
def test_a_deleted_number_is_never_used_again(store: ModelStore, sql_connection: Connection) -> None:
    """Numbers go on after a delete, and the history keeps the deleted version."""
    sql_connection.execute("UPDATE version SET status = 'archived'")
    sql_connection.execute("DELETE FROM version")

    again = store.register(classifier(), "penguins", example=example())

    assert again.number == 2
    assert ("deleted", 1) in [(event.kind, event.number) for event in store.history("penguins")]


@pytest.mark.usefixtures("penguins")
def test_a_change_is_notified(sql_connection: Connection, store: ModelStore) -> None:
    """Whoever listens hears the new generation at commit."""
    sql_connection.execute("LISTEN bodega_generation")
    sql_connection.execute("UPDATE version SET note = 'heard'")

    heard = next(sql_connection.notifies(timeout=5, stop_after=1))

    assert int(heard.payload) == store.check_catalog()
