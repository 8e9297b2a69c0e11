"""Scalers and selectors: arithmetic on each column, in the order in which scikit-learn does it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import (
    RFE,
    RFECV,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    VarianceThreshold,
)
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from bodega_api.plans.composition import to_matrix
from bodega_api.plans.registry import Array, Block, NoPlanError, Transform, bounded, finite, transformer


def floats(block: Block) -> Array:
    """Return a block as a matrix of float64 that may be changed."""
    return np.array(to_matrix(block), dtype=np.float64)


def _in_place(change: Callable[[Array], object]) -> Transform:
    def transform(block: Block) -> Array:
        matrix = floats(block)
        change(matrix)
        return matrix

    return transform


def _shift_and_scale(shift: Array | None, scale: Array | None) -> Transform:
    def change(matrix: Array) -> None:
        if shift is not None:
            matrix -= shift
        if scale is not None:
            matrix /= scale

    return _in_place(change)


@transformer(StandardScaler)
def plan_standard_scaler(scaler: StandardScaler) -> Transform:
    """Subtract the mean, divide by the scale."""
    return _shift_and_scale(scaler.mean_ if scaler.with_mean else None, scaler.scale_ if scaler.with_std else None)


@transformer(RobustScaler)
def plan_robust_scaler(scaler: RobustScaler) -> Transform:
    """Subtract the median, divide by the range."""
    centre = scaler.center_ if scaler.with_centering else None
    return _shift_and_scale(centre, scaler.scale_ if scaler.with_scaling else None)


@transformer(MinMaxScaler)
def plan_min_max_scaler(scaler: MinMaxScaler) -> Transform:
    """Multiply, add, and cut off what lies outside if told to."""
    scale, least, limits = scaler.scale_, scaler.min_, scaler.feature_range if scaler.clip else None

    def change(matrix: Array) -> None:
        matrix *= scale
        matrix += least
        if limits is not None:
            bounded(matrix)  # clipping would hide what overflowed
            np.clip(matrix, *limits, out=matrix)

    return _in_place(change)


@transformer(MaxAbsScaler)
def plan_max_abs_scaler(scaler: MaxAbsScaler) -> Transform:
    """Divide by the largest absolute value."""
    if getattr(scaler, "clip", False):
        raise NoPlanError("MaxAbsScaler clips")
    return _shift_and_scale(None, scaler.scale_)


@transformer(
    *(SelectKBest, SelectPercentile, SelectFpr, SelectFdr, SelectFwe, GenericUnivariateSelect),
    *(SelectFromModel, SequentialFeatureSelector, VarianceThreshold, RFE, RFECV),
)
def plan_selector(selector: Any) -> Transform:
    """Take some of the columns."""
    places = np.flatnonzero(selector.get_support())

    def transform(block: Block) -> Array:
        # Before it selects it looks at all, and refuses what is not a number.
        return finite(np.asarray(to_matrix(block), dtype=np.float64))[:, places]

    return transform


@transformer(PCA)
def plan_pca(pca: PCA) -> Transform:
    """Project on the components, in the order of operations of scikit-learn."""
    components = pca.components_
    shift = np.reshape(pca.mean_, (1, -1)) @ components.T
    least = np.finfo(np.float64).eps
    scale = np.maximum(np.sqrt(pca.explained_variance_), least) if pca.whiten else None

    def transform(block: Block) -> Array:
        projected: Array = floats(block) @ components.T
        projected -= shift
        if scale is not None:
            projected /= scale
        return projected

    return transform


@transformer(TruncatedSVD)
def plan_truncated_svd(svd: TruncatedSVD) -> Transform:
    """Project on the components."""
    components = svd.components_
    return lambda block: np.asarray(to_matrix(block), dtype=np.float64) @ components.T
