"""Mutation tests of the code that verifies: each small change of it must make a test fail.

`.venv/bin/python tools/mutate.py [MUTANT…]` makes a copy of the program that mutmut can change, runs the tests below
against each change, shows those that no test noticed, and exits with 1 if there is one that is not among those that
`tools/survivors.toml` names, with the reason. A MUTANT is a pattern such as
'bodega_db.volume.files.*'; without one all are made.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERIFYING = (
    "bodega_db/volume/folder",
    "bodega_db/volume/files",
    "bodega_db/volume/marker",
    "bodega_model/formats/archive_limits",
    "bodega_model/formats/codecs",
)
# They run in one process, where a change takes effect; what starts an API of its own would test the unchanged one.
TESTS = (
    "tests/db/test_artifacts.py",
    "tests/model/test_archives.py",
    "tests/model/test_formats.py",
    "tests/model/test_refusals.py",
    "tests/faults/test_bytes.py",
    "tests/db/test_registration.py::test_looking_at_a_volume_marks_nothing",
    "tests/db/test_registration.py::test_a_foreign_volume_is_refused",
)
MUTMUT = """
[tool.mutmut]
source_paths = ["src/bodega_db", "src/bodega_model"]
only_mutate = [{modules}]
also_copy = ["src", "migrations"]
timeout_multiplier = 3.0
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist"]
pytest_add_cli_args_test_selection = [{tests}, "-m", "not slow", "-k", "not changes_while"]
# What an error says is worded for people; that there is one, and which, is tested.
do_not_mutate_patterns = ['^\\s*raise \\w+\\(f?"', '^\\s*f?"[^"]*"[,)]*$']
"""
NOTICED = ("killed", "timeout", "segfault", "caught by type check")
WRAPPERS = ("contextlib.contextmanager", "property")


def main(patterns: list[str]) -> int:
    """Make the mutants, try them, and tell which survived unexpectedly."""
    known = tomllib.loads((ROOT / "tools" / "survivors.toml").read_text())
    with tempfile.TemporaryDirectory(prefix="bodega-mutants-") as path:
        place = Path(path)
        prepare(place)
        run(place, "run", *patterns, check=True)
        outcomes = read_outcomes(run(place, "results", "--all", "true"))
        unnoticed = {name for name, outcome in outcomes.items() if outcome not in NOTICED}
        unexpected = sorted(name for name in unnoticed if not any(fnmatch(name, pattern) for pattern in known))
        for mutant in unexpected:
            print(run(place, "show", mutant))
    print(
        f"Of {len(outcomes)} mutants no test noticed {len(unnoticed)}, of which {len(unexpected)} are not accounted for"
    )
    return 1 if unexpected or not outcomes else 0


def prepare(place: Path) -> None:
    """Lay the program out as mutmut wants it: all packages in one `src`, all functions without decorators."""
    place.chmod(0o755)  # Postgres runs as nobody
    for package in ("model/src/bodega_model", "db/src/bodega_db", "lab/src/bodega", "api/src/bodega_api"):
        shutil.copytree(ROOT / package, place / "src" / Path(package).name)
    shutil.copytree(ROOT / "tests", place / "tests")
    shutil.copytree(ROOT / "db" / "migrations", place / "migrations")
    for module in VERIFYING:
        file = place / "src" / f"{module}.py"
        file.write_text(undecorate(file.read_text()))
    (place / "pyproject.toml").write_text(
        (ROOT / "pyproject.toml").read_text()
        + MUTMUT.format(modules=_listed(f"*/{m}.py" for m in VERIFYING), tests=_listed(TESTS))
    )


def _listed(values: Iterable[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)


def undecorate(source: str) -> str:
    """Write `@property def f` as `def f` and `f = property(f)`: mutmut leaves alone what has a decorator."""
    lines = source.splitlines()
    for node in sorted(_decorated(ast.parse(source)), key=lambda node: -node.lineno):
        decorator = node.decorator_list[0]
        indent = " " * node.col_offset
        lines.insert(node.end_lineno or 0, f"{indent}{node.name} = {ast.unparse(decorator)}({node.name})")
        del lines[decorator.lineno - 1]
    return "\n".join(lines) + "\n"


def _decorated(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return (f for f in functions if len(f.decorator_list) == 1 and ast.unparse(f.decorator_list[0]) in WRAPPERS)


def run(place: Path, *arguments: str, check: bool = False) -> str:
    """Run mutmut; what it says while it runs goes to the terminal."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BODEGA_")}
    done = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=place,
        env=environment,
        check=check,
        text=True,
        stdout=None if check else subprocess.PIPE,
    )
    return done.stdout or ""


def read_outcomes(results: str) -> dict[str, str]:
    """Read what became of each mutant that was tried."""
    lines = (line.strip().partition(": ") for line in results.splitlines())
    return {name: outcome for name, colon, outcome in lines if colon and outcome != "not checked"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
