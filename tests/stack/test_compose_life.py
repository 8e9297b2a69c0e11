"""The main job in containers: a notebook registers, the API lists and predicts, whatever is restarted in between."""

import json
import os
import re
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from containers import Deployment, wait_until
from lab_work import ROW, register_quickly, run_notebook

pytestmark = pytest.mark.sweep


def predict(client: httpx2.Client, **query: Any) -> httpx2.Response:
    """Ask for one penguin."""
    return client.post("/predict", params={"model": "penguins"} | query, json={"rows": [ROW]})


def numbers(client: httpx2.Client, model: str = "penguins") -> list[int]:
    """Return the numbers of the versions that the API lists."""
    listed = client.get("/models", params={"model": model}).raise_for_status().json()["versions"]
    return [version["version"] for version in listed]


@pytest.fixture(scope="module")
def trained(stack: Deployment) -> Deployment:
    """A stack whose lab has run the first notebook."""
    run_notebook(stack)
    return stack


def restart_api(stack: Deployment) -> None:
    """Restart the API alone."""
    stack.compose("restart", "api")


def restart_postgres(stack: Deployment) -> None:
    """Restart Postgres alone; nobody else is told."""
    stack.compose("restart", "postgres")


def down_and_up(stack: Deployment) -> None:
    """Take all containers away and make new ones."""
    stack.compose("down")


def leave(stack: Deployment) -> None:
    """Do nothing."""


