"""A model that keeps to its signature until a row asks for a misdeed; it is pickled with its code, as notebooks do."""

import sys
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd


class Unreadable:
    """What raises when it is looked at."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("it was looked at")


def _first(value: Any) -> Any:
    """Return the misdeed that puts a value in the place of the first answer."""
    return lambda answers: [value, *answers[1:]]


def _gap(values: Any, dtype: str) -> Any:
    """Return values in a dtype of pandas, of which the first is missing."""
    return pd.Series([None, *list(values)[1:]], dtype="object").astype(dtype)


# By the number that a row asks with: what becomes of the answers, and the status of the problem.
FAULTS_OF_THE_MODEL: dict[float, Any] = {
    101.0: lambda answers: [*answers, answers[0]],
    102.0: lambda answers: answers[:-1],
    103.0: lambda _: "abc",
    104.0: lambda _: None,
    105.0: lambda answers: dict(enumerate(answers)),
    106.0: iter,
    107.0: lambda answers: [[answer] for answer in answers],
    108.0: lambda answers: [answers, answers],
    109.0: lambda answers: [answers[:1], *answers[1:]],
    110.0: lambda answers: [[1], [1, 2], *answers],
    111.0: lambda _: Unreadable(),
    112.0: _first("a label that it never learned"),
    113.0: _first(7),
    114.0: _first(b"bytes"),
    115.0: _first(1j),
    116.0: _first(np.datetime64("2026-01-01", "ns")),
    117.0: lambda answers: np.arange(len(answers), dtype=np.longdouble),
    118.0: lambda answers: np.ones(len(answers)),
}
FAULTS_OF_THE_INPUT: dict[float, Any] = {
    201.0: _first(None),
    202.0: _first("\ud800"),
    203.0: _first(10**400),
    204.0: _first(2**64),
    205.0: lambda answers: np.ma.array(answers, mask=[True] * len(answers)),
    206.0: _first(np.ma.masked),
    207.0: _first(np.datetime64("NaT")),
    208.0: lambda answers: [np.ma.array([number, 1], mask=[True, False]) for number, _ in enumerate(answers)],
    209.0: lambda answers: _gap(range(len(answers)), "Int64"),
    210.0: lambda answers: _gap([0.5] * len(answers), "Float64"),
    211.0: lambda answers: _gap([True] * len(answers), "boolean"),
    212.0: lambda answers: _gap(["low"] * len(answers), "string"),
    213.0: lambda answers: _gap(["low"] * len(answers), "str"),
    214.0: lambda answers: _gap(["low"] * len(answers), "object"),
    215.0: lambda answers: _gap(["low"] * len(answers), "category"),
    216.0: lambda answers: _gap([7] * len(answers), "category"),
    217.0: lambda answers: _gap(["2026-01-01"] * len(answers), "datetime64[ns]"),
    218.0: lambda answers: _gap(["2026-01-01"] * len(answers), "datetime64[ns, UTC]"),
    219.0: lambda answers: _gap([7] * len(answers), "timedelta64[ns]"),
    220.0: lambda answers: _gap([7] * len(answers), "int64[pyarrow]"),
    221.0: lambda answers: _gap(range(len(answers)), "Int64").to_frame(),
    222.0: lambda answers: _gap(range(len(answers)), "Int64").to_frame("a").assign(b=0.5),
    223.0: lambda answers: _gap(["low"] * len(answers), "str").to_frame("a").assign(b=0.5),
    224.0: lambda answers: _gap(range(len(answers)), "Int64").array,
    225.0: lambda answers: pd.Index(_gap(["low"] * len(answers), "category")),
    226.0: lambda answers: np.array(["NaT"] * len(answers), "M8[s]"),
}
NOT_FINITE: dict[float, Any] = {301.0: _first(float("nan")), 302.0: _first(float("-inf"))}
MISDEEDS = FAULTS_OF_THE_MODEL | FAULTS_OF_THE_INPUT | NOT_FINITE


class Plain:
    """Answers whether the first value of a row is above ten, or does what that value asks for."""

    classes_ = ("high", "low")

    def predict(self, X: Any) -> Any:
        """Answer labels."""
        values = np.asarray(X)[:, 0].tolist()
        answers = ["high" if value > 10 else "low" for value in values]
        asked = [value for value in values if value in MISDEEDS]
        return MISDEEDS[asked[0]](answers) if asked else answers

    def predict_proba(self, X: Any) -> list[list[float]]:
        """Answer a list for each row."""
        return [[float(value > 10), float(value <= 10)] for value in np.asarray(X)[:, 0].tolist()]

    def score_samples(self, X: Any) -> Any:
        """Answer numbers."""
        values = np.asarray(X)[:, 0].tolist()
        asked = [value for value in values if value in MISDEEDS]
        return MISDEEDS[asked[0]](values) if asked else values


class Misbehaving(Plain):
    """Pickled, it brings its code along, and needs nothing of the tests."""

    def __reduce__(self) -> tuple[Any, ...]:
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        return (cloudpickle.loads, (cloudpickle.dumps(Plain()),))
