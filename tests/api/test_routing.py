"""Warm predictions without the database: what is remembered, how long, and what makes it change."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx2
import psycopg
import pytest
from bodega_api.serving.version_router import Routes
from bodega_db.catalog import changes as watching
from bodega_db.catalog.changes import Choose, Tell, Watcher
from bodega_db.errors import (
    CatalogUnavailableError,
    InvalidReferenceError,
    ModelAmbiguousError,
    ModelNotFoundError,
    SettingsError,
    VersionNotFoundError,
    VersionQuarantinedError,
)
from bodega_db.records import Changes, Resolution
from bodega_db.reference import Selector
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from conftest import Api, running_api
from gallery import GENTOO, ask, enter, name_version, penguins, problem_of, scaler, weaker_penguins
from outages import Forwarder, forwarder_before, lose_version, mortal_postgres, wait_for
from pydantic import ValidationError

Connection = psycopg.Connection[Any]
BODY = {"rows": [GENTOO]}
SELECTORS = (None, "1", "2", "latest", "champion", "best:accuracy", "best:accuracy:min")
QUARANTINE = "UPDATE version SET status = 'quarantined' WHERE number = %s"
PROMOTE = "UPDATE version SET status = 'production' WHERE number = %s"


class HeldStore(ModelStore):
    """A store that chooses as ever, and holds what it has chosen back for as long as a test wants."""

    asked = 0
    chosen: threading.Event
    gate: threading.Event | None = None

    def choose(self, model: str | None, version: str | None) -> Resolution:
        """Choose, then wait at the gate if there is one."""
        self.asked += 1
        resolution = super().choose(model, version)
        self.chosen.set()
        if self.gate is not None:
            assert self.gate.wait(30)
        return resolution


class BreakingStore(ModelStore):
    """A store whose watcher loses its connection after so many choices of a renewal."""

    breaks_after: int | None = None
    forwarder: Forwarder

    def watch(self, tell: Tell) -> Watcher:
        """Watch, and break the connection off when it is time."""

        def told(changes: Changes, choose: Choose) -> None:
            tell(changes, lambda model, selector: self._choose(choose, model, selector))

        return super().watch(told)

    def _choose(self, choose: Choose, model: str | None, selector: Selector) -> Resolution:
        if self.breaks_after is not None:
            if self.breaks_after == 0:
                self.forwarder.shut()
            self.breaks_after -= 1
        return choose(model, selector)


@pytest.fixture
def two(store: ModelStore, sql_connection: Connection) -> ModelStore:
    """Two versions of one model, the first of them the better one, which is called champion."""
    enter(store, "penguins", penguins(), metrics={"accuracy": 0.99})
    enter(store, "penguins", weaker_penguins(), metrics={"accuracy": 0.7})
    name_version(sql_connection, "penguins", 1, "champion")
    return store


@pytest.fixture
def forwarder(database_url: str) -> Iterator[Forwarder]:
    """A forwarder before this test's database."""
    with forwarder_before(database_url) as forwarder:
        yield forwarder


@pytest.fixture
def start_routes(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Routes]]:
    """Make routes over a store of any kind that have made contact, and stop them at the end of the test."""
    with ExitStack() as stack:

        def start(store: ModelStore, max_stale: float = 300, **options: int) -> Routes:
            routes = Routes(store, max_stale, **options)
            stack.callback(routes.stop)
            routes.start()
            wait_for(lambda: routes.age_seconds is not None)
            return routes

        yield start


@pytest.fixture
def held(make_settings: Callable[..., Settings]) -> Iterator[HeldStore]:
    """A store to hold."""
    with closing(HeldStore.connect(make_settings())) as store:
        store.chosen = threading.Event()
        yield store


def answering(api: Api, **parameters: str) -> int | str:
    """Return the number of the version that answers, or the type of the problem."""
    answer = ask(api, BODY, model="penguins", **parameters).json()
    number: int | str = answer.get("version") or answer["type"].rpartition(":")[2]
    return number


def chosen(routes: Routes, version: str | None = None) -> int:
    """Return the number of the version that is chosen."""
    return routes.choose("penguins", version).resolution.version.number


def heard(routes: Routes) -> int:
    """Return the generation up to which a snapshot knows everything, -1 before the first contact."""
    contact = routes._watcher.contact
    return contact.generation if contact else -1


