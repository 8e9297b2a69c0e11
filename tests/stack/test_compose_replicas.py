"""Several copies of the API behind one address: `docker compose --profile replicas up`."""

import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest
from containers import Deployment, deployed, wait_until
from lab_work import ROW, register_quickly, run_notebook

pytestmark = pytest.mark.sweep

COPIES = 3


@pytest.fixture(scope="module")
def replicated(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A stack with three copies of the API behind the proxy, and a model."""
    with deployed(tmp_path_factory.mktemp("replicated") / "checkout") as deployment:
        deployment.compose("--profile", "replicas", "up", "--wait", "--build")
        run_notebook(deployment)
        yield deployment


def proxy_client(deployment: Deployment) -> httpx2.Client:
    """Return a client of the one address before all copies."""
    return httpx2.Client(base_url=f"http://127.0.0.1:{deployment.ports['PROXY']}", timeout=60)


def names(deployment: Deployment) -> list[str]:
    """Return the containers of all copies."""
    return [one["Name"].lstrip("/") for service in ("api", "replica") for one in deployment.containers(service)]


def answered(name: str) -> int:
    """Return how many batches of rows a copy has answered, by its own metrics."""
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    command = ["docker", "exec", name, "python", "-c", ask]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    lines = [line for line in said.splitlines() if line.startswith("bodega_answers_total{")]
    return int(sum(float(line.split()[-1]) for line in lines))


class Crowd:
    """Eight people who predict through the proxy all the time, on fresh and kept connections."""

    def __init__(self, deployment: Deployment, version: int) -> None:
        self.answers: list[str] = []
        self._deployment, self._version = deployment, version
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(8)]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        with proxy_client(self._deployment) as client:
            while not self._end.is_set():
                headers = {"Connection": "close"} if number % 2 else {}
                query = {"model": "penguins", "version": self._version}
                try:
                    response = client.post("/predict", params=query, json={"rows": [ROW]}, headers=headers)
                    self.answers.append(str(response.status_code))
                except httpx2.TransportError as exc:
                    self.answers.append(type(exc).__name__)


def test_every_copy_serves_what_was_registered_once(replicated: Deployment) -> None:
    """A version registered once is served by every copy, and the proxy asks them all."""
    registered = register_quickly(replicated)
    with Crowd(replicated, version=2) as crowd:
        wait_until(lambda: len(crowd.answers) > 200, "predictions through the proxy")

    assert len(names(replicated)) == COPIES
    assert set(crowd.answers) == {"200"}
    assert registered["predicted"] == registered["number"]
    assert [name for name in names(replicated) if answered(name) == 0] == []


def test_every_copy_hears_of_a_change(replicated: Deployment) -> None:
    """A new version answers for `latest` on every copy within the poll, however it is asked."""
    with proxy_client(replicated) as client:
        query = {"model": "quick", "version": "latest"}
        row = {"rows": [{"bill_length_mm": 47.5, "body_mass_g": 4950}]}

        def latest() -> set[int]:
            answers = [client.post("/predict", params=query, json=row).raise_for_status().json() for _ in range(24)]
            return {answer["version"] for answer in answers}

        first = register_quickly(replicated)["number"]
        wait_until(lambda: latest() == {first}, "all copies answer with the first", 10)
        second = register_quickly(replicated)["number"]
        wait_until(lambda: latest() == {second}, "all copies answer with the second", 10)

    assert second == first + 1


def test_a_copy_killed_under_load_costs_nobody_an_answer(
    replicated: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """One copy killed under load: every request is answered, those in flight on it too, for the proxy asks another."""
    victim = names(replicated)[-1]
    with Crowd(replicated, version=1) as crowd:
        wait_until(lambda: len(crowd.answers) > 100, "predictions before")
        subprocess.run(["docker", "kill", "--signal", "KILL", victim], check=True, capture_output=True, timeout=60)
        # `docker kill` returns when the signal is sent; the copy is gone when `docker wait` returns.
        subprocess.run(["docker", "wait", victim], check=True, capture_output=True, timeout=60)
        gone = len(crowd.answers)
        wait_until(lambda: len(crowd.answers) > gone + 300, "predictions after")
    counted = Counter(crowd.answers)
    with capsys.disabled():
        print(f"\nanswers around the kill: {dict(counted)}")

    assert set(counted) == {"200"}


def test_a_slow_client_holds_up_nobody(replicated: Deployment) -> None:
    """Clients that send a request byte by byte take no place in a copy of the API: others are answered meanwhile."""
    head = b"POST /predict?model=penguins HTTP/1.1\r\nHost: bodega\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
    slow = [socket.create_connection(("127.0.0.1", replicated.ports["PROXY"])) for _ in range(200)]
    try:
        for one in slow:
            one.sendall(head + b'{"rows')
        began = time.monotonic()
        with proxy_client(replicated) as client:
            query = {"model": "penguins", "version": 1}
            answers = [client.post("/predict", params=query, json={"rows": [ROW]}).status_code for _ in range(50)]
        seconds = time.monotonic() - began
    finally:
        for one in slow:
            one.close()

    assert set(answers) == {200}
    assert seconds < 25  # the slow ones are sent away after 30 s


def test_more_copies_are_found(replicated: Deployment) -> None:
    """`--scale replica=3` adds a copy, which the proxy finds by itself."""
    replicated.compose("--profile", "replicas", "up", "--wait", "--no-recreate", "--scale", "replica=3")
    with Crowd(replicated, version=1):
        wait_until(lambda: all(answered(name) > 0 for name in names(replicated)), "every copy was asked")

    assert len(names(replicated)) == COPIES + 1
