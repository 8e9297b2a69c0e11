"""Bytes that are not the registered ones are refused before anything is made of them, each with its own problem."""

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4
from zipfile import ZipFile

import bodega_model.loading.runner
import joblib
import psycopg
import pytest
from bodega_db.records import Version
from bodega_db.store import ModelStore
from bodega_db.volume.marker import MARKER as STORE_MARKER
from bodega_model.formats.codecs import dump, load
from bodega_model.formats.policy import Policy
from conftest import Api, create_database
from gallery import GENTOO, ask, enter, penguins, problem_of, scaler, weaker_penguins

BODY = {"rows": [GENTOO]}


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count what is deserialised: each call of the real loader leaves the format here, and then does its work."""
    calls: list[str] = []

    def counting(file: Any, fmt: str, policy: Any) -> Any:
        calls.append(fmt)
        return load(file, fmt, policy)

    monkeypatch.setattr(bodega_model.loading.runner, "load", counting)
    return calls


def replace(path: Path, content: bytes) -> None:
    """Put other bytes in the place of a file that nobody may write."""
    path.unlink()
    path.write_bytes(content)


def flip_bit(path: Path) -> None:
    """Turn one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    replace(path, bytes(content))


def flip_last_bit(path: Path) -> None:
    """Turn the last bit."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    replace(path, bytes(content))


def truncate(path: Path) -> None:
    """Take the last byte away."""
    replace(path, path.read_bytes()[:-1])


def empty(path: Path) -> None:
    """Leave nothing but the name."""
    replace(path, b"")


def append(path: Path) -> None:
    """Add a byte."""
    replace(path, path.read_bytes() + b"\0")


def restamp(path: Path) -> None:
    """Change the time of the archive's first member: a file from which the very same model would be loaded."""
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    replace(path, bytes(content))
    assert load_by_hand(path)


def swap(path: Path) -> None:
    """Put another model there, as a file that would load and has the same size."""
    size = path.stat().st_size
    path.unlink()
    with path.open("wb") as file:
        dump(scaler().model, "skops", file)
    padding = size - path.stat().st_size
    with ZipFile(path, "a") as archive:
        archive.comment = b" " * padding
    assert path.stat().st_size == size
    assert load_by_hand(path)


def load_by_hand(path: Path) -> Any:
    """Load a file without any check, to show that nothing but the check would have refused it."""
    with path.open("rb") as file:
        return load(file, "skops", Policy())


def link(path: Path) -> None:
    """Put a symbolic link to the right bytes there."""
    elsewhere = path.parent.parent.parent.parent / "right-bytes"
    shutil.copyfile(path, elsewhere)
    path.unlink()
    path.symlink_to(elsewhere)


def dangle(path: Path) -> None:
    """Put a symbolic link to nothing there."""
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def link_directory(path: Path) -> None:
    """Put a symbolic link in the place of the folder around the file; the right bytes lie behind it."""
    elsewhere = path.parent.with_name("moved")
    path.parent.rename(elsewhere)
    path.parent.symlink_to(elsewhere)


def make_directory(path: Path) -> None:
    """Put a directory there."""
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    """Put a pipe there, which nobody ever writes to."""
    path.unlink()
    os.mkfifo(path)


def delete(path: Path) -> None:
    """Take the file away."""
    path.unlink()


def delete_directory(path: Path) -> None:
    """Take the file and the folder around it away."""
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(
    ("damage", "slug"),
    [
        (flip_bit, "artifact-digest"),
        (flip_last_bit, "artifact-digest"),
        (restamp, "artifact-digest"),
        (swap, "artifact-digest"),
        (truncate, "artifact-size"),
        (empty, "artifact-size"),
        (append, "artifact-size"),
        (link, "artifact-not-regular"),
        (dangle, "artifact-not-regular"),
        (link_directory, "artifact-not-regular"),
        (make_directory, "artifact-not-regular"),
        (make_pipe, "artifact-not-regular"),
        (delete, "artifact-missing"),
        (delete_directory, "artifact-missing"),
    ],
)
def test_bytes_that_are_not_the_registered_ones_are_never_deserialised(
    damage: Callable[[Path], None], slug: str, store: ModelStore, api: Api, volume: Path, loads: list[str]
) -> None:
    """A damaged artifact is refused by its own name and not loaded; others are served; restored, it serves again."""
    version = enter(store, "penguins", penguins())
    other = enter(store, "penguins", weaker_penguins())
    keep(version, volume)
    damage(volume / version.path)

    refused = ask(api, BODY, version="1")

    problem = problem_of(refused, 503, slug)
    assert problem["hint"]
    assert refused.headers["retry-after"]
    assert loads == []
    assert ask(api, BODY, version="2").json()["sha256"] == other.digest.hex
    assert loads == ["skops"]
    restore(version, volume)
    answer = ask(api, BODY, version="1").json()
    assert (answer["predictions"], answer["sha256"]) == (["Gentoo"], version.digest.hex)
    assert loads == ["skops", "skops"]


