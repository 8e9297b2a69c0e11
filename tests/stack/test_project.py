"""The files around the code say what is true: the workflow, the hooks and the citation fit the packages."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
MEMBERS = ("model", "db", "lab", "api")
VERSIONS = ["3.11", "3.12", "3.13", "3.14"]


def read_yaml(name: str) -> Any:
    """Read a YAML file of the checkout."""
    return yaml.safe_load((ROOT / name).read_text())


def project(member: str) -> dict[str, Any]:
    """Return the metadata of a member."""
    found: dict[str, Any] = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
    return found


def test_the_workflow_runs_the_checks_on_every_supported_python() -> None:
    """GitHub Actions runs `.ci/run`, and nothing else, on each version of Python that the README names."""
    job = read_yaml(".github/workflows/ci.yml")["jobs"]["checks"]

    assert job["strategy"]["matrix"]["python"] == VERSIONS
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == "bash .ci/run"
    assert f"Python {VERSIONS[0]} to {VERSIONS[-1]}" in (ROOT / "README.md").read_text()
    assert {project(member)["requires-python"].split(",")[0] for member in MEMBERS} == {f">={VERSIONS[0]}"}


def test_the_hooks_are_local_and_are_the_checks_of_ci() -> None:
    """A hook downloads nothing: it runs a program of the checkout's .venv, and CI runs the same one."""
    (source,) = read_yaml(".pre-commit-config.yaml")["repos"]
    programs = {hook["entry"].split()[0] for hook in source["hooks"]}

    assert source["repo"] == "local"
    assert {hook["language"] for hook in source["hooks"]} == {"system"}
    assert programs == {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/lint-imports"}
    assert all(program in (ROOT / ".ci" / "run").read_text() for program in programs)


def test_the_citation_has_the_version_and_the_licence_of_the_packages() -> None:
    """CITATION.cff names the version that `bodega --version` prints."""
    citation = read_yaml("CITATION.cff")

    assert {project(member)["version"] for member in MEMBERS} == {citation["version"]}
    assert citation["license"] == "Apache-2.0"
    assert re.search(r"Apache License\s+Version 2\.0", (ROOT / "LICENSE").read_text())


def test_a_report_in_private_is_offered_and_no_address_is_invented() -> None:
    """SECURITY.md and the templates lead to private reports, and none of these pages has an e-mail address."""
    pages = [ROOT / "SECURITY.md", ROOT / "CODE_OF_CONDUCT.md", *(ROOT / ".github").rglob("*.*")]

    assert "Report a vulnerability" in (ROOT / "SECURITY.md").read_text()
    assert "SECURITY.md" in (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug_report.yml").read_text()
    assert [page for page in pages if re.search(r"\w@\w+\.\w", page.read_text())] == []
