"""Which columns of a model take a null or an unknown value: asked in a number of predictions that is bounded."""

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodega_model.signature.infer import learn
from bodega_model.signature.questions import BUDGET, FEWEST, taken
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


class Counting:
    """Answers for some columns, and counts how often it was asked."""

    def __init__(self, takes: set[str]) -> None:
        self.takes = takes
        self.asked = 0

    def __call__(self, names: list[str]) -> bool:
        self.asked += 1
        return set(names) <= self.takes


def columns(count: int) -> list[str]:
    """Name some columns."""
    return [f"c{number}" for number in range(count)]


@given(st.sets(st.integers(0, 39)), st.integers(1, 5))
def test_every_column_of_a_narrow_model_is_known_exactly(takes: set[int], groups: int) -> None:
    """However those that are taken lie among the others, and whatever makes them alike."""
    names = columns(40)
    asked = Counting({names[place] for place in takes})

    assert taken({name: place % groups for place, name in enumerate(names)}, 40, asked) == asked.takes


@given(st.integers(45, 5000), st.sets(st.integers(0, 4999)), st.integers(1, 50))
def test_what_is_asked_of_a_wide_model_is_bounded_and_never_too_much_is_promised(
    count: int, takes: set[int], groups: int
) -> None:
    """A column that was not found out about counts as not taken."""
    names = columns(count)
    asked = Counting({names[place] for place in takes if place < count})

    found = taken({name: place % groups for place, name in enumerate(names)}, count, asked)

    assert found <= asked.takes
    assert asked.asked <= max(FEWEST, BUDGET // count)


def test_columns_that_are_alike_are_known_however_many_there_are() -> None:
    """Each kind that is taken as a whole is one question."""
    names = columns(3000)
    asked = Counting(set(names[::2]))

    assert taken({name: place % 2 for place, name in enumerate(names)}, 3000, asked) == asked.takes


def words(count: int, handle_unknown: str) -> tuple[Any, pd.DataFrame]:
    """Return a classifier over columns of words, half of which it imputes, and its rows."""
    chance = np.random.default_rng(0)
    frame = pd.DataFrame({name: chance.choice(["a", "b", "c"], 60) for name in columns(count)})
    encoder = OneHotEncoder(handle_unknown=handle_unknown)
    half = count // 2
    table = make_column_transformer(
        (encoder, list(frame)[:half]),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), encoder), list(frame)[half:]),
    )
    return make_pipeline(table, DummyClassifier()).fit(frame, frame["c0"] == "a"), frame


@pytest.mark.parametrize("handle_unknown", ["ignore", "error"])
def test_columns_of_words_cost_in_line_with_their_number(handle_unknown: str) -> None:
    """Four times as many columns take some four times as long, not sixteen times."""
    seconds = {}
    for count in (50, 200):
        model, frame = words(count, handle_unknown)
        begin = time.process_time()
        signature, _ = learn(model, frame)
        seconds[count] = time.process_time() - begin
        half = columns(count)[count // 2 :]
        nullable = [column.name for column in signature.columns if column.nullable]
        assert nullable == (columns(count) if handle_unknown == "ignore" else half)
        assert {column.accepts_unknown for column in signature.columns} == {handle_unknown == "ignore"}

    assert seconds[200] < 8 * seconds[50] + 0.5


def test_columns_of_different_branches_are_told_apart_in_a_wide_table() -> None:
    """Where an imputer stands before some of a hundred columns, those take a null, and the others do not."""
    frame = pd.DataFrame(np.arange(12_000.0).reshape(120, 100), columns=columns(100))
    table = make_column_transformer((SimpleImputer(), columns(100)[::3]), remainder=Picky())
    model = make_pipeline(table, StandardScaler()).fit(frame)

    signature, _ = learn(model, frame)

    assert [column.name for column in signature.columns if column.nullable] == columns(100)[::3]


class Picky(BaseEstimator):  # type: ignore[misc]
    """Passes numbers on, and refuses a missing one."""

    def fit(self, X: Any, y: Any = None) -> "Picky":
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> Any:
        if np.isnan(np.asarray(X, dtype=float)).any():
            raise ValueError("a gap")
        return X
