"""The local stack: it starts with one command, stays together, and ends whole in every way a process can end."""

import importlib.util
import json
import os
import random
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import psycopg
import pytest
from bodega.local import ports, stack
from bodega.local.find_catalog import catalog_settings, find_stack
from bodega.local.home import Home
from bodega_db.postgres.embedded import find_running
from bodega_db.postgres.process import start_child

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("bodega_api") is None, reason="the stack needs the API, which is not installed here"
)
SECONDS = 120.0
BODEGA = str(Path(sys.executable).with_name("bodega"))
NO_LAB = ("--no-lab",)


class Up:
    """A `bodega up` in a process of its own."""

    def __init__(self, home: Home, *arguments: str, command: tuple[str, ...] = (BODEGA,), **environment: str) -> None:
        self.home = home
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BODEGA_")}
        self.output = home.root / f"output-{time.monotonic_ns()}"
        # A child of the tests, so that nothing stays when they are killed; without the Linux part, which would
        # adopt and end what `up` leaves behind, where these tests have to see that it leaves nothing.
        self.child = start_child(
            [*command, "up", *arguments],
            log=self.output,
            env={**kept, **environment, "BODEGA_HOME": str(home.root)},
            grace=60.0,
            portable=True,
        )
        self.process = psutil.Process(self.child.process.pid)
        wait_for(lambda: self.find_program() or self.child.poll() is not None)

    def find_program(self) -> bool:
        """Go from the guard to `up` itself, as soon as there is one."""
        found = [process for process in self.process.children() if "up" in command_of(process)[:4]]
        self.process = found[0] if found else self.process
        return bool(found)

    def text(self) -> str:
        return self.output.read_text()

    def wait_until_up(self) -> "Up":
        wait_for(lambda: "Ctrl-C ends it." in self.text() or self.child.poll() is not None)
        assert self.child.poll() is None, self.text()
        return self

    def note(self) -> dict[str, Any]:
        note = find_stack(self.home)
        assert note is not None
        return note

    def family(self) -> list[psutil.Process]:
        return self.process.children(recursive=True)

    def find(self, word: str) -> psutil.Process:
        found = [p for p in self.family() if word in command_of(p) and "-I" not in command_of(p)]
        return found[0]

    def wait(self) -> int:
        return self.child.process.wait(SECONDS)

    def close(self) -> None:
        self.child.stop()


def wait_for(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def are_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() for process in processes)


def choose_port() -> int:
    # Below what the system gives to clients, and away from 8000 and 8888, which somebody at work here may use.
    return ports.find_port(random.randrange(20_000, 30_000))


def make_home(path: str) -> Home:
    # Everybody can enter it: as root, Postgres runs as nobody.
    Path(path).chmod(0o755)
    return Home(Path(path))


@pytest.fixture
def home() -> Iterator[Home]:
    """An empty home with a space in its path."""
    with tempfile.TemporaryDirectory(prefix="bodega up ") as path:
        yield make_home(path)


@pytest.fixture
def up(home: Home) -> Iterator[Callable[..., Up]]:
    """Starts `bodega up` in the home, and ends it after the test."""
    with ExitStack() as ending:

        def start(*arguments: str, **options: Any) -> Up:
            started = Up(home, *arguments, **options)
            ending.callback(started.close)
            return started

        yield start


@pytest.fixture(scope="module")
def whole() -> Iterator[Up]:
    """A whole stack, JupyterLab included, for tests that only look."""
    with tempfile.TemporaryDirectory(prefix="bodega up ") as path:
        started = Up(make_home(path)).wait_until_up()
        yield started
        started.close()


def request(url: str, token: str = "", data: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"token {token}"} if token else {}
    method = "GET" if data is None else "POST"
    with httpx2.Client(trust_env=False, timeout=30, headers=headers) as client:
        response = client.request(method, url, json=data)
    response.raise_for_status()
    return response.text


def split_lab_url(note: dict[str, Any]) -> tuple[str, str]:
    root, _, token = note["lab_url"].partition("/lab?token=")
    return root, token


def start_kernel(up: Up) -> psutil.Process:
    root, token = split_lab_url(up.note())
    request(f"{root}/api/kernels", token, {"name": "python3"})
    wait_for(lambda: find_kernels(up))
    return find_kernels(up)[0]


def find_kernels(up: Up) -> list[psutil.Process]:
    return [process for process in up.family() if "ipykernel_launcher" in command_of(process)]


