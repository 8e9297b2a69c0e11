"""Deleting, pruning and protecting from a notebook and from the command line."""

import json
from collections.abc import Callable
from types import ModuleType

import pytest
from bodega_db.errors import StatusMoveError, VersionNotFoundError

Run = Callable[..., "tuple[int | str, str]"]


def test_a_notebook_deletes_and_prunes(two: ModuleType) -> None:
    """A version leaves by name, or by a rule that a dry run shows first, as a table."""
    with pytest.raises(StatusMoveError, match="Archive it first"):
        two.delete("penguins@1", reason="of no use")
    two.archive("penguins@1")
    foreseen = two.prune("penguins", keep=1, dry_run=True)
    there = len(two.versions("penguins"))
    gone = two.prune("penguins", keep=1)
    two.archive("penguins@2")
    two.delete("penguins@2", reason="of no use")

    assert list(foreseen.index) == list(gone.index)
    assert (len(foreseen), there) == (1, 2)
    assert two.versions("penguins").empty
    with pytest.raises(VersionNotFoundError, match=r"deleted on .*: of no use"):
        two.get("penguins@2")


def test_a_notebook_protects_an_alias(two: ModuleType) -> None:
    """Whoever owns the catalog moves a protected alias too, and the history tells that it was protected."""
    two.set_alias("penguins@1", "stable")
    two.protect_alias("penguins", "stable", reason="customers call it")
    two.set_alias("penguins@2", "stable")
    two.unprotect_alias("penguins", "stable")

    assert two.aliases("penguins") == {"stable": 2}
    assert list(two.history("penguins")["event"][:4]) == ["alias protection", "alias", "alias protection", "alias"]


def test_the_commands_say_what_left(two: ModuleType, run: Run) -> None:
    """A dry run and the run itself list the versions, for people and as JSON."""
    two.archive("penguins@1")
    two.describe("penguins@1", note="a first try")
    foreseen = run("prune", "penguins", "--keep", "1", "--dry-run")
    counted = json.loads(run("prune", "penguins", "--keep", "1", "--dry-run", "--json")[1])
    done = run("prune", "penguins", "--keep", "1", "--reason", "room")
    again = run("prune", "penguins", "--keep", "1")
    two.quarantine("penguins@2", reason="a drill")
    deleted = run("delete", "penguins@2", "--reason", "of no use")

    assert "a first try" in foreseen[1]
    assert foreseen[1].endswith("1 versions would leave\n")
    assert counted == {"model": "penguins", "versions": [1], "dry_run": True}
    assert done[1].endswith("1 versions left\n")
    assert again == (0, "0 versions left\n")
    assert deleted == (0, "penguins@2 is deleted; its history stays\n")


def test_the_commands_protect_an_alias(two: ModuleType, run: Run) -> None:
    """The list of aliases tells which are protected."""
    two.set_alias("penguins@1", "stable")
    protected = run("protect-alias", "penguins", "stable")
    table = run("aliases", "penguins")[1]
    listed = json.loads(run("aliases", "penguins", "--json")[1])
    free = run("unprotect-alias", "penguins", "stable")

    assert protected == (0, "penguins@stable is protected\n")
    assert "yes" in table
    assert listed == {"aliases": {"stable": 1}, "protected": ["stable"]}
    assert free == (0, "penguins@stable is no longer protected\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("delete", "penguins@1", "--reason", "x"), "Archive it first"),
        (("delete", "penguins", "--reason", "x"), "Name it"),
        (("prune", "pinguins", "--keep", "3"), "no model named pinguins"),
        (("protect-alias", "penguins", "stable"), "no such alias"),
    ],
)
def test_what_is_refused_ends_with_status_1_and_a_hint(
    two: ModuleType, run: Run, arguments: tuple[str, ...], words: str
) -> None:
    """What cannot be done is said on standard error, and nothing is written to standard output."""
    said, written = run(*arguments)

    assert words in str(said)
    assert written == ""


@pytest.mark.parametrize(
    "arguments", [("delete", "penguins@1"), ("prune", "penguins"), ("prune", "penguins", "--keep", "0")]
)
def test_what_must_be_said_is_asked_for(two: ModuleType, run: Run, arguments: tuple[str, ...]) -> None:
    """A deletion without a reason, or a rule that keeps nothing, is wrong usage."""
    assert run(*arguments) == (2, "")
