"""What does not fit together is refused before anything starts on it, with a reason, and nothing is removed."""

import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from containers import Deployment, deployed, run_bodega
from lab_work import run_notebook

pytestmark = pytest.mark.sweep

FOREIGN = '{"store": "3f0d3c7e-2f6b-4f0e-8f0e-0d7c2a1b9e55", "created_at": "2026-01-01T00:00:00+00:00"}\n'


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def stop(deployment: Deployment) -> None:
    """Take the containers away, so that the folders are all that is left."""
    deployment.compose("down", "--timeout", "10")


def mark_models(deployment: Deployment) -> None:
    """Put the volume of another store into a checkout that was never started."""
    models = deployment.volumes / "models"
    (models / "bodega-store.json").write_text(FOREIGN)
    (models / "objects" / "sha256" / "ab").mkdir(parents=True)
    (models / "objects" / "sha256" / "ab" / ("ab" * 32)).write_bytes(b"somebody's model")


def put_an_older_database(deployment: Deployment) -> None:
    """Put the database of an older Postgres into the checkout."""
    data = deployment.volumes / "postgres" / "pgdata"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")


def be_root(deployment: Deployment) -> None:
    """Ask for services that run as root."""
    with (deployment.folder / ".env").open("a") as file:
        file.write("BODEGA_UID=0\n")


def give_no_number(deployment: Deployment) -> None:
    """Name the user instead of numbering it."""
    with (deployment.folder / ".env").open("a") as file:
        file.write("BODEGA_UID=me\n")


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (mark_models, "volumes/models holds the artifacts of a store, but there is no database"),
        (put_an_older_database, "volumes/postgres holds a database of Postgres 15, and this is 17"),
        (be_root, "BODEGA_UID is 0, and the services do not run as root"),
        (give_no_number, "not two numbers"),
    ],
)
def test_init_refuses(deployment: Deployment, prepare: Callable[[Deployment], None], reason: str) -> None:
    """What `init` finds wrong ends the start before Postgres makes or changes anything."""
    prepare(deployment)
    before = fingerprint(deployment.volumes)
    done = deployment.attempt("up", "--wait", "init")

    assert done.returncode != 0
    assert reason in deployment.logs("init")
    assert "Nothing was changed." in deployment.logs("init")
    assert fingerprint(deployment.volumes) == before