def test_everything_answers_where_up_says(whole: Up) -> None:
    """`bodega up` names the API and JupyterLab, both answer there, and the catalog has its tables."""
    note = whole.note()
    api, lab = (json.loads(request(f"{note['api_url']}/readyz")), request(note["lab_url"]))
    with psycopg.connect(str(find_running(whole.home.postgres))) as connection:
        tables = {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}

    assert note["api_url"] in whole.text()
    assert note["lab_url"] in whole.text()
    assert api["status"] == "ready"
    assert "jupyter-config-data" in lab
    assert {"model", "version", "event"} <= tables


def test_jupyterlab_asks_for_its_token(whole: Up) -> None:
    """Without the token JupyterLab gives nothing away; the token is kept in a file for its owner alone."""
    root, token = split_lab_url(whole.note())

    with pytest.raises(httpx2.HTTPStatusError) as refused:
        request(f"{root}/api/contents")
    allowed = json.loads(request(f"{root}/api/contents", token))

    assert (refused.value.response.status_code, allowed["type"]) == (403, "directory")
    assert (whole.home.jupyter / "token").read_text() == token
    assert {path.stat().st_mode & 0o077 for path in whole.home.jupyter.glob("*.json")} == {0}
    assert not [process for process in psutil.process_iter() if token in " ".join(command_of(process))]


def test_jupyterlab_asks_nobody_for_news(whole: Up) -> None:
    """JupyterLab neither fetches news nor asks whether it may, and does not look for newer versions."""
    root, token = split_lab_url(whole.note())
    page = re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', request(whole.note()["lab_url"]), re.DOTALL)
    settings = json.loads(request(f"{root}/lab/api/settings/@jupyterlab/apputils-extension:notification", token))[
        "schema"
    ]["properties"]

    assert page is not None
    assert json.loads(page[1])["news"] == {"disabled": True}
    assert (settings["fetchNews"]["default"], settings["checkForUpdates"]["default"]) == ("false", False)
    assert json.loads(request(f"{root}/lab/api/update", token))["notification"] is None


def test_only_this_machine_reaches_it(whole: Up) -> None:
    """All that listens, listens on 127.0.0.1."""
    listening = {
        connection.laddr.ip
        for process in whole.family()
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }

    assert listening == {"127.0.0.1"}


def test_kernels_know_the_catalog(whole: Up) -> None:
    """A notebook's kernel runs this Python and has the catalog, the volume and the API in its environment."""
    kernel = start_kernel(whole)
    environment = kernel.environ()

    assert environment["BODEGA_DATABASE_URL"] == find_running(whole.home.postgres)
    assert environment["BODEGA_MODELS"] == str(whole.home.models)
    assert environment["BODEGA_API_URL"] == whole.note()["api_url"]
    assert environment["PATH"].startswith(str(Path(sys.executable).parent))
    assert kernel.cmdline()[0] == sys.executable


def test_a_second_up_says_where_the_first_one_runs(whole: Up) -> None:
    """A second `up` in the same home ends with status 1 and names the first one's process and addresses."""
    second = Up(whole.home)
    code = second.wait()
    second.close()

    assert code == 1
    assert f"process {whole.process.pid} (bodega up); API {whole.note()['api_url']}" in second.text()
    assert whole.note()["lab_url"] in second.text()
    assert "Traceback" not in second.text()


