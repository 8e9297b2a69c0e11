"""A specimen for each reviewed type that is one of many alike: fitted models that hold it, made from tables of names."""

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn import calibration, cluster, feature_selection, linear_model, model_selection, multiclass, neighbors, svm
from sklearn import gaussian_process as gp
from sklearn.feature_extraction import text
from sklearn.gaussian_process import kernels
from sklearn.impute import SimpleImputer
from sklearn.metrics import pairwise
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.utils import validation
from sklearn.utils.extmath import softmax

RANDOM = np.random.default_rng(0)
X = RANDOM.random((48, 3))
NUMBERS = X @ [1.0, 2.0, 3.0]
LABELS = (NUMBERS.mean() < NUMBERS).astype(int)
GROUPS = np.arange(len(X)) % 4
WORDS = ["Crème brûlée", "a <b>word</b>", "another one", "Ångström"] * 6


@dataclass(frozen=True)
class Sibling:
    """A model that is fitted when it is asked for, and the rows it is registered with."""

    name: str
    make: Callable[[], Any]
    example: Any = None

    @functools.cached_property
    def model(self) -> Any:
        """The fitted model."""
        return self.make()

    @property
    def rows(self) -> Any:
        """The example; not the very array that the model was fitted on, whose distance to itself is exactly 0."""
        return X.copy() if self.example is None else self.example.copy()


SPLITTERS: dict[str, Any] = {
    "GroupKFold": model_selection.GroupKFold(3),
    "GroupShuffleSplit": model_selection.GroupShuffleSplit(2, random_state=0),
    "KFold": model_selection.KFold(3, shuffle=True, random_state=0),
    "LeaveOneGroupOut": model_selection.LeaveOneGroupOut(),
    "LeaveOneOut": model_selection.LeaveOneOut(),
    "LeavePGroupsOut": model_selection.LeavePGroupsOut(2),
    "LeavePOut": model_selection.LeavePOut(47),
    "PredefinedSplit": model_selection.PredefinedSplit(GROUPS),
    "RepeatedKFold": model_selection.RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
    "RepeatedStratifiedKFold": model_selection.RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0),
    "ShuffleSplit": model_selection.ShuffleSplit(2, random_state=0),
    "StratifiedGroupKFold": model_selection.StratifiedGroupKFold(3),
    "StratifiedKFold": model_selection.StratifiedKFold(3),
    "StratifiedShuffleSplit": model_selection.StratifiedShuffleSplit(2, random_state=0),
    "TimeSeriesSplit": model_selection.TimeSeriesSplit(3),
}
KERNELS: dict[str, Any] = {
    "power": kernels.RBF() ** 2,
    "periodic": kernels.ExpSineSquared(periodicity=20.0) + kernels.WhiteKernel(),
    "rational": kernels.RationalQuadratic() + kernels.WhiteKernel(),
    "pairwise": kernels.PairwiseKernel(metric="polynomial"),
    "algebra": 2.0 * kernels.Matern() + kernels.DotProduct() * kernels.ConstantKernel(3.0),
}
METRICS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("braycurtis", "canberra", "chebyshev", "manhattan", "hamming", "euclidean")},
    **{name: {} for name in ("jaccard", "dice", "rogerstanimoto", "russellrao", "sokalmichener", "sokalsneath")},
    "mahalanobis": {"V": np.diag([1.0, 2.0, 3.0])},
    "seuclidean": {"V": np.array([1.0, 2.0, 3.0])},
}
SCORES = {
    "mutual_info_classif": functools.partial(feature_selection.SelectKBest, feature_selection.mutual_info_classif),
    "chi2": functools.partial(feature_selection.SelectKBest, feature_selection.chi2),
    "f_classif": functools.partial(feature_selection.SelectKBest, feature_selection.f_classif),
    "f_oneway": functools.partial(feature_selection.SelectFpr, feature_selection.f_oneway, alpha=1.0),
    "f_regression": functools.partial(feature_selection.SelectKBest, feature_selection.f_regression),
    "r_regression": functools.partial(feature_selection.SelectKBest, feature_selection.r_regression),
    "mutual_info_regression": functools.partial(
        feature_selection.SelectKBest, feature_selection.mutual_info_regression
    ),
}
KERNEL_FUNCTIONS = [
    *(pairwise.additive_chi2_kernel, pairwise.chi2_kernel, pairwise.cosine_distances, pairwise.cosine_similarity),
    *(pairwise.euclidean_distances, pairwise.laplacian_kernel, pairwise.linear_kernel, pairwise.manhattan_distances),
    *(pairwise.nan_euclidean_distances, pairwise.polynomial_kernel, pairwise.rbf_kernel, pairwise.sigmoid_kernel),
]  # fmt: skip
STEPS = {
    **{
        name: {}
        for name in (
            *(
                "add_dummy_feature",
                "maxabs_scale",
                "minmax_scale",
                "normalize",
                "power_transform",
                "robust_scale",
                "scale",
            ),
            "binarize",
        )
    },
    "quantile_transform": {"n_quantiles": 10},
}
NUMPY: dict[str, dict[str, Any]] = {
    **{name: {"axis": 1, "keepdims": True} for name in ("max", "mean", "median", "min", "sum")},
    "clip": {"a_min": 0.2, "a_max": 0.8},
    "nan_to_num": {"nan": 0.5},
    "round": {"decimals": 1},
}


