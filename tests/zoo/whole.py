"""All estimators of scikit-learn, each fitted as its kind needs it: on arrays, on frames, or on what else it takes."""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn import linear_model, preprocessing, tree
from sklearn.base import is_classifier, is_regressor
from sklearn.experimental import (
    enable_halving_search_cv,  # noqa: F401  all_estimators() finds them only then
    enable_iterative_imputer,  # noqa: F401
)
from sklearn.utils import all_estimators

ROWS, COLUMNS = 60, ["a", "b", "c", "d"]
TEXTS = [
    f"{word} {number} {other}" for number, word in enumerate(("good", "bad", "so") * 8) for other in ("day", "night")
]
LINE, LOGIT = linear_model.Ridge(), linear_model.LogisticRegression(max_iter=5000)
PAIR = [("line", linear_model.Ridge()), ("tree", tree.DecisionTreeRegressor(max_depth=3, random_state=0))]
PAIR_OF_CLASSES = [("logit", LOGIT), ("tree", tree.DecisionTreeClassifier(max_depth=3, random_state=0))]
# What a constructor asks for.
ARGUMENTS: dict[str, dict[str, Any]] = {
    **{key: {"estimator": LOGIT} for key in ("ClassifierChain", "MultiOutputClassifier", "OneVsOneClassifier")},
    **{
        key: {"estimator": LOGIT} for key in ("OneVsRestClassifier", "OutputCodeClassifier", "FixedThresholdClassifier")
    },
    **{key: {"estimator": LOGIT} for key in ("RFE", "RFECV", "SelectFromModel", "SelfTrainingClassifier")},
    **{key: {"estimator": LINE} for key in ("MultiOutputRegressor", "RegressorChain")},
    "TunedThresholdClassifierCV": {"estimator": LOGIT, "cv": 2},
    "SequentialFeatureSelector": {"estimator": LINE, "n_features_to_select": 2, "cv": 2},
    "GridSearchCV": {"estimator": LINE, "param_grid": {"alpha": [0.1, 1.0]}, "cv": 2},
    "RandomizedSearchCV": {"estimator": LINE, "param_distributions": {"alpha": [0.1, 1.0]}, "cv": 2, "n_iter": 2},
    "HalvingGridSearchCV": {"estimator": LINE, "param_grid": {"alpha": [0.1, 1.0]}, "cv": 2},
    "HalvingRandomSearchCV": {"estimator": LINE, "param_distributions": {"alpha": [0.1, 1.0]}, "cv": 2},
    "Pipeline": {"steps": [("scale", preprocessing.StandardScaler()), ("line", LINE)]},
    "FeatureUnion": {
        "transformer_list": [("scale", preprocessing.StandardScaler()), ("bins", preprocessing.Binarizer())]
    },
    "ColumnTransformer": {
        "transformers": [("scale", preprocessing.StandardScaler(), [0, 1])],
        "remainder": "passthrough",
    },
    "StackingClassifier": {"estimators": PAIR_OF_CLASSES, "cv": 2},
    "StackingRegressor": {"estimators": PAIR, "cv": 2},
    "VotingClassifier": {"estimators": PAIR_OF_CLASSES},
    "VotingRegressor": {"estimators": PAIR},
    "SparseCoder": {"dictionary": np.eye(4)[:3]},
    "FrozenEstimator": {"estimator": None},
    "PatchExtractor": {"patch_size": (2, 2)},
    "MLPClassifier": {"max_iter": 40},
    "MLPRegressor": {"max_iter": 40},
    "DictionaryLearning": {"max_iter": 5},
    "TSNE": {"perplexity": 5, "max_iter": 250},
    "GaussianProcessClassifier": {"optimizer": None},
    "RANSACRegressor": {"min_samples": 10},
    "FeatureHasher": {"n_features": 16},
    "HashingVectorizer": {"n_features": 64},
    "CategoricalNB": {"min_categories": 10},
    "GenericUnivariateSelect": {"mode": "k_best", "param": 2},
    "SelectKBest": {"k": 2},
    "NuSVC": {"nu": 0.3},
    "GaussianRandomProjection": {"n_components": 2},
    "SparseRandomProjection": {"n_components": 2},
    "OrthogonalMatchingPursuitCV": {"max_iter": 3},
    "LogisticRegressionCV": {"Cs": 3, "cv": 2},
}
SMALLER = {"n_estimators": 4, "random_state": 0, "max_iter": 5000}
KEEP_ITERATIONS = (
    "MLP",
    "Dictionary",
    "TSNE",
    "HistGradient",
    "SVC",
    "SVR",
    "SVM",
    "LatentDirichlet",
    "GaussianProcess",
)
OF_TEXTS = ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer")
OF_LABELS = ("LabelBinarizer", "LabelEncoder")
OF_DICTS = ("DictVectorizer", "FeatureHasher")
TWO_CLASSES = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")
TWO_TARGETS = (
    *("CCA", "PLSCanonical", "PLSRegression", "PLSSVD", "MultiOutputRegressor", "RegressorChain"),
    *("MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV"),
)
SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
REGRESSORS_BESIDE = (*SEARCHES, "Pipeline", "SequentialFeatureSelector", "FrozenEstimator")
TWO_LABELS = ("ClassifierChain", "MultiOutputClassifier")


