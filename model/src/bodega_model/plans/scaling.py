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

from bodega_model.plans.matrices import (
    DOUBLE,
    FLOATS,
    SINGLE,
    Array,
    Block,
    NoPlanError,
    Sparse,
    bounded,
    checked,
    dense,
    finite,
    like,
    product,
)
from bodega_model.plans.registry import Transform, transformer


def _in_place(change: Callable[[Array], object]) -> Transform:
    """Plan a change of floating point numbers of either length, which stay what they are."""

    def transform(block: Block) -> Block:
        # An infinity, which the model refuses here, stays one until a step that looks for it.
        matrix = checked(block, *FLOATS)
        matrix = matrix.copy(order="K") if matrix is block or isinstance(block, Sparse) else matrix
        change(matrix)
        return like(block, matrix)

    return transform


def _scaled_sparsely(change: Transform, shift: Array | None, scale: Array | None) -> Transform:
    """Plan a scaler whose sparse matrices are multiplied by what others are divided by, and not shifted."""
    factor = None if scale is None else 1 / scale

    def multiply(matrix: Array) -> None:
        if shift is not None:
            raise NoPlanError("a sparse matrix is not shifted")
        if factor is not None:
            matrix *= factor

    sparsely = _in_place(multiply)
    return lambda block: sparsely(block) if isinstance(block, Sparse) else change(block)


def _shift_and_scale(shift: Array | None, scale: Array | None) -> Transform:
    def change(matrix: Array) -> None:
        if shift is not None:
            matrix -= shift
        if scale is not None:
            matrix /= scale

    return _scaled_sparsely(_in_place(change), shift, scale)


@transformer(StandardScaler)
def plan_standard_scaler(scaler: StandardScaler) -> Transform:
    """Subtract the mean, divide by the scale, both rounded to the length of the numbers."""
    mean, scale = scaler.mean_ if scaler.with_mean else None, scaler.scale_ if scaler.with_std else None

    def change(matrix: Array) -> None:
        if mean is not None:
            matrix -= mean.astype(matrix.dtype, copy=False)
        if scale is not None:
            matrix /= scale.astype(matrix.dtype, copy=False)

    return _scaled_sparsely(_in_place(change), mean, scale)


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

    in_place = _in_place(change)
    return lambda block: in_place(dense(block))


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

    def transform(block: Block) -> Block:
        # Before it selects it looks at all, and refuses what is not a number.
        return like(block, finite(checked(block))[:, places])

    return transform


@transformer(PCA)
def plan_pca(pca: PCA) -> Transform:
    """Project on the components, in the order of operations of scikit-learn."""
    components = pca.components_
    shift = np.reshape(pca.mean_, (1, -1)) @ components.T
    deviation = np.sqrt(pca.explained_variance_)
    scale = np.maximum(deviation, np.finfo(deviation.dtype).eps) if pca.whiten else None

    def transform(block: Block) -> Array:
        projected: Array = product(block, finite(checked(block, DOUBLE, SINGLE)), components.T)
        projected -= shift
        if scale is not None:
            projected /= scale
        return projected

    return transform


@transformer(TruncatedSVD)
def plan_truncated_svd(svd: TruncatedSVD) -> Transform:
    """Project on the components."""
    components = svd.components_
    return lambda block: product(block, finite(checked(block)), components.T)
