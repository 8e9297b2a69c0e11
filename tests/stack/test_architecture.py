"""ARCHITECTURE.md is a map of the code as it is: every package is on it, and everything that it names exists."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
NAME = re.compile(r"`([a-z_]+)`")
PATH = re.compile(r"`([a-z_]+(?:/[a-z_]+)*)/?`(?!\]\()|\[`([a-z_]+(?:/[a-z_]+)*)`\]\(([^)#]+)\)")
CHANGES = 12


def load(path: Path) -> ModuleType:
    """Import a script of tools/."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load(ROOT / "tools" / "draw_structure.py")
MEMBERS: dict[str, str] = script.MEMBERS


def sources(member: str) -> Path:
    """Return the folder of a member's code."""
    return ROOT / member / "src" / MEMBERS[member]


def modules(folder: Path) -> set[str]:
    """Return the modules and packages in a folder."""
    found = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    return found - {"__init__"}


def rows(member: str) -> list[tuple[set[str], str]]:
    """Return the rows of a member's table: the names in the first cell, and the text of the second."""
    section = re.split(r"^##", PAGE.partition(f"### `{member}/`")[2], flags=re.MULTILINE)[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [(set(NAME.findall(first)), second) for first, second in cells]


def exists(path: str) -> bool:
    """Tell whether a path as the map writes it, `store/register`, is a module, a package or a folder of some member."""
    places = [ROOT, *(sources(member) for member in MEMBERS)]
    return any((place / path).is_dir() or (place / f"{path}.py").is_file() for place in places)


@pytest.mark.parametrize("member", MEMBERS)
def test_every_package_is_on_the_map_and_no_other(member: str) -> None:
    """The table of a member has each of its packages and modules once, and the picture stands above it."""
    named = [name for names, _ in rows(member) for name in sorted(names)]

    assert sorted(named) == sorted(modules(sources(member)))
    assert f"(docs/images/structure-{member}.svg)" in PAGE


@pytest.mark.parametrize("member", MEMBERS)
def test_every_module_that_the_map_names_exists(member: str) -> None:
    """What a row says of a package names only modules in it."""
    for names, text in rows(member):
        inside = set().union(*(modules(sources(member) / name) for name in names))

        assert set(NAME.findall(text)) <= inside | names, names


def test_every_path_that_the_map_names_exists() -> None:
    """A path such as `store/register` is a module of some member, and one that is a link leads to that module."""
    named = [(plain or linked, target) for plain, linked, target in PATH.findall(PAGE)]
    paths = [(path, target) for path, target in named if "/" in path or target]

    assert len(paths) > 40
    for path, target in paths:
        if "/" in path and not path.startswith(("docs", "tests", "tools")):
            assert exists(path), path
        if target:
            assert (ROOT / target).exists(), target
            assert target.removesuffix(".py").removesuffix("/__init__").endswith(path) or path in MEMBERS, (
                path,
                target,
            )


def test_the_map_answers_where_to_change_things() -> None:
    """Each of the changes names existing files in order, code before tests and documents."""
    section = PAGE.partition("## Where do I change …")[2].partition("\n## ")[0]
    answers = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]

    assert len(answers) == CHANGES + 1  # and the line below the head
    for change, files in answers[1:]:
        targets = re.findall(r"\]\(([^)]+)\)", files)
        assert len(targets) >= 3, change
        assert "src/" in targets[0], change
        assert any(target.startswith(("tests/", "docs/")) for target in targets), change


@pytest.mark.parametrize("member", MEMBERS)
def test_a_picture_is_drawn_from_the_imports(member: str) -> None:
    """docs/images has the picture that the script draws of this checkout."""
    drawn = dict(script.pictures())
    name = f"structure-{member}.svg"

    same = (ROOT / "docs" / "images" / name).read_text() == drawn[name]

    assert same, f"{name} is stale: run `.venv/bin/python tools/draw_structure.py`"


@pytest.mark.parametrize("when", script.COMMITS)
def test_the_pictures_of_before_and_after_are_drawn_from_their_commits(when: str) -> None:
    """The two pictures of the move are those that the script draws from the history."""
    drawn = script.picture_of(when)
    if drawn is None:
        pytest.skip("this clone has no such commit")

    assert (ROOT / "docs" / "images" / f"structure-{when}.svg").read_text() == drawn


def test_an_arrow_points_down_and_none_follows_from_others() -> None:
    """A picture shows a package above all that it imports, and leaves out an import that other arrows imply."""
    graph = {"top": {"middle", "floor"}, "middle": {"floor"}, "floor": set(), "beside": {"floor"}}

    reduced = script.without_shortcuts(graph)
    rows_drawn, ways = script.rows_of(graph)

    assert reduced["top"] == {"middle"}
    assert [row for row in rows_drawn if "floor" in row] == [rows_drawn[-1]]
    assert ["top", "top>floor>1", "floor"] in ways


def test_an_import_is_found_wherever_it_stands(tmp_path: Path) -> None:
    """Imports inside functions, of names and of modules count; those of other packages do not."""
    package = tmp_path / "shop"
    (package / "till").mkdir(parents=True)
    (package / "till" / "__init__.py").write_text("def pay():\n    from shop.till import drawer\n" + "#" * 500)
    (package / "till" / "drawer.py").write_text("import json\nimport shop.errors\nfrom shop.errors import TornError\n")
    (package / "errors.py").write_text("")

    assert script.read_imports(package) == {"errors": set(), "till": {"till.drawer"}, "till.drawer": {"errors"}}
