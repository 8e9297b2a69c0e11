"""How a version shows itself: in one line, as text, as HTML, and as a command that works when it is pasted."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import ModuleType
from typing import Any

import bodega
import numpy as np
import pandas as pd
import pytest
import searches
from bodega.display.receipts import Receipt, curl_command
from bodega_db.settings import Settings
from conftest import Api
from fitting import Fitted
from IPython.lib.pretty import pretty
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

HOSTILE = "</pre><script>alert('x')</script> \x1b[2J \u202e & \"quoted\""
NAMES = [
    "it's",
    'so "quoted"',
    "$HOME `id` $(id)",
    "back\\slash",
    "-d @/etc/passwd",
    "größe 🐧",
    "two\nlines",
    "<b>&amp;</b>",
    "!history",
    "turned \u202e round",
]
VOID = {"br", "hr", "img", "input", "meta", "link"}


class Page(HTMLParser):
    """The elements and the text of a piece of HTML, which must be closed in the order in which they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def hostile(lab: ModuleType, fitted: Fitted) -> Receipt:
    """A version whose note, tag and columns try to break out."""
    X = fitted.X.set_axis(["<img src=x onerror=alert(1)>", "a'b", 'c"d', "e\x1b[31m"], axis="columns")
    model = DecisionTreeClassifier(max_depth=2).fit(X, fitted.y)
    return lab.register(  # type: ignore[no-any-return]
        model, "hostile", example=X, metrics={"accuracy": 0.987654321}, tags={"by": HOSTILE}, note=HOSTILE
    )


def test_a_version_shows_what_matters(lab: ModuleType, fitted: Fitted) -> None:
    """The text of a version says name, status, sha256, size, metrics, columns, answers and where it is served."""
    version = lab.register(
        fitted.model,
        "penguins",
        example=fitted.X,
        metrics={"accuracy": 0.97},
        tags={"team": "birds"},
        note="first\nsecond",
    )
    text = str(version)

    for words in (
        *("penguins@1", "candidate", version.sha256, f"{version.size_bytes / 1000:.1f} kB (skops)", "accuracy 0.97"),
        *(
            "team=birds",
            "first\n            second",
            "dataframe with 4 columns",
            "bill_length_mm: number",
            "seen 32.1 to 59.6",
        ),
        *("predict: string: Adelie, Chinstrap, Gentoo", "predict_proba: 3 numbers: Adelie", version.url, version.curl),
    ):
        assert words in text


def test_a_version_in_a_list_takes_one_line(lab: ModuleType, fitted: Fitted) -> None:
    """Alone in a terminal notebook a version shows in full, inside of something in one line."""
    version = lab.register(fitted.model, "penguins", example=fitted.X, metrics={"accuracy": 0.97})

    assert repr(version) == "<bodega version penguins@1: candidate, accuracy=0.97>"
    assert pretty(version) == str(version)
    assert pretty([version]) == f"[{version!r}]"


def test_html_escapes_everything_and_runs_nothing(hostile: Receipt) -> None:
    """The HTML of a version has no script, no handler and no address to fetch, whatever the version holds."""
    page = Page(hostile._repr_html_())

    assert page.tags <= {"div", "b", "table", "tr", "th", "td", "details", "summary", "pre"}
    assert page.attributes <= {"style"}
    assert "</pre><script>alert('x')</script>" in page.text
    assert "<img src=x onerror=alert(1)>" in page.text
    assert hostile.curl in page.text


def test_html_leaves_colours_to_the_theme(hostile: Receipt) -> None:
    """The HTML names no colour of its own, so it can be read on a dark and on a light background."""
    html = hostile._repr_html_()

    assert "#" not in html.replace("&#x", "")
    assert "rgb" not in html
    assert html.count("background") == html.count("background:transparent")


