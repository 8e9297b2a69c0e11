"""The grammar of references, and which version each of them chooses."""

from typing import Any

import psycopg
import pytest
from bodega_db import reference as ref
from bodega_db.errors import (
    InvalidNameError,
    InvalidReferenceError,
    ModelAmbiguousError,
    ModelNotFoundError,
    VersionNotFoundError,
    VersionQuarantinedError,
)
from bodega_db.reference import check_model_name
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError
from hypothesis import given
from hypothesis import strategies as st
from penguins import classifier, example

Connection = psycopg.Connection[Any]

READ = {
    "penguins": ref.Default(),
    "penguins@3": ref.ByNumber(3),
    "penguins@latest": ref.Latest(),
    "penguins@production": ref.Production(),
    "penguins@stable": ref.ByAlias("stable"),
    "penguins@best:accuracy": ref.Best("accuracy", lowest=False),
    "penguins@best:log_loss:min": ref.Best("log_loss", lowest=True),
    "penguins@best:f1:max": ref.Best("f1", lowest=False),
}


@pytest.mark.parametrize(("written", "meant"), READ.items())
def test_references_are_read(written: str, meant: ref.Selector) -> None:
    """One grammar for Python, the command line and HTTP."""
    assert ref.parse_reference(written) == ("penguins", meant)


@pytest.mark.parametrize(
    "written",
    ["penguins@", "penguins@0", "penguins@-1", "penguins@99999999999", "penguins@best", "penguins@best:",
     "penguins@best:a:mid", "penguins@a b", "penguins@\u0661", "penguins@" + "1" * 5000, "penguins@1@2"],
)  # fmt: skip
def test_what_is_no_version_is_refused(written: str) -> None:
    """A version that cannot be read chooses nothing, least of all another one."""
    with pytest.raises(InvalidReferenceError, match="NAME@VERSION"):
        ref.parse_reference(written)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_our_words(written: str) -> None:
    """No text makes the parser fail in another way."""
    try:
        name, _ = ref.parse_reference(written)
    except (InvalidReferenceError, InvalidNameError):
        return
    assert ref.check_model_name(name) == name


def fill(store: ModelStore) -> None:
    """Register what `three` stands for."""
    for strength, accuracy, loss in ((1.0, 0.9, 0.3), (2.0, 0.95, 0.2), (3.0, 0.8, 0.5)):
        metrics = {"accuracy": accuracy, "loss": loss}
        store.register(classifier(strength), "penguins", example=example(), metrics=metrics)


@pytest.fixture
def three(store: ModelStore) -> ModelStore:
    """Three versions of one model with two metrics, none of them in production."""
    return store


FURNISHED = {"three": fill}


def chosen(store: ModelStore, reference: str) -> tuple[int, str]:
    """Return the number that a reference chooses, and why."""
    resolution = store.resolve(reference)
    return resolution.version.number, resolution.reason


def test_choosing_among_candidates(three: ModelStore) -> None:
    """By number, newest, by the best metric in either direction; the answer says why."""
    assert chosen(three, "penguins") == (3, "none in production: the newest candidate")
    assert chosen(three, "penguins@1") == (1, "asked for by number")
    assert chosen(three, "penguins@latest") == (3, "the newest version")
    assert chosen(three, "penguins@best:accuracy") == (2, "the highest accuracy: 0.95")
    assert chosen(three, "penguins@best:loss:min") == (2, "the lowest loss: 0.2")
    assert chosen(three, "penguins@best:loss") == (3, "the highest loss: 0.5")


def test_production_is_the_default(three: ModelStore, sql_connection: Connection) -> None:
    """Once a version is in production it answers, though newer ones exist."""
    sql_connection.execute("UPDATE version SET status = 'production' WHERE number = 1")

    assert chosen(three, "penguins") == (1, "in production")
    assert chosen(three, "penguins@production") == (1, "in production")
    assert chosen(three, "penguins@latest") == (3, "the newest version")


def test_retired_versions_are_not_chosen(three: ModelStore, sql_connection: Connection) -> None:
    """An archived version answers only by number, a quarantined one never."""
    sql_connection.execute("UPDATE version SET status = 'archived' WHERE number = 2")
    sql_connection.execute("UPDATE version SET status = 'quarantined' WHERE number = 3")

    assert chosen(three, "penguins@best:accuracy")[0] == 1
    assert chosen(three, "penguins@latest")[0] == 1
    assert chosen(three, "penguins@2")[0] == 2
    with pytest.raises(VersionQuarantinedError, match="penguins@3"):
        three.resolve("penguins@3")


def test_an_alias_follows_its_version(three: ModelStore, sql_connection: Connection) -> None:
    """An alias chooses the version it names."""
    sql_connection.execute("INSERT INTO alias SELECT model_id, 'stable', id FROM version WHERE number = 2")

    assert chosen(three, "penguins@stable") == (2, "named by the alias stable")


ABSENT: dict[str, type[BodegaError]] = {
    "nobody": ModelNotFoundError,
    "nobody@3": ModelNotFoundError,
    "penguins@4": VersionNotFoundError,
    "penguins@production": VersionNotFoundError,
    "penguins@stable": VersionNotFoundError,
    "penguins@best:f1": VersionNotFoundError,
}


def test_what_is_not_there_is_never_replaced(three: ModelStore) -> None:
    """No silent substitute: each absence is an error that says what is missing."""
    for reference, error in ABSENT.items():
        with pytest.raises(error):
            three.resolve(reference)


def test_the_only_model_need_not_be_named(three: ModelStore) -> None:
    """With one model in the catalog a client may leave the name out; with two it may not."""
    assert three.choose(None, None).version.reference == "penguins@3"

    three.register(classifier(), "others", example=example())

    with pytest.raises(ModelAmbiguousError):
        three.choose(None, None)


@pytest.mark.parametrize(
    ("name", "meant"), [("Iris", "iris"), ("My Model", "my-model"), ("Ä", None), ("x" * 200, None)]
)
def test_a_name_with_capitals_is_told_which_name_is_meant(name: str, meant: str | None) -> None:
    """The advice is a name that is taken; where there is none, the rule alone is told."""
    with pytest.raises(InvalidNameError) as caught:
        check_model_name(name)

    assert ("capital" in caught.value.message) is (name == "Iris")
    if meant:
        assert f"Use '{meant}'" in caught.value.advice
        assert check_model_name(meant) == meant
