"""Moving versions from a notebook and from the command line: the verbs of `bodega` and the commands of their names."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from bodega_db.errors import InvalidMetadataError, NoFormerVersionError, NoProductionError
from conftest import Api
from fitting import Fitted

Run = Callable[..., "tuple[int | str, str]"]


def predicting(api: Api, fitted: Fitted) -> int:
    """Return the version that answers a prediction which names none."""
    row = json.loads(fitted.X.head(1).to_json(orient="records"))[0]
    answer: dict[str, Any] = api.client.post("/predict?model=penguins", json={"rows": [row]}).raise_for_status().json()
    return int(answer["version"])


def test_what_a_notebook_promotes_answers_over_http(two: ModuleType, api: Api, fitted: Fitted) -> None:
    """Promote, roll back and quarantine in a notebook, and the API follows; each verb returns the version's receipt."""
    promoted = two.promote("penguins@1")
    first = predicting(api, fitted)
    two.promote("penguins@2", reason="better")
    second = eventually(lambda: predicting(api, fitted), 2)
    back = two.rollback("penguins", reason="worse")
    third = eventually(lambda: predicting(api, fitted), 1)

    assert (promoted.status, promoted.url) == ("production", f"{promoted.api_url}/predict?model=penguins&version=1")
    assert (first, second, third, back.number) == (1, 2, 1, 1)
    with pytest.raises(NoFormerVersionError):
        two.rollback("penguins")


def eventually(ask: Callable[[], int], expected: int) -> int:
    """Ask until the answer is the expected one: a version that is not in memory is loaded before it takes over."""
    until = time.monotonic() + 20
    while (answer := ask()) != expected and time.monotonic() < until:
        time.sleep(0.01)
    return answer


def test_the_other_verbs_of_a_notebook(two: ModuleType) -> None:
    """Aliases, archive, quarantine, release and the time machine are there under the names of the documentation."""
    two.set_alias("penguins@1", "stable")
    named = two.aliases("penguins")
    two.promote("penguins@stable", reason="the first")
    holder = two.as_of("penguins", datetime.now(UTC))
    before = two.as_of("penguins", "2020-02-02 02:02+01:00")
    two.remove_alias("penguins", "stable")

    assert (named, two.aliases("penguins")) == ({"stable": 1}, {})
    assert (holder.reference, holder.reason, before) == ("penguins@1", "the first", None)
    assert two.archive("penguins@1").status == "archived"
    assert two.quarantine("penguins@2", reason="a drill").status == "quarantined"
    assert two.release("penguins@2", reason="it was one").status == "candidate"


def test_a_notebook_and_the_command_describe(two: ModuleType, run: Run) -> None:
    """A model has a description, a version a note and tags; the command changes the same."""
    two.describe("penguins", description="of Palmer")
    two.describe("penguins@1", note="first", tags={"team": "core"})
    said = run("describe", "penguins@1", "--tag", "stage=a=b", "--untag", "team")
    version = two.get("penguins@1")

    assert said == (0, "penguins@1 is described\n")
    assert (version.note, version.tags, two.models()["description"][0]) == ("first", {"stage": "a=b"}, "of Palmer")
    assert run("describe", "penguins@1", "--tag", "nothing") == (2, "")
    for reference, words in (("penguins", {"note": "x"}), ("penguins", {}), ("penguins@1", {"description": "x"})):
        with pytest.raises(InvalidMetadataError):
            two.describe(reference, **words)


@pytest.mark.parametrize("moment", ["", "yesterday evening", "2026-11-24 10:00", "9" * 30, float("nan")])
def test_what_is_no_moment_is_refused(two: ModuleType, moment: Any) -> None:
    """A text that is no moment, or one without a time zone, is refused with an example of one."""
    with pytest.raises(InvalidMetadataError, match=r"date and time|time zone"):
        two.as_of("penguins", moment)


