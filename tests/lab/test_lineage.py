"""Where a version comes from: commit, notebook or script, person, machine, and a fingerprint of the data."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodega.capture.fingerprints import fingerprint
from bodega.capture.lineage import capture_lineage
from bodega_db.errors import InvalidMetadataError
from scipy import sparse

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
FRAME = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": ["x", "y", None]})


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A Person", "-c", "user.email=person@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit that holds a notebook and a module."""
    folder = tmp_path / "a project"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "notebooks" / "trial.ipynb").write_text("{}")
    (folder / "features.py").write_text("one = 1\n")
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "Begin")
    return folder


@pytest.fixture
def in_notebook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make this process look like the kernel of a notebook: JupyterLab names it in a variable, and there is no script."""
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)

    def work_in(path: Path) -> None:
        monkeypatch.setenv("JPY_SESSION_NAME", str(path))
        monkeypatch.chdir(path.parent)

    return work_in


@needs_git
def test_a_committed_notebook_is_named_with_its_commit(repository: Path, in_notebook: Any) -> None:
    """From a clean repository the lineage has the commit, and the notebook by its place in the repository."""
    in_notebook(repository / "notebooks" / "trial.ipynb")

    lineage = capture_lineage()

    assert lineage["git_commit"] == git(repository, "rev-parse", "HEAD")
    assert lineage["git_dirty"] is False
    assert lineage["notebook"] == "notebooks/trial.ipynb"


@needs_git
@pytest.mark.parametrize("changed", ["features.py", "notebooks/trial.ipynb"])
def test_a_changed_file_makes_it_dirty(repository: Path, in_notebook: Any, changed: str) -> None:
    """A change that no commit holds, in whatever file, makes the lineage dirty."""
    in_notebook(repository / "notebooks" / "trial.ipynb")
    (repository / changed).write_text("changed")

    assert capture_lineage()["git_dirty"] is True


@needs_git
def test_a_notebook_without_a_commit_is_dirty_and_data_files_are_not(repository: Path, in_notebook: Any) -> None:
    """A notebook that git does not know makes the lineage dirty; other unknown files, such as data, do not."""
    (repository / "notebooks" / "birds.csv").write_text("data")
    in_notebook(repository / "notebooks" / "trial.ipynb")
    known = capture_lineage()
    new = repository / "notebooks" / "new.ipynb"
    new.write_text("{}")
    in_notebook(new)

    assert known["git_dirty"] is False
    assert capture_lineage()["git_dirty"] is True


@needs_git
def test_looking_leaves_the_repository_alone(repository: Path, in_notebook: Any) -> None:
    """Asking git for the state changes no file of the repository, its index included."""
    in_notebook(repository / "notebooks" / "trial.ipynb")
    (repository / "features.py").touch()
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}

    capture_lineage()

    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before


@needs_git
def test_a_repository_without_a_commit_has_none(tmp_path: Path, in_notebook: Any) -> None:
    """Before the first commit there is no commit to name, and that is no error."""
    git(tmp_path, "init")
    in_notebook(tmp_path / "trial.ipynb")

    lineage = capture_lineage()

    assert "git_commit" not in lineage
    assert lineage["notebook"] == "trial.ipynb"


def test_a_folder_without_git_is_fine(tmp_path: Path, in_notebook: Any) -> None:
    """Outside of a repository the lineage has the notebook's whole path, user, host and bodega's version."""
    in_notebook(tmp_path / "trial.ipynb")

    lineage = capture_lineage()

    assert lineage["notebook"] == str(tmp_path / "trial.ipynb")
    assert set(lineage) == {"notebook", "user", "host", "bodega"}
    assert lineage["bodega"] == version("bodega")


def test_a_machine_without_git_is_fine(repository: Path, in_notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git is not installed the rest of the lineage is kept."""
    in_notebook(repository / "notebooks" / "trial.ipynb")
    monkeypatch.setenv("PATH", str(repository))

    assert set(capture_lineage()) == {"notebook", "user", "host", "bodega"}


def test_a_folder_that_is_gone_is_fine(tmp_path: Path, in_notebook: Any) -> None:
    """A notebook whose folder was removed meanwhile can still register."""
    folder = tmp_path / "gone"
    folder.mkdir()
    in_notebook(folder / "trial.ipynb")
    folder.rmdir()

    assert capture_lineage()["notebook"] == str(folder / "trial.ipynb")


