"""The reviewed types: what a skops file may hold beyond what skops itself trusts.

What was asked of each entry, with its source at hand: a crafted file can call it with any arguments made of
trusted types, create it without its constructor, give it any state, and hang it where scikit-learn calls it
with the rows of a request (as the `func` of a FunctionTransformer). Is it then still unable to import, to
evaluate, to read or write a file, or to call a method whose name stands in the file? Then it may stay.

Trust is about code, not about memory: scikit-learn's compiled code does not check the indices inside trees,
neighbour searches and sparse matrices (nor inside the SVMs that skops trusts by itself), so a crafted file
can crash the process that predicts with it. The sha256 keeps out files that nobody registered.
"""

import sys

NUMPY = frozenset(
    {
        # A dtype travels as an empty array in numpy's own format, read with allow_pickle=False.
        "numpy.dtype",
    }
)
SCIPY = frozenset(
    {
        # Read by scipy.sparse.load_npz with allow_pickle=False; three arrays and a shape.
        "scipy.sparse._csr.csr_matrix",
        # Knots, coefficients and a degree, and numpy.asarray under this name; no __setstate__.
        "scipy.interpolate._bsplines.BSpline",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
    }
)
TREES = frozenset(
    {
        # Compiled, built from three numbers; __setstate__ copies arrays after checking dtypes and shapes.
        "sklearn.tree._tree.Tree",
        # Three arrays, in a plain object.
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    }
)
LOSSES = frozenset(
    {
        # skops trusts its sisters; a plain object that holds a link and an interval.
        "sklearn._loss.loss.HalfTweedieLoss",
    }
)
NEIGHBOURS = frozenset(
    {
        # Compiled; __setstate__ takes arrays, numbers and a metric.
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._ball_tree.BallTree",
        # Compiled arithmetic on a power and a vector. PyFuncDistance is not here: it calls a function.
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.MinkowskiDistance64",
    }
)
KERNELS = frozenset(
    {
        # Plain objects of numbers and further kernels; calling one is arithmetic on arrays. PairwiseKernel is
        # not here: its metric can be a function.
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.DotProduct",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        # The binary part of GaussianProcessClassifier: arrays and a kernel.
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    }
)
PARTS = frozenset(
    {
        # A dictionary whose keys are attributes; __setstate__ does nothing.
        "sklearn.utils._bunch.Bunch",
        # One calibrated fold: a classifier and its calibrators, called by predict_proba alone.
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        # An experimental estimator, which skops trusts only if it was enabled before skops was imported.
        "sklearn.impute._iterative.IterativeImputer",
        # A named tuple: two indices and an estimator.
        "sklearn.impute._iterative._ImputerTriplet",
        # Step sizes and moments of a finished training.
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        # A regular expression and dtypes, used in fit; calling it selects column names.
        "sklearn.compose._column_transformer.make_column_selector",
    }
)
SEARCHES = frozenset(
    {
        # Numbers: how many folds, shuffled or not.
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        # Calls `score` of an estimator and nothing else. _Scorer is not here, see ADVICE.
        "sklearn.metrics._scorer._PassthroughScorer",
    }
)
FUNCTIONS = frozenset(
    {
        # Arithmetic on two arrays: what SelectKBest and its sisters keep.
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        # Checks and converts an array: what HistGradientBoosting keeps for categories of pandas.
        "sklearn.utils.validation.check_array",
    }
)

TRUSTED_TYPES: frozenset[str] = NUMPY | SCIPY | TREES | LOSSES | NEIGHBOURS | KERNELS | PARTS | SEARCHES | FUNCTIONS

PARTIAL = "functools.partial"
# functools.partial is not trusted, with one exception: around these functions, by name and nothing else.
PARTIAL_OF: frozenset[str] = frozenset({"sklearn.utils.validation.check_array"})

_SCORER_ADVICE = (
    "{name} calls a method whose name stands in the file, which can write files. Searches, tuned thresholds and other "
    "estimators of scikit-learn are stored without it; where something else keeps it and does not need it to predict, "
    "set that attribute to None before registering."
)
# What was reviewed and turned down, with the way out.
ADVICE: dict[str, str] = {
    PARTIAL: (
        "{name} calls any function. FunctionTransformer(function, kw_args={{…}}) computes the same with the partial's "
        "keyword arguments; for others, import a function that does it all from an installed package."
    ),
    "sklearn.metrics._scorer._Scorer": _SCORER_ADVICE,
    "sklearn.metrics._scorer._CurveScorer": _SCORER_ADVICE,
    "sklearn.cluster._kmeans._kmeans_single_lloyd": (
        "{name} is compiled code that trusts the shapes it is called with. KMeans and MiniBatchKMeans are served, but "
        "are other models with other clusters: compare them first."
    ),
}
_FROM_NOTEBOOK = (
    "{name} is defined in a notebook or a script, which no server has: move it into a package that is "
    "installed where the models run, import it from there, and fit again."
)
_FROM_PYTHON = "{name} is Python's own and no part of a model: take it out of the pipeline and fit again."
_FROM_PACKAGE = (
    "{name} was not reviewed: if no file can make it run code, trust it where the models run, "
    "BODEGA_TRUSTED_TYPES='[\"{name}\"]'."
)


def advise(name: str) -> str:
    """Return what to do about a type that is not trusted, in one sentence."""
    package = name.partition(".")[0]
    if package == "__main__":
        return _FROM_NOTEBOOK.format(name=name)
    of_python = package in sys.stdlib_module_names or package in ("posix", "nt")
    return ADVICE.get(name, _FROM_PYTHON if of_python else _FROM_PACKAGE).format(name=name)
