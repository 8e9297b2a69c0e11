"""The verbs of a catalog in any order, against a plain reading of their rules: a state machine by hypothesis.

Each run has two models of its own in one catalog. After every step all that can be asked of them is what the oracle
says: versions, places, aliases, choices, and the history. `./bodega test --all` makes twice as many runs, and `STATE_RUNS=300` a longer search.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bodega_db.errors import (
    AliasNotFoundError,
    IncompatibleSignatureError,
    NoFormerVersionError,
    NoProductionError,
    StatusMoveError,
    VersionInUseError,
    VersionNotFoundError,
    VersionQuarantinedError,
)
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError
from extent import ALL
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sklearn.linear_model import LogisticRegression

RUNS = int(os.environ.get("STATE_RUNS", "15" if ALL else "8"))
STEPS = 30
SERVED, RETIRED = ("candidate", "production"), ("archived", "quarantined")

models = st.sampled_from(["first", "second"])
numbers = st.integers(1, 7)
aliases = st.sampled_from(["stable", "next"])


@cache
def fitted(columns: int, strength: float) -> tuple[Any, list[list[float]]]:
    """Return a small model of so many columns, and an example."""
    rows = [[float(value)] * columns for value in range(6)]
    return LogisticRegression(C=strength).fit(rows, [0, 0, 0, 1, 1, 1]), rows


# --- the oracle ----------------------------------------------------------------------------------------------


@dataclass
class Known:
    """What is known of a version."""

    status: str
    columns: int
    f1: int


@dataclass
class Oracle:
    """One model as the rules have it: nothing but dictionaries and lists."""

    last: int = 0
    versions: dict[int, Known] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    promotions: list[int] = field(default_factory=list)
    events: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    imported: dict[int, int] = field(default_factory=dict)  # the other model's number, and the one here

    def version(self, number: int) -> Known:
        """Return a version that is there."""
        if number not in self.versions:
            raise VersionNotFoundError("")
        return self.versions[number]

    @property
    def production(self) -> int | None:
        """The version in production."""
        return next((number for number, known in self.versions.items() if known.status == "production"), None)

    @property
    def former(self) -> int | None:
        """Where a rollback leads: back along the promotions, where a version that returns ends what is behind it."""
        line: list[int] = []
        for number in self.promotions:
            line = line[: line.index(number) + 1] if number in line else [*line, number]
        archived = [n for n in line if n in self.versions and self.versions[n].status == "archived"]
        return archived[-1] if archived else None

    def move(self, number: int, status: str) -> None:
        """Give a version a status, on record."""
        if self.versions[number].status != status:
            self.versions[number].status = status
            self.events["status", number] += 1

    def put_into_production(self, number: int) -> None:
        """Archive the former one and promote another."""
        if self.versions[number].status == "quarantined":
            raise StatusMoveError("")
        if self.production is not None:
            self.move(self.production, "archived")
        self.move(number, "production")
        self.promotions.append(number)

    def remove(self, number: int) -> None:
        """Take a version away, on record."""
        del self.versions[number]
        self.events["deleted", number] += 1

    # --- the verbs -------------------------------------------------------------------------------------------

    def register(self, columns: int, f1: int) -> None:
        """A new candidate with the next number."""
        self.last += 1
        self.versions[self.last] = Known("candidate", columns, f1)
        self.events["registered", self.last] += 1

    def promote(self, number: int, force: bool) -> None:
        """Into production, unless present callers would break."""
        version = self.version(number)
        if version.status == "production":
            return
        former = self.production
        if former is not None and not force and self.versions[former].columns != version.columns:
            raise IncompatibleSignatureError("")
        self.put_into_production(number)

    def rollback(self, to: int | None) -> None:
        """Back to where the line leads, or to one that was there."""
        number = self.former if to is None else to
        if number is None:
            raise NoFormerVersionError("")
        if self.version(number).status == "production":
            return
        if number not in self.promotions:
            raise StatusMoveError("")
        self.put_into_production(number)

    def archive(self, number: int) -> None:
        """Retire what is not in quarantine."""
        if self.version(number).status == "quarantined":
            raise StatusMoveError("")
        self.move(number, "archived")

    def quarantine(self, number: int) -> None:
        """Whatever it was."""
        self.version(number)
        self.move(number, "quarantined")

    def release(self, number: int) -> None:
        """Out of quarantine, and out of nothing else."""
        if self.version(number).status != "quarantined":
            raise StatusMoveError("")
        self.move(number, "candidate")

    def set_alias(self, number: int, alias: str) -> None:
        """Name what is not in quarantine."""
        if self.version(number).status == "quarantined":
            raise VersionQuarantinedError("")
        if self.aliases.get(alias) != number:
            self.aliases[alias] = number
            self.events["alias", number] += 1

    def remove_alias(self, alias: str) -> None:
        """Name nothing."""
        if alias not in self.aliases:
            raise AliasNotFoundError("")
        self.events["alias", self.aliases.pop(alias)] += 1

    def delete(self, number: int) -> None:
        """Take away what is retired and has no name."""
        if self.version(number).status not in RETIRED:
            raise StatusMoveError("")
        if number in self.aliases.values():
            raise VersionInUseError("")
        self.remove(number)

    def prune(self, keep: int, candidates: bool) -> list[int]:
        """Take away the old ones that nobody may still want."""
        leaving = ("archived", "candidate") if candidates else ("archived",)
        spared = {self.former, *self.aliases.values(), *sorted(self.versions)[-keep:]}
        gone = sorted((n for n, v in self.versions.items() if v.status in leaving and n not in spared), reverse=True)
        for number in gone:
            self.move(number, "archived")
            self.remove(number)
        return gone

    def take_over(self, source: "Oracle", number: int) -> int:
        """Import a version of the other model, once as long as it is there; return its number here."""
        version = source.version(number)
        if version.status == "quarantined":
            raise VersionQuarantinedError("")
        if self.imported.get(number) not in self.versions:
            self.register(version.columns, version.f1)
            self.imported[number] = self.last
        return self.imported[number]

    # --- the choices -----------------------------------------------------------------------------------------

    def choose(self, selector: str) -> int:
        """Return the number that answers for a selector."""
        served = [number for number, known in self.versions.items() if known.status in SERVED]
        if selector == "" and self.promotions and self.production is None:
            raise NoProductionError("")
        if selector in self.aliases or selector.isdigit():
            number = int(selector) if selector.isdigit() else self.aliases[selector]
            if self.version(number).status == "quarantined":
                raise VersionQuarantinedError("")
            return number
        found = {
            "": self.production or max(served, default=None),
            "production": self.production,
            "latest": max(served, default=None),
            "best:f1": max(served, key=lambda n: (self.versions[n].f1, n), default=None),
            "best:f1:min": max(served, key=lambda n: (-self.versions[n].f1, n), default=None),
        }.get(selector)  # an alias that there is not
        if found is None:
            raise VersionNotFoundError("")
        return found


SELECTORS = ("", "production", "latest", "best:f1", "best:f1:min", "stable", "next", "1", "2", "7")


def outcome(act: Callable[[], Any]) -> Any:
    """Return what an act returns, or the class of the error it raises."""
    try:
        return act()
    except BodegaError as error:
        return type(error)


# --- the machine ---------------------------------------------------------------------------------------------


class Catalog(RuleBasedStateMachine):
    """Two models; each rule is one verb, done in the store and in the oracle."""

    store: ModelStore
    folder: Path
    runs = count()

    @initialize()
    def begin(self) -> None:
        """Begin with one version of each model."""
        self.run = next(self.runs)
        self.oracles = {"first": Oracle(), "second": Oracle()}
        for model, oracle in self.oracles.items():
            oracle.events["model created", None] += 1
            self.register(model, 1, 0)

    def name(self, model: str) -> str:
        """Return the name that a model has in this run."""
        return f"{model}-{self.run}"

    def both(self, model: str, expected: Callable[[Oracle], Any], act: Callable[[str], Any]) -> None:
        """Do in the store what the oracle does, and find the same outcome."""
        foreseen = outcome(lambda: expected(self.oracles[model]))
        happened = outcome(lambda: act(self.name(model)))
        if isinstance(foreseen, type) or isinstance(happened, type):
            assert happened is foreseen

    @rule(model=models, columns=st.integers(1, 2), f1=st.integers(0, 2))
    def register(self, model: str, columns: int, f1: int) -> None:
        """Register a model of one column or two."""
        estimator, rows = fitted(columns, float(columns))
        self.oracles[model].register(columns, f1)
        version = self.store.register(estimator, self.name(model), example=rows, metrics={"f1": f1})
        assert version.number == self.oracles[model].last

    @rule(model=models, number=numbers, force=st.booleans())
    def promote(self, model: str, number: int, force: bool) -> None:
        """Promote."""
        self.both(
            model,
            lambda oracle: oracle.promote(number, force),
            lambda name: self.store.promote(f"{name}@{number}", force=force, reason="x"),
        )

    @rule(model=models, to=st.none() | numbers)
    def rollback(self, model: str, to: int | None) -> None:
        """Roll back."""
        self.both(model, lambda oracle: oracle.rollback(to), lambda name: self.store.rollback(name, to=to))

    @rule(model=models, number=numbers, verb=st.sampled_from(["archive", "quarantine", "release", "delete"]))
    def retire(self, model: str, number: int, verb: str) -> None:
        """Archive, quarantine, release or delete."""
        self.both(
            model,
            lambda oracle: getattr(oracle, verb)(number),
            lambda name: getattr(self.store, verb)(f"{name}@{number}", reason="x"),
        )

    @rule(model=models, number=numbers, alias=aliases)
    def set_alias(self, model: str, number: int, alias: str) -> None:
        """Name a version."""
        self.both(
            model,
            lambda oracle: oracle.set_alias(number, alias),
            lambda name: self.store.set_alias(f"{name}@{number}", alias),
        )

    @rule(model=models, alias=aliases)
    def remove_alias(self, model: str, alias: str) -> None:
        """Take a name away."""
        self.both(model, lambda oracle: oracle.remove_alias(alias), lambda name: self.store.remove_alias(name, alias))

    @rule(model=models, keep=st.integers(1, 4), candidates=st.booleans())
    def prune(self, model: str, keep: int, candidates: bool) -> None:
        """Prune, and find the same versions gone, and those that a dry run had foreseen."""
        foreseen = self.store.prune(self.name(model), keep=keep, candidates=candidates, dry_run=True)
        gone = self.store.prune(self.name(model), keep=keep, candidates=candidates)
        expected = self.oracles[model].prune(keep, candidates)
        assert [version.number for version in gone] == [version.number for version in foreseen] == expected

    @rule(model=models, number=numbers)
    def exchange(self, model: str, number: int) -> None:
        """Export a version of the other model, and import it under this one's name."""
        source = "second" if model == "first" else "first"

        def move(name: str) -> int:
            file = self.folder / "moved.bodega"
            self.store.export([f"{self.name(source)}@{number}"], file, overwrite=True)
            (moved,) = self.store.import_bundle(file, name=name)
            return moved.number

        foreseen = outcome(lambda: self.oracles[model].take_over(self.oracles[source], number))
        assert outcome(lambda: move(self.name(model))) == foreseen

    # --- what holds after every step ---------------------------------------------------------------------------

    @invariant()
    def versions_are_those_of_the_oracle(self) -> None:
        """Numbers, statuses, counts, aliases, and no number is missing that was not deleted."""
        for model, oracle in getattr(self, "oracles", {}).items():
            name = self.name(model)
            listed = {version.number: version.status.value for version in self.store.versions(name)}
            shown = self.store.model(name)
            assert listed == {number: known.status for number, known in oracle.versions.items()}
            assert (shown.versions, shown.last_version) == (len(listed), oracle.last)
            assert shown.production == oracle.production
            assert self.store.aliases(name) == oracle.aliases

    @invariant()
    def choices_are_those_of_the_oracle(self) -> None:
        """Every selector chooses what the rules choose, or is refused for the same reason."""
        for model, oracle in getattr(self, "oracles", {}).items():
            for selector in SELECTORS:
                reference = f"{self.name(model)}@{selector}" if selector else self.name(model)
                expected = outcome(lambda: oracle.choose(selector))  # noqa: B023  # called at once
                chosen = outcome(lambda: self.store.resolve(reference).version.number)  # noqa: B023
                assert chosen == expected, selector

    @invariant()
    def history_is_complete(self) -> None:
        """Every change is one event, none is there without a change, and the last promotion is who is remembered."""
        for model, oracle in getattr(self, "oracles", {}).items():
            events = self.store.history(self.name(model))
            assert Counter((event.kind, event.number) for event in events) == oracle.events
            holder = self.store.as_of(self.name(model), events[0].at)
            assert (holder and holder.number) == oracle.production


@pytest.mark.slow
def test_any_order_of_verbs_keeps_the_rules(store: ModelStore, tmp_path: Path) -> None:
    """Register, promote, roll back, name, retire, delete, prune, export and import: the invariants always hold."""
    Catalog.store, Catalog.folder = store, tmp_path

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Catalog,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
