"""Pipelines, column transformers and unions: plans made of plans."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_array

from bodega_model.plans.matrices import (
    DOUBLE,
    Array,
    Block,
    NoPlanError,
    Sparse,
    bounded,
    checked,
    dense,
    finite,
    like,
    unchecked,
)
from bodega_model.plans.registry import Methods, Transform, plan_methods, plan_transform, predictor, transformer
from bodega_model.plans.tables import Table

WIDEST = 4096  # columns: beyond, scikit-learn's sparse matrices are the better plan


@predictor(Pipeline)
def plan_pipeline(pipeline: Pipeline) -> Methods:
    """Plan a pipeline: its steps one after another, with the methods of the last."""
    steps = [step for _, step in pipeline.steps]
    before = [plan_transform(step) for step in steps[:-1] if step not in (None, "passthrough")]
    if steps[-1] in (None, "passthrough"):
        return {"transform": chain(before, unchecked)}
    return {name: chain(before, method) for name, method in plan_methods(steps[-1]).items()}


@transformer(Pipeline)
def plan_pipeline_transform(pipeline: Pipeline) -> Transform:
    """Plan a pipeline inside of another, which transforms."""
    methods = plan_pipeline(pipeline)
    if "transform" not in methods:
        raise NoPlanError("a pipeline inside of another does not transform")
    return methods["transform"]


def chain(steps: Sequence[Transform], last: Callable[[Block], Any]) -> Callable[[Block], Any]:
    """Return what does one step after another, and the last one on what they give."""

    def run(block: Block) -> Any:
        for step in steps:
            block = step(block)
        return last(block)

    return run if steps else last


@transformer(ColumnTransformer)
def plan_column_transformer(transformer: ColumnTransformer) -> Transform:
    """Plan a column transformer: each part on its columns, side by side."""
    parts: list[tuple[Transform, list[int]]] = []
    for name, part, _ in transformer.transformers_:
        places = list(transformer._transformer_to_input_indices.get(name, ()))
        if (isinstance(part, str) and part == "drop") or not places:
            continue
        parts.append((_pass if isinstance(part, str) else plan_transform(part), places))
    _check_width(transformer)
    # Parts become a sparse matrix by way of a check, and any other without one.
    as_matrix = checked if transformer.sparse_output_ else unchecked

    def transform(block: Block) -> Block:
        found = side_by_side([as_matrix(part(columns_of(block, places))) for part, places in parts])
        return Sparse(found) if transformer.sparse_output_ else found

    return transform


def columns_of(block: Block, places: list[int]) -> Block:
    """Return the columns at these places."""
    if isinstance(block, Table):
        names = list(block.columns)
        return block.take([names[place] for place in places])
    matrix: Array = unchecked(dense(block))
    return matrix[:, places]


@transformer(FeatureUnion)
def plan_union(union: FeatureUnion) -> Transform:
    """Plan a union: each part on all columns, side by side, times its weight."""
    weights = union.transformer_weights or {}
    parts = [
        (_pass if part == "passthrough" else plan_transform(part), weights.get(name))
        for name, part in union.transformer_list
        if part != "drop"
    ]

    def transform(block: Block) -> Block:
        found = [_weighed(part(block), weight) for part, weight in parts]
        together = side_by_side([unchecked(part) for part in found])
        return Sparse(together) if any(isinstance(part, Sparse) for part in found) else together

    return transform


def _pass(block: Block) -> Block:
    return block


def _weighed(block: Block, weight: Any) -> Block:
    return block if weight is None else each_column(block, lambda values: values * weight)


def each_column(block: Block, change: Callable[[Array], Array]) -> Block:
    """Return a block of which each number was changed, in the dtype of its own column; NoPlanError if it holds text."""
    if not isinstance(block, Table):
        return like(block, change(unchecked(block)))
    if any(isinstance(column, list) for column in block.columns.values()):
        raise NoPlanError("a column holds text where numbers are needed")
    changed = {name: change(column) for name, column in block.columns.items() if not isinstance(column, list)}
    return Table(changed, block.by_row)


def side_by_side(parts: list[Array]) -> Array:
    """Return matrices as one; one alone as it is."""
    return parts[0] if len(parts) == 1 else np.hstack(parts)


@transformer(FunctionTransformer)
def plan_function(transformer: FunctionTransformer) -> Transform:
    """Plan a function: none, the check that boosting makes of numbers, or one of numpy's own, element by element.

    What it is given is not looked at, unless it is told to: a frame's columns keep their dtypes, each its own.
    """
    change = _plan_change(transformer.func, transformer.kw_args)
    return (lambda block: change(finite(checked(dense(block))))) if transformer.validate else change


def _plan_change(function: Any, options: Any) -> Transform:
    if function is None:
        return _pass
    if isinstance(function, partial) and function.func is check_array and not function.args and not options:
        dtypes = {"dtype": [np.float64], "ensure_all_finite": False}
        if function.keywords == dtypes:
            return lambda block: checked(block, DOUBLE)
    if not isinstance(function, np.ufunc) or (function.nin, function.nout) != (1, 1) or options:
        raise NoPlanError("FunctionTransformer has a function that is not numpy's own")

    def change(values: Array) -> Array:
        found: Array = function(values)
        if found.dtype.kind not in "fiub":  # as those that were made of a function in Python
            raise NoPlanError("FunctionTransformer makes objects of numbers")
        return found

    # A step before may have refused an infinity, of which a function can make an ordinary number.
    return lambda block: each_column(block if isinstance(block, Table) else bounded(unchecked(dense(block))), change)


def _check_width(transformer: Any) -> None:
    try:
        width = len(transformer.get_feature_names_out())
    except Exception:  # noqa: BLE001 (names are a courtesy: many transformers cannot tell them)
        return
    if width > WIDEST:
        raise NoPlanError(f"a row becomes {width} columns")
