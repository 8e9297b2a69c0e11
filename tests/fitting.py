"""A small fitted model, for tests to which it does not matter which."""

from typing import Any, NamedTuple

import pandas as pd
from sklearn.tree import DecisionTreeClassifier
from zoo import data


class Fitted(NamedTuple):
    """A fitted model and the rows it was fitted on."""

    model: Any
    X: pd.DataFrame
    y: "pd.Series[Any]"


def fit_tree(depth: int = 3) -> Fitted:
    """Fit a tree that tells penguins by four measures."""
    X, y = data.measures()
    return Fitted(DecisionTreeClassifier(max_depth=depth, random_state=0).fit(X, y), X, y)
