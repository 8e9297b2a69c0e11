"""The stack of compose.yaml on a real Docker Engine: a copy of the checkout, its own project, ports and volumes."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parents[1]
TAG = "test"  # of the images, so that those of a person who works with Bodega on this machine stay as they are
PATIENCE = 900.0  # seconds for one command of compose; the first one builds the images


def is_running() -> bool:
    """Tell whether a Docker Engine with compose answers."""
    try:
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            subprocess.run(command, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def compose_environment() -> dict[str, str]:
    """Return the variables of this process without those that compose.yaml reads: a test's .env has them."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("BODEGA_", "COMPOSE_"))}


def copy_checkout(folder: Path) -> Path:
    """Copy what git knows of this checkout, as a clone has it, with what is not committed yet."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, os.fsdecode(names).split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Deployment:
    """One copy of the checkout and the containers that compose makes of it."""

    folder: Path
    ports: Mapping[str, int] = field(default_factory=lambda: {name: free_port() for name in ("API", "LAB", "PROXY")})

    def __post_init__(self) -> None:
        """Write what a person would write into .env."""
        name = f"COMPOSE_PROJECT_NAME=bodega-test-{secrets.token_hex(4)}"
        lines = [name, f"BODEGA_TAG={TAG}", *(f"BODEGA_{name}_PORT={port}" for name, port in self.ports.items())]
        (self.folder / ".env").write_text("\n".join(lines) + "\n")

    @property
    def volumes(self) -> Path:
        """Everything that lasts, but for the notebooks."""
        return self.folder / "volumes"

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.ports['API']}"

    def compose(self, *arguments: str, check: bool = True, text: str | None = None) -> str:
        """Run `docker compose` there and return all it said; raise AssertionError with that if it fails."""
        done = self.attempt(*arguments, text=text)
        if check and done.returncode:
            logs = self.attempt("logs", "--no-color", "--tail", "30").stdout if arguments[0] == "up" else ""
            raise AssertionError(f"docker compose {' '.join(arguments)}\n{done.stdout}\n{logs}")
        return done.stdout

    def attempt(self, *arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `docker compose` there, whatever comes of it."""
        return subprocess.run(
            ["docker", "compose", "--ansi", "never", *arguments],
            cwd=self.folder,
            env=compose_environment(),
            input=text,
            stdin=None if text is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            timeout=PATIENCE,
        )

    def up(self, *arguments: str) -> float:
        """Bring everything up, healthy, and return the seconds that took."""
        began = time.monotonic()
        self.compose("up", "--wait", *arguments)
        return time.monotonic() - began

    def execute(self, service: str, *command: str, text: str | None = None) -> str:
        """Run a command in a container and return what it said."""
        return self.compose("exec", "-T", service, *command, text=text)

    def run_python(self, service: str, source: str) -> str:
        """Run Python in a container and return what it said."""
        return self.execute(service, "python", "-", text=source)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """Return what the engine says of the containers of a service."""
        names = self.compose("ps", "--all", "--quiet", service).split()
        return inspect(*names) if names else []

    def logs(self, service: str) -> str:
        """Return what a service said."""
        return self.compose("logs", "--no-color", "--no-log-prefix", service)

    def client(self) -> httpx2.Client:
        """Return a client of the API, which tries a refused connection again."""
        return httpx2.Client(base_url=self.api_url, timeout=30, transport=httpx2.HTTPTransport(retries=3))


def inspect(*names: str) -> list[dict[str, Any]]:
    """Return what the engine says of containers or images."""
    found: list[dict[str, Any]] = json.loads(
        subprocess.run(["docker", "inspect", *names], capture_output=True, check=True, timeout=60).stdout
    )
    return found


@contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    """Yield a deployment that is not up yet; at the end nothing of it is left on the engine."""
    deployment = Deployment(copy_checkout(folder))
    try:
        yield deployment
    finally:
        deployment.attempt("--profile", "*", "down", "--volumes", "--timeout", "5", "--remove-orphans")


def run_bodega(home: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the bodega command over another checkout."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BODEGA_")}
    return subprocess.run(
        [str(Path(sys.executable).with_name("bodega")), *arguments],
        env=kept | {"BODEGA_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait until something holds; raise AssertionError naming it when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
