"""`bodega demo`: it shows the whole way of a model, again and again on the same volumes, and ends whole."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import nbformat
import psutil
import pytest
from bodega.local.home import Home
from bodega.local.ports import find_port

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("bodega_api") is None, reason="the demo needs the API, which is not installed here"
)
BODEGA = str(Path(sys.executable).with_name("bodega"))
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SECONDS = 240.0


class Started:
    """A `bodega` command in a process of its own, with what it wrote so far."""

    def __init__(self, home: Home, *arguments: str) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BODEGA_")}
        port = find_port(21000)
        self.output = home.root / f"output-{time.monotonic_ns()}"
        with self.output.open("w") as out:
            self.process = subprocess.Popen(
                [BODEGA, arguments[0], "--api-port", str(port), *arguments[1:]],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**kept, "BODEGA_HOME": str(home.root), "IPYTHONDIR": str(home.root / "ipython")},
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str) -> list[psutil.Process]:
        """Wait until it has written the words, and return all that runs below it."""
        deadline = time.monotonic() + SECONDS
        while words not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait(self) -> int:
        return self.process.wait(SECONDS)

    def close(self) -> None:
        self.process.terminate()
        self.wait()


@pytest.fixture
def home() -> Iterator[Home]:
    """A home with the notebooks of this checkout; everybody can enter it, as Postgres runs as nobody under root."""
    with tempfile.TemporaryDirectory(prefix="bodega demo ") as folder:
        root = Path(folder)
        root.chmod(0o755)
        shutil.copytree(NOTEBOOKS, root / "notebooks", ignore=shutil.ignore_patterns(".*"))
        yield Home(root)


@pytest.fixture
def start(home: Home) -> Iterator[Callable[..., Started]]:
    """Starts a `bodega` command in the home, and ends it after the test."""
    with ExitStack() as ending:

        def start_command(*arguments: str) -> Started:
            started = Started(home, *arguments)
            ending.callback(started.close)
            return started

        yield start_command


def end_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that still run after a moment."""
    return psutil.wait_procs(processes, timeout=20)[1]


def test_the_demo_shows_everything_and_goes_on_counting(
    start: Callable[..., Started], home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs on the same volumes work to their end: versions 1 and 2, then 3 and 4, with all steps and commands."""
    seconds = []
    for numbers in ((1, 2), (3, 4)):
        began = time.monotonic()
        demo = start("demo", "--exit")
        status = demo.wait()
        seconds.append(time.monotonic() - began)
        text = demo.text()

        assert status == 0, text
        for number in numbers:
            assert f"says penguins@{number}." in text
        assert f"penguins@{numbers[0] - 1} " not in text
        assert text.count("The 20 example rows come out as they did in the notebook.") == 2
        assert re.search(r"Adelie [\d.]+%, Chinstrap [\d.]+%, Gentoo [\d.]+%", text)
        assert "422 " in text
        assert "bill_length_mm" in text.split("422 ")[1]
        assert "Everything worked" in text
        assert not (home.run / "stack.json").exists()
    with capsys.disabled():
        print(f"\nthe demo took {seconds[0]:.1f} s on new volumes and {seconds[1]:.1f} s on used ones")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_demo_stays_up_and_its_commands_repeat_it(start: Callable[..., Started]) -> None:
    """Without --exit the stack stays, the commands that were shown work when they are pasted, and Ctrl-C ends it all."""
    demo = start("demo")
    family = demo.wait_for("Ctrl-C ends everything.")
    commands = [line.strip().removeprefix("$ ") for line in demo.text().splitlines() if line.strip().startswith("$ ")]
    answers = [
        json.loads(subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout)
        for command in commands
    ]
    lab = re.search(r"JupyterLab  (http\S+)", demo.text())
    demo.process.send_signal(signal.SIGINT)

    assert demo.wait() == 0
    assert [shlex.split(command)[0] for command in commands] == ["curl"] * 5
    assert len(answers[0]["versions"]) == 2
    assert [answer["version"] for answer in answers[1:3]] == [2, 1]
    assert answers[3]["output"] == "predict_proba"
    assert answers[4]["status"] == 422
    assert lab is not None
    assert end_of(family) == []


def test_the_demo_uses_what_runs_already(start: Callable[..., Started]) -> None:
    """Where `bodega up` runs in the checkout, the demo asks that one, and leaves it running."""
    up = start("up", "--no-lab")
    up.wait_for("Ctrl-C ends it.")
    api = re.search(r"API +(http\S+)", up.text())
    demo = start("demo", "--exit")

    assert demo.wait() == 0, demo.text()
    assert api is not None
    assert f"Bodega runs here already: this uses {api[1]}." in demo.text()
    assert up.process.poll() is None


def test_a_failing_notebook_ends_the_demo_with_status_1(start: Callable[..., Started], home: Home) -> None:
    """When a cell fails, the demo names it, ends the stack, and ends with a status that says so."""
    cells = [nbformat.v4.new_code_cell("raise ValueError('no penguins today')")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), home.notebooks / "01_penguins.ipynb")
    demo = start("demo", "--exit")

    assert demo.wait() == 1
    assert "code cell 1" in demo.text()
    assert "no penguins today" in demo.text()
    assert "Everything worked" not in demo.text()
    assert "Postgres ends." in demo.text()


def test_ctrl_c_in_the_middle_ends_the_kernel_too(start: Callable[..., Started], home: Home) -> None:
    """Ctrl-C while a cell runs ends the notebook's kernel, the API and Postgres, with the status of an interruption."""
    cells = [nbformat.v4.new_code_cell("import time; open('running', 'w').close(); time.sleep(600)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), home.notebooks / "01_penguins.ipynb")
    demo = start("demo", "--exit")
    demo.wait_for("2. Run notebooks/")
    deadline = time.monotonic() + SECONDS
    while not (home.notebooks / "running").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = psutil.Process(demo.process.pid).children(recursive=True)
    kernels = sum("ipykernel_launcher" in process.cmdline() for process in family)
    demo.process.send_signal(signal.SIGINT)

    assert demo.wait() == 130, demo.text()
    assert kernels == 1
    assert end_of(family) == []
    assert "Traceback" not in demo.text()


@pytest.mark.parametrize("seconds", [0.0, 1.5])
def test_ctrl_c_at_the_start_leaves_nothing(start: Callable[..., Started], seconds: float) -> None:
    """Ctrl-C while Postgres, the API and the kernel start ends what has started so far."""
    demo = start("demo", "--exit")
    demo.wait_for("Postgres starts.")
    time.sleep(seconds)
    family = psutil.Process(demo.process.pid).children(recursive=True)
    demo.process.send_signal(signal.SIGINT)

    assert demo.wait() == 130, demo.text()
    assert end_of(family) == []
    assert "Traceback" not in demo.text()
