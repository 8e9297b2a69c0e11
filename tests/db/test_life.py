"""The life of a version: promote, roll back, archive, quarantine, release, aliases, and who was where at a moment."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from bodega_db.errors import (
    AliasNotFoundError,
    ArtifactDigestError,
    IncompatibleSignatureError,
    InvalidAliasError,
    InvalidMetadataError,
    InvalidReferenceError,
    ModelNotFoundError,
    NoFormerVersionError,
    ReasonMissingError,
    StatusMoveError,
    VersionNotFoundError,
    VersionQuarantinedError,
)
from bodega_db.lifecycle import Status, production_line
from bodega_db.store import ModelStore
from bodega_model.loading.environment import default_actor
from hypothesis import given
from hypothesis import strategies as st
from penguins import classifier, data, example
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

C, P, A, Q = Status.CANDIDATE, Status.PRODUCTION, Status.ARCHIVED, Status.QUARANTINED
Act = Callable[[ModelStore], object]


def fill(store: ModelStore) -> None:
    """Register what `penguins` stands for."""
    for strength in (1.0, 2.0, 3.0):
        store.register(classifier(strength), "penguins", example=example(), metrics={"strength": strength})


@pytest.fixture
def penguins(store: ModelStore) -> ModelStore:
    """A store with three versions of one model."""
    return store


FURNISHED = {"penguins": fill}


def statuses(store: ModelStore, model: str = "penguins") -> list[Status]:
    """Return the status of each version, the first one first."""
    return [version.status for version in reversed(store.versions(model))]


def narrow_model() -> tuple[Any, Any]:
    """Return a model of the penguins that takes other columns, and its example."""
    rows = data()[0][["bill_length_mm", "body_mass_g"]].assign(new=1.0).dropna()
    species = data()[1][rows.index]
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, species), rows


# --- promote -------------------------------------------------------------------------------------------------


def test_a_promotion_archives_the_former_version(penguins: ModelStore) -> None:
    """One version is in production, the former one is archived in the same transaction, and both moves are on record."""
    penguins.promote("penguins@1", actor="ada")
    promoted = penguins.promote("penguins@2", reason="better", actor="bo")
    into, out = penguins.history("penguins")[:2]

    assert promoted.status is P
    assert statuses(penguins) == [A, P, C]
    assert penguins.resolve("penguins").version.number == 2
    assert (out.number, out.after, into.number, into.after) == (1, {"status": "archived"}, 2, {"status": "production"})
    assert {(event.actor, event.reason) for event in (into, out)} == {("bo", "better")}


@pytest.mark.parametrize(("reference", "number"), [("latest", 3), ("best:strength:min", 1), ("next", 2)])
def test_a_promotion_takes_every_reference(penguins: ModelStore, reference: str, number: int) -> None:
    """What is promoted may be named by a number, an alias, as the newest, or as the best."""
    penguins.set_alias("penguins@2", "next")

    assert penguins.promote(f"penguins@{reference}").number == number


def test_a_second_promotion_changes_nothing(penguins: ModelStore) -> None:
    """Promoting what is in production already is no error and no event."""
    penguins.promote("penguins@1")
    before = penguins.check_catalog()

    assert penguins.promote("penguins@1").status is P
    assert penguins.check_catalog() == before


def test_promotions_at_once_end_with_one_production_and_all_on_record(penguins: ModelStore) -> None:
    """Whoever promotes at the same moment waits; each promotion is in the history, and one version is in production."""
    start = threading.Barrier(3)
    failures: list[BaseException] = []

    def promote(number: int) -> None:
        start.wait()
        try:
            for _ in range(10):
                penguins.promote(f"penguins@{number}", actor=f"person {number}")
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=promote, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    promoted = [e for e in penguins.history("penguins") if e.kind == "status" and e.after == {"status": "production"}]

    assert failures == []
    assert sorted(statuses(penguins)) == [A, A, P]
    assert {(event.number, event.actor) for event in promoted} == {(n, f"person {n}") for n in (1, 2, 3)}
    assert penguins.resolve("penguins@production").version.number == promoted[0].number


def test_moves_and_quarantines_at_once_do_not_block_each_other(penguins: ModelStore, database_url: str) -> None:
    """The API quarantines without the model's lock while others promote: nobody ends in a deadlock."""
    failures: list[BaseException] = []

    def repeat(act: Callable[[], object]) -> None:
        try:
            for _ in range(25):
                act()
        except (StatusMoveError, VersionQuarantinedError):
            pass
        except BaseException as exc:
            failures.append(exc)

    def toggle() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("SELECT quarantine_version('penguins', 2, 'a drill')")
            connection.execute("UPDATE version SET status = 'archived' WHERE number = 2 AND status = 'quarantined'")

    acts = (toggle, lambda: penguins.promote("penguins@1"), lambda: penguins.rollback("penguins", to=2))
    penguins.promote("penguins@2")
    threads = [threading.Thread(target=repeat, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


def test_an_incompatible_signature_is_refused_unless_forced_with_a_reason(penguins: ModelStore) -> None:
    """A version that the present clients could not call is not promoted, and nothing moves, unless told so with a reason."""
    model, rows = narrow_model()
    penguins.register(model, "penguins", example=rows)
    penguins.promote("penguins@1")

    with pytest.raises(IncompatibleSignatureError, match=r"penguins@1 could not call penguins@4: .*column"):
        penguins.promote("penguins@4")
    with pytest.raises(ReasonMissingError):
        penguins.promote("penguins@4", force=True, reason="  ")
    assert statuses(penguins) == [P, C, C, C]

    assert penguins.promote("penguins@4", force=True, reason="clients moved on").status is P
    assert penguins.rollback("penguins").number == 1


# --- roll back -----------------------------------------------------------------------------------------------


def test_rollbacks_go_further_and_further_back(penguins: ModelStore) -> None:
    """Each rollback goes one version back in the line, never to one that was left behind; the first one has no former."""
    for number in (1, 2, 3):
        penguins.promote(f"penguins@{number}")

    assert penguins.rollback("penguins", reason="3 is slow").number == 2
    assert penguins.rollback("penguins").number == 1
    with pytest.raises(NoFormerVersionError):
        penguins.rollback("penguins")
    assert statuses(penguins) == [P, A, A]


def test_a_rollback_passes_over_what_is_in_quarantine(penguins: ModelStore) -> None:
    """From a version in quarantine one gets back to the last good one."""
    for number in (1, 2, 3):
        penguins.promote(f"penguins@{number}")
    for number in (2, 3):
        penguins.quarantine(f"penguins@{number}", reason="wrong labels")

    assert penguins.rollback("penguins").number == 1
    assert statuses(penguins) == [P, Q, Q]


def test_a_rollback_can_name_its_version(penguins: ModelStore) -> None:
    """A named version that was in production returns; one that never was is for a promotion."""
    for number in (1, 2):
        penguins.promote(f"penguins@{number}")

    with pytest.raises(StatusMoveError, match="never in production"):
        penguins.rollback("penguins", to=3)
    with pytest.raises(VersionNotFoundError):
        penguins.rollback("penguins", to=9)
    assert penguins.rollback("penguins", to=1).number == 1


def test_a_rollback_restores_what_was_archived_without_a_successor(penguins: ModelStore) -> None:
    """Where nothing is in production, the last one that was returns."""
    penguins.promote("penguins@1")
    penguins.archive("penguins@production")

    assert penguins.rollback("penguins").number == 1


@given(st.lists(st.integers(1, 5), max_size=20), st.integers(1, 5))
def test_the_line_ends_with_the_present_and_names_nothing_twice(promotions: list[int], following: int) -> None:
    """A new version lengthens the line, one of the line ends it behind itself, and each stands in it once."""
    line = production_line(promotions)
    returned = line[: line.index(following) + 1] if following in line else [*line, following]

    assert line[-1:] == promotions[-1:]
    assert len(line) == len(set(line))
    assert production_line([*promotions, following]) == returned


# --- archive, quarantine, release ----------------------------------------------------------------------------


def test_an_archived_version_is_chosen_by_its_number_only(penguins: ModelStore) -> None:
    """Retired versions neither are the newest nor the best, and still answer for their number."""
    penguins.archive("penguins@3")

    assert penguins.resolve("penguins@latest").version.number == 2
    assert penguins.resolve("penguins@best:strength").version.number == 2
    assert penguins.resolve("penguins@3").version.status is A


def test_quarantine_and_release(penguins: ModelStore) -> None:
    """Nothing serves a version in quarantine; out of it leads a release, with a reason, after a fresh hash."""
    penguins.quarantine("penguins@3", reason="wrong labels", actor="ada")

    with pytest.raises(VersionQuarantinedError):
        penguins.resolve("penguins@3")
    with pytest.raises(StatusMoveError):
        penguins.promote("penguins@3")
    with pytest.raises(StatusMoveError, match="Release it first"):
        penguins.archive("penguins@3")
    assert penguins.release("penguins@3", reason="the labels were right", actor="bo").status is C
    assert [(e.actor, e.reason) for e in penguins.history("penguins")[:2]] == [
        ("bo", "the labels were right"),
        ("ada", "wrong labels"),
    ]


def test_damaged_bytes_are_not_released(penguins: ModelStore) -> None:
    """A release hashes the bytes first, and a version with others stays in quarantine."""
    version = penguins.quarantine("penguins@3", reason="the disk made noises")
    path = penguins.artifacts.root / version.path
    path.chmod(0o640)
    damaged = bytearray(path.read_bytes())
    damaged[100] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(ArtifactDigestError):
        penguins.release("penguins@3", reason="it is fine")
    assert statuses(penguins)[2] is Q


# --- words -------------------------------------------------------------------------------------------------------


def test_words_may_change_and_the_former_ones_are_on_record(penguins: ModelStore) -> None:
    """Notes and tags change by what is given, nothing else of the version does, and each change is an event."""
    penguins.describe("penguins@1", note="first", tags={"team": "core", "stage": "trial"}, actor="ada")
    described = penguins.describe("penguins@1", tags={"stage": None, "region": "south"}, reason="it is no trial")
    before = penguins.check_catalog()
    penguins.describe("penguins@1", note="first", tags={"stage": None})
    unchanged = penguins.check_catalog()
    silent = penguins.describe("penguins@1", note=" ")
    events = [event for event in penguins.history("penguins") if event.kind == "described"]

    assert (described.note, described.tags) == ("first", {"team": "core", "region": "south"})
    assert (silent.note, silent.tags, unchanged) == (None, described.tags, before)
    assert [(event.actor, event.reason) for event in events[1:]] == [(default_actor(), "it is no trial"), ("ada", None)]
    assert events[1].before == {"note": "first", "tags": {"team": "core", "stage": "trial"}}
    assert penguins.get("penguins", 1).digest == described.digest


def test_a_model_is_described_with_history(penguins: ModelStore) -> None:
    """The description of a model may change or go, and the same words again are no event."""
    penguins.describe_model("penguins", "of Palmer")
    before = penguins.check_catalog()
    penguins.describe_model("penguins", "of Palmer")
    unchanged = penguins.check_catalog()

    assert (penguins.model("penguins").description, unchanged) == ("of Palmer", before)
    assert penguins.describe_model("penguins", "").description is None
    assert penguins.history("penguins")[0].before == {"description": "of Palmer"}


# --- aliases -------------------------------------------------------------------------------------------------


def test_an_alias_is_set_moved_and_removed_with_history(penguins: ModelStore) -> None:
    """An alias leads to its version at once; every change of it is an event, and no change is none."""
    penguins.set_alias("penguins@1", "stable", actor="ada")
    penguins.set_alias("penguins@2", "stable", reason="two weeks without trouble")
    before = penguins.check_catalog()
    penguins.set_alias("penguins@2", "stable")
    unchanged = penguins.check_catalog()
    resolved = penguins.resolve("penguins@stable").version.number
    named = penguins.aliases("penguins")
    penguins.remove_alias("penguins", "stable", reason="not needed")
    removed, moved, made = [event for event in penguins.history("penguins") if event.kind == "alias"]

    assert (resolved, named, penguins.aliases("penguins"), unchanged) == (2, {"stable": 2}, {}, before)
    assert (made.before, made.after) == (None, {"alias": "stable", "number": 1})
    assert (moved.before, moved.after) == ({"alias": "stable", "number": 1}, {"alias": "stable", "number": 2})
    assert (removed.after, removed.reason) == (None, "not needed")


REFUSED: dict[str, tuple[Act, type[Exception]]] = {
    "an alias of digits": (lambda s: s.set_alias("penguins@1", "12"), InvalidAliasError),
    "a reserved alias": (lambda s: s.set_alias("penguins@1", "latest"), InvalidAliasError),
    "an alias with a space": (lambda s: s.set_alias("penguins@1", "my alias"), InvalidAliasError),
    "an alias that is not there": (lambda s: s.remove_alias("penguins", "stable"), AliasNotFoundError),
    "a move of no version in particular": (lambda s: s.promote("penguins"), InvalidReferenceError),
    "a version that is not there": (lambda s: s.promote("penguins@9"), VersionNotFoundError),
    "a model that is not there": (lambda s: s.archive("pinguins@1"), ModelNotFoundError),
    "an alias for a model that is not there": (lambda s: s.set_alias("pinguins@1", "a"), ModelNotFoundError),
    "a rollback of nothing": (lambda s: s.rollback("penguins"), NoFormerVersionError),
    "a quarantine without a reason": (lambda s: s.quarantine("penguins@1", reason=""), ReasonMissingError),
    "a release without a reason": (lambda s: s.release("penguins@1", reason=" "), ReasonMissingError),
    "a release of what is not in quarantine": (lambda s: s.release("penguins@1", reason="x"), StatusMoveError),
    "a tag without a name": (lambda s: s.describe("penguins@1", tags={"": "x"}), InvalidMetadataError),
    "a note that is too long": (lambda s: s.describe("penguins@1", note="x" * 10_001), InvalidMetadataError),
    "a description of no model": (lambda s: s.describe_model("pinguins", "x"), ModelNotFoundError),
    "a reason that is too long": (lambda s: s.archive("penguins@1", reason="x" * 1001), InvalidMetadataError),
    "a reason with a NUL": (lambda s: s.archive("penguins@1", reason="a\0b"), InvalidMetadataError),
    "a moment without a zone": (lambda s: s.as_of("penguins", datetime(2026, 1, 1)), InvalidMetadataError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_and_changes_nothing(penguins: ModelStore, case: str) -> None:
    """A change that cannot be made says why, and leaves neither a change nor an event."""
    act, error = REFUSED[case]
    before = penguins.check_catalog()

    with pytest.raises(error):
        act(penguins)

    assert penguins.check_catalog() == before
    assert statuses(penguins) == [C, C, C]


# --- the time machine ----------------------------------------------------------------------------------------


def test_the_time_machine_tells_who_was_in_production_and_why(penguins: ModelStore) -> None:
    """For every moment: which version was in production, since when, who put it there, and why."""
    moments = [now()]
    acts: list[Callable[[], object]] = [
        lambda: penguins.promote("penguins@1", reason="the first", actor="ada"),
        lambda: penguins.promote("penguins@2", reason="better", actor="bo"),
        lambda: penguins.quarantine("penguins@2", reason="wrong"),
        lambda: penguins.rollback("penguins", reason="back", actor="cy"),
        lambda: penguins.archive("penguins@1"),
    ]
    for act in acts:
        act()
        moments.append(now())
    found = [penguins.as_of("penguins", moment) for moment in moments]

    assert [holder and (holder.number, holder.actor, holder.reason) for holder in found] == [
        None,
        (1, "ada", "the first"),
        (2, "bo", "better"),
        None,
        (1, "cy", "back"),
        None,
    ]
    assert all(holder is None or before < holder.since <= at for holder, before, at in zip(found[1:], moments, moments[1:], strict=False))  # fmt: skip
    assert penguins.as_of("penguins", moments[0] - timedelta(days=999)) is None


def test_the_time_machine_knows_aliases(penguins: ModelStore) -> None:
    """For every moment: which version an alias named; other aliases do not matter."""
    penguins.set_alias("penguins@1", "stable")
    first = now()
    penguins.set_alias("penguins@3", "canary")
    penguins.set_alias("penguins@2", "stable")
    second = now()
    penguins.remove_alias("penguins", "stable")
    third = now()
    found = [penguins.as_of("penguins", moment, alias="stable") for moment in (first, second, third)]

    assert [holder and holder.reference for holder in found] == ["penguins@1", "penguins@2", None]


def now() -> datetime:
    """Return the moment by this machine's clock, which is the database's."""
    return datetime.now(UTC)
