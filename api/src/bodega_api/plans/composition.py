"""Pipelines, column transformers and unions: plans made of plans."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_array

from bodega_api.plans.registry import (
    Array,
    Block,
    Methods,
    NoPlanError,
    Transform,
    bounded,
    plan_methods,
    plan_transform,
    predictor,
    transformer,
)
from bodega_api.plans.tables import Table

WIDEST = 4096  # columns: beyond, scikit-learn's sparse matrices are the better plan


def to_matrix(block: Block) -> Array:
    """Return a block as a matrix; raise NoPlanError if a column holds text, which no arithmetic takes."""
    if not isinstance(block, Table):
        return block
    try:
        return block.matrix()
    except TypeError as exc:
        raise NoPlanError(f"{exc} where numbers are needed") from exc


@predictor(Pipeline)
def plan_pipeline(pipeline: Pipeline) -> Methods:
    """Plan a pipeline: its steps one after another, with the methods of the last."""
    steps = [step for _, step in pipeline.steps]
    before = [plan_transform(step) for step in steps[:-1] if step not in (None, "passthrough")]
    if steps[-1] in (None, "passthrough"):
        return {"transform": chain(before, to_matrix)}
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
        parts.append((to_matrix if isinstance(part, str) else plan_transform(part), places))
    _check_width(transformer)

    def transform(block: Block) -> Array:
        return side_by_side([to_matrix(part(columns_of(block, places))) for part, places in parts])

    return transform


def columns_of(block: Block, places: list[int]) -> Block:
    """Return the columns at these places."""
    if isinstance(block, Table):
        names = list(block.columns)
        return block.take([names[place] for place in places])
    return block[:, places]


@transformer(FeatureUnion)
def plan_union(union: FeatureUnion) -> Transform:
    """Plan a union: each part on all columns, side by side, times its weight."""
    weights = union.transformer_weights or {}
    parts = [
        (to_matrix if part == "passthrough" else plan_transform(part), weights.get(name))
        for name, part in union.transformer_list
        if part != "drop"
    ]

    def transform(block: Block) -> Array:
        found = [(to_matrix(part(block)), weight) for part, weight in parts]
        return side_by_side([part if weight is None else part * weight for part, weight in found])

    return transform


def side_by_side(parts: list[Array]) -> Array:
    """Return matrices as one; one alone as it is."""
    return parts[0] if len(parts) == 1 else np.hstack(parts)


@transformer(FunctionTransformer)
def plan_function(transformer: FunctionTransformer) -> Transform:
    """Plan a function: none, the check that boosting makes of numbers, or one of numpy's own, element by element."""
    function = transformer.func
    if function is None:
        return lambda block: block
    if isinstance(function, partial) and function.func is check_array:
        return lambda block: bounded(np.asarray(to_matrix(block), dtype=np.float64))
    if not isinstance(function, np.ufunc) or function.nin != 1 or transformer.kw_args:
        raise NoPlanError("FunctionTransformer has a function that is not numpy's own")

    return lambda block: function(to_matrix(block))


def _check_width(transformer: Any) -> None:
    try:
        width = len(transformer.get_feature_names_out())
    except Exception:  # noqa: BLE001 (names are a courtesy: many transformers cannot tell them)
        return
    if width > WIDEST:
        raise NoPlanError(f"a row becomes {width} columns")
