"""A small fitted model, for tests to which it does not matter which, and a large one."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier
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


@cache
def fit_noise() -> tuple[ExtraTreesClassifier, pd.DataFrame]:
    """Fit trees that learn noise by heart, and so are large (49 MB); return them with the noise."""
    random = np.random.default_rng(0)
    noise = pd.DataFrame(random.random((60_000, 5)), columns=list("abcde"))
    labels = random.choice(["even", "odd"], len(noise))
    return ExtraTreesClassifier(8, random_state=0, n_jobs=2).fit(noise, labels).set_params(n_jobs=None), noise


def bytes_of_trees(forest: ExtraTreesClassifier) -> int:
    """Return what the arrays of a forest take."""
    states = [each.tree_.__getstate__() for each in forest.estimators_]
    return int(sum(state["nodes"].nbytes + state["values"].nbytes for state in states))
