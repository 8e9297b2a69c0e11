"""Changing the catalog over HTTP: with the token and only with it, by the rules, on record, and heard of at once."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bodega_api.app import create_app
from bodega_api.http.guesses import Guesses
from bodega_db.catalog import migrate
from bodega_db.catalog.roles import ADMIN, API, RIGHTS, apply_roles
from bodega_db.errors import SettingsError
from bodega_db.postgres.embedded import EmbeddedPostgres
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
from conftest import Api, create_database, running_api
from fastapi.openapi.models import OpenAPI
from gallery import GENTOO, MARKER, Gallery, ask, enter, penguins, problem_of, weaker_penguins, wine
from jsonschema import Draft202012Validator
from outages import wait_for
from sqlalchemy.engine import make_url

TOKEN = "correct-horse-Battery-staple-0815"
SOON = 4.0  # seconds: two until the catalog is asked in any case, and as many for a busy machine
VERSION = "/models/penguins/versions"
OWNER = "owner"
# Every write, each with what it needs at least; none is refused in `catalog`, alone or after those before it.
WRITES: list[tuple[str, str, Any]] = [
    ("POST", f"{VERSION}/1/promote", None),
    ("POST", "/models/penguins/rollback", {"to": 1}),
    ("POST", f"{VERSION}/2/archive", None),
    ("POST", f"{VERSION}/2/quarantine", {"reason": "wrong column"}),
    ("POST", f"{VERSION}/3/release", {"reason": "checked"}),
    ("PATCH", f"{VERSION}/1", {"note": "said over HTTP"}),
    ("PATCH", "/models/penguins", {"description": "species"}),
    ("PUT", "/models/penguins/aliases/champion", {"version": 1}),
    ("POST", "/models/penguins/aliases/former/protect", None),
    ("POST", "/models/penguins/aliases/sold/unprotect", None),
    ("DELETE", "/models/penguins/aliases/former", None),
    ("DELETE", f"{VERSION}/4", {"reason": "of no use"}),
    ("POST", "/models/penguins/prune", {"keep": 1}),
]
NEED_A_BODY = ("champion", "/penguins", "prune", "quarantine", "release")
WITH_BODY = [write for write in WRITES if write[0] != "DELETE"]


def name_of(value: Any) -> str | None:
    """Name a write in the list of tests."""
    return f"{value[0]} {value[1]}" if isinstance(value, tuple) else None


def write_token(path: Path, content: str) -> Path:
    """Write a token as its page says: for nobody else."""
    path.touch(0o600)
    path.write_text(content)
    return path


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the token, and the line break that every editor leaves behind."""
    path = tmp_path / "token"
    return write_token(path, f"{TOKEN}\n")


@pytest.fixture
def admin(start_api: Callable[..., Api], token_file: Path) -> Api:
    """An API that takes writes."""
    return start_api(admin_token_file=token_file)


@pytest.fixture
def catalog(store: ModelStore) -> ModelStore:
    """A store with what `fill` puts into it."""
    return fill(store)


def fill(store: ModelStore) -> ModelStore:
    """Register a version that was in production, one that is, one in quarantine, and one that is archived unused.

    Two aliases name the first, and one of them is protected. Another archived version and a candidate are newer.
    """
    for exhibit in (penguins(), weaker_penguins(), penguins(), penguins(), penguins(), penguins()):
        enter(store, "penguins", exhibit)
    store.promote("penguins@1")
    store.promote("penguins@2")
    store.quarantine("penguins@3", reason="for the test")
    store.archive("penguins@4")
    store.archive("penguins@5")
    store.set_alias("penguins@1", "former")
    store.set_alias("penguins@1", "sold")
    store.protect_alias("penguins", "sold")
    return store


@pytest.fixture(scope="module")
def standing(
    postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Api, ModelStore]]:
    """An API that takes writes, over a catalog that none of the refused ones may change."""
    folder = tmp_path_factory.mktemp("standing")
    write_token(folder / "token", TOKEN)
    settings = Settings.read(
        database_url=create_database(postgres_url, "standing", template),
        models=folder / "models",
        admin_token_file=folder / "token",
        max_body_bytes=100_000,
    )
    with closing(ModelStore.connect(settings)) as store, running_api(settings) as api:
        api.services.administration.guesses = Guesses(
            clock=count().__next__
        )  # a second passes from one wrong token to the next
        yield api, fill(store)


def send(api: Api, method: str, path: str, document: Any = None, authorization: str | None = f"Bearer {TOKEN}") -> Any:
    """Send a write, whose document a DELETE has as parameters, and return the HTTP response."""
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    if method == "DELETE":
        return api.client.request(method, path, headers=headers, params=document)
    body = None if document is None else json.dumps(document)  # in ASCII, and so also half of a surrogate pair
    return api.client.request(method, path, headers=headers, content=body)