def test_the_commands_say_what_they_did(two: ModuleType, run: Run) -> None:
    """Each command answers with one line for people and status 0."""
    said = [
        run("promote", "penguins@1"),
        run("promote", "penguins@latest", "--reason", "better"),
        run("rollback", "penguins"),
        run("archive", "penguins@1"),
        run("quarantine", "penguins@2", "--reason", "a drill"),
        run("release", "penguins@2", "--reason", "over"),
        run("set-alias", "penguins@2", "next"),
        run("remove-alias", "penguins", "next"),
    ]

    assert said == [
        (0, "penguins@1 is production\n"),
        (0, "penguins@2 is production\n"),
        (0, "penguins@1 is production\n"),
        (0, "penguins@1 is archived\n"),
        (0, "penguins@2 is quarantined\n"),
        (0, "penguins@2 is candidate\n"),
        (0, "penguins@next is penguins@2\n"),
        (0, "penguins@next is no more\n"),
    ]


def test_the_commands_write_json_for_programs(two: ModuleType, run: Run, api: Api) -> None:
    """With --json a move answers what HTTP says of the version then, and the others what they found."""
    moved = json.loads(run("promote", "penguins@1", "--json", "--reason", "the first")[1])
    named = json.loads(run("set-alias", "penguins@1", "stable", "--json")[1])
    aliases = json.loads(run("aliases", "penguins", "--json")[1])
    held = json.loads(run("as-of", "penguins", datetime.now(UTC).isoformat(), "--json")[1])["held_by"]
    nobody = json.loads(run("as-of", "penguins", "2020-02-02T02:02Z", "--json")[1])

    assert moved == api.client.get("/models/penguins/versions/1").json()
    assert (named["alias"], named["version"]) == ("stable", 1)
    assert aliases == {"aliases": {"stable": 1}, "protected": []}
    assert (held["version"], held["reason"], nobody) == (1, "the first", {"held_by": None})


def test_the_time_machine_writes_for_people(two: ModuleType, run: Run) -> None:
    """`as-of` says which version, since when, by whom and why; or that there was none."""
    run("promote", "penguins@2", "--reason", "the better one")
    run("set-alias", "penguins@1", "stable")
    now = datetime.now(UTC).isoformat()

    assert run("as-of", "penguins", now)[1].startswith("penguins@2 since ")
    assert run("as-of", "penguins", now)[1].endswith(": the better one\n")
    assert run("as-of", "penguins", now, "--alias", "stable")[1].startswith("penguins@1 since ")
    assert "no version of penguins was in production then" in run("as-of", "penguins", "2020-02-02T00:00Z")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("promote", "penguins"), "Name it"),
        (("promote", "penguins@1", "--force"), "A forced promotion needs a reason"),
        (("rollback", "penguins"), "No earlier version"),
        (("release", "penguins@1", "--reason", "x"), "is not in quarantine"),
        (("set-alias", "penguins@1", "latest"), "Invalid alias"),
        (("remove-alias", "penguins", "stable"), "no such alias"),
        (("as-of", "penguins", "soon"), "Not a date and time"),
    ],
)
def test_what_a_command_refuses_ends_with_status_1_and_a_hint(
    two: ModuleType, run: Run, arguments: tuple[str, ...], words: str
) -> None:
    """What cannot be done is said on standard error with what to do, and nothing is written to standard output."""
    said, written = run(*arguments)

    assert words in str(said)
    assert str(said).startswith("bodega: ")
    assert written == ""


def test_a_notebook_and_the_command_say_what_became_of_production(two: ModuleType, run: Run) -> None:
    """Without a version in production a model that had one is neither loaded, resolved nor shown by its name alone."""
    two.promote("penguins@1")
    two.quarantine("penguins@1", reason="wrong column")

    for ask in (two.load, two.resolve, two.get):
        with pytest.raises(NoProductionError, match="penguins@1 was there last, and was quarantined on"):
            ask("penguins")
    for command in ("resolve", "show"):
        said, _ = run(command, "penguins")
        assert "wrong column\n  `bodega release penguins@1 --reason …` makes a candidate of it again" in str(said)
    assert two.load("penguins@latest") is not None


def test_a_quarantine_without_a_reason_is_wrong_usage(two: ModuleType, run: Run) -> None:
    """The option --reason is needed where the catalog needs a reason."""
    assert run("quarantine", "penguins@1") == (2, "")
