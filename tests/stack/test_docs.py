"""The documents hold what they say: their snippets run, their links resolve, their settings and commands exist."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bodega_db.settings import Settings
from conftest import Api

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
WITH_SNIPPETS = (
    "README.md",
    "docs/administration.md",
    "docs/choosing.md",
    "docs/exchange.md",
    "docs/life.md",
    "docs/prediction.md",
    "docs/registration.md",
    "docs/search.md",
)
ADDRESS = "http://127.0.0.1:8000"
ANYTHING = "…"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"([^\"]*)\")?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
VARIABLE = re.compile(r"\bBODEGA_[A-Z_]+[A-Z]\b")
SETTING = re.compile(r"^\| `(BODEGA_\w+)` \| (?:`([^|]*)`|([^|]*)) \|", re.MULTILINE)
COMMAND = re.compile(r"(?:`|^|bash )(?:\./)?bodega ([a-z]+(?:-[a-z]+)*)", re.MULTILINE)

# Runs one block after the other in one namespace and shows the value of a last expression, as a notebook does.
CELLS = """
import ast, json, sys
names = {"__name__": "__main__"}
for line in sys.stdin:
    body = ast.parse(json.loads(line)).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<document>", "exec"), names)
    if last:
        exec(compile(ast.Interactive([last]), "<document>", "single"), names)
    print("\\x04", flush=True)
"""


class Block(NamedTuple):
    """A fenced block of a document."""

    language: str
    text: str

    @property
    def runs(self) -> bool:
        """Tell whether the block is Python, or a call of the API."""
        return self.language == "python" or (self.language == "sh" and "curl " in self.text)


class Notebook:
    """A Python of its own that runs the cells of one document."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def run(self, code: str) -> str:
        """Run a cell and return what it printed; fail with its traceback."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        printed = ""
        for line in self.process.stdout:
            if line == "\x04\n":
                return printed
            printed += line
        pytest.fail(f"this cell failed:\n{code}\n{printed}")


@pytest.fixture
def api(start_api: Callable[..., Api], tmp_path: Path) -> Api:
    """An API that takes changes with the token in the reader's folder."""
    (tmp_path / "admin-token").touch(0o600)
    (tmp_path / "admin-token").write_text("hz8mKq2vWc5tRb7xNf4j")
    return start_api(admin_token_file=tmp_path / "admin-token")


@pytest.fixture
def notebook(api: Api, database_url: str, volume: Path, tmp_path: Path) -> Iterator[Notebook]:
    """A notebook that finds this test's catalog, volume and API in its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BODEGA_")}
    ours = {"BODEGA_DATABASE_URL": database_url, "BODEGA_MODELS": str(volume), "BODEGA_API_URL": api.url}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CELLS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=kept | ours,
        cwd=tmp_path,
        text=True,
    ) as process:
        yield Notebook(process)


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    return [Block(language, text) for language, text in FENCE.findall(page.read_text())]


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def name_of(page: Path) -> str:
    """Return a page's path in the checkout."""
    return page.relative_to(ROOT).as_posix()


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose_of(page)))
    return {heading.strip().replace(" ", "-") for heading in plain}


def compare(shown: Any, answer: Any, place: str = "the answer") -> None:
    """Fail unless the answer is what is shown: … stands for anything, and a number may be shown with fewer digits."""
    if shown == ANYTHING:
        return
    if isinstance(shown, dict) and isinstance(answer, dict):
        assert list(shown) == list(answer), f"{place} has other keys"
        for key in shown:
            compare(shown[key], answer[key], f"{place}.{key}")
    elif isinstance(shown, list) and isinstance(answer, list):
        assert len(shown) == len(answer), f"{place} has another length"
        for number, (one, other) in enumerate(zip(shown, answer, strict=True)):
            compare(one, other, f"{place}[{number}]")
    elif isinstance(shown, Decimal) and isinstance(answer, float):
        assert round(answer, -int(shown.as_tuple().exponent)) == float(shown), place
    elif isinstance(shown, str) and isinstance(answer, str):
        assert matches(shown, answer), f"{place} is {answer!r}"
    else:
        assert (type(shown), shown) == (type(answer), answer), place


def matches(shown: str, text: str) -> bool:
    """Tell whether a text is what is shown, where … stands for any characters."""
    pattern = ".*?".join(re.escape(part.rstrip()) if part.strip() else part for part in shown.split(ANYTHING))
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def run_curl(command: str, url: str, folder: Path) -> Any:
    """Run a command as somebody who pastes it in a folder, at the address of this test's API."""
    assert ADDRESS in command
    pasted = ["sh", "-euc", command.replace(ADDRESS, url)]
    done = subprocess.run(pasted, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout) if done.stdout else None