def test_a_program_finds_the_running_catalog(whole: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the stack runs, a program without any setting finds its database, volume and API."""
    monkeypatch.setenv("BODEGA_HOME", str(whole.home.root))
    monkeypatch.delenv("BODEGA_DATABASE_URL", raising=False)

    with catalog_settings() as settings:
        found = settings.database_url.get_secret_value(), settings.models, settings.api_url

    assert found == (find_running(whole.home.postgres), whole.home.models, whole.note()["api_url"])


def test_everything_ends_in_order(up: Callable[..., Up]) -> None:
    """Ctrl-C ends JupyterLab, then the API, then Postgres; status 0, no traceback, nobody left."""
    started = up().wait_until_up()
    kernel, family = start_kernel(started), started.family()

    started.process.send_signal(signal.SIGINT)
    code = started.wait()

    said = started.text()
    assert code == 0
    assert said.index("JupyterLab ends.") < said.index("API ends.") < said.index("Postgres ends.")
    assert "Traceback" not in said
    assert kernel in family
    assert are_gone(family)
    assert find_stack(started.home) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_it_too(up: Callable[..., Up], number: signal.Signals) -> None:
    """SIGTERM and a closed terminal end it as Ctrl-C does, also while more of them arrive."""
    started = up(*NO_LAB).wait_until_up()
    family = started.family()

    for _ in range(3):
        started.process.send_signal(number)
        time.sleep(0.01)
    code = started.wait()

    assert (code, are_gone(family)) == (0, True)
    assert "Traceback" not in started.text()


def test_as_root_the_start_warns_of_the_shared_user(whole: Up) -> None:
    """Who starts it as root is told whom Postgres runs as, and that others may too; nobody else is told anything."""
    owners = {process.username() for process in whole.family() if process.name() == "postgres"}

    assert ("WARNING: started by root, Postgres runs as 'nobody'" in whole.text()) == (os.geteuid() == 0)
    assert ("nobody" in owners) == (os.geteuid() == 0)


@pytest.mark.parametrize("words", ["Postgres starts.", "API starts."])
def test_it_can_be_stopped_while_it_starts(up: Callable[..., Up], words: str) -> None:
    """Ctrl-C during the start ends what has started so far, without a traceback, and the next start works."""
    started = up(*NO_LAB)
    wait_for(lambda: words in started.text())

    started.process.send_signal(signal.SIGINT)
    code = started.wait()
    again = up(*NO_LAB).wait_until_up()

    assert (code, "Traceback" in started.text()) == (0, False)
    assert request(f"{again.note()['api_url']}/readyz")


def test_a_killed_up_leaves_nobody_behind(up: Callable[..., Up]) -> None:
    """After kill -9 no process is left, kernels and terminals included; the next `up` gets the same ports."""
    options = (f"--api-port={choose_port()}", f"--lab-port={choose_port()}")
    started = up(*options).wait_until_up()
    root, token = split_lab_url(started.note())
    request(f"{root}/api/terminals", token, {})
    kernel, family, note = start_kernel(started), started.family(), started.note()

    started.process.kill()
    started.wait()
    again = up(*options).wait_until_up()

    assert kernel in family
    assert len(family) > 10
    assert are_gone(family)
    assert [again.note()[key] for key in ("api_url", "lab_url")] == [note["api_url"], note["lab_url"]]


@pytest.mark.parametrize(("word", "name"), [("bodega_api", "API"), ("-D", "Postgres")])
def test_the_death_of_a_part_ends_the_rest(up: Callable[..., Up], word: str, name: str) -> None:
    """When a part dies, `up` says which and how, ends the others, and its status is 1."""
    started = up(*NO_LAB).wait_until_up()
    family = started.family()

    started.find(word).kill()
    code = started.wait()

    assert code == 1
    assert f"{name} ended by itself (signal SIGKILL)" in started.text()
    assert "Traceback" not in started.text()
    assert are_gone(family)


def test_a_taken_port_is_passed_over(up: Callable[..., Up]) -> None:
    """When the preferred port is taken, the next free one is used, and `up` says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        started = up(*NO_LAB, f"--api-port={port}").wait_until_up()

    api_port = int(started.note()["api_url"].rpartition(":")[2])
    assert api_port > port
    assert f"Port {port} is taken: API listens on {api_port}." in started.text()


def test_an_api_that_cannot_start_is_quoted(up: Callable[..., Up]) -> None:
    """When the API ends while it starts, `up` shows what it said last and ends with status 1."""
    started = up(*NO_LAB, BODEGA_POOL_SIZE="0")

    assert started.wait() == 1
    assert "API ended by itself (exit status 1)" in started.text()
    assert "BODEGA_POOL_SIZE" in started.text()
    assert "Traceback" not in started.text()


def test_a_missing_api_is_named(up: Callable[..., Up]) -> None:
    """Where the API is not installed, `up` says so and what to do."""
    program = "import sys; sys.modules['bodega_api'] = None; from bodega.cli import main; main()"

    started = up(*NO_LAB, command=(sys.executable, "-c", program))

    assert started.wait() == 1
    assert "The API is not installed" in started.text()
    assert "uv sync --all-packages" in started.text()


def test_a_server_that_does_not_get_ready_is_quoted(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers something else than 'ready' for too long is reported in its own words."""
    monkeypatch.setattr(stack, "NOT_READY", 0.2)
    port = ports.find_port(18000)
    program = (
        "import http.server as h\n"
        "class Handler(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(503); self.end_headers()\n"
        """        self.wfile.write(b'{"detail": "The volume is foreign.", "hint": "Check BODEGA_MODELS."}')\n"""
        f"h.HTTPServer(('127.0.0.1', {port}), Handler).serve_forever()\n"
    )
    child = start_child([sys.executable, "-c", program], name="API", log=home.root / "api.log")

    with pytest.raises(stack.StackError, match=r"answers 503: The volume is foreign\. Check BODEGA_MODELS"):
        stack.wait_until_ready(child, port, "/readyz")

    child.stop()