def done(api: Api, method: str, path: str, document: Any = None) -> Any:
    """Send a write that succeeds, and return what it answers."""
    response = send(api, method, path, document)
    assert response.status_code in (200, 204), response.text
    return response.json() if response.content else None


def state_of(store: ModelStore) -> Any:
    """Return all that a write could have changed."""
    versions = [(v.number, v.status, v.note, dict(v.tags)) for v in store.versions()]
    return store.check_catalog(), versions, store.aliases("penguins"), store.model("penguins").description


# --- the verbs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITES, ids=name_of)
def test_a_write_changes_what_it_says_and_is_on_record(
    catalog: ModelStore, admin: Api, write: tuple[str, str, Any]
) -> None:
    """Each write answers like the pages that show what it changed, and the history names the token and the reason."""
    method, path, document = write

    answer = done(admin, method, path, (document or {}) | {"reason": "because", "actor": "Ana Núñez"})

    page = re.sub(r"/rollback|(?<=\d)/\w+$", "", path) if "aliases" not in path else "/models/penguins/aliases"
    if path.endswith("rollback"):
        page = f"{VERSION}/1"
    event = catalog.history("penguins")[0]
    if path.endswith("prune"):
        assert answer == {"model": "penguins", "versions": [5, 4], "dry_run": False}
    else:
        assert answer == (None if method == "DELETE" else admin.client.get(page).json())
    assert (event.actor, event.reason) == ("Ana Núñez (admin token)", "because")


def test_a_version_goes_through_its_life(store: ModelStore, admin: Api) -> None:
    """Promote, promote another, roll back, archive, quarantine, release: each answer shows where the version is now."""
    for exhibit in (penguins(), weaker_penguins()):
        enter(store, "penguins", exhibit)
    life = [
        (f"{VERSION}/1/promote", None, 1, "production"),
        (f"{VERSION}/2/promote", {"reason": "better"}, 2, "production"),
        ("/models/penguins/rollback", {"reason": "not better"}, 1, "production"),
        (f"{VERSION}/2/promote", {}, 2, "production"),
        ("/models/penguins/rollback", {"to": 1}, 1, "production"),
        (f"{VERSION}/1/archive", None, 1, "archived"),
        (f"{VERSION}/2/quarantine", {"reason": "wrong column"}, 2, "quarantined"),
        (f"{VERSION}/2/release", {"reason": "it was the right one"}, 2, "candidate"),
    ]

    answers = [done(admin, "POST", path, document) for path, document, _, _ in life]

    assert [(answer["version"], answer["status"]) for answer in answers] == [(n, status) for _, _, n, status in life]
    assert {event.actor for event in store.history("penguins") if event.kind == "status"} == {"admin token"}


def test_predictions_follow_a_write(catalog: ModelStore, admin: Api) -> None:
    """What was in memory is left as soon as the change is heard of: a promotion, an alias, a quarantine."""
    ask(admin, {"rows": [GENTOO]})
    ask(admin, {"rows": [GENTOO]}, version="former")

    done(admin, "POST", f"{VERSION}/1/promote")
    wait_for(lambda: ask(admin, {"rows": [GENTOO]}).json()["version"] == 1, SOON)
    done(admin, "PUT", "/models/penguins/aliases/former", {"version": 2})
    wait_for(lambda: ask(admin, {"rows": [GENTOO]}, version="former").json()["version"] == 2, SOON)
    done(admin, "POST", f"{VERSION}/2/quarantine", {"reason": "wrong column"})
    wait_for(lambda: ask(admin, {"rows": [GENTOO]}, version="former").status_code != 200, SOON)

    problem_of(ask(admin, {"rows": [GENTOO]}, version="former"), 409, "version-quarantined")
    assert ask(admin, {"rows": [GENTOO]}).json()["version"] == 1


def test_a_promotion_that_breaks_callers_needs_force_and_a_reason(store: ModelStore, admin: Api) -> None:
    """Incompatible signatures are a conflict; force without a reason is refused, and with one it is done."""
    enter(store, "penguins", penguins())
    enter(store, "penguins", wine())
    done(admin, "POST", f"{VERSION}/1/promote")

    conflict = problem_of(send(admin, "POST", f"{VERSION}/2/promote"), 409, "incompatible-signature")
    problem_of(send(admin, "POST", f"{VERSION}/2/promote", {"force": True}), 422, "reason-missing")
    forced = done(admin, "POST", f"{VERSION}/2/promote", {"force": True, "reason": "all callers are ready"})

    assert "column island" in conflict["detail"]
    assert (forced["version"], forced["status"]) == (2, "production")


