"""`docker compose watch`, for those who work on Bodega itself: what they save runs in the containers."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Deployment, compose_environment, deployed, wait_until

pytestmark = pytest.mark.sweep


@pytest.fixture(scope="module")
def watched(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A stack with the example of an override, whose checkout is watched."""
    folder = tmp_path_factory.mktemp("watched")
    with deployed(folder / "checkout") as deployment:
        shutil.copy(deployment.folder / "compose.override.example.yaml", deployment.folder / "compose.override.yaml")
        deployment.up("--build")
        log = (folder / "watch.log").open("w+")
        command = ["docker", "compose", "--ansi", "never", "watch", "--no-up"]
        with (
            log,
            subprocess.Popen(
                command, cwd=deployment.folder, env=compose_environment(), stdout=log, stderr=subprocess.STDOUT
            ) as watcher,
        ):
            try:
                wait_until(lambda: "Watch enabled" in (folder / "watch.log").read_text(), "compose watches")
                yield deployment
            finally:
                watcher.send_signal(signal.SIGKILL)


def edit(path: Path, old: str, new: str) -> None:
    """Save a file with other words, as an editor does."""
    source = path.read_text()
    assert old in source
    draft = path.with_suffix(".draft")
    draft.write_text(source.replace(old, new, 1))
    os.replace(draft, path)


def test_the_api_starts_again_with_what_was_saved(watched: Deployment) -> None:
    """A change of the API's code is answered by the running container within seconds, without a build."""
    before = watched.containers("api")[0]["State"]["StartedAt"]
    edit(watched.folder / "api/src/bodega_api/routes/health.py", '"alive"', '"alive and edited"')

    def edited() -> bool:
        try:
            with watched.client() as client:
                return bool(client.get("/healthz").json()["status"] == "alive and edited")
        except OSError:  # it starts again
            return False

    wait_until(edited, "the API answers with the change")
    assert watched.containers("api")[0]["State"]["StartedAt"] == before


def test_a_new_kernel_has_what_was_saved(watched: Deployment) -> None:
    """A change of the notebook's verbs is there for the next kernel of the lab."""
    edit(watched.folder / "lab/src/bodega/display/as_json.py", '"""', '"""Edited. ')
    said = watched.execute(
        "lab", "python", "-c", "import bodega.display.as_json; print(bodega.display.as_json.__doc__)"
    )

    assert said.startswith("Edited. ")


def test_a_changed_lock_builds_the_image_of_the_api_anew(watched: Deployment) -> None:
    """A change of uv.lock makes compose build the API's image and start its container again."""
    before = watched.containers("api")[0]["Id"]
    lock = watched.folder / "uv.lock"
    lock.write_text(lock.read_text() + "\n# a comment changes no package\n")

    def is_another() -> bool:
        try:
            (container,) = watched.containers("api")
        except (AssertionError, ValueError, subprocess.CalledProcessError):  # compose met a container that was going
            return False
        return bool(container["Id"] != before and container["State"].get("Health", {}).get("Status") == "healthy")

    wait_until(is_another, "a healthy container of a new image", 300)
