"""Two environments with scikit-learn of different minor versions over one store: what one registered the other refuses."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from bodega_db.store import ModelStore
from bodega_model.errors import EnvironmentMismatchError
from gallery import problem_of
from processes import api_process
from sklearn.linear_model import Ridge

from .registrar import NAME

MAJOR, MINOR = (int(part) for part in version("scikit-learn").split(".")[:2])
OTHER = f"{MAJOR}.{MINOR - 1}"
ROWS = {"rows": [{"x0": 1.0}]}
REGISTER = """
import sys
from pathlib import Path
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
sys.path.insert(0, sys.argv[3])
from faults.registrar import register
store = ModelStore.connect(Settings.read(database_url=sys.argv[1], models=Path(sys.argv[2])))
print(register(store, None, 1.0).environment["libraries"]["scikit-learn"])
"""
LOAD = """
import sys
from pathlib import Path
from bodega_model.errors import EnvironmentMismatchError
from bodega_db.settings import Settings
from bodega_db.store import ModelStore
store = ModelStore.connect(Settings.read(database_url=sys.argv[1], models=Path(sys.argv[2])))
try:
    store.open(store.get(sys.argv[3], 1))
except EnvironmentMismatchError as exc:
    print(exc.message)
"""
Run = Callable[..., str]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with another scikit-learn, and everything else as it is here."""
    home = tmp_path_factory.mktemp("other")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    python = home / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", f"scikit-learn=={OTHER}.*"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"scikit-learn {OTHER} cannot be installed here: {done.stderr[-200:]}")
    where = ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run([python, *where], capture_output=True, text=True, check=True).stdout.strip()
    here = sysconfig.get_path("purelib")
    (Path(packages) / "everything_else.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return python


@pytest.fixture
def run_there(other: Path, database_url: str, volume: Path) -> Run:
    """Run a program in the other environment, over this store."""

    def run(program: str, *arguments: object) -> str:
        command = [other, "-c", program, database_url, volume, *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.mark.slow
def test_a_model_of_another_minor_version_is_refused_and_both_are_named(
    run_there: Run, store: ModelStore, database_url: str, volume: Path
) -> None:
    """Both ways: what was registered there is refused here, in Python and over HTTP, and the other way round."""
    theirs, ours = run_there(REGISTER, Path(__file__).parent.parent), version("scikit-learn")
    assert theirs.startswith(f"{OTHER}.")
    said = f"Trained with scikit-learn {theirs}, but {ours} runs here"

    with pytest.raises(EnvironmentMismatchError, match=said.replace(".", r"\.")):
        store.open(store.get(NAME, 1))
    assert [(t.sort.word, t.found) for t in store.fsck().troubles] == [("refused", said)]
    with api_process(database_url, volume) as api:
        problem = problem_of(api.predict(ROWS, model=NAME), 503, "environment-mismatch")
    assert (problem["detail"], problem["step"]) == (said, "environment")

    rows = [[0.0], [1.0], [2.0]]
    store.register(Ridge().fit(rows, [0.0, 1.0, 2.0]), "ours", example=rows)
    assert run_there(LOAD, "ours") == f"Trained with scikit-learn {ours}, but {theirs} runs here"


@pytest.mark.slow
def test_a_store_that_allows_it_asks_for_the_golden_rows(
    run_there: Run, connect: Callable[..., ModelStore], database_url: str, volume: Path
) -> None:
    """Where the settings allow another minor version, the predictions must still be the same: of a Ridge they are."""
    run_there(REGISTER, Path(__file__).parent.parent)

    with api_process(database_url, volume, allow_sklearn_mismatch="true") as api:
        assert api.predict(ROWS, model=NAME).status_code == 200
    assert connect(allow_sklearn_mismatch=True).fsck().status == 0
