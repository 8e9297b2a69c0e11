"""Hearing of changes: by notification at once, by asking in any case, and after every loss of the connection."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from bodega_db.catalog import changes as watching
from bodega_db.catalog.changes import Choose, Tell, Watcher
from bodega_db.errors import CatalogUnavailableError
from bodega_db.records import Changes
from bodega_db.reference import Latest
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError
from conftest import create_database
from outages import Forwarder, forwarder_before, wait_for
from penguins import classifier, example

Connection = psycopg.Connection[Any]

# What a pooler that passes no notification on does to all of them, and a broken connection to some.
SILENT = """
CREATE OR REPLACE FUNCTION next_generation() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE g bigint;
BEGIN UPDATE generation SET value = value + 1 RETURNING value INTO g; RETURN g; END $$
"""


class Heard:
    """Takes down what a watcher tells, after doing with it what a test wants."""

    def __init__(self) -> None:
        self.changes: list[Changes] = []
        self.then: Tell = lambda changes, choose: None

    def __call__(self, changes: Changes, choose: Choose) -> None:
        self.changes.append(changes)
        self.then(changes, choose)

    def of(self, model: str) -> bool:
        """Tell whether a change of this very model was heard."""
        return any(changes.models and model in changes.models for changes in self.changes)


@pytest.fixture
def heard() -> Heard:
    """What was heard so far."""
    return Heard()


@pytest.fixture
def watch(heard: Heard) -> Iterator[Callable[[str], Watcher]]:
    """Start watchers, and stop them at the end of the test."""
    with ExitStack() as stack:

        def watch(url: str) -> Watcher:
            watcher = Watcher(url, heard)
            stack.callback(watcher.stop)
            watcher.start()
            return watcher

        yield watch


@pytest.fixture
def watcher(watch: Callable[[str], Watcher], database_url: str) -> Watcher:
    """A watcher that has made contact."""
    watcher = watch(database_url)
    wait_for(lambda: watcher.contact)
    return watcher


@pytest.fixture
def forwarder(database_url: str) -> Iterator[Forwarder]:
    """A forwarder before this test's database."""
    with forwarder_before(database_url) as forwarder:
        yield forwarder


def add_model(connection: Connection, name: str) -> int:
    """Change the catalog in the quickest way there is, and return the generation of that."""
    connection.execute("INSERT INTO model (name, created_by) VALUES (%s, 'ana')", [name])
    row = connection.execute("SELECT max(generation) FROM event WHERE model = %s", [name]).fetchone()
    assert row is not None
    return int(row[0])


def listeners(connection: Connection) -> list[int]:
    """Return the processes of Postgres that serve watchers of this database."""
    rows = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'bodega watching' AND datname = current_database()"
    )
    return [row[0] for row in rows]


def watching_threads() -> set[threading.Thread]:
    """Return the threads of all watchers of this process."""
    return {thread for thread in threading.enumerate() if thread.name == "bodega-watcher"}


def known(watcher: Watcher) -> int:
    """Return the generation up to which everything was heard, -1 before the first contact."""
    return watcher.contact.generation if watcher.contact else -1


# --- what changed ------------------------------------------------------------------------------------------


def test_a_generation_names_the_models_that_changed_after_it(store: ModelStore, sql_connection: Connection) -> None:
    """Of every later change the model is named, each once; of no change nothing; of what was before it nothing."""
    store.register(classifier(), "penguins", example=example())
    before = store.changes(None).generation
    store.register(classifier(0.5), "penguins", example=example())
    add_model(sql_connection, "wine")
    sql_connection.execute("UPDATE version SET note = 'good' WHERE number = 1")
    add_model(sql_connection, "texts")
    sql_connection.execute("INSERT INTO alias SELECT model_id, 'stable', id FROM version WHERE number = 2")

    changes = store.changes(before)

    assert changes.models == {"penguins", "wine", "texts"}
    assert store.changes(changes.generation) == Changes(changes.generation, frozenset())
    assert store.changes(changes.generation - 1).models == {"penguins"}


def test_without_a_generation_or_after_one_to_come_everything_may_have_changed(
    store: ModelStore, sql_connection: Connection
) -> None:
    """Who knows nothing, or knows more than the catalog ever did, is told that all models may be others now."""
    generation = add_model(sql_connection, "wine")

    assert store.changes(None) == Changes(generation, None)
    assert store.changes(generation + 1) == Changes(generation, None)


@pytest.mark.parametrize(
    ("models", "concerned"),
    [
        (None, {"wine", None}),
        (frozenset({"wine"}), {"wine", None}),
        (frozenset({"texts"}), {None}),
        (frozenset(), set()),
    ],
)
def test_a_change_concerns_its_model_and_whoever_asks_for_the_only_one(
    models: frozenset[str] | None, concerned: set[str | None]
) -> None:
    """The choice in the only model there is may be another after a change of any model."""
    changes = Changes(7, models)

    assert {model for model in ("wine", None) if changes.concern(model)} == concerned


