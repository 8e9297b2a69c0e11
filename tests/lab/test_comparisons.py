"""Comparing two versions in a notebook and from the command line."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from bodega import cli
from bodega_db.errors import InvalidReferenceError, VersionNotFoundError
from fitting import Fitted
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC


@pytest.fixture
def compared(lab: ModuleType, fitted: Fitted) -> ModuleType:
    """The module `bodega`, with a version, one like it, and one without its first column."""
    lab.register(fitted.model, "penguins", example=fitted.X, metrics={"accuracy": 0.9}, tags={"team": "birds"})
    lab.register(fitted.model, "penguins", example=fitted.X, metrics={"accuracy": 0.95}, note="[b]better[/b]")
    fewer = fitted.X.iloc[:, 1:]
    lab.register(type(fitted.model)().fit(fewer, fitted.y), "penguins", example=fewer, params={"x": "\x1b[2J"})
    return lab


def test_a_notebook_sees_what_differs(compared: ModuleType) -> None:
    """The verdict comes first, then each difference by its place; the same as HTML."""
    same = compared.diff("penguins@1", "penguins@2")
    other = compared.diff("penguins@1", "penguins@3")

    assert (same.compatible, other.compatible) == (True, False)
    assert repr(same) == "<bodega diff of penguins@1 and penguins@2: same>"
    assert str(same).splitlines()[0] == "Callers of penguins@1 can call penguins@2: it takes and answers the same."
    assert "  metrics.accuracy: 0.9 → 0.95\n  tags.team: birds → none\n  artifact: the same bytes" in str(same)
    assert "(breaks callers)" in str(other).splitlines()[1]
    assert "Callers of penguins@1 cannot call penguins@3." in other._repr_html_()
    assert "\x1b" not in str(other) + other._repr_html_()


@pytest.mark.filterwarnings("ignore")
def test_a_note_says_what_is_given_up_and_that_it_was_not_used(lab: ModuleType, fitted: Fitted) -> None:
    """Another algorithm is a note: of many columns it is told once what is the same of all."""
    lab.register(fitted.model, "penguins", example=fitted.X)
    lab.register(GaussianNB().fit(fitted.X, fitted.y), "penguins", example=fitted.X)
    lab.register(SVC().fit(fitted.X, fitted.y), "penguins", example=fitted.X)

    narrower = lab.diff("penguins@1", "penguins@3")

    assert (narrower.verdict, narrower.compatible) == ("note", True)
    assert repr(narrower) == "<bodega diff of penguins@1 and penguins@3: note>"
    assert str(narrower).splitlines()[:4] == [
        "Callers of penguins@1 can call penguins@3: it is wider or narrower, but not in what was shown, promised or asked.",
        "  columns bill_length_mm, bill_depth_mm, flipper_length_mm and 1 more: no longer takes missing values, of which "
        "the example had none",
        "  output predict_proba: is gone; it was neither promised nor asked",
        "  output decision_function: is new",
    ]
    assert lab.promote("penguins@1").number == 1
    assert lab.promote("penguins@3").number == 3


def test_a_promise_is_shown_and_kept(lab: ModuleType, fitted: Fitted) -> None:
    """The receipt and the signature have it, and a version without the output is told to break callers."""
    promised = lab.register(fitted.model, "penguins", example=fitted.X, outputs=["predict_proba"])
    lab.register(SVC().fit(fitted.X, fitted.y), "penguins", example=fitted.X)

    difference = str(lab.diff("penguins@1", "penguins@2"))

    assert "predict_proba: 3 numbers: Adelie, Chinstrap, Gentoo; promised" in str(promised)
    assert "; promised" in promised._repr_html_()
    assert promised.signature.promised == ("predict_proba",)
    assert difference.splitlines()[:2] == [
        "Callers of penguins@1 cannot call penguins@2.",
        "  output predict_proba: is gone; predict_proba was promised when it was registered (breaks callers)",
    ]


def test_versions_in_quarantine_can_be_compared(compared: ModuleType) -> None:
    """To look at a version is no harm, wherever it stands."""
    compared.quarantine("penguins@1", reason="a drill")

    assert compared.diff("penguins@1", "penguins@2").compatible


def test_what_is_not_there_cannot_be_compared(compared: ModuleType) -> None:
    """A reference to nothing is refused as everywhere."""
    with pytest.raises(VersionNotFoundError):
        compared.diff("penguins@1", "penguins@9")
    with pytest.raises(InvalidReferenceError):
        compared.diff("penguins@1", 2)


def test_the_command_compares(
    compared: ModuleType,
    database_url: str,
    volume: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`bodega diff` writes what the notebook shows; with --json the same as values."""
    monkeypatch.setenv("BODEGA_DATABASE_URL", database_url)
    monkeypatch.setenv("BODEGA_MODELS", str(volume))
    written = []
    for more in ((), ("--json",)):
        monkeypatch.setattr(sys, "argv", ["bodega", "diff", "penguins@1", "penguins@2", *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        written.append(capsys.readouterr().out)

    assert written[0].strip() == str(compared.diff("penguins@1", "penguins@2"))
    assert json.loads(written[1])["metrics"] == {"accuracy": {"before": 0.9, "after": 0.95}}
    assert json.loads(written[1])["compatible"] is True