def keep(version: Version, volume: Path) -> None:
    """Back an artifact up."""
    shutil.copyfile(volume / version.path, volume / "backup")


def restore(version: Version, volume: Path) -> None:
    """Bring an artifact back from the backup, whatever stands in its place."""
    path = volume / version.path
    if path.parent.is_symlink():
        path.parent.unlink()
    elif path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(volume / "backup", path)


def test_a_damaged_version_is_no_reason_to_answer_with_another(
    store: ModelStore, api: Api, volume: Path, loads: list[str]
) -> None:
    """Where the chosen version cannot be served the answer is an error, though an older one could be."""
    enter(store, "penguins", penguins())
    newest = enter(store, "penguins", weaker_penguins())
    flip_bit(volume / newest.path)

    answers = [ask(api, BODY), ask(api, BODY, version="latest")]

    for answer in answers:
        problem_of(answer, 503, "artifact-digest")
    assert loads == []


def test_a_version_that_cannot_be_loaded_says_so_in_every_list(store: ModelStore, api: Api, volume: Path) -> None:
    """Lists and details show why a replica does not serve a version, until a load of it succeeds."""
    good, bad = enter(store, "penguins", penguins()), enter(store, "penguins", weaker_penguins())
    original = (volume / bad.path).read_bytes()
    flip_bit(volume / bad.path)
    ask(api, BODY, version=good.number)
    refused = problem_of(ask(api, BODY, version=bad.number), 503, "artifact-digest")
    shown = {entry["version"]: entry.get("problem") for entry in api.client.get("/models").json()["versions"]}
    model = api.client.get("/models/penguins").json()["versions"][0]["problem"]
    detail = api.client.get(f"/models/penguins/versions/{bad.number}").json()["problem"]
    replace(volume / bad.path, original)
    ask(api, BODY, version=bad.number).raise_for_status()

    assert shown[good.number] is None
    assert {key: detail[key] for key in ("type", "title", "detail")} == {
        key: refused[key] for key in ("type", "title", "detail")
    }
    assert shown[bad.number] == model == detail
    assert "problem" not in api.client.get(f"/models/penguins/versions/{bad.number}").json()


def test_a_version_in_memory_is_served_on_while_its_file_is_damaged(store: ModelStore, api: Api, volume: Path) -> None:
    """What was verified and loaded does not change when the file does."""
    version = enter(store, "penguins", penguins())
    before = ask(api, BODY).json()
    flip_bit(volume / version.path)

    assert ask(api, BODY).json() == before


def test_a_row_that_names_another_size_is_refused(
    store: ModelStore, api: Api, sql_connection: "psycopg.Connection[Any]", loads: list[str]
) -> None:
    """The catalog itself refuses to be changed about a version's bytes, so that nobody can make bad ones fit."""
    enter(store, "penguins", penguins())

    for change in ("size_bytes = 1", "sha256 = repeat('0', 64)", "format = 'joblib'"):
        with pytest.raises(psycopg.errors.CheckViolation):
            sql_connection.execute(f"UPDATE version SET {change}")

    assert ask(api, BODY).status_code == 200
    assert loads == ["skops"]