def test_whoever_asks_again_and_again_misses_no_change(
    store: ModelStore, database_url: str, sql_connection: Connection
) -> None:
    """While eight connections change the catalog, each change is named by the answer that reaches its generation."""
    begun = store.changes(None).generation
    answers = [Changes(begun, frozenset())]
    done = threading.Event()

    def write(place: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            for turn in range(25):
                add_model(connection, f"model-{place}-{turn}")

    def follow() -> None:
        while not done.is_set():
            answers.append(store.changes(answers[-1].generation))

    follower = threading.Thread(target=follow)
    follower.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    done.set()
    follower.join(30)
    answers.append(store.changes(answers[-1].generation))

    events = sql_connection.execute("SELECT generation, model FROM event").fetchall()
    assert len(events) == 200
    for earlier, later in pairwise(answers):
        due = {model for generation, model in events if earlier.generation < generation <= later.generation}
        assert later.models is not None
        assert due <= later.models
    assert answers[-1].generation == begun + 200
    assert len(answers) > 3


# --- hearing of it -----------------------------------------------------------------------------------------


def test_a_notification_is_heard_at_once(
    heard: Heard, watcher: Watcher, sql_connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change is told long before the next question is due, with its generation and its model."""
    monkeypatch.setattr(watching, "POLL_SECONDS", 600.0)
    add_model(sql_connection, "first")  # the watcher's next wait is a long one
    wait_for(lambda: heard.of("first"))

    generation = add_model(sql_connection, "wine")
    seconds = wait_for(lambda: heard.of("wine"))

    assert heard.changes[-1] == Changes(generation, frozenset({"wine"}))
    assert seconds < 2
    wait_for(lambda: known(watcher) == generation)


def test_without_notifications_a_change_is_heard_in_two_seconds(
    heard: Heard, watcher: Watcher, sql_connection: Connection
) -> None:
    """Where no notification ever arrives the question every two seconds finds what changed."""
    sql_connection.execute(SILENT)

    add_model(sql_connection, "wine")
    seconds = wait_for(lambda: heard.of("wine"))

    assert seconds < watching.POLL_SECONDS + 1.5


def test_a_connection_that_is_cut_without_a_word_is_noticed(
    heard: Heard, watch: Callable[[str], Watcher], forwarder: Forwarder, sql_connection: Connection
) -> None:
    """When nothing comes through any more and nobody says so, a question without an answer leads to a new connection."""
    watcher = watch(forwarder.url)
    wait_for(lambda: watcher.contact)
    forwarder.freeze(listening_only=True)

    generation = add_model(sql_connection, "wine")
    seconds = wait_for(lambda: known(watcher) == generation)

    assert heard.changes[-1] == Changes(generation, None)
    assert seconds < watching.POLL_SECONDS + watching.PATIENCE_SECONDS + 2


def test_a_lost_connection_is_made_again(
    heard: Heard, watcher: Watcher, sql_connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """After Postgres ended the connection all may have changed; what changed meanwhile and what follows is heard."""
    (pid,) = listeners(sql_connection)

    sql_connection.execute("SELECT pg_terminate_backend(%s)", [pid])
    generation = add_model(sql_connection, "wine")

    seconds = wait_for(lambda: known(watcher) == generation)
    assert heard.changes[-1] == Changes(generation, None)
    assert seconds < 3
    add_model(sql_connection, "texts")
    wait_for(lambda: heard.of("texts"))
    assert listeners(sql_connection) != [pid]
    assert {record.name for record in caplog.records} == {"bodega_db.catalog.changes"}


def test_a_catalog_that_is_away_at_the_start_is_heard_when_it_comes(
    watch: Callable[[str], Watcher], forwarder: Forwarder, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a catalog there is no contact, the log says so once, and the first contact comes by itself."""
    forwarder.shut()
    watcher = watch(forwarder.url)
    time.sleep(1)
    assert watcher.contact is None

    forwarder.open()

    wait_for(lambda: watcher.contact)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "Changes of the catalog are not heard",
        "Changes of the catalog are heard again, from generation 0 on",
    ]


def test_a_database_without_the_schema_is_asked_until_it_has_one(
    watch: Callable[[str], Watcher], empty_database_url: str
) -> None:
    """A database that is migrated later is heard from then on, without a restart."""
    from bodega_db.catalog import migrate

    watcher = watch(empty_database_url)
    time.sleep(0.5)
    assert watcher.contact is None

    migrate.upgrade(empty_database_url)

    wait_for(lambda: watcher.contact)


def test_what_could_not_be_told_is_told_again(heard: Heard, watcher: Watcher, sql_connection: Connection) -> None:
    """Where telling fails nothing counts as heard, whatever the error was, and everything is told anew."""
    before = watcher.contact
    errors: list[Exception] = [CatalogUnavailableError("gone in the middle"), ZeroDivisionError()]

    def fail_twice(changes: Changes, choose: Choose) -> None:
        assert watcher.contact == before or errors == []
        if errors:
            raise errors.pop(0)

    heard.then = fail_twice
    generation = add_model(sql_connection, "wine")

    wait_for(lambda: known(watcher) == generation)
    assert errors == []
    assert [changes.generation for changes in heard.changes[-3:]] == [generation] * 3
    assert [changes.models for changes in heard.changes[-2:]] == [None, None]


def test_a_restored_database_counts_as_all_changed(heard: Heard, watcher: Watcher, sql_connection: Connection) -> None:
    """A generation lower than the known one, as after a restored backup, tells that all may have changed."""
    for name in ("wine", "texts"):
        add_model(sql_connection, name)
    wait_for(lambda: heard.of("texts"))
    lower = known(watcher) - 1

    sql_connection.execute("ALTER TABLE generation DISABLE TRIGGER ALL")
    sql_connection.execute("UPDATE generation SET value = %s", [lower])

    wait_for(lambda: known(watcher) == lower)
    assert heard.changes[-1] == Changes(lower, None)


def test_choices_are_made_in_the_snapshot_that_was_told(
    heard: Heard, store: ModelStore, watcher: Watcher, sql_connection: Connection
) -> None:
    """What commits while a change is told is not seen yet: all choices belong to one generation, the next come after."""
    store.register(classifier(), "penguins", example=example())
    wait_for(lambda: known(watcher) == store.changes(None).generation)
    chosen: list[tuple[int, str, int]] = []

    def choose_while_it_changes(changes: Changes, choose: Choose) -> None:
        if not chosen:
            sql_connection.execute('UPDATE version SET tags = \'{"seen": "no"}\'')
        resolution = choose("penguins", Latest())
        chosen.append((changes.generation, resolution.version.tags.get("seen", "nothing"), resolution.generation))

    heard.then = choose_while_it_changes
    sql_connection.execute("UPDATE version SET note = 'changed'")

    wait_for(lambda: len(chosen) == 2)
    (first, first_seen, first_generation), (second, second_seen, second_generation) = chosen
    assert (first_seen, second_seen) == ("nothing", "no")
    assert (first_generation, second_generation) == (first, second) == (first, first + 1)


def test_a_choice_fails_in_our_own_words_when_the_catalog_goes(
    heard: Heard, watch: Callable[[str], Watcher], forwarder: Forwarder
) -> None:
    """Whoever chooses while the connection breaks is told that the catalog does not answer, not that nothing is there."""
    raised: list[BodegaError] = []

    def choose_without_catalog(changes: Changes, choose: Choose) -> None:
        forwarder.shut()
        try:
            choose("penguins", Latest())
        except BodegaError as exc:
            raised.append(exc)
            raise

    heard.then = choose_without_catalog
    watcher = watch(forwarder.url)

    wait_for(lambda: raised)
    assert type(raised[0]) is CatalogUnavailableError
    assert watcher.contact is None


# --- the end -----------------------------------------------------------------------------------------------


def test_a_watcher_ends_at_once_and_leaves_nothing(
    watch: Callable[[str], Watcher], database_url: str, sql_connection: Connection
) -> None:
    """Stopping takes less than a second; no thread and no connection is left; it can be started again."""
    before = watching_threads()
    watcher = watch(database_url)
    wait_for(lambda: watcher.contact)
    assert len(listeners(sql_connection)) == 1

    began = time.monotonic()
    watcher.stop()
    seconds = time.monotonic() - began

    assert seconds < 1
    assert watching_threads() == before
    wait_for(lambda: listeners(sql_connection) == [])
    watcher.start()
    wait_for(lambda: len(listeners(sql_connection)) == 1)


@pytest.mark.parametrize("cause", ["shut", "freeze"])
def test_a_watcher_without_a_catalog_ends_too(
    cause: str, watch: Callable[[str], Watcher], forwarder: Forwarder
) -> None:
    """Where the catalog is away stopping takes less than a second; where it is frozen no longer than its patience."""
    before = watching_threads()
    watcher = watch(forwarder.url)
    wait_for(lambda: watcher.contact)
    getattr(forwarder, cause)()
    time.sleep(2.5)  # by now it has noticed, or waits for an answer

    began = time.monotonic()
    watcher.stop()
    seconds = time.monotonic() - began

    assert seconds < (1 if cause == "shut" else watching.PATIENCE_SECONDS + 1)
    assert watching_threads() == before


def test_a_database_of_another_name_is_not_mistaken(
    heard: Heard, watcher: Watcher, postgres_url: str, template: str
) -> None:
    """Notifications of another catalog in the same Postgres are not heard: they belong to their database."""
    told = len(heard.changes)
    with psycopg.connect(create_database(postgres_url, "neighbour", template), autocommit=True) as neighbour:
        add_model(neighbour, "wine")

    time.sleep(0.5)

    assert len(heard.changes) == told
