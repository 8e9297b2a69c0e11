"""The API as a process of its own, as whoever serves runs it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from containers import free_port


@dataclass(frozen=True)
class ApiProcess:
    """A running API, a client of it, and where it is reached."""

    process: "subprocess.Popen[bytes]"
    client: httpx2.Client
    url: str

    def predict(self, document: Any, **parameters: Any) -> httpx2.Response:
        """Ask for a prediction."""
        return self.client.post("/predict", params=parameters, json=document)

    @property
    def peak_bytes(self) -> int:
        """The most memory that the process ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@contextmanager
def api_process(url: str, volume: Path, **settings: object) -> Iterator[ApiProcess]:
    """Run the API over a database and a volume, with settings by their lower-case names; yield it when it is ready."""
    port = str(free_port())
    chosen = {f"BODEGA_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {**os.environ, "BODEGA_DATABASE_URL": url, "BODEGA_MODELS": str(volume), "BODEGA_API_PORT": port}
    command = [sys.executable, "-m", "bodega_api"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment | chosen, **quiet) as process:  # type: ignore[call-overload]
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait_until_ready(client)
                yield ApiProcess(process, client, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


def wait_until_ready(client: httpx2.Client) -> None:
    """Return when the API is ready to predict."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            client.get("/readyz").raise_for_status()
        except httpx2.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the API did not become ready")