def test_words_change_one_by_one(catalog: ModelStore, admin: Api) -> None:
    """What is left out stays; null takes a tag away, and a note; the rest of the version is what it was."""
    path = f"{VERSION}/1"
    before = admin.client.get(path).json()

    first = done(admin, "PATCH", path, {"note": "seems sure of itself", "tags": {"team": "core", "stage": "new"}})
    second = done(admin, "PATCH", path, {"tags": {"stage": None, "team": "birds"}})
    unchanged = done(admin, "PATCH", path, {})
    third = done(admin, "PATCH", path, {"note": None})

    assert (first["note"], first["tags"]) == ("seems sure of itself", {"team": "core", "stage": "new"})
    assert (second["note"], second["tags"]) == ("seems sure of itself", {"team": "birds"})
    assert unchanged == second
    assert third == before | {"tags": {"team": "birds"}}


def test_a_model_is_described_and_no_longer(catalog: ModelStore, admin: Api) -> None:
    """A description is set, and null takes it away; not to say which of the two is no order."""
    described = done(admin, "PATCH", "/models/penguins", {"description": "species from measures"})
    missing = send(admin, "PATCH", "/models/penguins", {"reason": "none"})
    taken = done(admin, "PATCH", "/models/penguins", {"description": None})

    assert described["description"] == "species from measures"
    assert problem_of(missing, 422, "parameter")["errors"][0]["parameter"] == "description"
    assert taken["description"] is None


def test_an_alias_comes_moves_and_goes(catalog: ModelStore, admin: Api) -> None:
    """Each write answers with all aliases of the model; an alias that is gone cannot be taken away again."""
    path = "/models/penguins/aliases/champion"

    came = done(admin, "PUT", path, {"version": 1})
    moved = done(admin, "PUT", path, {"version": 2})
    gone = send(admin, "DELETE", path)
    again = send(admin, "DELETE", path)

    assert came == {"aliases": {"champion": 1, "former": 1, "sold": 1}, "protected": ["sold"]}
    assert moved == {"aliases": {"champion": 2, "former": 1, "sold": 1}, "protected": ["sold"]}
    assert (gone.status_code, gone.content) == (204, b"")
    problem_of(again, 404, "alias-not-found")
    assert catalog.aliases("penguins") == {"former": 1, "sold": 1}


def test_a_deleted_version_is_gone_and_its_history_is_not(catalog: ModelStore, admin: Api) -> None:
    """What is deleted is found nowhere, predicts no more, and is still told of; its number is not given out again."""
    ask(admin, {"rows": [GENTOO]}, version="4")

    response = send(admin, "DELETE", f"{VERSION}/4", {"reason": "of no use"})
    wait_for(lambda: ask(admin, {"rows": [GENTOO]}, version="4").status_code != 200, SOON)

    assert (response.status_code, response.content) == (204, b"")
    problem_of(ask(admin, {"rows": [GENTOO]}, version="4"), 404, "version-not-found")
    problem_of(admin.client.get(f"{VERSION}/4"), 404, "version-not-found")
    problem_of(send(admin, "DELETE", f"{VERSION}/4", {"reason": "again"}), 404, "version-not-found")
    last = admin.client.get("/models/penguins/history?limit=1").json()["events"][0]
    assert (last["version"], last["reason"], last["after"]) == (4, "of no use", None)
    assert enter(catalog, "penguins", penguins()).number == 7


def test_a_release_hashes_the_bytes_anew(catalog: ModelStore, admin: Api, volume: Path) -> None:
    """A version whose bytes are not the registered ones stays in quarantine, and the answer says why."""
    artifact = volume / catalog.get("penguins", 3).path
    artifact.chmod(0o640)
    artifact.write_bytes(b"x" * artifact.stat().st_size)

    problem_of(send(admin, "POST", f"{VERSION}/3/release", {"reason": "checked"}), 503, "artifact-digest")

    assert catalog.get("penguins", 3).status.value == "quarantined"


@pytest.mark.parametrize("content_type", [None, "application/json", "application/json; charset=utf-8"])
@pytest.mark.parametrize("body", [None, b"", b"{}", b" {} \n"])
def test_an_empty_body_says_nothing(
    standing: tuple[Api, ModelStore], body: bytes | None, content_type: str | None
) -> None:
    """A write that needs no words can be sent without any; what is in production already stays there."""
    api, _ = standing
    headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Content-Type": content_type} if content_type else {})

    response = api.client.post(f"{VERSION}/2/promote", content=body, headers=headers)

    assert (response.status_code, response.json()["status"]) == (200, "production")