@pytest.mark.parametrize("name", WITH_SNIPPETS)
def test_the_snippets_of_a_document_run(name: str, notebook: Notebook, api: Api, tmp_path: Path) -> None:
    """What a document shows below a snippet is what a reader gets who runs it."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed, and the documents call the API with it")
    result: Any = None

    for block in blocks_of(ROOT / name):
        if block.language == "json":
            compare(json.loads(block.text, parse_float=Decimal), result)
        elif block.language == "text":
            assert matches(block.text.strip(), result.strip()), result
        elif block.runs:
            result = notebook.run(block.text) if block.language == "python" else run_curl(block.text, api.url, tmp_path)


def test_every_document_with_snippets_is_run() -> None:
    """No Python and no curl stands in a document without being run."""
    found = {name_of(page) for page in PAGES if any(block.runs for block in blocks_of(page))}

    assert found == set(WITH_SNIPPETS)
    assert {"python", "sh", "json", "text"} <= {block.language for block in blocks_of(ROOT / "README.md")}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file of the checkout, a heading in it, and for a proof a test in it."""
    for target, proof in LINK.findall(prose_of(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page

        assert linked.exists(), f"{target} does not exist"
        assert linked.is_relative_to(ROOT), f"{target} lies outside of the checkout"
        assert not anchor or anchor in anchors_of(linked), f"{target} names no heading"
        assert not proof or f"def {proof}(" in linked.read_text(), f"{proof} is no test in {target}"


def test_every_promise_has_a_proof() -> None:
    """Each promise links to a test that holds it, each section says where its promises end, and the README leads there."""
    page = ROOT / "docs" / "promises.md"
    _, *sections = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    promised = [
        promise
        for section in sections
        for promise in re.split(r"^- ", section.partition("**Limits.**")[0], flags=re.MULTILINE)[1:]
    ]

    assert len(promised) >= 30
    assert [promise for promise in promised if not any(proof for _, proof in LINK.findall(promise))] == []
    assert [section for section in sections if "**Limits.** " not in section] == []
    assert "docs/promises.md" in {target for target, _ in LINK.findall((ROOT / "README.md").read_text())}


def test_the_readme_is_short() -> None:
    """The README has at most 120 lines: one sentence, a picture, a start, and links."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_every_setting_is_documented_and_no_other() -> None:
    """docs/settings.md names each variable that the program reads, and none that it does not read."""
    sources = [ROOT / "bodega", ROOT / "compose.yaml", *ROOT.glob("*/src/**/*.py")]
    read = {name for source in sources for name in VARIABLE.findall(source.read_text())}
    settings = {f"BODEGA_{name.upper()}" for name in Settings.model_fields}
    page = (ROOT / "docs" / "settings.md").read_text()

    assert settings | read == set(VARIABLE.findall(page)) == {row[0] for row in SETTING.findall(page)}


def test_the_documented_defaults_are_the_defaults(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setting every variable to the default in docs/settings.md changes nothing."""
    plain = make_settings()
    for name, default, _ in SETTING.findall((ROOT / "docs" / "settings.md").read_text()):
        if default and name.removeprefix("BODEGA_").lower() in Settings.model_fields:
            monkeypatch.setenv(name, default)

    assert make_settings() == plain
    assert {name for name in Settings.model_fields if f"BODEGA_{name.upper()}" not in os.environ} == {
        name for name, field in Settings.model_fields.items() if field.is_required() or not field.default
    } - {
        "allow_sklearn_mismatch",
        "allowed_hosts",
        "formats",
        "keep_warm",
        "scrub_quarantine",
        "share_arrays",
        "trusted_proxies",
        "trusted_types",
    }


def test_the_example_of_an_env_file_has_every_choice_of_compose() -> None:
    """.env.example explains each variable that compose.yaml reads, with the default that it has there, and no other."""
    compose = (ROOT / "compose.yaml").read_text()
    read = set(re.findall(r"\$\{(BODEGA_\w+)", compose)) | set(
        re.findall(r"^    (BODEGA_\w+):$", compose, re.MULTILINE)
    )
    read |= set(re.findall(r"^  (BODEGA_\w+):$", compose, re.MULTILINE))
    defaults = dict(re.findall(r"\$\{(BODEGA_\w+):-([\w.]+)\}", compose))
    example = dict(re.findall(r"^#(BODEGA_\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert set(example) == read
    assert {name: example[name] for name in defaults} == defaults


def test_every_command_in_a_document_exists() -> None:
    """`./bodega NAME` in a document is a command of the program, and every command is in some document."""
    from bodega.cli import app

    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    named = {name for page in PAGES for name in COMMAND.findall(page.read_text())}

    assert named == commands