def test_vs_code_names_its_notebook(tmp_path: Path, in_notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In VS Code the notebook is the one that VS Code names."""
    in_notebook(tmp_path / "other.ipynb")
    monkeypatch.setattr("__main__.__vsc_ipynb_file__", str(tmp_path / "mine.ipynb"), raising=False)

    assert capture_lineage()["notebook"] == str(tmp_path / "mine.ipynb")


def test_a_console_is_no_notebook(tmp_path: Path, in_notebook: Any) -> None:
    """JupyterLab's consoles have a name too, but no file, so none is recorded."""
    in_notebook(tmp_path / "console-1-abcd")

    assert "notebook" not in capture_lineage()


def test_a_script_names_itself_also_below_a_notebook(tmp_path: Path) -> None:
    """A script that a notebook starts is recorded as the script, and not as the notebook whose variable it inherits."""
    script = tmp_path / "train.py"
    script.write_text(
        "import json; from bodega.capture.lineage import capture_lineage; print(json.dumps(capture_lineage()))"
    )
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=tmp_path,
        env={"JPY_SESSION_NAME": str(tmp_path / "trial.ipynb"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert f'"script": "{script}"' in done.stdout
    assert "trial.ipynb" not in done.stdout


# --- fingerprints ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        FRAME,
        FRAME["a"],
        np.arange(12.0).reshape(3, 4),
        np.array([["x", 1], ["y", None]], dtype=object),
        np.array(3.0),
        np.empty((0, 4)),
        np.empty((0, 4), dtype=object),
        sparse.csr_matrix(np.eye(3)),
        ["a text", "another"],
        (FRAME, [1, 2, 3]),
        FRAME.assign(c=pd.Categorical(["u", "v", "u"]), d=pd.to_datetime(["2026-01-01"] * 3)),
        pd.DataFrame([[1, 2]], columns=["same", "same"]),
    ],
    ids=lambda data: type(data).__name__,
)
def test_the_same_data_give_the_same_fingerprint(data: Any) -> None:
    """A copy of the data has the same fingerprint, in a form that JSON can hold."""
    copied = data.copy() if hasattr(data, "copy") else tuple(part.copy() for part in data)
    first, second = fingerprint(data), fingerprint(copied)

    assert first == second
    assert len(first["sha256"]) == 64
    assert isinstance(first["shape"], list)


@pytest.mark.parametrize(
    "other",
    [
        FRAME.rename(columns={"a": "c"}),
        FRAME.astype({"a": "float32"}),
        FRAME.astype({"b": object}),
        FRAME.fillna({"a": 2.0}),
        FRAME.iloc[::-1],
        FRAME[["b", "a"]],
        FRAME.head(2),
        (FRAME,),
    ],
    ids=["name", "dtype", "text-dtype", "value", "order-of-rows", "order-of-columns", "fewer-rows", "tuple"],
)
def test_other_data_give_another_fingerprint(other: Any) -> None:
    """A change of a value, a name, a dtype or an order changes the fingerprint."""
    assert fingerprint(other)["sha256"] != fingerprint(FRAME)["sha256"]


def test_arrays_differ_by_shape_dtype_and_values() -> None:
    """Arrays of the same bytes in another shape or dtype have other fingerprints; the memory layout does not count."""
    array = np.arange(6, dtype=np.int64)
    found = {
        fingerprint(each)["sha256"]
        for each in (array, array.reshape(2, 3), array.reshape(3, 2), array.view(np.uint64), array + 1)
    }
    turned = np.asfortranarray(array.reshape(2, 3))

    assert len(found) == 5
    assert fingerprint(turned) == fingerprint(array.reshape(2, 3))


def test_the_index_does_not_count() -> None:
    """A split that leaves other row labels on the same rows has the same fingerprint: no model sees the labels."""
    assert fingerprint(FRAME.set_axis([7, 5, 1])) == fingerprint(FRAME)


@pytest.mark.parametrize("data", [object(), {"a": [1]}, 3, None])
def test_what_is_no_data_is_refused(data: Any) -> None:
    """What cannot be hashed as data is refused with what can."""
    with pytest.raises(InvalidMetadataError, match="DataFrame"):
        fingerprint(data)
