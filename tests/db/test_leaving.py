"""Versions that leave: one is deleted by name, many by a rule; what stays, and what never goes."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import transitions
from bodega_db.errors import (
    InvalidReferenceError,
    ModelNotFoundError,
    NoFormerVersionError,
    ReasonMissingError,
    RetentionError,
    StatusMoveError,
    VersionInUseError,
    VersionNotFoundError,
)
from bodega_db.lifecycle import Status
from bodega_db.store import ModelStore
from bodega_db.store.transaction import recorded
from penguins import classifier, example

Act = Callable[[ModelStore], object]
C, P, A, Q = Status.CANDIDATE, Status.PRODUCTION, Status.ARCHIVED, Status.QUARANTINED


def fill_penguins(store: ModelStore) -> None:
    """Register what `penguins` stands for."""
    for strength in (1.0, 2.0, 3.0):
        store.register(classifier(strength), "penguins", example=example(), metrics={"strength": strength})


@pytest.fixture
def penguins(store: ModelStore) -> ModelStore:
    """A store with three candidates of one model."""
    return store


def numbers(store: ModelStore) -> list[int]:
    """Return the numbers of the versions that are there."""
    return sorted(version.number for version in store.versions("penguins"))


# --- delete --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retire", [ModelStore.archive, ModelStore.quarantine], ids=["archived", "quarantined"])
def test_a_retired_version_is_deleted_and_its_history_stays(penguins: ModelStore, retire: Any) -> None:
    """The row goes; who deleted it, when and why, and what happened to it before, stay on record; so does the file."""
    version = retire(penguins, "penguins@2", reason="trained on the wrong rows")
    penguins.delete("penguins@2", reason="it holds names", actor="ada")
    event = penguins.history("penguins")[0]

    assert numbers(penguins) == [1, 3]
    assert (event.kind, event.number, event.actor, event.reason) == ("deleted", 2, "ada", "it holds names")
    assert event.before == {"status": version.status, "sha256": version.digest.hex}
    assert [e.kind for e in penguins.history("penguins") if e.number == 2] == ["deleted", "status", "registered"]
    penguins.verify(version.digest, version.size_bytes)


def test_a_deleted_number_is_not_used_again(penguins: ModelStore) -> None:
    """The newest version goes, and the next one has a new number all the same."""
    penguins.archive("penguins@3")
    penguins.delete("penguins@3", reason="a mistake")

    assert penguins.register(classifier(), "penguins", example=example()).number == 4
    assert (penguins.model("penguins").versions, penguins.model("penguins").last_version) == (3, 4)


def test_what_was_deleted_is_told_apart_from_what_never_was(penguins: ModelStore) -> None:
    """Whoever asks for a deleted version hears when, by whom and why; for another number, that there is none."""
    penguins.archive("penguins@2")
    penguins.delete("penguins@2", reason="it holds\n\x1b[31mnames", actor="ada")
    told = rf"penguins@2 was deleted on {datetime.now(UTC):%Y}-.* UTC by ada: it holds  \[31mnames"

    asks: list[Act] = [
        lambda s: s.get("penguins", 2),
        lambda s: s.find("penguins@2"),
        lambda s: s.resolve("penguins@2"),
        lambda s: s.promote("penguins@2"),
        lambda s: s.rollback("penguins", to=2),
        lambda s: s.delete("penguins@2", reason="again"),
    ]
    for ask in asks:
        with pytest.raises(VersionNotFoundError, match=told):
            ask(penguins)
    with pytest.raises(VersionNotFoundError, match="penguins has no version 4"):
        penguins.find("penguins@4")


def test_a_shared_file_serves_the_version_that_stays(penguins: ModelStore) -> None:
    """Two versions of the same bytes: one is deleted, the other answers as before."""
    twin = penguins.register(classifier(), "penguins", example=example())
    penguins.archive("penguins@1")
    penguins.delete("penguins@1", reason="once is enough")

    assert (
        penguins.open(penguins.resolve("penguins@4").version).predict(twin.golden.inputs)
        == (twin.golden.outputs["predict"])
    )


def test_a_rollback_passes_over_what_was_deleted(penguins: ModelStore) -> None:
    """A rollback leads to the last version of the line that is still there, and the time machine names the deleted one."""
    for number in (1, 2, 3):
        penguins.promote(f"penguins@{number}")
    moment = next(e.at for e in penguins.history("penguins") if e.number == 2 and e.after == {"status": "production"})
    penguins.delete("penguins@2", reason="it holds names")
    holder = penguins.as_of("penguins", moment)

    assert penguins.rollback("penguins").number == 1
    assert holder is not None
    assert holder.number == 2
    with pytest.raises(NoFormerVersionError):
        penguins.rollback("penguins")


REFUSED: dict[str, tuple[Act, type[Exception], str]] = {
    "a candidate": (lambda s: s.delete("penguins@3", reason="x"), StatusMoveError, "Archive it first"),
    "what is in production": (lambda s: s.delete("penguins@2", reason="x"), StatusMoveError, "is production"),
    "what aliases name": (lambda s: s.delete("penguins@1", reason="x"), VersionInUseError, "by last-good, stable"),
    "a deletion without a reason": (lambda s: s.delete("penguins@1", reason=" "), ReasonMissingError, "reason"),
    "no version in particular": (lambda s: s.delete("penguins", reason="x"), InvalidReferenceError, "which version"),
    "a version that is not there": (lambda s: s.delete("penguins@9", reason="x"), VersionNotFoundError, "version 9"),
    "a model that is not there": (lambda s: s.delete("pinguins@1", reason="x"), ModelNotFoundError, "no model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_deleted_says_why_and_stays(penguins: ModelStore, case: str) -> None:
    """Candidates, what serves and what an alias names stay, and no event says otherwise."""
    act, error, words = REFUSED[case]
    penguins.promote("penguins@1")
    penguins.promote("penguins@2")
    penguins.set_alias("penguins@1", "stable")
    penguins.set_alias("penguins@1", "last-good")
    before = penguins.check_catalog()

    with pytest.raises(error, match=words):
        act(penguins)

    assert penguins.check_catalog() == before
    assert numbers(penguins) == [1, 2, 3]


@pytest.mark.parametrize(
    ("meanwhile", "error"),
    [
        ("UPDATE version SET status = 'candidate' WHERE number = 1", StatusMoveError),
        (
            "INSERT INTO alias (model_id, name, version_id) SELECT model_id, 'late', id FROM version WHERE number = 1",
            VersionInUseError,
        ),
    ],
    ids=["released", "named"],
)
def test_the_database_holds_the_rules_against_who_goes_around(
    penguins: ModelStore, sql_connection: "psycopg.Connection[Any]", meanwhile: str, error: type[Exception]
) -> None:
    """What psql changed since the check is met by the constraints, and told in our own words."""
    penguins.quarantine("penguins@1", reason="a drill")
    sql_connection.execute(meanwhile)

    with recorded(penguins.catalog, "x", "ada") as session, pytest.raises(error, match="meanwhile"):
        transitions.delete_versions(session, transitions.lock_model(session, "penguins"), [1])

    assert numbers(penguins) == [1, 2, 3]


def test_deletions_and_moves_at_once_do_not_block_each_other(penguins: ModelStore, database_url: str) -> None:
    """While one deletes, others promote and quarantine: nobody ends in a deadlock, and only what is there is promoted."""
    for strength in range(4, 12):
        penguins.register(classifier(float(strength)), "penguins", example=example())
    for number in range(1, 11):
        penguins.archive(f"penguins@{number}")
    failures: list[BaseException] = []

    def repeat(act: Callable[[int], object]) -> None:
        for number in range(1, 11):
            try:
                act(number)
            except (StatusMoveError, VersionNotFoundError, psycopg.errors.ForeignKeyViolation):
                pass
            except BaseException as exc:
                failures.append(exc)

    def quarantine(number: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("SELECT quarantine_version('penguins', %s, 'a drill')", (number,))

    acts: tuple[Callable[[int], object], ...] = (
        lambda number: penguins.delete(f"penguins@{number}", reason="x"),
        lambda number: penguins.promote(f"penguins@{11 - number}"),
        quarantine,
    )
    threads = [threading.Thread(target=repeat, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gone = {event.number for event in penguins.history("penguins") if event.kind == "deleted"}

    assert failures == []
    assert sorted({*numbers(penguins), *gone}) == list(range(1, 12))
    assert not gone & set(numbers(penguins))


# --- prune ---------------------------------------------------------------------------------------------------


def fill_many(store: ModelStore) -> None:
    """Register what `many` stands for."""
    for strength in range(1, 11):
        store.register(classifier(float(strength)), "penguins", example=example())
    for number in range(1, 6):
        store.promote(f"penguins@{number}")
    store.set_alias("penguins@6", "stable")
    for number in range(6, 10):
        store.archive(f"penguins@{number}")
    store.quarantine("penguins@1", reason="a drill")


@pytest.fixture
def many(store: ModelStore) -> ModelStore:
    """Ten versions: 1 to 5 were in production one after the other and 5 is, 6 is named, 7 to 9 are archived."""
    return store


FURNISHED = {"penguins": fill_penguins, "many": fill_many}


@pytest.mark.parametrize(
    ("rule", "leave"),
    [
        ({"keep": 1}, [9, 8, 7, 3, 2]),
        ({"keep": 3}, [7, 3, 2]),
        ({"keep": 9}, []),
        ({"keep": 10}, []),
        ({"keep": 11}, []),
        ({"keep": 2**31 - 1}, []),
    ],
)
def test_the_newest_versions_stay_and_whatever_somebody_may_want(
    many: ModelStore, rule: dict[str, int], leave: list[int]
) -> None:
    """Archived versions leave; those in production, quarantine or under an alias stay, and what a rollback leads to."""
    foreseen = many.prune("penguins", **rule, dry_run=True)
    untouched = numbers(many)
    gone = many.prune("penguins", **rule)

    assert [version.number for version in gone] == [version.number for version in foreseen] == leave
    assert untouched == list(range(1, 11))
    assert numbers(many) == sorted(set(range(1, 11)) - set(leave))
    assert many.prune("penguins", **rule) == []
    assert many.rollback("penguins").number == 4


def test_candidates_leave_when_they_are_asked_to(many: ModelStore) -> None:
    """A candidate is archived before it leaves, both on record; without being asked to, it stays."""
    for strength in (11.0, 12.0):
        many.register(classifier(strength), "penguins", example=example())
    many.prune("penguins", keep=1)
    kept = numbers(many)
    gone = many.prune("penguins", keep=1, candidates=True, reason="too many", actor="ada")
    events = [(e.kind, e.actor, e.reason) for e in many.history("penguins") if e.number == 11]

    assert kept == [1, 4, 5, 6, 10, 11, 12]
    assert [version.number for version in gone] == [11, 10]
    assert events[:2] == [("deleted", "ada", "too many"), ("status", "ada", "too many")]
    assert many.history("penguins", limit=1)[0].reason == "too many"


def test_a_pruned_version_says_which_rule_it_fell_under(many: ModelStore) -> None:
    """Without a reason of one's own, the history names the rule."""
    many.prune("penguins", keep=3)

    with pytest.raises(VersionNotFoundError, match=r"penguins@7 was deleted on .*: pruned: the newest 3 are kept"):
        many.find("penguins@7")


@pytest.mark.parametrize("keep", [0, -1, True, 2.0, "3", 2**31, None])
def test_a_rule_that_keeps_nothing_is_refused(many: ModelStore, keep: Any) -> None:
    """At least one version stays, and the number is a whole one."""
    with pytest.raises(RetentionError, match="versions to keep must be 1 to"):
        many.prune("penguins", keep=keep)

    assert numbers(many) == list(range(1, 11))


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_model_that_is_not_there_cannot_be_pruned(store: ModelStore, dry_run: bool) -> None:
    """Its name is said to be that of no model."""
    with pytest.raises(ModelNotFoundError):
        store.prune("pinguins", keep=1, dry_run=dry_run)


def test_more_than_one_batch_leaves(many: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many versions leave in several transactions, and none is forgotten."""
    monkeypatch.setattr("bodega_db.store.retention.BATCH", 2)

    assert [version.number for version in many.prune("penguins", keep=1)] == [9, 8, 7, 3, 2]
    assert numbers(many) == [1, 4, 5, 6, 10]