def watching_threads() -> set[threading.Thread]:
    """Return the threads of all watchers of this process."""
    return {thread for thread in threading.enumerate() if thread.name == "bodega-watcher"}


def wait_until_heard(routes: Routes, store: ModelStore) -> None:
    """Wait until a snapshot knows everything that was committed by now."""
    now = store.changes(None).generation
    wait_for(lambda: heard(routes) >= now)


def last_statements(connection: Connection) -> set[tuple[Any, ...]]:
    """Return when each connection of this database, but for those that listen, began its last statement."""
    return set(
        connection.execute(
            "SELECT pid, query_start, state_change FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'bodega'"
        )
    )


@contextmanager
def asking(api: Api, threads: int = 4, **parameters: str) -> Iterator[list[tuple[int, int]]]:
    """Ask from several threads for as long as the block lasts; the list grows by status and version."""
    answers: list[tuple[int, int]] = []
    done = threading.Event()

    def work() -> None:
        with httpx2.Client(base_url=api.url, timeout=60) as client:
            while not done.is_set():
                answer = client.post("/predict", params=parameters, json=BODY)
                answers.append((answer.status_code, answer.json().get("version", 0)))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield answers
    finally:
        done.set()
        for worker in workers:
            worker.join(60)


# --- without the database ----------------------------------------------------------------------------------


def test_a_warm_prediction_asks_no_database(two: ModelStore, api: Api, sql_connection: Connection) -> None:
    """While 300 warm predictions are answered, no connection but the listening one begins a statement."""
    wait_until_heard(api.services.routes, two)
    for version in ("1", "latest", "champion"):
        ask(api, BODY, model="penguins", version=version).raise_for_status()
    # That these outputs are asked is noted once, and then for an hour no more.
    wait_for(lambda: sql_connection.execute("SELECT count(*) FROM asked_output").fetchone() == (2,))
    before = last_statements(sql_connection)

    numbers = {answering(api, version=version) for _ in range(100) for version in ("1", "latest", "champion")}

    assert numbers == {1, 2}
    assert last_statements(sql_connection) == before
    assert before
    answering(api, version="2")  # a choice that was not made before
    assert last_statements(sql_connection) != before


def test_warm_predictions_survive_a_killed_postgres(
    make_settings: Callable[..., Settings], start_api: Callable[..., Api]
) -> None:
    """Through kill -9 of Postgres and its restart no warm prediction fails; the rest says 503, and heals by itself."""
    with mortal_postgres() as postgres, forwarder_before(postgres.url) as forwarder:
        with closing(ModelStore.connect(make_settings(database_url=postgres.url))) as store:
            enter(store, "penguins", penguins())
            enter(store, "penguins", weaker_penguins())
        api = start_api(database_url=forwarder.url)
        answering(api)

        with asking(api, model="penguins") as answers:
            wait_for(lambda: len(answers) > 50)
            postgres.kill()
            killed = len(answers)
            wait_for(lambda: len(answers) > killed + 300, 120)

            for refused in (
                api.client.get("/models"),
                api.client.get("/models/penguins"),
                api.client.get("/models/penguins/versions/1"),
                api.client.get("/readyz"),
                ask(api, BODY, model="penguins", version="1"),
            ):
                problem_of(refused, 503, "catalog-unavailable")
                assert refused.headers["retry-after"] == "2"
                assert refused.elapsed.total_seconds() < 5
            assert api.client.get("/healthz").json() == {"status": "alive"}

            postgres.start_again()
            forwarder.open(postgres.url)
            with psycopg.connect(postgres.url, autocommit=True) as operator:
                operator.execute(PROMOTE, [1])
            seconds = wait_for(lambda: answers[-1] == (200, 1))

        assert {status for status, _ in answers} == {200}
        assert {number for _, number in answers[: killed + 300]} == {2}
        assert seconds < 2 * watching.LONGEST_PAUSE_SECONDS + 2
        assert api.client.get("/readyz").json()["status"] == "ready"


