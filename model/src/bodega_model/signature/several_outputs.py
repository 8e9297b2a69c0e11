"""Several outputs of the same rows: what the steps of a pipeline before its last one make of them is made once."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn import get_config
from sklearn.pipeline import Pipeline

from bodega_model.signature.outputs import call


class Asked:
    """A model that is asked for outputs of the same rows, each with rows of its own, as a step may work in place."""

    def __init__(self, model: Any, rows: Callable[[], Any]) -> None:
        self._rows = rows
        self._model = Prepared(model) if _has_common_steps(model) else model

    def answer(self, output: str) -> list[Any]:
        """Return what the model answers; raise what `call` raises."""
        prepared = self._model.rows if isinstance(self._model, Prepared) else None
        return call(self._model, output, self._rows() if prepared is None else prepared)


class Prepared:
    """A pipeline that keeps what the steps before its last one made of `rows`: it answers, and fails, as it would."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.rows: Any = None
        self._made: Any = None
        self._pipeline = pipeline

    def __getattr__(self, output: str) -> Callable[[Any], Any]:
        getattr(self._pipeline, output)  # it does not have all that its last step has
        answer = getattr(self._pipeline.steps[-1][1], output)
        return lambda rows: answer(self._prepare(rows))

    def _prepare(self, rows: Any) -> Any:
        """Return what the steps make of rows: a copy, where its type is known to have one, or else made anew."""
        if rows is self.rows:
            return deepcopy(self._made)  # which keeps the order in memory, on which the last digit of a sum depends
        made = rows
        for _, step in self._pipeline.steps[:-1]:
            if step is not None and step != "passthrough":
                made = step.transform(made)
        if isinstance(made, np.ndarray | pd.DataFrame | list) or sparse.issparse(made):
            self.rows, self._made = rows, made
            return deepcopy(made)
        return made


def _has_common_steps(model: Any) -> bool:
    """Tell whether a model is a plain pipeline, which leaves all to its steps and tells them of the rows alone."""
    if type(model) is not Pipeline or get_config()["enable_metadata_routing"]:
        return False
    steps = model.steps
    return isinstance(steps, list) and len(steps) > 1 and not isinstance(steps[-1][1], str | None)
