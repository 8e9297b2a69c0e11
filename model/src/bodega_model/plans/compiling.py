"""From a fitted model and its signature to a plan."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from bodega_model import plans
from bodega_model.errors import OutputNotFiniteError
from bodega_model.plans.matrices import AsideError, Block, NoPlanError
from bodega_model.plans.registry import Methods, plan_methods
from bodega_model.plans.tables import Read, Table, readers
from bodega_model.signature.outputs import to_rows
from bodega_model.signature.types import Container, Signature


@dataclass(frozen=True, slots=True)
class Plan:
    """What answers in place of the model, for columns that fit the signature."""

    methods: Methods
    readers: Mapping[str, Read]
    by_row: bool
    as_matrix: bool

    def predict(self, columns: Mapping[str, Sequence[Any]], output: str) -> list[Any]:
        """Answer for JSON columns, one value or list for each row; raise AsideError, or what the arithmetic raises."""
        table = Table({name: read(columns[name]) for name, read in self.readers.items()}, self.by_row)
        block: Block = table.array() if self.as_matrix else table
        with np.errstate(all="ignore"):  # what overflows is found in the result, by whoever may not pass it on
            found = self.methods[output](block)
        try:
            return to_rows(found, output)
        except OutputNotFiniteError as exc:
            raise AsideError("an answer is not finite", _rows_not_finite(found)) from exc


def _rows_not_finite(found: Any) -> Any:
    """Return which rows of a matrix of answers are not finite, or None for answers that are none."""
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
        return None
    return ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)


def compile_plan(model: Any, signature: Signature) -> Plan:
    """Plan a fitted model; raise NoPlanError, which says why, for one that has no plan."""
    found = readers(signature)
    if found is None:
        raise NoPlanError("a column is of a kind without a plan")
    import_families()
    methods = plan_methods(model)
    missing = [name for name in signature.outputs if name not in methods]
    if missing:
        raise NoPlanError(f"{type(model).__name__} has no plan for {missing[0]}")
    is_array = signature.container is Container.ARRAY
    # scikit-learn makes the rows of an array one matrix, in C order, before anything else.
    return Plan({name: methods[name] for name in signature.outputs}, found, signature.by_row or is_array, is_array)


@cache
def import_families() -> None:
    """Import the modules that register estimators, which need all of scikit-learn."""
    for _, name, _ in pkgutil.iter_modules(plans.__path__):
        importlib.import_module(f"{plans.__name__}.{name}")
