"""Regressors of every family, with one target and several."""

import numpy as np
from sklearn import (
    cross_decomposition,
    ensemble,
    gaussian_process,
    isotonic,
    kernel_ridge,
    linear_model,
    model_selection,
    multioutput,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from zoo import data
from zoo.parts import Specimen, scaled, specimen

REGRESSORS: list[Specimen] = [
    specimen(
        "randomized-search",
        data.diabetes_frame,
        lambda: model_selection.RandomizedSearchCV(
            linear_model.Ridge(), {"alpha": [0.1, 1.0, 10.0]}, n_iter=2, cv=3, random_state=0
        ),
    ),
    specimen("linear", data.diabetes_frame, linear_model.LinearRegression),
    specimen("elastic-net", data.diabetes, lambda: linear_model.ElasticNetCV(cv=3)),
    specimen("huber", data.diabetes, lambda: linear_model.HuberRegressor(max_iter=2000)),
    specimen("sgd", data.diabetes, lambda: scaled(linear_model.SGDRegressor(random_state=0))),
    specimen("bayesian-ridge", data.diabetes_frame, linear_model.BayesianRidge),
    specimen("ransac", data.diabetes, lambda: linear_model.RANSACRegressor(random_state=0)),
    specimen("tree-regressor", data.diabetes, lambda: tree.DecisionTreeRegressor(max_depth=5, random_state=0)),
    specimen("forest-regressor", data.diabetes_frame, lambda: ensemble.RandomForestRegressor(8, random_state=0)),
    specimen("extra-trees-regressor", data.diabetes, lambda: ensemble.ExtraTreesRegressor(8, random_state=0)),
    specimen(
        "gradient-boosting-regressor",
        data.diabetes,
        lambda: ensemble.GradientBoostingRegressor(n_estimators=8, random_state=0),
    ),
    specimen(
        "gradient-boosting-quantile",
        data.diabetes,
        lambda: ensemble.GradientBoostingRegressor(loss="quantile", alpha=0.9, n_estimators=8, random_state=0),
    ),
    specimen(
        "gradient-boosting-huber",
        data.diabetes,
        lambda: ensemble.GradientBoostingRegressor(loss="huber", n_estimators=8, random_state=0),
    ),
    specimen(
        "hist-gradient-regressor",
        data.diabetes_frame,
        lambda: ensemble.HistGradientBoostingRegressor(max_iter=8, random_state=0),
    ),
    specimen(
        "hist-gradient-poisson",
        data.diabetes_frame,
        lambda: ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=8, random_state=0),
    ),
    specimen(
        "hist-gradient-quantile",
        data.diabetes_frame,
        lambda: ensemble.HistGradientBoostingRegressor(loss="quantile", quantile=0.9, max_iter=8, random_state=0),
    ),
    specimen(
        "ada-boost-regressor",
        data.diabetes,
        lambda: ensemble.AdaBoostRegressor(n_estimators=8, random_state=0),
    ),
    specimen(
        "voting-regressor",
        data.diabetes,
        lambda: ensemble.VotingRegressor(
            [
                ("linear", linear_model.LinearRegression()),
                ("tree", tree.DecisionTreeRegressor(max_depth=3, random_state=0)),
            ]
        ),
    ),
    specimen("svr", data.diabetes_frame, lambda: scaled(svm.SVR(C=100))),
    specimen("kernel-ridge", data.diabetes, lambda: kernel_ridge.KernelRidge(kernel="rbf")),
    specimen("neighbours-regressor", data.diabetes_frame, neighbors.KNeighborsRegressor),
    specimen(
        "mlp-regressor",
        data.diabetes,
        lambda: scaled(
            neural_network.MLPRegressor(
                hidden_layer_sizes=(4,), solver="lbfgs", max_iter=20000, random_state=0, tol=0.1
            )
        ),
    ),
    specimen(
        "gaussian-process-regressor",
        data.one_column,
        lambda: gaussian_process.GaussianProcessRegressor(
            gaussian_process.kernels.RBF() + gaussian_process.kernels.WhiteKernel(),
            optimizer=None,
            normalize_y=True,
        ),
    ),
    specimen(
        "gaussian-process-matern",
        data.one_column,
        lambda: gaussian_process.GaussianProcessRegressor(
            gaussian_process.kernels.Matern() + gaussian_process.kernels.DotProduct(),
            alpha=1.0,
            optimizer=None,
        ),
    ),
    specimen("isotonic", data.one_column, lambda: isotonic.IsotonicRegression(out_of_bounds="clip")),
    specimen(
        "multi-output-regressor",
        data.two_weights,
        lambda: multioutput.MultiOutputRegressor(ensemble.GradientBoostingRegressor(n_estimators=4, random_state=0)),
    ),
    specimen("regressor-chain", data.two_weights, lambda: multioutput.RegressorChain(linear_model.Ridge())),
    specimen("partial-least-squares", data.two_weights, cross_decomposition.PLSRegression),
    specimen(
        "polynomial",
        data.one_column,
        lambda: make_pipeline(preprocessing.PolynomialFeatures(3), linear_model.LinearRegression()),
    ),
    specimen(
        "spline",
        data.one_column,
        lambda: make_pipeline(preprocessing.SplineTransformer(), linear_model.Ridge()),
    ),
    specimen(
        "bins",
        data.one_column,
        lambda: make_pipeline(
            preprocessing.KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), linear_model.Ridge()
        ),
    ),
    specimen(
        "log1p",
        data.two_weights,
        lambda: make_pipeline(FunctionTransformer(np.log1p), linear_model.LinearRegression()),
    ),
]