def test_promotions_at_the_same_moment_end_with_one_in_production(store: ModelStore, admin: Api) -> None:
    """Whoever promotes at once waits: one version is in production, the others are archived, and all are on record."""
    numbers = [enter(store, "penguins", exhibit).number for exhibit in (penguins(), weaker_penguins(), penguins())]
    barrier = threading.Barrier(len(numbers))
    statuses = []

    def promote(number: int) -> None:
        barrier.wait()
        answer = send(admin, "POST", f"{VERSION}/{number}/promote", {"actor": f"caller {number}"})
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=promote, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    promotions = [event for event in store.history("penguins") if event.after == {"status": "production"}]
    standing = sorted(version.status.value for version in store.versions("penguins"))
    assert statuses == [200, 200, 200]
    assert standing == ["archived", "archived", "production"]
    assert sorted((event.number, event.actor) for event in promotions) == [
        (number, f"caller {number} (admin token)") for number in numbers
    ]
    assert store.model("penguins").production == promotions[0].number


# --- the token -----------------------------------------------------------------------------------------------

NOT_THE_TOKEN = {
    "none": None,
    "empty": "",
    "no scheme": TOKEN,
    "scheme alone": "Bearer",
    "another scheme": f"Basic {TOKEN}",
    "another one": f"Bearer {MARKER}-{MARKER}",
    "a prefix": f"Bearer {TOKEN[:-1]}",
    "a suffix": f"Bearer {TOKEN[1:]}",
    "one more": f"Bearer {TOKEN}x",
    "with a line break": f"Bearer {TOKEN}\\n",
    "capitals": f"Bearer {TOKEN.upper()}",
    "small letters": f"Bearer {TOKEN.lower()}",
    "twice": f"Bearer {TOKEN} {TOKEN}",
    "quoted": f'Bearer "{TOKEN}"',
    "Latin-1": "Bearer ñandú",
    "very long": f"Bearer {TOKEN * 500}",
}


@pytest.mark.parametrize("authorization", NOT_THE_TOKEN.values(), ids=NOT_THE_TOKEN)
def test_without_the_token_nothing_is_told_or_changed(
    standing: tuple[Api, ModelStore], authorization: str | None
) -> None:
    """Without the very token every write is answered the same, whatever else may be wrong with it."""
    api, store = standing
    before = state_of(store)
    otherwise_wrong = [
        ("POST", "/models/dodos/versions/17/promote", {"reason": 7}),
        ("POST", "/models/..%5c/versions/x/promote", None),
        ("POST", f"{VERSION}/1/promote?force={MARKER}", [MARKER]),
        ("DELETE", "/models/penguins/aliases/nobody?nothing=1", None),
    ]

    answers = [send(api, *write, authorization) for write in (*WRITES, *otherwise_wrong)]

    for answer in answers:
        problem = problem_of(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert problem["hint"]
    assert len({answer.content for answer in answers}) == 1
    assert state_of(store) == before


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_be_written_in_any_case(standing: tuple[Api, ModelStore], scheme: str) -> None:
    """The word before the token is no part of it (RFC 9110)."""
    assert send(standing[0], "POST", f"{VERSION}/2/promote", authorization=f"{scheme} {TOKEN}").status_code == 200


def test_reading_and_predicting_need_no_token(catalog: ModelStore, admin: Api) -> None:
    """Where writes are taken, everything else is asked as before."""
    assert ask(admin, {"rows": [GENTOO]}).status_code == 200
    for path in ("/models", "/models/penguins", "/models/penguins/aliases", "/models/penguins/history", "/docs"):
        assert admin.client.get(path).status_code == 200


def test_the_token_is_read_once(catalog: ModelStore, admin: Api, token_file: Path) -> None:
    """Another token in the file holds from the next start on."""
    token_file.write_text("another-token-of-some-length")

    assert send(admin, "POST", f"{VERSION}/1/promote").status_code == 200


EASY_TO_GUESS = [
    *("changemechangemechangeme", "CHANGEME_CHANGEME_CHANGEME", "replace-this-with-a-random-token", "x" * 64),
    *(
        "passwordpasswordpassword",
        "my-super-secret-admin-token",
        "bodega-admin-token-2026",
        "qwertyuiopasdfghjklzxcvbnm",
    ),
    *(
        "0123456789abcdef0123456789abcdef",
        "abcdefghijklmnopqrstuvwxyz",
        "00000000000000000000001",
        "correcthorsebatterystaple",
    ),
]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"0123456789012345678", "does not hold 20 to 4096 characters"),
        (b"  0123456789012345678  \n", "does not hold 20 to 4096 characters"),
        (b"x" * 5000, "does not hold 20 to 4096 characters"),
        (b"two words of a long token", "holds a space, a line break or something else than ASCII"),
        (b"first-line-of-a-token\nsecond-line", "holds a space, a line break or something else than ASCII"),
        (TOKEN.encode("utf-16"), "holds a space, a line break or something else than ASCII"),
        *((token.encode(), "holds a token that is easy to guess") for token in EASY_TO_GUESS),
        ("sehr-geheimer-Schlüssel".encode(), "holds a space, a line break or something else than ASCII"),
    ],
)
def test_a_token_that_protects_nothing_refuses_the_start(
    make_settings: Callable[..., Settings], tmp_path: Path, content: bytes | None, what: str
) -> None:
    """A file without a token that is hard to guess, and that a header can carry, ends the start and is named."""
    path = tmp_path / "token"
    if content is not None:
        path.touch(0o600)
        path.write_bytes(content)

    with pytest.raises(SettingsError) as refused:
        create_app(make_settings(admin_token_file=path))

    assert str(path) in refused.value.message
    assert "BODEGA_ADMIN_TOKEN_FILE" in refused.value.message
    assert what in refused.value.message
    assert refused.value.advice
    assert not content or not content.strip() or content.decode("latin-1").strip() not in str(refused.value)