def test_a_frozen_postgres_holds_up_nobody_for_ten_seconds(
    two: ModelStore, start_api: Callable[..., Api], forwarder: Forwarder
) -> None:
    """Where Postgres takes everything and says nothing, warm predictions go on, and the rest is a 503 in good time."""
    api = start_api(database_url=forwarder.url)
    wait_until_heard(api.services.routes, two)  # what was chosen before the first contact is not remembered
    assert answering(api) == 2
    forwarder.freeze()

    with asking(api, model="penguins") as answers:
        refused = [api.client.get("/models"), ask(api, BODY, model="penguins", version="1")]

    assert set(answers) == {(200, 2)}
    assert len(answers) > 50
    for answer in refused:
        problem_of(answer, 503, "catalog-unavailable")
        assert answer.elapsed.total_seconds() < 10
    forwarder.open()
    wait_for(lambda: api.client.get("/models").status_code == 200, 30)
    assert answering(api, version="1") == 1


def test_what_is_older_than_the_settings_allow_is_not_served(
    two: ModelStore, start_api: Callable[..., Api], forwarder: Forwarder
) -> None:
    """Without contact for longer than BODEGA_MAX_STALE a warm prediction is a 503 that says how old; contact heals it."""
    strict, usual = (start_api(database_url=forwarder.url, max_stale=seconds) for seconds in (3, 300))
    for api in (strict, usual):
        wait_until_heard(api.services.routes, two)
        assert answering(api) == 2
    forwarder.shut()
    cut = time.monotonic()

    with asking(strict, threads=1, model="penguins") as answers:
        wait_for(lambda: answers and answers[-1][0] == 503)
        seconds = time.monotonic() - cut

    assert 0.9 < seconds < 3.5  # the last contact was up to two seconds before the cut
    problem = problem_of(ask(strict, BODY, model="penguins"), 503, "catalog-unavailable")
    assert "s old: more than the 3 s that BODEGA_MAX_STALE allows" in problem["detail"]
    stale = ask(usual, BODY, model="penguins")
    assert stale.json()["version"] == 2
    assert float(stale.headers["bodega-snapshot-age"]) > 1
    forwarder.open()
    wait_for(lambda: answering(strict) == 2)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_a_limit_that_is_none_is_refused(
    value: str, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BODEGA_MAX_STALE is a positive number of seconds."""
    monkeypatch.setenv("BODEGA_MAX_STALE", value)

    with pytest.raises(SettingsError, match="BODEGA_MAX_STALE"):
        make_settings()


def test_a_frozen_watcher_does_not_keep_the_catalog_from_being_asked(
    two: ModelStore, make_settings: Callable[..., Settings], sql_connection: Connection
) -> None:
    """Choices that are too old are made by the catalog itself where that answers, also before it was ever heard."""
    never_started = Routes(two, 300)

    first = never_started.choose("penguins", None)
    sql_connection.execute(PROMOTE, [1])
    second = never_started.choose("penguins", None)

    assert [route.resolution.version.number for route in (first, second)] == [2, 1]
    assert second.generation == first.generation + 1
    assert first.age_seconds == second.age_seconds == 0
    assert never_started.age_seconds is None


# --- hearing of changes ------------------------------------------------------------------------------------


def test_every_replica_hears_of_a_promotion(
    two: ModelStore, start_api: Callable[..., Api], sql_connection: Connection
) -> None:
    """A version put in production by SQL answers soon on every replica, and the answers say of which generation."""
    replicas = [start_api(), start_api()]
    for api in replicas:
        assert answering(api) == 2
        assert answering(api, version="1") == 1  # so that it needs not be loaded before it takes over
        wait_until_heard(api.services.routes, two)

    sql_connection.execute(PROMOTE, [1])
    seconds = [wait_for(lambda api=api: answering(api) == 1) for api in replicas]  # type: ignore[misc]

    assert max(seconds) < 2
    generation = two.changes(None).generation
    for api in replicas:
        answer = ask(api, BODY, model="penguins")
        assert answer.headers["bodega-generation"] == str(generation)
        assert 0 <= float(answer.headers["bodega-snapshot-age"]) < 5
        assert answering(api, version="production") == 1


def test_a_quarantined_version_stops_answering(
    two: ModelStore, start_api: Callable[..., Api], sql_connection: Connection
) -> None:
    """After a quarantine by SQL each way to that version ends in its error or in the version that is next."""
    replicas = [start_api(), start_api()]
    for api in replicas:
        for version in ("2", "latest"):
            assert answering(api, version=version) == 2
        wait_until_heard(api.services.routes, two)

    sql_connection.execute(QUARANTINE, [2])
    for api in replicas:
        wait_for(lambda api=api: answering(api, version="2") == "version-quarantined", 2)  # type: ignore[misc]

    for api in replicas:
        assert answering(api, version="latest") == 1
        problem_of(ask(api, BODY, model="penguins", version="2"), 409, "version-quarantined")


def test_a_candidate_does_not_answer_for_a_production_version_that_left(
    two: ModelStore, start_api: Callable[..., Api]
) -> None:
    """Every warm replica refuses unnamed requests from then on, with the reason, unless its settings ask for the newest."""
    refusing, lenient = start_api(), start_api(without_production="newest")
    two.promote("penguins@1")
    for api in (refusing, lenient):
        wait_until_heard(api.services.routes, two)
        assert [answering(api) for _ in range(3)] == [1] * 3
    two.quarantine("penguins@1", reason="wrong column", actor="ada")
    for api in (refusing, lenient):
        wait_until_heard(api.services.routes, two)

    for refused in (
        ask(refusing, BODY, model="penguins"),
        ask(refusing, BODY),
        refusing.client.get("/resolve", params={"model": "penguins"}),
    ):
        problem = problem_of(refused, 409, "no-production")
        assert "penguins@1 was there last, and was quarantined on" in problem["detail"]
        assert problem["detail"].endswith("by ada: wrong column")
        assert "`bodega promote penguins@NUMBER`" in problem["hint"]
    assert (answering(refusing, version="latest"), answering(refusing, version="2")) == (2, 2)
    assert (answering(lenient), answering(lenient, version="1")) == (2, "version-quarantined")
    two.promote("penguins@2")
    for api in (refusing, lenient):
        wait_until_heard(api.services.routes, two)
        assert answering(api) == 2


def test_without_notifications_a_quarantine_is_heard_in_two_seconds(
    two: ModelStore, api: Api, sql_connection: Connection
) -> None:
    """Where notifications are lost a quarantined version stops answering with the next question to the catalog."""
    sql_connection.execute(
        "CREATE OR REPLACE FUNCTION next_generation() RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE g bigint; "
        "BEGIN UPDATE generation SET value = value + 1 RETURNING value INTO g; RETURN g; END $$"
    )
    wait_until_heard(api.services.routes, two)
    assert answering(api, version="1") == 1

    sql_connection.execute(QUARANTINE, [1])
    seconds = wait_for(lambda: answering(api, version="1") == "version-quarantined")

    assert seconds < watching.POLL_SECONDS + 1.5


def test_a_new_version_answers_at_once_by_its_number(two: ModelStore, start_api: Callable[..., Api]) -> None:
    """Whoever has registered a version gets it by number on any replica, and soon by every other way to it."""
    replicas = [start_api(), start_api()]
    for api in replicas:
        wait_until_heard(api.services.routes, two)
        assert answering(api, version="latest") == 2
        assert answering(api, version="3") == "version-not-found"

    enter(two, "penguins", penguins())

    assert [answering(api, version="3") for api in replicas] == [3, 3]
    for api in replicas:
        wait_for(lambda api=api: answering(api, version="latest") == 3, 2)  # type: ignore[misc]


def test_a_second_model_ends_what_was_known_of_the_only_one(
    two: ModelStore, start_routes: Callable[..., Routes]
) -> None:
    """A choice without a model's name is forgotten when the catalog has a second model; that by name stays."""
    routes = start_routes(two)
    assert routes.choose(None, None).resolution.version.reference == "penguins@2"

    enter(two, "scaler", scaler())
    wait_until_heard(routes, two)

    with pytest.raises(ModelAmbiguousError):
        routes.choose(None, None)
    assert chosen(routes) == 2


def test_a_change_of_one_model_leaves_the_others_alone(held: HeldStore, start_routes: Callable[..., Routes]) -> None:
    """Every way to a model is made anew when that model changes, and none of them asks the catalog afterwards."""
    first = enter(held, "penguins", penguins(), metrics={"accuracy": 0.99})
    enter(held, "scaler", scaler())
    routes = start_routes(held)
    before = routes.choose("penguins", None)
    routes.choose("scaler", "latest")

    enter(held, "penguins", weaker_penguins(), metrics={"accuracy": 1.0})
    wait_until_heard(routes, held)
    asked = held.asked
    after, other = routes.choose("penguins", None), routes.choose("scaler", "latest")

    assert held.asked == asked
    assert (before.resolution.version.digest, after.resolution.version.number) == (first.digest, 2)
    assert before.generation < after.generation == other.generation == held.changes(None).generation


def test_a_choice_from_before_a_change_is_not_remembered_after_it(
    held: HeldStore, start_routes: Callable[..., Routes], sql_connection: Connection
) -> None:
    """Who was chosen before a quarantine, but comes back after it was heard, answers once and is asked for again."""
    enter(held, "penguins", penguins())
    routes = start_routes(held)
    held.gate = threading.Event()
    late: list[int] = []
    asker = threading.Thread(target=lambda: late.append(chosen(routes, "1")))
    asker.start()
    assert held.chosen.wait(30)
    sql_connection.execute(QUARANTINE, [1])
    wait_until_heard(routes, held)

    held.gate.set()
    asker.join(30)

    assert late == [1]
    with pytest.raises(VersionQuarantinedError):
        routes.choose("penguins", "1")
    assert held.asked == 2


def test_a_renewal_that_breaks_in_the_middle_replaces_nothing_and_is_made_again(
    two: ModelStore,
    make_settings: Callable[..., Settings],
    start_routes: Callable[..., Routes],
    forwarder: Forwarder,
    sql_connection: Connection,
) -> None:
    """A snapshot goes from one generation to the next as a whole, whenever the catalog goes away meanwhile."""
    with closing(BreakingStore.connect(make_settings(database_url=forwarder.url))) as store:
        store.forwarder = forwarder
        routes = start_routes(store)
        wait_until_heard(routes, two)
        before = {version: chosen(routes, version) for version in SELECTORS}
        generation = heard(routes)
        store.breaks_after = 3
        sql_connection.execute(QUARANTINE, [2])
        wait_for(lambda: store.breaks_after is not None and store.breaks_after < 0)
        time.sleep(0.5)

        during = {version: chosen(routes, version) for version in SELECTORS}

        assert (during, heard(routes)) == (before, generation)
        assert {during["2"], during["latest"]} == {2}
        store.breaks_after = None
        forwarder.open()
        wait_until_heard(routes, two)
        assert {chosen(routes, version) for version in SELECTORS if version != "2"} == {1}
        with pytest.raises(VersionQuarantinedError):
            chosen(routes, "2")


def test_a_row_that_cannot_be_read_does_not_keep_others_from_being_renewed(
    two: ModelStore, start_routes: Callable[..., Routes], sql_connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """A row in a form that this program does not know is left to whoever asks for it, with its place in the log."""
    routes = start_routes(two)
    assert (chosen(routes, "1"), chosen(routes, "latest")) == (1, 2)
    sql_connection.execute("ALTER TABLE version DISABLE TRIGGER version_is_immutable")
    sql_connection.execute("UPDATE version SET signature = '{}' WHERE number = 1")
    sql_connection.execute("ALTER TABLE version ENABLE TRIGGER version_is_immutable")

    sql_connection.execute("UPDATE version SET note = 'changed' WHERE number = 2")
    wait_until_heard(routes, two)

    assert routes.choose("penguins", "latest").resolution.version.note == "changed"
    assert "penguins could not be made again" in caplog.text
    with pytest.raises(ValidationError):
        routes.choose("penguins", "1")


def test_answers_and_readiness_say_how_fresh_they_are(two: ModelStore, api: Api, sql_connection: Connection) -> None:
    """A cold answer is of this moment; a warm one of the last contact; both name the generation, and OpenAPI the headers."""
    wait_until_heard(api.services.routes, two)

    cold, warm = ask(api, BODY, model="penguins"), ask(api, BODY, model="penguins")
    ready = api.client.get("/readyz").json()

    assert cold.headers["bodega-snapshot-age"] == "0.0"
    assert 0 <= float(warm.headers["bodega-snapshot-age"]) < 5
    assert {int(answer.headers["bodega-generation"]) for answer in (cold, warm)} == {ready["generation"]}
    assert 0 < ready["snapshot_age_seconds"] < 5
    described = api.client.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]["200"]["headers"]
    always = {"Bodega-Generation", "Bodega-Snapshot-Age"}
    assert set(described) == always | {"Bodega-Source", "Bodega-Warnings", "Server-Timing"}


# --- what is remembered ------------------------------------------------------------------------------------


def test_one_choice_is_remembered_however_it_is_written(held: HeldStore, start_routes: Callable[..., Routes]) -> None:
    """'1', '01' and '0000000001' are one choice, so that nobody fills the memory with ways to write a number."""
    enter(held, "penguins", penguins(), metrics={"accuracy": 0.99})
    routes = start_routes(held)
    wait_until_heard(routes, held)

    for version in ("1", "01", "0000000001", "best:accuracy", "best:accuracy:max"):
        chosen(routes, version)

    assert held.asked == 2


def test_an_error_is_never_remembered(held: HeldStore, start_routes: Callable[..., Routes]) -> None:
    """What was not there is asked for again each time, and is there as soon as it is registered."""
    routes = start_routes(held)
    for model, version, error in (
        ("penguins", None, ModelNotFoundError),
        ("Not A Name", None, ModelNotFoundError),
        (None, None, ModelAmbiguousError),
        ("penguins", "best:", InvalidReferenceError),
    ):
        with pytest.raises(error):
            routes.choose(model, version)

    enter(held, "penguins", penguins())

    assert routes.choose("penguins", None).resolution.version.number == 1
    assert routes.choose(None, None).resolution.version.number == 1
    with pytest.raises(VersionNotFoundError):
        routes.choose("penguins", "2")


def test_no_more_is_remembered_than_there_is_room_for(held: HeldStore, start_routes: Callable[..., Routes]) -> None:
    """The choice that was used longest ago is forgotten first, and made again when somebody asks."""
    enter(held, "penguins", penguins(), metrics={"accuracy": 0.99})
    routes = start_routes(held, capacity=2)
    wait_until_heard(routes, held)

    for version in ("1", "latest", "1", "best:accuracy"):
        chosen(routes, version)
    asked = held.asked
    chosen(routes, "1")
    chosen(routes, "best:accuracy")
    remembered = held.asked
    chosen(routes, "latest")

    assert (asked, remembered, held.asked) == (3, 3, 4)


def test_a_cold_choice_without_a_catalog_does_not_speak_of_age(
    two: ModelStore, make_settings: Callable[..., Settings], start_routes: Callable[..., Routes], forwarder: Forwarder
) -> None:
    """What was never asked for cannot be answered while the catalog is away, however fresh the rest is."""
    with closing(ModelStore.connect(make_settings(database_url=forwarder.url))) as store:
        routes = start_routes(store)
        assert chosen(routes, "1") == 1
        forwarder.shut()

        with pytest.raises(CatalogUnavailableError) as caught:
            chosen(routes, "2")

        assert caught.value.message == "The catalog does not answer"
        assert chosen(routes, "1") == 1


def test_the_end_of_an_api_leaves_no_thread_and_no_connection(
    two: ModelStore, make_settings: Callable[..., Settings], sql_connection: Connection
) -> None:
    """A replica that ends has stopped listening, and has given all its connections back."""
    before = watching_threads()
    with running_api(make_settings()) as api:
        assert answering(api) == 2
        wait_for(lambda: api.services.routes.age_seconds is not None)
        during = watching_threads()
    two.close()

    assert len(during - before) == 1
    assert watching_threads() == before
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_for(lambda: sql_connection.execute(others).fetchone() == (0,))


def test_a_catalog_that_is_behind_its_volume_is_told_at_the_start_and_served(
    two: ModelStore, start_api: Callable[..., Api], sql_connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """The log and /readyz say how many versions are lost; the known ones are served; a rebuild ends it."""
    enter(two, "penguins", penguins())
    lose_version(sql_connection, "penguins", 3)
    api = start_api()

    wait_for(lambda: api.services.inspection.trouble is not None)

    said = "1 version is on the volume and not in the catalog: run `bodega rebuild` (penguins@3)"
    ready = api.client.get("/readyz")
    assert (ready.status_code, ready.json()["trouble"], answering(api)) == (200, said, 2)
    assert said in caplog.text
    two.rebuild(apply=True)
    wait_for(lambda: api.client.get("/readyz").json()["trouble"] is None, 30)


def test_a_newer_schema_is_told_at_the_start_and_at_readyz(
    two: ModelStore, start_api: Callable[..., Api], sql_connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """An older program goes on answering, says that it is older, and is not ready."""
    sql_connection.execute("UPDATE alembic_version SET version_num = '9999'")
    api = start_api()

    problem = problem_of(api.client.get("/readyz"), 503, "catalog-not-migrated")

    assert problem["detail"].startswith("This program is older than the database (9999 > ")
    assert problem["detail"].endswith("): upgrade the program")
    assert answering(api) == 2
    wait_for(lambda: problem["detail"] in caplog.text)
