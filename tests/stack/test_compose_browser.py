"""A person at a browser: JupyterLab runs the first notebook from top to bottom, and /docs calls the API."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from containers import Deployment
from lab_work import NOTEBOOK

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

PATIENCE = 180_000  # milliseconds; the notebook trains two models
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# Nothing of this asks the network: a browser that looks for updates is refused here, and slow.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The machine's own Chromium, without a window."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator["Page"]:
    """A fresh page that keeps what it asked of which host, and what it complained about."""
    page = browser.new_page(viewport={"width": 1400, "height": 1600})
    page.set_default_timeout(PATIENCE)
    yield page
    page.close()


def watch(page: "Page") -> tuple[set[str], list[str]]:
    """Collect the hosts that a page asks, and the errors of its scripts."""
    hosts: set[str] = set()
    errors: list[str] = []

    def note(request: "Request") -> None:
        if request.url.startswith(("http", "ws")):
            hosts.add(request.url.split("/")[2])

    page.on("request", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return hosts, errors


def show(page: "Page", name: str, capsys: pytest.CaptureFixture[str], folder: Path) -> Path:
    """Keep a screenshot and say where it lies."""
    path = folder / f"{name}.png"
    page.screenshot(path=path)
    with capsys.disabled():
        print(f"\nscreenshot: {path}")
    return path


def test_a_person_runs_the_first_notebook(
    stack: Deployment, page: "Page", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JupyterLab opens with the token, runs all cells of the notebook without an error, and asks no other host."""
    hosts, errors = watch(page)
    token = (stack.volumes / "secrets" / "lab" / "jupyter_token").read_text().strip()
    host = f"127.0.0.1:{stack.ports['LAB']}"
    page.goto(f"http://{host}/lab/tree/{NOTEBOOK}?token={token}")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel)").first.wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.get_by_text("answered 86 rows as random forest does here").wait_for()
    page.get_by_text("served at").first.wait_for()
    failed = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count()
    show(page, "jupyterlab", capsys, tmp_path)
    with stack.client() as client:
        listed = client.get("/models", params={"model": "penguins"}).json()["versions"]

    assert failed == 0
    assert [version["version"] for version in listed] == [2, 1]
    assert hosts == {host}
    assert errors == []
    assert page.get_by_text("Would you like to get notified").count() == 0


def test_a_person_tries_the_api_in_its_docs(
    stack: Deployment, page: "Page", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """/docs shows every endpoint, and its "Try it out" gets the answer that the endpoint gives; no other host is asked."""
    hosts, errors = watch(page)
    host = f"127.0.0.1:{stack.ports['API']}"
    page.goto(f"http://{host}/docs")
    listing = page.locator(".opblock", has=page.locator("[data-path='/models']")).first
    listing.click()
    listing.get_by_role("button", name="Try it out").click()
    listing.get_by_role("button", name="Execute").click()
    listing.locator(".responses-inner .live-responses-table .response-col_status").get_by_text("200").wait_for()
    answer = listing.locator(".live-responses-table").inner_text()
    shown = {path.get_attribute("data-path") for path in page.locator("[data-path]").all()}
    show(page, "docs", capsys, tmp_path)

    assert {"/models", "/models/{name}", "/models/{name}/versions/{number}", "/predict", "/readyz"} <= shown
    assert '"versions"' in answer
    assert hosts == {host}
    assert errors == []