def test_a_folder_for_a_token_refuses_the_start(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    """What is there and cannot be read ends the start like what is not there."""
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        create_app(make_settings(admin_token_file=tmp_path))


def test_twenty_characters_are_enough(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    """The shortest token that is taken has twenty characters."""
    write_token(tmp_path / "token", "27fa01c93e5b86d4712c\n")

    app = create_app(make_settings(admin_token_file=tmp_path / "token"))

    assert app.services.administration.token.matches("27fa01c93e5b86d4712c")


@pytest.mark.parametrize("url", ["", "penguins", "sqlite:///catalog.db"])
def test_the_url_of_the_writing_role_is_named_if_it_is_wrong(
    make_settings: Callable[..., Settings], token_file: Path, url: str
) -> None:
    """A wrong BODEGA_ADMIN_DATABASE_URL ends the start under its own name."""
    with pytest.raises(SettingsError, match="BODEGA_ADMIN_DATABASE_URL is not the URL of a Postgres database"):
        create_app(make_settings(admin_token_file=token_file, admin_database_url=url))


# --- where no token is set -----------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITES, ids=name_of)
def test_without_a_token_file_there_are_no_writes(gallery: Gallery, write: tuple[str, str, Any]) -> None:
    """Where the settings name no token file, a write is a page or a method that there is not, token or no token."""
    store = gallery.api.services.store
    before = state_of(store)

    responses = [send(gallery.api, *write, authorization) for authorization in (f"Bearer {TOKEN}", None)]

    for response in responses:
        slug = {404: "not-found", 405: "method-not-allowed"}[response.status_code]
        problem_of(response, response.status_code, slug)
    assert state_of(store) == before


# --- what OpenAPI says ---------------------------------------------------------------------------------------


def test_writes_are_described_where_they_are_taken(admin: Api, api: Api) -> None:
    """With a token file the document has every write, each with the token; without, none and no word of a token."""
    document, plain = (one.client.get("/openapi.json").json() for one in (admin, api))
    OpenAPI.model_validate(document)

    guarded = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("security") == [{"adminToken": []}]
    }
    everything = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    public = {(method.upper(), path) for path, methods in plain["paths"].items() for method in methods}
    assert everything - guarded == public
    assert len(guarded) == len(WRITES)
    assert document["components"]["securitySchemes"]["adminToken"]["scheme"] == "bearer"
    assert "securitySchemes" not in plain["components"]
    assert "admin" not in json.dumps(plain).lower()


def test_bodies_answers_and_problems_are_as_described(catalog: ModelStore, admin: Api) -> None:
    """What is sent and answered fits the schemas of the document, which describes problems as problems."""
    document = admin.client.get("/openapi.json").json()

    def check(schema: Any, value: Any) -> None:
        Draft202012Validator.check_schema(schema)
        Draft202012Validator({**schema, "components": document["components"]}).validate(value)

    for method, path, sent in WRITES:
        route = re.sub(r"/versions/\d", "/versions/{number}", path).replace("penguins", "{name}")
        route = re.sub(r"/aliases/\w+", "/aliases/{alias}", route)
        operation = document["paths"][route][method.lower()]
        answer = done(admin, method, path, sent)
        if method != "DELETE":
            check(operation["requestBody"]["content"]["application/json"]["schema"], sent or {})
            check(operation["responses"]["200"]["content"]["application/json"]["schema"], answer)
            assert operation["requestBody"]["required"] == (path.endswith(NEED_A_BODY))
        assert list(operation["responses"]["4XX"]["content"]) == ["application/problem+json"]
        assert operation["summary"]
        assert operation["description"]


# --- bad orders ----------------------------------------------------------------------------------------------

BAD: list[tuple[str, str, Any, int, str]] = [
    ("POST", f"{VERSION}/1/promote", {"force": "true"}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"force": 1}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"force": None}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"force": True}, 422, "reason-missing"),
    ("POST", f"{VERSION}/1/promote", {"force": True, "reason": " \n"}, 422, "reason-missing"),
    ("POST", f"{VERSION}/1/promote", {"reason": 7}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"reason": [MARKER]}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"reason": MARKER + "\ud800"}, 422, "metadata"),
    ("POST", f"{VERSION}/1/promote", {"actor": MARKER + "\ud800"}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"reason": MARKER + "\x00"}, 422, "metadata"),
    ("POST", f"{VERSION}/1/promote", {"reason": MARKER * 100}, 422, "metadata"),
    ("POST", f"{VERSION}/1/promote", {"actor": ""}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"actor": "  "}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"actor": "a" * 201}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"actor": MARKER + "\n"}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"actor": MARKER + "\x00"}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"actor": MARKER + "\u202e"}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"actor": 7}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {MARKER: 1}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {f"{MARKER}{place}": MARKER for place in range(1000)}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"to": 1}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", {"version": 1, "reason": MARKER}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote", [], 400, "body"),
    ("POST", f"{VERSION}/1/promote", [MARKER], 400, "body"),
    ("POST", f"{VERSION}/1/promote", MARKER, 400, "body"),
    ("POST", f"{VERSION}/1/promote", 7, 400, "body"),
    ("POST", f"{VERSION}/1/promote?force=true", {}, 422, "parameter"),
    ("POST", f"{VERSION}/1/promote?reason={MARKER}", {}, 422, "parameter"),
    ("POST", f"{VERSION}/0/promote", {}, 422, "parameter"),
    ("POST", f"{VERSION}/{MARKER}/promote", {}, 422, "parameter"),
    ("POST", f"{VERSION}/latest/promote", {}, 422, "parameter"),
    ("POST", f"{VERSION}/{2**31}/promote", {}, 422, "parameter"),
    ("POST", f"{VERSION}/17/promote", {}, 404, "version-not-found"),
    ("POST", "/models/dodos/versions/1/promote", {}, 404, "model-not-found"),
    ("POST", "/models/Penguins/versions/1/promote", {}, 404, "model-not-found"),
    ("POST", "/models/penguins@2/versions/1/promote", {}, 404, "model-not-found"),
    ("POST", "/models/..%5c/versions/1/promote", {}, 404, "model-not-found"),
    ("POST", f"{VERSION}/3/promote", {}, 409, "status-move"),
    ("POST", f"{VERSION}/3/archive", {}, 409, "status-move"),
    ("POST", f"{VERSION}/1/quarantine", {}, 422, "reason-missing"),
    ("POST", f"{VERSION}/1/quarantine", {"reason": ""}, 422, "reason-missing"),
    ("POST", f"{VERSION}/1/quarantine", {"reason": None}, 422, "reason-missing"),
    ("POST", f"{VERSION}/3/release", {}, 422, "reason-missing"),
    ("POST", f"{VERSION}/1/release", {"reason": MARKER}, 409, "status-move"),
    ("POST", "/models/penguins/rollback", {"to": 0}, 422, "parameter"),
    ("POST", "/models/penguins/rollback", {"to": True}, 422, "parameter"),
    ("POST", "/models/penguins/rollback", {"to": 1.0}, 422, "parameter"),
    ("POST", "/models/penguins/rollback", {"to": "1"}, 422, "parameter"),
    ("POST", "/models/penguins/rollback", {"to": MARKER}, 422, "parameter"),
    ("POST", "/models/penguins/rollback", {"to": int("9" * 4000)}, 422, "parameter"),
    ("POST", "/models/penguins/rollback", {"to": 17}, 404, "version-not-found"),
    ("POST", "/models/penguins/rollback", {"to": 3}, 409, "status-move"),
    ("POST", "/models/dodos/rollback", {}, 404, "model-not-found"),
    ("PATCH", f"{VERSION}/1", {"note": 7}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"note": MARKER + "\x00"}, 422, "metadata"),
    ("PATCH", f"{VERSION}/1", {"note": MARKER * 1000}, 422, "metadata"),
    ("PATCH", f"{VERSION}/1", {"tags": None}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"tags": [MARKER]}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"tags": {MARKER: 7}}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"tags": {f"{MARKER} with a space": "x"}}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"tags": {f"{MARKER}\n": "x"}}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"tags": {f"{MARKER}\n": None}}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"tags": {"": "x"}}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"tags": {"x" * 129: MARKER}}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"tags": {"team": MARKER * 100}}, 422, "metadata"),
    ("PATCH", f"{VERSION}/1", {"tags": {f"{MARKER} {place}": 7 for place in range(1000)}}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"metrics": {"accuracy": 1.0}}, 422, "parameter"),
    ("PATCH", f"{VERSION}/1", {"status": "production"}, 422, "parameter"),
    ("PATCH", f"{VERSION}/17", {"note": MARKER}, 404, "version-not-found"),
    ("PATCH", "/models/penguins", {}, 422, "parameter"),
    ("PATCH", "/models/penguins", {"description": 7}, 422, "parameter"),
    ("PATCH", "/models/penguins", {"description": MARKER + "\x00"}, 422, "metadata"),
    ("PATCH", "/models/penguins", {"name": MARKER}, 422, "parameter"),
    ("PATCH", "/models/dodos", {"description": MARKER}, 404, "model-not-found"),
    ("PUT", "/models/penguins/aliases/champion", {}, 422, "parameter"),
    ("PUT", "/models/penguins/aliases/champion", {"version": "latest"}, 422, "parameter"),
    ("PUT", "/models/penguins/aliases/champion", {"version": 17}, 404, "version-not-found"),
    ("PUT", "/models/penguins/aliases/champion", {"version": 3}, 409, "version-quarantined"),
    ("PUT", "/models/penguins/aliases/latest", {"version": 1}, 422, "alias-name"),
    ("PUT", "/models/penguins/aliases/7", {"version": 1}, 422, "alias-name"),
    ("PUT", f"/models/penguins/aliases/{MARKER}%00", {"version": 1}, 422, "alias-name"),
    ("PUT", "/models/dodos/aliases/champion", {"version": 1}, 404, "model-not-found"),
    ("DELETE", "/models/penguins/aliases/nobody", None, 404, "alias-not-found"),
    ("DELETE", "/models/penguins/aliases/latest", None, 422, "alias-name"),
    ("DELETE", f"/models/penguins/aliases/former?force={MARKER}", None, 422, "parameter"),
    ("DELETE", "/models/penguins/aliases/former?reason=a&reason=b", None, 422, "parameter"),
    ("DELETE", f"/models/penguins/aliases/former?reason={MARKER}%00", None, 422, "metadata"),
    ("DELETE", f"/models/penguins/aliases/former?reason={MARKER * 100}", None, 422, "metadata"),
    ("DELETE", f"/models/penguins/aliases/former?actor={MARKER}%0a", None, 422, "parameter"),
    ("DELETE", "/models/penguins/aliases/former?actor=", None, 422, "parameter"),
    ("DELETE", "/models/dodos/aliases/former", None, 404, "model-not-found"),
    ("DELETE", f"{VERSION}/4", None, 422, "reason-missing"),
    ("DELETE", f"{VERSION}/4", {"reason": " "}, 422, "reason-missing"),
    ("DELETE", f"{VERSION}/4", {"reason": f"{MARKER}\x00"}, 422, "metadata"),
    ("DELETE", f"{VERSION}/4", {"reason": MARKER, "force": "true"}, 422, "parameter"),
    ("DELETE", f"{VERSION}/4", {"reason": MARKER, "actor": f"{MARKER}\n"}, 422, "parameter"),
    ("DELETE", f"{VERSION}/2", {"reason": MARKER}, 409, "status-move"),
    ("DELETE", f"{VERSION}/1", {"reason": MARKER}, 409, "version-in-use"),
    ("DELETE", f"{VERSION}/17", {"reason": MARKER}, 404, "version-not-found"),
    ("DELETE", f"{VERSION}/{MARKER}", {"reason": MARKER}, 422, "parameter"),
    ("DELETE", "/models/dodos/versions/1", {"reason": MARKER}, 404, "model-not-found"),
    ("DELETE", "/models/penguins", None, 405, "method-not-allowed"),
    ("GET", f"{VERSION}/1/promote", None, 405, "method-not-allowed"),
]