@pytest.fixture(scope="module")
def stopped(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout of a stack that has a version, taken down in order."""
    folder = tmp_path_factory.mktemp("stopped") / "checkout"
    with deployed(folder) as deployment:
        deployment.up("--build")
        run_notebook(deployment)
        stop(deployment)
    return folder


@pytest.fixture
def deployment_with_versions(engine: None, stopped: Path, tmp_path: Path) -> Deployment:
    """A copy of that checkout, with owners and modes as they were, which belongs to one test."""
    subprocess.run(["cp", "-a", str(stopped), str(tmp_path / "checkout")], check=True)
    return Deployment(tmp_path / "checkout")


def empty_models(deployment: Deployment) -> None:
    """An empty volume in place of the store's."""
    shutil.move(deployment.volumes / "models", deployment.folder / "saved")
    (deployment.volumes / "models").mkdir()


def swap_models(deployment: Deployment) -> None:
    """The volume of another store in place of the store's."""
    marker = deployment.volumes / "models" / "bodega-store.json"
    marker.unlink()
    marker.write_text(FOREIGN)


def lose_database(deployment: Deployment) -> None:
    """The database and its secrets lost, the volume still there."""
    shutil.move(deployment.volumes / "postgres", deployment.folder / "saved")
    (deployment.volumes / "postgres").mkdir()


def lose_secret(deployment: Deployment) -> None:
    """The one secret that cannot be made again."""
    (deployment.volumes / "secrets" / "postgres" / "owner_password").unlink()


@pytest.mark.parametrize(
    ("happens", "service", "reason"),
    [
        (empty_models, "migrate", "has no marker, but the catalog has versions"),
        (swap_models, "migrate", "belongs to another store (3f0d3c7e-2f6b-4f0e-8f0e-0d7c2a1b9e55"),
        (lose_database, "init", "there is no database in volumes/postgres"),
        (lose_secret, "init", "its secret volumes/secrets/postgres/owner_password is missing"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    deployment_with_versions: Deployment, happens: Callable[[Deployment], None], service: str, reason: str
) -> None:
    """A volume, a database or a secret that is not the store's own ends the start; API and lab do not start on it."""
    deployment = deployment_with_versions
    try:
        happens(deployment)
        before = fingerprint(deployment.volumes / "models")
        done = deployment.attempt("up", "--wait")
        said = deployment.logs(service)
        states = {name: one["State"]["Status"] for name in ("api", "lab") for one in deployment.containers(name)}
    finally:
        deployment.attempt("down", "--volumes", "--timeout", "5")

    assert done.returncode != 0
    assert f'service "{service}" didn\'t complete successfully' in done.stdout
    assert reason in said
    assert set(states.values()) == {"created"}
    assert fingerprint(deployment.volumes / "models") == before


def test_a_secret_that_can_be_made_again_is(deployment_with_versions: Deployment) -> None:
    """Removing the secret of the API, the lab or JupyterLab gives it a new one at the next start: so they are rotated."""
    deployment = deployment_with_versions
    secrets = deployment.volumes / "secrets"
    names = ("api/bodega_database_url", "lab/bodega_database_url", "lab/jupyter_token")
    former = {name: (secrets / name).read_text() for name in names}
    try:
        for name in names:
            (secrets / name).unlink()
        deployment.up()
        with deployment.client() as client:
            listed = client.get("/models").json()["versions"]
    finally:
        deployment.attempt("down", "--volumes", "--timeout", "5")

    assert len(listed) == 2
    assert [name for name in names if (secrets / name).read_text() == former[name]] == []


def test_a_port_in_use_is_named(deployment: Deployment) -> None:
    """A port that is taken ends `bodega up --docker` with the port, and `.env` names another one."""
    with socket.create_server(("127.0.0.1", deployment.ports["API"])):
        said = run_bodega(deployment.folder, "up", "--docker", "--no-lab")

    assert said.returncode == 1
    assert str(deployment.ports["API"]) in said.stderr
    assert "BODEGA_API_PORT" in said.stderr


def test_a_refusal_of_a_service_is_quoted(deployment: Deployment) -> None:
    """`bodega up --docker` ends with the words of the service that refused."""
    mark_models(deployment)
    said = run_bodega(deployment.folder, "up", "--docker")

    assert said.returncode == 1
    assert "init is exited" in said.stderr
    assert "volumes/models holds the artifacts of a store" in said.stderr


def test_without_compose_it_says_so(engine: None, tmp_path: Path) -> None:
    """Without the compose plugin, `bodega up --docker` says so in words, whatever else is installed."""
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    said = run_bodega(tmp_path, "up", "--docker", HOME=str(tmp_path), DOCKER_CONFIG=str(tmp_path))

    assert said.returncode == 1
    assert "`docker compose` does not work here" in said.stderr


def test_the_first_compose_is_not_enough(engine: None, tmp_path: Path) -> None:
    """Where only docker-compose (version 1) is installed, `bodega up --docker` says why that does not do."""
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    (tmp_path / "docker-compose").write_text("#!/bin/sh\necho docker-compose version 1.29.2\n")
    (tmp_path / "docker-compose").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    said = run_bodega(tmp_path, "up", "--docker", HOME=str(tmp_path), DOCKER_CONFIG=str(tmp_path), PATH=path)

    assert said.returncode == 1
    assert "docker-compose (version 1) is not enough" in said.stderr


def test_without_docker_it_says_so(tmp_path: Path) -> None:
    """Without docker, `bodega up --docker` says so and names the way that needs none."""
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    said = run_bodega(tmp_path, "up", "--docker", PATH=str(tmp_path))

    assert said.returncode == 1
    assert "There is no docker on PATH" in said.stderr
    assert "`./bodega up` needs none" in said.stderr


def test_without_an_engine_it_says_so(engine: None, tmp_path: Path) -> None:
    """With a Docker Engine that does not answer, `bodega up --docker` ends with docker's own words."""
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    said = run_bodega(tmp_path, "up", "--docker", DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")

    assert said.returncode == 1
    assert "The Docker Engine does not answer" in said.stderr


@pytest.mark.parametrize("version", ["1.29.2", "2.10.0", "nonsense"])
def test_an_old_compose_is_refused(tmp_path: Path, version: str) -> None:
    """A docker compose that is older than compose.yaml needs is refused with both versions."""
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1 $2" = "compose version" ] && echo {version}\n')
    docker.chmod(0o755)
    said = run_bodega(tmp_path, "up", "--docker", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    assert said.returncode == 1
    assert f"docker compose is {version}; 2.26 or later is needed" in said.stderr
