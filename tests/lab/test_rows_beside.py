"""Who registers a model whose answers depend on other rows is told so, and what it means for callers."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Api
from fitting import Fitted
from sklearn.dummy import DummyClassifier


def test_a_model_that_looks_at_other_rows_is_registered_with_a_warning(
    lab: ModuleType, fitted: Fitted, start_api: Callable[..., Api], run: Callable[..., "tuple[int | str, str]"]
) -> None:
    """The warning, the receipt, `show` and GET say the same, and a model that answers each row by itself has none."""
    chance = DummyClassifier(strategy="uniform", random_state=1).fit(fitted.X, fitted.y)

    with pytest.warns(UserWarning, match="chance@1 answers a row otherwise when other rows are asked with it") as told:
        version = lab.register(chance, "chance", example=fitted.X)
    by_itself = lab.register(fitted.model, "tree", example=fitted.X)

    assert "rows of one request are answered together" in str(told[0].message)
    assert "16384 rows" in str(told[0].message)
    assert told[0].filename == __file__
    assert "rows      answered together: those of one request, at most 16384 of a table" in str(version)
    assert "rows      each is answered by itself" in str(by_itself)
    assert "answered together" in version._repr_html_()
    assert "answered together" in run("show", "chance@1")[1]
    api = start_api()
    said = [api.client.get(f"/models/{name}/versions/1").json()["signature"]["row_wise"] for name in ("chance", "tree")]
    assert said == [False, True]


def test_an_import_warns_as_a_registration_does(
    lab: ModuleType, fitted: Fitted, tmp_path: Path, run: Callable[..., "tuple[int | str, str]"]
) -> None:
    """The notebook's warning names the version here, and no other; the command says the same on standard error."""
    with pytest.warns(UserWarning, match="m@1 answers"):
        lab.register(DummyClassifier(strategy="uniform", random_state=1).fit(fitted.X, fitted.y), "m", example=fitted.X)
    lab.register(fitted.model, "m", example=fitted.X)
    lab.export("m", tmp_path / "both.bodega")

    with pytest.warns(UserWarning, match="answers a row otherwise when other rows are asked with it") as told:
        lab.import_bundle(tmp_path / "both.bodega", name="other")
    program = "import sys; from bodega.cli import main; main()"
    command = [sys.executable, "-c", program, "import", str(tmp_path / "both.bodega"), "--as", "other"]
    run("models")  # for the settings in the environment
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert [str(each.message).partition(" ")[0] for each in told] == ["other@1"]
    assert told[0].filename == __file__
    assert done.stdout == "other@1 was m@1\nother@2 was m@2\n"
    assert done.stderr.count("Warning: other@1 answers a row otherwise when other rows") == 1
    assert "other@2" not in done.stderr