@pytest.mark.parametrize(
    ("method", "path", "document", "status", "slug"),
    BAD,
    ids=[f"{place}: {method} {path[-40:]}" for place, (method, path, *_) in enumerate(BAD)],
)
def test_a_bad_order_gets_its_problem_and_changes_nothing(
    standing: tuple[Api, ModelStore], method: str, path: str, document: Any, status: int, slug: str
) -> None:
    """An order that does not fit is refused with its own problem, short, with a hint where one helps, echoing nothing."""
    api, store = standing
    before = state_of(store)

    response = send(api, method, path, document)

    problem = problem_of(response, status, slug)
    assert len(problem.get("errors", [])) <= 20
    assert state_of(store) == before


@pytest.mark.parametrize(
    ("body", "content_type", "status", "slug"),
    [
        (MARKER.encode(), "application/json", 400, "body"),
        (b" ", "application/json", 400, "body"),
        (b"null", "application/json", 400, "body"),
        (b'{"reason": "a", "reason": "b"}', "application/json", 400, "body"),
        (b'{"tags": {"a": "x", "a": "y"}}', "application/json", 400, "body"),
        (b'{"to": NaN}', "application/json", 400, "body"),
        (b'{"to": ' + b"9" * 5000 + b"}", "application/json", 400, "body"),
        (b'{"reason": ' * 5_000, "application/json", 400, "body"),
        (b'{"reason": "' + b"\xff" + b'"}', "application/json", 400, "body"),
        (b'{"reason": "' + MARKER.encode(), "application/json", 400, "body"),
        (b'{"reason": "' + b"x" * 100_000 + b'"}', "application/json", 413, "body-too-large"),
        (b"{}", "text/plain", 415, "media-type"),
        (b"reason=" + MARKER.encode(), "application/x-www-form-urlencoded", 415, "media-type"),
        (b"", "application/x-www-form-urlencoded", 415, "media-type"),
    ],
)
@pytest.mark.parametrize("write", WITH_BODY, ids=name_of)
def test_a_body_that_is_no_order_is_refused(
    standing: tuple[Api, ModelStore],
    write: tuple[str, str, Any],
    body: bytes,
    content_type: str,
    status: int,
    slug: str,
) -> None:
    """Every write takes strict JSON, said to be JSON, of at most as many bytes as a prediction; the hint fits a write."""
    api, store = standing
    before = state_of(store)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type}

    response = api.client.request(write[0], write[1], content=body, headers=headers)

    problem = problem_of(response, status, slug)
    assert problem["hint"]
    assert "rows" not in problem["hint"]
    assert state_of(store) == before


