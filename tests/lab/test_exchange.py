"""Exporting and importing from a notebook and from the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from bodega_db.errors import BundleError

Run = Callable[..., "tuple[int | str, str]"]


def test_a_notebook_exports_and_imports(two: ModuleType, tmp_path: Path) -> None:
    """One version, or all of a model, goes into a file and comes back under another name, as a table."""
    exported = two.export("penguins", tmp_path / "all.bodega")
    again = two.export(["penguins@1"], str(tmp_path / "all.bodega"), overwrite=True)
    imported = two.import_bundle(tmp_path / "all.bodega", name="birds")

    assert (len(exported), len(again), len(imported)) == (2, 1, 1)
    assert two.get("birds@1").digest == two.get("penguins@1").digest
    with pytest.raises(BundleError, match="from this store"):
        two.import_bundle(tmp_path / "all.bodega")


def test_the_commands_say_what_went_where(two: ModuleType, run: Run, tmp_path: Path) -> None:
    """Each version is named with the number it had and the one it has; programs get JSON."""
    file = str(tmp_path / "some.bodega")
    out = run("export", "penguins@1", "penguins@2", "--to", file)
    counted = json.loads(run("export", "penguins", "--to", file, "--overwrite", "--json")[1])
    came = run("import", file, "--as", "birds")
    again = json.loads(run("import", file, "--as", "birds", "--json")[1])

    assert out == (0, f"{file} holds penguins@1, penguins@2\n")
    assert [version["version"] for version in counted["versions"]] == [1, 2]
    assert came == (0, "birds@1 was penguins@1\nbirds@2 was penguins@2\n")
    assert [version["model"] for version in again["versions"]] == ["birds", "birds"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "pinguins", "--to", "x.bodega"), "no model named pinguins"),
        (("export", "penguins", "--to", "."), "is there already"),
        (("import", "nothing.bodega"), "cannot be read"),
    ],
)
def test_what_is_refused_ends_with_status_1(
    two: ModuleType,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    """What cannot be done is said on standard error, and no file is left."""
    monkeypatch.chdir(tmp_path)
    said, written = run(*arguments)

    assert words in str(said)
    assert written == ""
    assert list(tmp_path.glob("*.bodega*")) == []
