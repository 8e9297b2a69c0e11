"""Sixty pipelines beside the zoo: twenty preparations of one table of a shop, each before three of twenty models."""

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn import (
    calibration,
    compose,
    decomposition,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    model_selection,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (makes IterativeImputer)

ROWS = 120
NUMBERS, WORDS = ["price", "ratio", "count", "stock"], ["city", "colour"]
Make = Callable[[], Any]


@functools.cache
def shop() -> pd.DataFrame:
    """Return a table with a column of each sort, with gaps in some."""
    random = np.random.default_rng(3)
    price = random.lognormal(3, 0.7, ROWS).round(2)
    count = random.integers(0, 50, ROWS)
    frame = pd.DataFrame(
        {
            "price": price,
            "ratio": random.uniform(0.1, 4, ROWS).astype("float32"),
            "count": count,
            "stock": random.integers(1, 9, ROWS).astype("int16"),
            "weight": np.where(random.random(ROWS) < 0.15, np.nan, random.uniform(1, 9, ROWS).round(3)),
            "rating": pd.array([None if n % 9 == 0 else int(n % 5) for n in count], dtype="Int64"),
            "open": count % 3 == 0,
            "city": random.choice(["Bonn", "Köln", "Ulm"], ROWS),
            "colour": pd.Categorical(random.choice(["red", "green", "blue"], ROWS)),
            "coupon": pd.Series([None if n % 4 == 0 else "ab"[n % 2] for n in count], dtype=object),
            "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 400, ROWS), unit="D"),
        }
    )
    return frame.astype({"city": "str"})


def classes() -> "np.ndarray[Any, Any]":
    """Return what a classifier learns of the shop: three words."""
    total = target() + 4.0 * shop()["coupon"].isna().to_numpy()
    return np.array(["low", "middle", "high"])[np.digitize(total, np.quantile(total, [0.3, 0.7]))]


def target() -> "np.ndarray[Any, Any]":
    """Return what a regressor learns of the shop: positive numbers."""
    frame = shop()
    return (np.log1p(frame["price"]) * 5 + frame["count"] * 0.2 + (frame["city"] == "Ulm") * 3.0 + 1.0).to_numpy()


def _table(*parts: tuple[Any, list[str]], remainder: Any = "drop") -> Any:
    return compose.make_column_transformer(*parts, remainder=remainder)


def _one_hot(**options: Any) -> Any:
    return preprocessing.OneHotEncoder(**({"handle_unknown": "ignore"} | options))


def _ordinal() -> Any:
    return preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def _then(*steps: Any) -> Any:
    return pipeline.make_pipeline(*steps)


# By name: the columns that are sent, and what makes numbers of them.
PREPARATIONS: dict[str, tuple[list[str], Make]] = {
    "scaled": (NUMBERS, preprocessing.StandardScaler),
    "robust": (NUMBERS, preprocessing.RobustScaler),
    "ranges": (NUMBERS, lambda: _then(preprocessing.MaxAbsScaler(), preprocessing.MinMaxScaler((-1, 1)))),
    "quantiles": (NUMBERS, lambda: preprocessing.QuantileTransformer(n_quantiles=30)),
    "powers": (NUMBERS, preprocessing.PowerTransformer),
    "logs": (NUMBERS, lambda: preprocessing.FunctionTransformer(np.log1p)),
    "squares": (NUMBERS, lambda: _then(preprocessing.FunctionTransformer(np.square), preprocessing.StandardScaler())),
    "bins": (NUMBERS, lambda: preprocessing.KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf")),
    "splines": (NUMBERS, lambda: preprocessing.SplineTransformer(n_knots=4)),
    "products": (NUMBERS, lambda: _then(preprocessing.StandardScaler(), preprocessing.PolynomialFeatures(2))),
    "best": (NUMBERS, lambda: _then(preprocessing.MinMaxScaler(), feature_selection.SelectKBest(k=3))),
    "components": (NUMBERS, lambda: _then(preprocessing.StandardScaler(), decomposition.PCA(3))),
    "gaps": (
        [*NUMBERS, "weight"],
        lambda: _then(impute.SimpleImputer(strategy="median", add_indicator=True), preprocessing.StandardScaler()),
    ),
    "neighbours-for-gaps": ([*NUMBERS, "weight"], lambda: impute.KNNImputer(n_neighbors=3)),
    "chained-gaps": ([*NUMBERS, "weight"], lambda: impute.IterativeImputer(max_iter=3, random_state=0)),
    "one-hot": (
        [*NUMBERS, *WORDS],
        lambda: _table((preprocessing.StandardScaler(), NUMBERS), (_one_hot(), WORDS)),
    ),
    "ordinal": (
        [*NUMBERS, *WORDS, "open"],
        lambda: _table((_ordinal(), [*WORDS, "open"]), remainder="passthrough"),
    ),
    "coupons": (
        ["price", "coupon", "city"],
        lambda: _table((_one_hot(), ["coupon", "city"]), (preprocessing.RobustScaler(), ["price"])),
    ),
    "ratings": (
        ["price", "rating", "open"],
        lambda: _table((impute.SimpleImputer(strategy="most_frequent"), ["rating"]), (_one_hot(), ["open"]), ("passthrough", ["price"])),
    ),
    "targets": (
        ["price", "city", "colour", "seen"],
        lambda: _table((preprocessing.TargetEncoder(random_state=0), WORDS), (preprocessing.StandardScaler(), ["price"])),
    ),
}  # fmt: skip
MODELS: dict[str, tuple[Make, bool]] = {
    "logit": (lambda: linear_model.LogisticRegression(max_iter=3000), True),
    "forest": (lambda: ensemble.RandomForestClassifier(6, random_state=0), True),
    "histogram": (lambda: ensemble.HistGradientBoostingClassifier(max_iter=6, random_state=0), True),
    "boosting": (lambda: ensemble.GradientBoostingClassifier(n_estimators=6, random_state=0), True),
    "svc": (svm.SVC, True),
    "linear-svc": (lambda: svm.LinearSVC(random_state=0, max_iter=20_000), True),
    "neighbours": (neighbors.KNeighborsClassifier, True),
    "bayes": (naive_bayes.GaussianNB, True),
    "network": (lambda: neural_network.MLPClassifier((8,), max_iter=60, random_state=0), True),
    "votes": (
        lambda: ensemble.VotingClassifier(
            [("a", linear_model.LogisticRegression(max_iter=3000)), ("b", tree.DecisionTreeClassifier(max_depth=3, random_state=0))],
            voting="soft",
        ),
        True,
    ),
    "calibrated": (lambda: calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=2), True),
    "bagged": (lambda: ensemble.BaggingClassifier(tree.DecisionTreeClassifier(), 4, random_state=0), True),
    "search": (lambda: model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1.0]}, cv=2), False),
    "lasso": (lambda: linear_model.LassoCV(cv=3), False),
    "huber": (lambda: linear_model.HuberRegressor(max_iter=2000), False),
    "poisson": (lambda: linear_model.PoissonRegressor(max_iter=2000), False),
    "svr": (svm.SVR, False),
    "extra-trees": (lambda: ensemble.ExtraTreesRegressor(6, random_state=0), False),
    "stack": (
        lambda: ensemble.StackingRegressor(
            [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=3, random_state=0))], cv=2
        ),
        False,
    ),
    "logarithm": (
        lambda: compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log, inverse_func=np.exp),
        False,
    ),
}  # fmt: skip


class Pair(NamedTuple):
    """A pipeline by name, and the columns that it takes."""

    name: str
    columns: list[str]
    make: Make
    classifies: bool

    def fit(self) -> Any:
        """Return the fitted pipeline."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.make().fit(shop()[self.columns], classes() if self.classifies else target())


def pairs() -> Iterator[Pair]:
    """Go through the sixty: each preparation with three models, each model with three preparations."""
    models = list(MODELS.items())
    for place, (name, (columns, prepare)) in enumerate(PREPARATIONS.items()):
        for step in range(3):
            model, (make, classifies) = models[(3 * place + step) % len(models)]
            yield Pair(f"{name}-{model}", columns, functools.partial(_join, prepare, make), classifies)


def _join(prepare: Make, make: Make) -> Any:
    return pipeline.make_pipeline(prepare(), make())