def _fit_halves(cv: Any) -> Any:
    """Fit a classifier whose parameter is the splitter; which rows it calls groups, it is not told."""
    model = calibration.CalibratedClassifierCV(linear_model.LogisticRegression(), cv=3).fit(X, LABELS)
    return model.set_params(cv=cv)


def siblings() -> Iterator[Sibling]:
    """Go through all specimens."""
    for name, cv in SPLITTERS.items():
        yield Sibling(f"split-{name}", functools.partial(_fit_halves, cv))
    for name, kernel in KERNELS.items():
        yield Sibling(
            f"kernel-{name}",
            functools.partial(gp.GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None).fit, X, NUMBERS),
        )
    for name, params in METRICS.items():
        near = neighbors.KNeighborsClassifier(metric=name, metric_params=params or None, algorithm="ball_tree")
        yield Sibling(f"metric-{name}", functools.partial(near.fit, X > 0.5 if name in BOOLEAN else X, LABELS))
    places = neighbors.KNeighborsRegressor(metric="haversine")
    yield Sibling("metric-haversine", functools.partial(places.fit, X[:, :2], NUMBERS), X[:, :2])
    for name, make in SCORES.items():
        yield Sibling(f"score-{name}", functools.partial(_select, name, make))
    for function in KERNEL_FUNCTIONS:
        yield Sibling(f"function-{function.__name__}", functools.partial(svm.SVR(kernel=function).fit, X, NUMBERS))
    yield Sibling(
        "function-haversine_distances",
        functools.partial(svm.SVR(kernel=pairwise.haversine_distances).fit, X[:, :2], NUMBERS),
        X[:, :2],
    )
    for function, params in [
        *(
            (getattr(__import__("sklearn.preprocessing", fromlist=["x"]), name), params)
            for name, params in STEPS.items()
        ),
        *((getattr(np, name), params) for name, params in NUMPY.items()),
        *((function, {}) for function in (softmax, validation.as_float_array)),
    ]:
        yield Sibling(f"step-{function.__name__}", functools.partial(_step, function, params))
    for function in (text.strip_accents_ascii, text.strip_accents_unicode, text.strip_tags):
        counts = text.CountVectorizer(preprocessor=function)
        yield Sibling(f"words-{function.__name__}", functools.partial(counts.fit, WORDS), WORDS)
    yield Sibling("tweedie", functools.partial(linear_model.TweedieRegressor().fit, X, NUMBERS))
    temperature = calibration.CalibratedClassifierCV(linear_model.LogisticRegression(), method="temperature")
    yield Sibling("temperature", functools.partial(temperature.fit, X, LABELS))
    lasso = linear_model.LassoCV(cv=model_selection.TimeSeriesSplit(3))
    yield Sibling("lasso-time-series", functools.partial(lasso.fit, X, NUMBERS))
    codes = multiclass.OutputCodeClassifier(linear_model.LogisticRegression(), random_state=0, code_size=1)
    yield Sibling("constant-code", functools.partial(codes.fit, X, LABELS))
    yield Sibling("sparse-array", functools.partial(neighbors.KNeighborsClassifier().fit, sparse.csr_array(X), LABELS))
    yield Sibling("ordered-scores", _with_scores)
    yield Sibling("imputer-of-NA", _imputer, pd.DataFrame({"word": ["a", "b", "a"], "count": [1, 2, 3]}))
    yield Sibling("agglomeration", functools.partial(cluster.FeatureAgglomeration().fit, X))


BOOLEAN = ("jaccard", "dice", "rogerstanimoto", "russellrao", "sokalmichener", "sokalsneath")


def _select(name: str, make: Callable[[], Any]) -> Any:
    goal = NUMBERS if "regression" in name else LABELS
    selector = make() if name == "f_oneway" else make().set_params(k=2)
    if name == "f_oneway":  # of groups of rows, and no score of columns with labels: a parameter alone
        return feature_selection.SelectFpr(alpha=1.0).fit(X, goal).set_params(score_func=feature_selection.f_oneway)
    return make_pipeline(selector, linear_model.LinearRegression()).fit(X, goal)


def _step(function: Any, params: dict[str, Any]) -> Any:
    return make_pipeline(FunctionTransformer(function, kw_args=params), linear_model.LinearRegression()).fit(X, NUMBERS)


def _with_scores() -> Any:
    """Return a model that keeps its scores as LightGBM does."""
    model = linear_model.LinearRegression().fit(X, NUMBERS)
    model.best_score_ = defaultdict(OrderedDict, training=OrderedDict(l2=0.5))
    return model


def _imputer() -> Any:
    """Return a model that fills in pandas' own missing value, of text and of integers."""
    frame = pd.DataFrame(
        {"word": pd.array(["a", "b", None], dtype="string"), "count": pd.array([1, None, 3], dtype="Int64")}
    )
    filled = SimpleImputer(missing_values=pd.NA, strategy="most_frequent")
    return make_pipeline(filled, OneHotEncoder(handle_unknown="ignore")).fit(frame)


SIBLINGS = list(siblings())
