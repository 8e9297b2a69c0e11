"""Models that look at the rows beside a row; they are pickled with their code, as notebooks do."""

import sys
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd


def ranks(X: Any) -> Any:
    """Return where each row stands among all."""
    return np.argsort(np.argsort(np.asarray(X)[:, 0], kind="stable")).astype(float)


def lags(X: Any) -> Any:
    """Return how much each row is above the one before."""
    return np.diff(np.asarray(X)[:, 0], prepend=0.0)


def scaled(X: Any) -> Any:
    """Return each row in deviations from the mean of all."""
    values = np.asarray(X)[:, 0]
    return (values - values.mean()) / (values.std() + 1.0)


def shares(X: Any) -> Any:
    """Return how many rows have the value of each."""
    values = pd.Series(np.asarray(X)[:, 0].round())
    return values.map(values.value_counts()).to_numpy(dtype=float)


def sums(X: Any) -> Any:
    """Return what there is up to each row."""
    return np.cumsum(np.asarray(X)[:, 0])


def rolling(X: Any) -> Any:
    """Return the mean of the last three rows."""
    return pd.Series(np.asarray(X)[:, 0]).rolling(3, min_periods=1).mean().to_numpy()


def first_of_all(X: Any) -> Any:
    """Return how far each row is from the first."""
    values = np.asarray(X)[:, 0]
    return values - values[0]


def at_least_two(X: Any) -> Any:
    """Return the first column, of a single row nothing."""
    if len(X) < 2:
        raise ValueError("one row is too few")
    return np.asarray(X)[:, 0]


BESIDE = [ranks, lags, scaled, shares, sums, rolling, first_of_all, at_least_two]


class Beside:
    """Answers what a function makes of all rows; pickled, it brings its code along."""

    def __init__(self, look: Any) -> None:
        self.look = look

    def predict(self, X: Any) -> Any:
        """Answer a number for each row."""
        return self.look(X)

    def __reduce__(self) -> tuple[Any, ...]:
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        return (cloudpickle.loads, (cloudpickle.dumps(_Loaded(self.look)),))


class _Loaded:
    """The same without a way of its own to be pickled."""

    def __init__(self, look: Any) -> None:
        self.look = look

    def predict(self, X: Any) -> Any:
        """Answer a number for each row."""
        return self.look(X)
