"""The steps of docs/upkeep.md after which a restored backup is as good as what it was made from, one after the other."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bodega
import psycopg
import pytest
from bodega_db.catalog.roles import LAB, RIGHTS
from bodega_db.errors import CatalogBehindError
from bodega_db.postgres.binaries import MAJOR, wheel_folder
from bodega_db.postgres.embedded import EmbeddedPostgres
from fitting import fit_tree
from sqlalchemy.engine import make_url

Run = Callable[..., "tuple[int | str, str]"]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres of its own, with the owner of a catalog, as docs/roles.md makes it."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("restoring") / "data", durable=False) as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE bodega_owner LOGIN CREATEROLE PASSWORD 'password'")
            connection.execute("CREATE DATABASE catalog OWNER bodega_owner")
        yield postgres.url


def change(url: str, **changes: str) -> str:
    """Return a URL with some parts changed."""
    return make_url(url).set(**changes).render_as_string(hide_password=False)  # type: ignore[arg-type]


def run_tool(tool: str, url: str, *arguments: str) -> None:
    """Run a program of Postgres' own, as its superuser."""
    place = make_url(url)
    where = {"PGHOST": place.host, "PGPORT": str(place.port), "PGUSER": place.username, "PGPASSWORD": place.password}
    program = wheel_folder() / f"pginstall{MAJOR}" / "bin" / tool
    subprocess.run([program, *arguments], env={**os.environ, **where}, check=True)  # type: ignore[dict-item]


def test_a_backup_is_restored_step_by_step(
    server: str, run: Run, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database, migrations, roles with the passwords they had, lost versions; then the doctor finds nothing."""
    owner = change(server, username="bodega_owner", password="password", database="catalog")
    lab = change(owner, username=LAB)
    monkeypatch.setenv("BODEGA_DATABASE_URL", owner)
    assert run("migrate")[0] == 0
    assert "no password was given for it" in str(run("apply-roles")[0])
    for role in RIGHTS:
        monkeypatch.setenv(role, "password")
    assert run("apply-roles")[0] == 0
    for role in RIGHTS:
        monkeypatch.delenv(role)
    bodega.connect(lab, volume)
    fitted = fit_tree()
    for _ in range(2):
        bodega.register(fitted.model, "penguins", example=fitted.X)
    dump = tmp_path / "bodega.dump"
    run_tool("pg_dump", server, "--format", "custom", "--file", str(dump), "catalog")
    bodega.register(fitted.model, "penguins", example=fitted.X)
    bodega.disconnect()

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE catalog WITH (FORCE)")
    run_tool("createdb", server, "--owner", "bodega_owner", "catalog")
    run_tool("pg_restore", server, "--no-acl", "--role", "bodega_owner", "--dbname", "catalog", str(dump))
    assert run("migrate")[0] == 0
    warned = public(run)
    assert (warned["state"], "CONNECT on the database" in warned["figures"]["public"]) == ("warning", True)
    assert run("apply-roles")[0] == 0
    bodega.connect(lab, volume)
    with pytest.raises(CatalogBehindError, match="1 version is on the volume"):
        bodega.register(fitted.model, "penguins", example=fitted.X)
    assert "penguins@3" in run("rebuild")[1]
    assert "restored, archived" in run("rebuild", "--apply")[1]

    status, _ = run("doctor")
    assert (status, public(run)["state"]) == (0, "ok")
    monkeypatch.setenv("BODEGA_DATABASE_URL", lab)
    assert run("doctor")[0] == 0
    assert bodega.register(fitted.model, "penguins", example=fitted.X).number == 4
    bodega.disconnect()


def public(run: Run) -> dict[str, Any]:
    """Return what the doctor finds of everybody's rights."""
    found = json.loads(run("doctor", "--json")[1])["findings"]
    return next(finding for finding in found if finding["name"] == "public")
