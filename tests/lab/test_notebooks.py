"""Every notebook runs from top to bottom, on a real catalog and a real API, and is stored clean."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest
from bodega.local.notebook_runner import NotebookError, start_notebook
from bodega.local.ports import find_port
from bodega_db.store import ModelStore
from conftest import Api

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
NAMES = [path.name for path in NOTEBOOKS]


@pytest.fixture(autouse=True)
def no_own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the person's own catalog and IPython out of the kernels."""
    for name in [name for name in os.environ if name.startswith("BODEGA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


@pytest.fixture
def environment(database_url: str, volume: Path) -> dict[str, str]:
    """The variables by which a kernel finds this test's catalog, with an API that nobody runs."""
    return {
        "BODEGA_DATABASE_URL": database_url,
        "BODEGA_MODELS": str(volume),
        "BODEGA_API_URL": f"http://127.0.0.1:{find_port(20000)}",
    }


def run(path: Path, environment: Mapping[str, str], log: Path) -> nbformat.NotebookNode:
    with start_notebook(path, log) as execution:
        execution.run(environment)
        return execution.notebook


def texts(notebook: nbformat.NotebookNode) -> str:
    return "".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "") + "\n"
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


def test_there_are_notebooks() -> None:
    """The first notebook is where the README and the demo look for it."""
    assert "01_penguins.ipynb" in NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_stored_clean(path: Path) -> None:
    """A notebook is valid, of format 4.5, without outputs and counts, and each cell has an id that says what it is."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)

    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].source.startswith("# ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_against_a_running_api(
    path: Path, environment: Mapping[str, str], api: Api, store: ModelStore, tmp_path: Path
) -> None:
    """With an API that runs, every cell of a notebook runs, and what it registers is served at once."""
    notebook = run(path, {**environment, "BODEGA_API_URL": api.url}, tmp_path / "log")
    versions = store.versions()

    assert versions != []
    assert "No API answers" not in texts(notebook)
    for version in versions:
        lineage = store.get(version.model, version.number).lineage
        assert lineage["notebook"].endswith(path.name)
        assert (
            api.client.get(f"/models/{version.model}/versions/{version.number}").json()["sha256"] == version.digest.hex
        )


def test_penguins_registers_two_versions_and_asks_both(
    environment: Mapping[str, str], api: Api, store: ModelStore, tmp_path: Path
) -> None:
    """The first notebook registers a linear model and a forest with honest metrics, and the API answers for both."""
    notebook = run(NOTEBOOKS[0], {**environment, "BODEGA_API_URL": api.url}, tmp_path / "log")
    shown = texts(notebook)
    svg = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/svg+xml" in output.get("data", {})
    ]

    assert [version.number for version in store.versions("penguins")] == [2, 1]
    for version in store.versions("penguins"):
        assert 0.95 < version.metrics["accuracy"] <= 1
        assert 0 < version.metrics["log_loss"] < 0.3
        assert f"{version.reference} answered 86 rows" in shown
    assert "LogisticRegression is not fitted" in shown
    assert len(svg) == 1


def test_without_an_api_a_notebook_runs_and_says_so(
    environment: Mapping[str, str], store: ModelStore, tmp_path: Path
) -> None:
    """Where no API runs, the first notebook still runs to its end, and says how to start one."""
    shown = texts(run(NOTEBOOKS[0], environment, tmp_path / "log"))

    assert f"No API answers at {environment['BODEGA_API_URL']}" in shown
    assert "./bodega up" in shown
    assert len(store.versions("penguins")) == 2


# --- what a notebook does not show -----------------------------------------------------------------------


def write_notebook(path: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def refusing(tmp_path: Path) -> Path:
    """A notebook whose cell is refused in its third line."""
    return write_notebook(
        tmp_path / "refusing.ipynb",
        "import bodega\nfrom sklearn.linear_model import Ridge\nbodega.register(Ridge(), 'mine', example=[[1.0]])",
    )


def test_an_error_shows_itself_without_our_frames(
    refusing: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """What Bodega refuses takes a few lines in a notebook: the line of the cell, what happened, what to do."""
    with start_notebook(refusing, tmp_path / "log") as execution:
        with pytest.raises(NotebookError, match="Ridge is not fitted"):
            execution.run(environment)
        (output,) = execution.notebook.cells[0].outputs

    assert output.ename == "NotFittedError"
    assert output.traceback == [
        "line 3: bodega.register(Ridge(), 'mine', example=[[1.0]])",
        "NotFittedError: The Ridge is not fitted\n  Call fit() first.",
    ]


def test_a_failing_notebook_is_named_with_its_cell(tmp_path: Path) -> None:
    """A notebook that fails is named with the cell, the error and what to do; the kernel ends."""
    path = write_notebook(tmp_path / "failing.ipynb", "import os; print(os.getpid())", "1 / 0")
    with start_notebook(path, tmp_path / "log") as execution:
        with pytest.raises(NotebookError, match=r"failing.ipynb failed in code cell 2 \(1 / 0\): ZeroDivisionError"):
            execution.run({})
        pid = int(execution.notebook.cells[0].outputs[0].text)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_kernel_that_dies_is_named(tmp_path: Path) -> None:
    """A kernel that ends in the middle of a cell is an error, and not a wait without end."""
    path = write_notebook(tmp_path / "dying.ipynb", "import os; os._exit(3)")

    with (
        start_notebook(path, tmp_path / "log") as execution,
        pytest.raises(NotebookError, match=r"dying.ipynb failed in code cell 1"),
    ):
        execution.run({})


def test_a_notebook_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A notebook that does not exist is named before any kernel starts."""
    with (
        pytest.raises(NotebookError, match=r"nowhere\.ipynb"),
        start_notebook(tmp_path / "nowhere.ipynb", tmp_path / "log"),
    ):
        pass


def test_the_kernel_is_of_this_python(tmp_path: Path) -> None:
    """A notebook runs in the Python that runs it, whatever kernel of the same name somebody installed."""
    spec = tmp_path / "data" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps({"argv": ["/bin/false"], "display_name": "Wrong", "language": "python"})
    )
    path = write_notebook(tmp_path / "which.ipynb", "import sys; print(sys.executable)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(tmp_path / "data"))
        shown = texts(run(path, {}, tmp_path / "log"))

    assert shown.strip() == sys.executable