@pytest.mark.parametrize("happens", [leave, restart_api, restart_postgres, down_and_up])
def test_what_the_notebook_registers_the_api_serves(
    trained: Deployment, happens: Callable[[Deployment], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A version registered in the lab is listed and answers at once, also after a restart of anything."""
    happens(trained)
    trained.up()
    with trained.client() as client:
        before = numbers(client)
        run_notebook(trained)
        after = numbers(client)
        answers = {number: predict(client, version=number).raise_for_status().json() for number in after}
    quick = register_quickly(trained)
    with capsys.disabled():
        print(f"\n{happens.__name__}: listed and predicted {quick['seconds'] * 1000:.0f} ms after register returned")

    assert after == [before[0] + 2, before[0] + 1, *before]
    assert {answer["predictions"][0] for answer in answers.values()} == {"Gentoo"}
    assert {answer["version"] for answer in answers.values()} == set(after)
    assert quick["number"] == quick["listed"] == quick["predicted"]
    assert quick["seconds"] < 1.0


def test_the_command_works_in_the_lab(trained: Deployment) -> None:
    """`docker compose exec lab bodega versions penguins` lists what there is."""
    listed = json.loads(trained.execute("lab", "bodega", "versions", "penguins", "--json"))
    with trained.client() as client:
        assert [version["version"] for version in listed["versions"]] == numbers(client)


def test_a_package_can_be_installed_for_now(trained: Deployment) -> None:
    """`uv pip install` in the lab brings a package to the kernels at once, and the image stays as it was."""
    trained.execute("lab", "uv", "pip", "install", "--quiet", "iniconfig")
    found = trained.execute(
        "lab", "python", "-c", "import iniconfig, sys; print(iniconfig.__file__, sys.prefix)"
    ).split()
    image = trained.execute("lab", "ls", "/opt/bodega/lib/python3.13/site-packages").split()

    assert found[0].startswith("/environments/lab/")
    assert found[1] == "/environments/lab"
    assert "iniconfig" not in image


def test_a_package_can_replace_one_of_the_image(trained: Deployment) -> None:
    """`uv pip install` replaces a package that the image brought, for the kernels, until the lab starts again."""
    version = "from importlib.metadata import version; print(version('tzdata'))"
    before = trained.execute("lab", "python", "-c", version)
    trained.execute("lab", "uv", "pip", "install", "--quiet", "tzdata==2025.2")
    replaced = trained.execute("lab", "python", "-c", version)
    trained.compose("restart", "lab")
    trained.up()

    assert (replaced.strip(), before) == ("2025.2", trained.execute("lab", "python", "-c", version))


def test_notebooks_and_settings_survive(trained: Deployment) -> None:
    """What a person writes in the lab is there after `down`, and belongs to the checkout's group too."""
    trained.execute("lab", "sh", "-c", "umask 002; echo '{}' >mine.ipynb; echo kept >~/settings")
    down_and_up(trained)
    trained.up()
    mine = trained.folder / "notebooks" / "mine.ipynb"

    assert mine.read_text() == "{}\n"
    assert trained.execute("lab", "cat", "/home/bodega/settings") == "kept\n"
    assert mine.stat().st_gid == trained.folder.stat().st_gid
    assert mine.stat().st_mode & stat.S_IWGRP


# --- what breaks -----------------------------------------------------------------------------------------------------


class Asking:
    """Somebody who predicts with one version all the time, and keeps the answers."""

    def __init__(self, stack: Deployment, version: int) -> None:
        self.answers: list[tuple[int, Any]] = []
        self._stack, self._version = stack, version
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        with self._stack.client() as client:
            while not self._end.is_set():
                response = predict(client, version=self._version)
                body = response.json()
                self.answers.append((response.status_code, body.get("predictions") or body.get("type")))


def test_without_postgres_what_is_warm_goes_on(trained: Deployment) -> None:
    """Postgres killed: warm predictions are all answered, the catalog says 503, and all heal without a restart."""
    with trained.client() as client:
        version = numbers(client)[0]
        predict(client, version=version).raise_for_status()
        started = trained.containers("api")[0]["State"]["StartedAt"]
        with Asking(trained, version) as asking:
            wait_until(lambda: len(asking.answers) > 20, "the first predictions")
            trained.compose("kill", "postgres")
            before = len(asking.answers)
            refused = [client.get(path) for path in ("/models", "/models/penguins", "/readyz")]
            cold = predict(client, version="best:accuracy")
            wait_until(lambda: len(asking.answers) > before + 100, "predictions without Postgres")
            trained.compose("start", "postgres")
            wait_until(lambda: client.get("/readyz").status_code == 200, "the API is ready again")
        registered = register_quickly(trained)

    assert set(map(str, asking.answers)) == {"(200, ['Gentoo'])"}
    assert [response.status_code for response in [*refused, cold]] == [503] * 4
    assert {response.headers["Retry-After"] for response in [*refused, cold]} == {"2"}
    assert {response.json()["type"] for response in refused} == {"urn:bodega:problem:catalog-unavailable"}
    assert registered["predicted"] == registered["number"]
    assert trained.containers("api")[0]["State"]["StartedAt"] == started


@pytest.fixture
def damaged(trained: Deployment) -> Iterator[tuple[int, int]]:
    """The numbers of a version whose artifact has one bit turned on the shared volume, and of one that is whole."""
    with trained.client() as client:
        before = numbers(client)[0]
        run_notebook(trained)  # two versions that no API has loaded
        listed = client.get("/models", params={"model": "penguins", "limit": 2}).json()["versions"]
    chosen = {version["version"]: version for version in listed}[before + 1]
    path = trained.volumes / "models" / chosen["path"]
    original = path.read_bytes()
    rewrite(path, original[:100] + bytes([original[100] ^ 1]) + original[101:])
    # The same model registered again has the same bytes: older versions may share the file, and be loaded already.
    restart_api(trained)
    trained.up()
    yield before + 1, before + 2
    rewrite(path, original)


def rewrite(path: Path, content: bytes) -> None:
    """Write other bytes into an artifact, as root can."""
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(0o440)


def test_a_flipped_bit_is_refused_and_shown(trained: Deployment, damaged: tuple[int, int]) -> None:
    """A byte changed on the shared volume: that version is refused by name, `/models` shows it, others go on."""
    bad, good = damaged
    with trained.client() as client:
        refused = predict(client, version=bad)
        answered = predict(client, version=good)
        listed = {
            entry["version"]: entry
            for entry in client.get("/models").json()["versions"]
            if entry["model"] == "penguins"
        }

    assert (refused.status_code, refused.json()["type"]) == (503, "urn:bodega:problem:artifact-digest")
    assert answered.status_code == 200
    assert listed[bad]["problem"]["type"] == "urn:bodega:problem:artifact-digest"
    assert "problem" not in listed[good]


def test_a_lab_that_is_killed_comes_back(trained: Deployment) -> None:
    """The processes of a service that die are started again by the engine."""
    pid = trained.containers("lab")[0]["State"]["Pid"]
    assert pid > 0  # 0 would be our own process group
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    wait_until(lambda: trained.containers("lab")[0]["State"]["Health"]["Status"] == "healthy", "the lab is back")

    assert trained.containers("lab")[0]["RestartCount"] == 1
    assert re.match(r"bodega \d", trained.execute("lab", "bodega", "--version"))


def test_several_workers_serve_in_one_container(trained: Deployment) -> None:
    """They are forked, load and answer as confined as one does, and whichever is asked tells of all."""
    with (trained.folder / ".env").open("a") as file:
        file.write("BODEGA_WORKERS=2\n")
    trained.up("api")
    answered: set[str] = set()
    until = time.monotonic() + 60
    while answered != {"1", "2"}:
        assert time.monotonic() < until
        with trained.client() as client:  # a connection of its own, which goes to either
            assert predict(client).status_code == 200
            told = client.get("/metrics").raise_for_status().text
        answered = set(re.findall(r'^bodega_prediction_seconds_count\{.*worker="(\d)".*\}', told, re.MULTILINE))