class Case(NamedTuple):
    """An estimator by name, the form of its data, and what to fit it on."""

    name: str
    form: str
    model: Any
    X: Any
    y: Any

    def fit(self) -> Any:
        """Return the fitted model."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.model.fit(self.X) if self.y is None else self.model.fit(self.X, self.y)


def numbers() -> pd.DataFrame:
    """Return positive numbers, of which the first column is whole."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame(random.uniform(0.1, 6.0, (ROWS, len(COLUMNS))).round(3), columns=COLUMNS)
    return frame.assign(a=frame["a"].round())


def cases() -> Iterator[Case]:
    """Go through all estimators in each form of data that each takes."""
    for name, cls in all_estimators():
        for form, X in _data(name):
            model = _make(name, cls)
            yield Case(name, form, model, X, _target(name, model, X))


def _make(name: str, cls: Any) -> Any:
    if name == "FrozenEstimator":
        frame = numbers()
        return cls(linear_model.Ridge().fit(frame.to_numpy(), frame.sum(axis=1)))
    model = cls(**ARGUMENTS.get(name, {}))
    known = model.get_params(deep=False)
    keep = any(part in name for part in KEEP_ITERATIONS)
    changes = {
        key: value
        for key, value in SMALLER.items()
        if key in known and key not in ARGUMENTS.get(name, {}) and not (key == "max_iter" and keep)
    }
    return model.set_params(**changes)


def _data(name: str) -> Iterator[tuple[str, Any]]:
    frame = numbers()
    if name in OF_TEXTS or name in OF_LABELS:
        yield "texts", TEXTS
    elif name in OF_DICTS:
        yield "dicts", [{"word": text[:3], "n": float(len(text))} for text in TEXTS]
    elif name == "MultiLabelBinarizer":
        yield "sets", [tuple(text.split()) for text in TEXTS]
    elif name == "PatchExtractor":
        yield "images", np.random.default_rng(0).random((5, 8, 8))
    else:
        if name == "MissingIndicator":
            frame = frame.mask(frame > 5.0)
        elif name == "CategoricalNB":
            frame = frame.round().astype(int)
        elif name == "IsotonicRegression":
            frame = frame[["b"]]
        elif name == "KernelCenterer":
            frame = pd.DataFrame(frame.to_numpy() @ frame.to_numpy().T, columns=[f"k{n}" for n in range(ROWS)])
        yield "array", frame.to_numpy()
        if name != "FrozenEstimator":
            yield "frame", frame


def _target(name: str, model: Any, X: Any) -> Any:
    if name in (*OF_TEXTS, *OF_LABELS, *OF_DICTS, "MultiLabelBinarizer", "PatchExtractor", "KernelCenterer"):
        return None
    total = np.nansum(np.asarray(X), axis=1)
    low, high = np.quantile(total, [0.35, 0.7])
    if name in TWO_TARGETS:
        return np.column_stack([total, np.asarray(X)[:, 0] * 2.0 + 1.0])
    if name in TWO_LABELS:
        return np.column_stack([total > low, np.asarray(X)[:, 0] > 3.0]).astype(int)
    if name in TWO_CLASSES:
        return np.where(total > low, "yes", "no")
    if name == "SelfTrainingClassifier":
        return np.where(np.arange(len(total)) % 9 == 0, -1, (total > low).astype(int) + (total > high))
    classes = np.array(["low", "middle", "high"])[(total > low).astype(int) + (total > high)]
    return classes if is_classifier(model) or not (is_regressor(model) or name in REGRESSORS_BESIDE) else total
