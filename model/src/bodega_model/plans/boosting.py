"""Gradient boosting over histograms: scikit-learn's compiled predictors, one after another."""

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

from bodega_model.plans.linear import labels
from bodega_model.plans.matrices import DOUBLE, Array, Block, bounded, checked
from bodega_model.plans.registry import Methods, Transform, plan_transform, predictor

MANY_ROWS = 4096  # fewer do not repay the start of threads, and others are computed beside them


@predictor(HistGradientBoostingClassifier, HistGradientBoostingRegressor)
def plan_histogram_boosting(model: Any) -> Methods:
    """Add the trees' values to where the model began."""
    # What it encodes columns of categories with; they come first then.
    encode: Transform | None = None if model._preprocessor is None else plan_transform(model._preprocessor)
    bitsets, index = model._bin_mapper.make_known_categories_bitsets()
    predictors, begin, width = model._predictors, model._baseline_prediction, model.n_trees_per_iteration_

    def raw(block: Block) -> Array:
        matrix = bounded(checked(block if encode is None else encode(block), DOUBLE))
        scores = np.zeros((len(matrix), width), dtype=begin.dtype, order="F")
        scores += begin
        threads = _openmp_effective_n_threads() if len(matrix) >= MANY_ROWS else 1
        for iteration in predictors:
            for place, tree in enumerate(iteration):
                scores[:, place] += tree.predict(matrix, bitsets, index, threads)
        return scores

    if isinstance(model, HistGradientBoostingRegressor):
        return {"predict": lambda block: model._loss.link.inverse(raw(block).ravel())}

    def decide(block: Block) -> Array:
        scores = raw(block)
        return scores.ravel() if scores.shape[1] == 1 else scores

    return {
        "predict": labels(model.classes_, decide),
        "predict_proba": lambda block: model._loss.predict_proba(raw(block)),
        "decision_function": decide,
    }
