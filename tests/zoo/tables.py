"""Pipelines over tables: gaps, text, categories, dates, and every dtype that pandas has for them."""

import numpy as np
from sklearn import (
    ensemble,
    feature_selection,
    impute,
    linear_model,
    model_selection,
    naive_bayes,
    preprocessing,
    svm,
    tree,
)
from sklearn.compose import TransformedTargetRegressor, make_column_selector
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  makes IterativeImputer importable
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from zoo import data
from zoo.data import NUMBERS, WORDS
from zoo.parts import Specimen, forest, logistic, numbers, scaled, specimen, table, weighing, words

TABLES: list[Specimen] = [
    specimen(
        "one-hot-ignore",
        data.penguins,
        lambda: make_pipeline(table(numbers(), words(OneHotEncoder(handle_unknown="ignore"))), logistic()),
    ),
    specimen(
        "one-hot-infrequent",
        data.penguins,
        lambda: make_pipeline(
            table(numbers(), words(OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=60))),
            forest(),
        ),
    ),
    specimen(
        "one-hot-error",
        data.whole_penguins,
        lambda: make_pipeline(
            table(("words", OneHotEncoder(drop="if_binary"), WORDS), remainder="passthrough"),
            scaled(svm.LinearSVC(random_state=0)),
        ),
    ),
    specimen(
        "ordinal",
        data.penguins,
        lambda: make_pipeline(
            table(
                numbers(SimpleImputer(strategy="median", add_indicator=True)),
                words(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
            ),
            tree.DecisionTreeClassifier(max_depth=5, random_state=0),
        ),
    ),
    specimen(
        "target-encoder",
        data.whole_penguins,
        lambda: make_pipeline(
            table(
                ("words", preprocessing.TargetEncoder(cv=model_selection.KFold(3)), WORDS),
                remainder="passthrough",
            ),
            tree.ExtraTreeClassifier(max_depth=6, random_state=0),
        ),
    ),
    specimen(
        "pandas-category",
        data.category_penguins,
        lambda: ensemble.HistGradientBoostingClassifier(max_iter=8, random_state=0),
    ),
    specimen(
        "nullable-dtypes",
        data.nullable_penguins,
        lambda: make_pipeline(
            table(
                (
                    "numbers",
                    make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
                    ["year", "flipper_length_mm"],
                ),
                ("words", OneHotEncoder(handle_unknown="ignore"), ["island"]),
                ("flag", OrdinalEncoder(encoded_missing_value=-1), ["heavy"]),
            ),
            logistic(),
        ),
    ),
    specimen(
        "object-dtype",
        data.object_penguins,
        lambda: make_pipeline(
            table(
                numbers(),
                (
                    "words",
                    make_pipeline(SimpleImputer(missing_values=None, strategy="most_frequent"), OneHotEncoder()),
                    WORDS,
                ),
            ),
            linear_model.SGDClassifier(random_state=0),
        ),
    ),
    specimen(
        "date-dropped",
        data.dated_penguins,
        lambda: make_pipeline(table(("numbers", StandardScaler(), NUMBERS), remainder="drop"), logistic()),
    ),
    specimen(
        "column-selector",
        data.whole_penguins,
        lambda: make_pipeline(
            table(
                ("numbers", preprocessing.PowerTransformer(), NUMBERS),
                (
                    "words",
                    OneHotEncoder(handle_unknown="ignore"),
                    make_column_selector(dtype_exclude="number"),
                ),
            ),
            forest(),
        ),
    ),
    specimen(
        "pandas-output",
        data.penguins,
        lambda: make_pipeline(
            table(numbers(), words(OneHotEncoder(sparse_output=False, handle_unknown="ignore"))),
            feature_selection.VarianceThreshold(),
            forest(),
        ).set_output(transform="pandas"),
    ),
    specimen(
        "knn-imputer",
        data.gappy_measures,
        lambda: make_pipeline(impute.KNNImputer(n_neighbors=3), preprocessing.RobustScaler(), logistic()),
    ),
    specimen(
        "iterative-imputer",
        data.gappy_measures,
        lambda: make_pipeline(impute.IterativeImputer(max_iter=20, tol=0.1, random_state=0), naive_bayes.GaussianNB()),
    ),
    specimen(
        "missing-indicator",
        data.gappy_measures,
        lambda: make_pipeline(
            FeatureUnion([("values", SimpleImputer()), ("gaps", impute.MissingIndicator(features="all"))]),
            forest(),
        ),
    ),
    specimen(
        "hist-gradient-nan",
        data.gappy_measures,
        lambda: ensemble.HistGradientBoostingClassifier(max_iter=8, random_state=0),
    ),
    specimen("ridge-weight", data.weights, lambda: weighing(linear_model.Ridge())),
    specimen("lasso-weight", data.weights, lambda: weighing(linear_model.Lasso(alpha=2.0))),
    specimen("gamma-weight", data.weights, lambda: weighing(linear_model.GammaRegressor(max_iter=5000))),
    specimen(
        "tweedie-weight",
        data.weights,
        lambda: weighing(linear_model.TweedieRegressor(power=1.5, max_iter=5000)),
    ),
    specimen("poisson-weight", data.weights, lambda: weighing(linear_model.PoissonRegressor(max_iter=5000))),
    specimen(
        "log-target-weight",
        data.weights,
        lambda: TransformedTargetRegressor(
            weighing(linear_model.LinearRegression()), func=np.log1p, inverse_func=np.expm1
        ),
    ),
    specimen(
        "quantile-target-weight",
        data.weights,
        lambda: TransformedTargetRegressor(
            weighing(linear_model.LinearRegression()),
            transformer=preprocessing.QuantileTransformer(n_quantiles=100),
        ),
    ),
]