def test_a_volume_of_another_store_is_refused(store: ModelStore, api: Api, volume: Path, loads: list[str]) -> None:
    """A volume with a foreign marker is neither read nor ready; with its own it is both, without a restart."""
    enter(store, "penguins", penguins())
    own = (volume / STORE_MARKER).read_bytes()
    replace(volume / STORE_MARKER, f'{{"store": "{uuid4()}"}}'.encode())

    refused, ready = ask(api, BODY), api.client.get("/readyz")

    problem_of(refused, 503, "volume-mismatch")
    problem_of(ready, 503, "volume-mismatch")
    assert loads == []
    replace(volume / STORE_MARKER, own)
    assert ask(api, BODY).status_code == 200
    assert api.client.get("/readyz").json()["status"] == "ready"


@pytest.mark.parametrize("content", [None, b"", b"[]"], ids=repr)
def test_a_volume_without_a_marker_is_refused(
    store: ModelStore, api: Api, volume: Path, content: bytes | None, loads: list[str]
) -> None:
    """An empty volume, as a forgotten mount leaves it, or one with a broken marker is refused."""
    enter(store, "penguins", penguins())
    (volume / STORE_MARKER).unlink()
    if content is not None:
        (volume / STORE_MARKER).write_bytes(content)

    problem_of(ask(api, BODY), 503, "volume-mismatch")
    problem_of(api.client.get("/readyz"), 503, "volume-mismatch")
    assert loads == []


def test_a_format_that_the_server_does_not_load_is_refused(
    make_settings: Callable[..., Any], start_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A joblib file is code: a server whose settings do not allow it never opens one, whatever the catalog says."""
    both = ["skops", "joblib"]
    with closing(ModelStore.connect(make_settings(formats=both))) as store:
        enter(store, "penguins", penguins(), format="joblib")
    unpickled: list[Any] = []
    unpickle = joblib.load
    monkeypatch.setattr(joblib, "load", lambda file: unpickled.append(file) or unpickle(file))

    refused = ask(start_api(), BODY)

    problem = problem_of(refused, 503, "format-not-allowed")
    assert "joblib" in problem["detail"]
    assert unpickled == []
    assert ask(start_api(formats=both), BODY).json()["predictions"] == ["Gentoo"]
    assert len(unpickled) == 1


def test_a_catalog_that_is_away_is_a_problem_and_comes_back(
    store: ModelStore, start_api: Callable[..., Api], postgres_url: str
) -> None:
    """With a closed port or a database that is not there every route that asks it says so; /healthz lives on."""
    enter(store, "penguins", penguins())
    gone = postgres_url.rpartition("/")[0] + "/never_created"
    closed = "postgresql://nobody@127.0.0.1:9/nothing"

    for url in (gone, closed):
        api = start_api(database_url=url)

        problem = problem_of(api.client.get("/readyz"), 503, "catalog-unavailable")
        assert "BODEGA_DATABASE_URL" in problem["hint"]
        problem_of(ask(api, BODY), 503, "catalog-unavailable")
        problem_of(api.client.get("/models"), 503, "catalog-unavailable")
        assert api.client.get("/healthz").json() == {"status": "alive"}
        assert api.client.get("/openapi.json").status_code == 200


def test_a_database_without_the_schema_is_not_ready(start_api: Callable[..., Api], empty_database_url: str) -> None:
    """A database that was never migrated is told apart from one that is away."""
    api = start_api(database_url=empty_database_url)

    problem = problem_of(api.client.get("/readyz"), 503, "catalog-not-migrated")

    assert "bodega migrate" in problem["hint"]
    problem_of(api.client.get("/models"), 503, "catalog-not-migrated")


def test_a_database_that_restarts_is_asked_again(
    make_settings: Callable[..., Any], start_api: Callable[..., Api], postgres_url: str, template: str
) -> None:
    """Connections that Postgres ends are replaced at the next request, without a restart of the API."""
    url = create_database(postgres_url, f"restarted_{uuid4().hex[:8]}", template)
    api = start_api(database_url=url)
    assert api.client.get("/readyz").json()["status"] == "ready"

    with psycopg.connect(postgres_url, autocommit=True) as operator:
        operator.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            (url.rpartition("/")[2],),
        )

    assert api.client.get("/readyz").json()["status"] == "ready"
    assert api.client.get("/models").json() == {"versions": [], "next": None}
