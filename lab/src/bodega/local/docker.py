"""`bodega up --docker`: the stack of compose.yaml, brought up, and explained where it does not come up."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodega_db.errors import SettingsError
from bodega_model.errors import BodegaError

OLDEST = (2, 26)  # of docker compose; what compose.yaml was tried with
LAST_LINES = "15"
INSTALL = "See https://docs.docker.com/compose/install for how to install it."
Say = Callable[[str], None]


class DockerError(BodegaError):
    """Docker is missing or too old, or the containers did not come up."""


@dataclass(frozen=True)
class Addresses:
    """Where the containers can be reached."""

    api_url: str
    lab_url: str | None


def run_containers(root: Path, say: Say, *, ports: Mapping[str, int], lab: bool = True) -> Addresses:
    """Build and start the containers of a checkout, and return their addresses once all of them are healthy.

    `ports` are host ports by the variable of compose.yaml that names them. Raises DockerError with the words of the
    service that did not come up.
    """
    compose = Compose(root, {name: str(port) for name, port in ports.items()})
    check_docker(compose)
    say("The containers are built and started; the first time this takes some minutes.")
    services = [] if lab else ["api"]
    if compose.call("up", "--wait", "--build", *services, shown=True).returncode:
        raise compose.failure()
    return Addresses(f"http://{compose.address('api', 8000)}", lab_address(compose) if lab else None)


@dataclass(frozen=True)
class Compose:
    """`docker compose` in one checkout."""

    root: Path
    environment: Mapping[str, str]

    def call(self, *arguments: str, shown: bool = False) -> "subprocess.CompletedProcess[str]":
        """Run `docker compose` with arguments; what it says is returned, or shown as it comes."""
        return run(["docker", "compose", *arguments], self.root, self.environment, shown=shown)

    def ask(self, *arguments: str) -> str:
        """Return what `docker compose` prints; raise DockerError with its complaint."""
        done = self.call(*arguments)
        if done.returncode:
            raise DockerError(f"`docker compose {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def address(self, service: str, port: int) -> str:
        """Return host and port under which a port of a service is published."""
        return self.ask("port", service, str(port))

    def failure(self) -> DockerError:
        """Return the error that names the services that did not come up, each with its last words."""
        found = [state for state in self.states() if has_failed(state)]
        words = "\n".join(f"{describe(state)}:\n{self.last_words(state['Service'])}" for state in found)
        if words:
            return DockerError(words, "All they said: `docker compose logs`.")
        return DockerError(
            "The containers did not come up; the reason stands above",
            "Where a port is taken, choose another one: BODEGA_API_PORT or BODEGA_LAB_PORT in .env (see .env.example).",
        )

    def states(self) -> list[dict[str, Any]]:
        """Return the state of every container, one-shots included."""
        return [json.loads(line) for line in self.ask("ps", "--all", "--format", "json").splitlines()]

    def last_words(self, service: str) -> str:
        """Return the last lines that a service wrote."""
        said = self.call("logs", "--no-color", "--no-log-prefix", "--tail", LAST_LINES, service)
        return said.stdout.rstrip() or "  it said nothing"


def check_docker(compose: Compose) -> None:
    """Raise DockerError unless docker, a recent compose and the engine are there."""
    if not (compose.root / "compose.yaml").is_file():
        raise SettingsError(f"There is no compose.yaml in {compose.root}", "Run this from a checkout of Bodega.")
    if shutil.which("docker") is None:
        raise DockerError(f"There is no docker on PATH{former()}", f"`./bodega up` needs none. {INSTALL}")
    answer = compose.call("version", "--short")
    if answer.returncode:
        raise DockerError(f"`docker compose` does not work here{former()}: {answer.stderr.strip()}", INSTALL)
    if parse_version(answer.stdout) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise DockerError(f"docker compose is {answer.stdout.strip()}; {oldest} or later is needed", INSTALL)
    engine = run(["docker", "version", "--format", "{{.Server.Version}}"], compose.root, compose.environment)
    if engine.returncode:
        raise DockerError(
            f"The Docker Engine does not answer: {engine.stderr.strip()}", "Start it, or set DOCKER_HOST."
        )


def former() -> str:
    """Return what to say of the first docker-compose where it is installed."""
    return (
        ", and docker-compose (version 1) is not enough: it cannot wait until all is healthy"
        if shutil.which("docker-compose")
        else ""
    )


def parse_version(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version such as 'v2.26.1-4'; nothing where there are none."""
    found = re.match(r"v?(\d+)\.(\d+)", text.strip())
    return tuple(map(int, found.groups())) if found else ()


def has_failed(state: Mapping[str, Any]) -> bool:
    """Tell whether a container is in no state that `docker compose ps` should end with."""
    if state["State"] == "exited":
        return bool(state["ExitCode"])
    return bool(state["State"] == "restarting" or state["Health"] == "unhealthy")


def describe(state: Mapping[str, Any]) -> str:
    """Return a container's service and state in words."""
    return f"{state['Service']} is {state['Health'] or state['State']} ({state['Status']})"


def lab_address(compose: Compose) -> str:
    """Return the address that lets the person in, with the token that the lab was given."""
    token = compose.ask("exec", "-T", "lab", "cat", "/run/secrets/jupyter_token")
    return f"http://{compose.address('lab', 8888)}/lab?token={token}"


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], *, shown: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run a program in a folder with further variables, and return how it ended."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=not shown,
        text=True,
        check=False,
    )