def test_control_characters_are_shown_and_not_obeyed(hostile: Receipt) -> None:
    """A note that would clear the terminal or turn the text round is shown with its escapes."""
    shown = str(hostile)

    assert "\x1b" not in shown + hostile._repr_html_()
    assert "\u202e" not in shown + hostile._repr_html_()
    assert "\\x1b[2J \\u202e" in shown


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_works_as_pasted(api: Api, make_settings: Callable[..., Settings], fitted: Fitted) -> None:
    """The command that a version shows, pasted into a shell, answers the first golden row, whatever the columns' names."""
    rows = np.vstack([fitted.X.to_numpy()] * 2)[: len(fitted.X)]
    X = pd.DataFrame(np.hstack([rows, rows, rows])[:, : len(NAMES)], columns=NAMES)
    settings = make_settings()
    bodega.connect(settings.database_url.get_secret_value(), settings.models, api_url=f"{api.url}/")
    version = bodega.register(DecisionTreeClassifier(max_depth=3).fit(X, fitted.y), "penguins", example=X)
    bodega.disconnect()
    answers = [
        json.loads(subprocess.run([shell, "-c", version.curl], capture_output=True, text=True, check=True).stdout)
        for shell in ("sh", "bash")
    ]

    assert version.url == f"{api.url}/predict?model=penguins&version=1"
    for answer in answers:
        assert answer["predictions"] == version.golden.outputs["predict"][:1]
        assert answer["sha256"] == version.sha256


def test_the_curl_hides_nothing() -> None:
    """A command to paste is one line of visible characters, and its body still means the same."""
    body = {"rows": [{"turned \u202e round": "\x7f", "größe": 1}]}
    command = curl_command("http://127.0.0.1/predict", body)

    assert command.isprintable()
    assert json.loads(command.split(" -d ")[1].strip("'")) == body


def test_a_version_says_which_notebook_made_it(
    lab: ModuleType, fitted: Fitted, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text names the notebook that registered the version."""
    monkeypatch.setattr("__main__.__vsc_ipynb_file__", str(tmp_path / "trial.ipynb"), raising=False)
    version = lab.register(fitted.model, "penguins", example=fitted.X)

    assert f"made by   {tmp_path / 'trial.ipynb'}" in str(version)


def test_the_moment_is_given_with_its_zone(lab: ModuleType, fitted: Fitted) -> None:
    """The time of registration is shown with its time zone, and is now."""
    version = lab.register(fitted.model, "penguins", example=fitted.X)

    assert abs((datetime.now(UTC) - version.created_at).total_seconds()) < 60
    assert f"{version.created_at:%Y-%m-%d %H:%M} UTC" in str(version)


@pytest.mark.filterwarnings("ignore")
def test_a_receipt_says_what_is_stored_of_a_search(lab: ModuleType) -> None:
    """What was registered and what is stored of it stand side by side, and the parameters are those that were found."""
    X, y = searches.table()
    search, threshold = searches.fit("grid"), searches.fit("threshold")
    piped = make_pipeline(StandardScaler(), searches.search()).fit(X, y)

    receipt = lab.register(search, "searched", example=X)

    assert f"stored as best_estimator_ of GridSearchCV, C={search.best_params_['C']:g}" in str(receipt)
    assert "<th" in receipt._repr_html_().partition("stored as")[0]
    assert receipt.params["C"] == search.best_params_["C"]
    assert type(lab.load("searched@1")) is LogisticRegression
    told = str(lab.register(threshold, "tuned", example=X))
    assert (
        "stored as estimator_ and best_threshold_ of TunedThresholdClassifierCV, "
        f"threshold={threshold.best_threshold_:.6g}" in told
    )
    assert "stored as steps.gridsearchcv: best_estimator_ of GridSearchCV" in str(lab.register(piped, "p", example=X))


def test_a_receipt_survives_any_lineage(lab: ModuleType, fitted: Fitted) -> None:
    """Lineage is anybody's: what does not look like ours is shown as far as it can be."""
    receipt = lab.register(fitted.model, "penguins", example=fitted.X)

    for told in (3, "x", [3], [{}], [{"best_params": 3, "what": "<b>", "type": "\x1b"}], {"a": 1}):
        changed = replace(receipt, lineage={"stored_as": told})
        assert "\x1b" not in str(changed)
        Page(changed._repr_html_())