# --- what the database's role may do -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def role_urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A catalog whose roles have their rights, in a Postgres of its own: roles belong to the whole server."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("roles") / "data", durable=False) as server:
        url = create_database(server.url, "roles")
        migrate.upgrade(url)
        apply_roles(url, dict.fromkeys(RIGHTS, "password"))
        logins = {role: make_url(url).set(username=role, password="password") for role in RIGHTS}
        yield {role: login.render_as_string(hide_password=False) for role, login in logins.items()} | {OWNER: url}


def test_a_role_that_may_not_write_is_told_so(
    role_urls: dict[str, str],
    connect: Callable[..., ModelStore],
    start_api: Callable[..., Api],
    token_file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the right token and a role that may only read, every write is forbidden, in the log too, and nothing moves.

    With a role of its own for writes the same API writes, and reads as before.
    """
    store = fill(connect(database_url=role_urls[ADMIN]))
    before = state_of(store)
    reading = start_api(database_url=role_urls[API], admin_token_file=token_file)
    writing = start_api(database_url=role_urls[API], admin_token_file=token_file, admin_database_url=role_urls[ADMIN])

    refused = [send(reading, *write) for write in WRITES]
    after = state_of(store)
    written = [send(writing, *write).status_code for write in WRITES]

    for response in refused:
        problem = problem_of(response, 403, "not-permitted")
        assert problem["detail"] == "The database role may not do that"
        assert "docs/roles.md" in problem["hint"]
    assert after == before
    assert "permission denied" in caplog.text
    assert written == [200] * 10 + [204] * 2 + [200]
    for path in ("/models", "/models/penguins/history", "/models/penguins/aliases", "/resolve?version=3"):
        assert reading.client.get(path).json() == writing.client.get(path).json()


def test_the_connections_for_writes_are_given_back(
    make_settings: Callable[..., Settings],
    database_url: str,
    token_file: Path,
    catalog: ModelStore,
    sql_connection: "psycopg.Connection[Any]",
) -> None:
    """An API that ends leaves no connection behind, whoever it wrote as."""

    def connections() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        row = sql_connection.execute(query, (make_url(database_url).database,)).fetchone()
        return row[0] if row else 0

    before = connections()
    with running_api(make_settings(admin_token_file=token_file, admin_database_url=database_url)) as api:
        done(api, "POST", f"{VERSION}/1/promote")
        during = connections()
    wait_for(lambda: connections() == before, SOON)

    assert during >= before + 2
