"""The small real data behind the zoo: penguins with and without their gaps, scikit-learn's own sets, and text."""

import functools
from collections.abc import Callable
from typing import Any

import pandas as pd
from palmerpenguins import load_penguins
from sklearn import datasets

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
WORDS = ["island", "sex"]


def sample(X: Any, rows: int = 20) -> Any:
    """Return rows spread evenly over X, in the container X has."""
    step = max(1, len(X) // rows)
    return X.iloc[::step].head(rows) if isinstance(X, pd.DataFrame | pd.Series) else X[::step][:rows]


@functools.cache
def penguins() -> tuple[pd.DataFrame, pd.Series]:
    """Return 344 penguins with their missing values, and their species."""
    frame = load_penguins()
    return frame.drop(columns="species"), frame["species"]


@functools.cache
def whole_penguins() -> tuple[pd.DataFrame, pd.Series]:
    """Return the 333 penguins without a missing value, and their species."""
    frame = load_penguins().dropna()
    return frame.drop(columns="species"), frame["species"]


@functools.cache
def measures() -> tuple[pd.DataFrame, pd.Series]:
    """Return the four measures of the penguins without a missing value, and their species."""
    X, y = whole_penguins()
    return X[NUMBERS], y


@functools.cache
def gappy_measures() -> tuple[pd.DataFrame, pd.Series]:
    """Return the four measures with their gaps, and whether the penguin is a Gentoo (a boolean label)."""
    X, y = penguins()
    return X[NUMBERS], y == "Gentoo"


@functools.cache
def weights() -> tuple[pd.DataFrame, pd.Series]:
    """Return penguins with missing sexes, and their weight in grams."""
    frame = load_penguins().dropna(subset="body_mass_g")
    return frame.drop(columns="body_mass_g"), frame["body_mass_g"]


@functools.cache
def two_weights() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the bill's measures, and two numeric targets: flipper and weight."""
    X, _ = measures()
    return X[NUMBERS[:2]], X[NUMBERS[2:]]


@functools.cache
def two_labels() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the four measures and two text targets: species and sex."""
    frame = load_penguins().dropna()
    return frame[NUMBERS], frame[["species", "sex"]]


@functools.cache
def two_flags() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the four measures and two 0/1 targets: female and Adelie."""
    X, labels = two_labels()
    return X, pd.DataFrame({"female": labels["sex"] == "female", "adelie": labels["species"] == "Adelie"}).astype(int)


@functools.cache
def category_penguins() -> tuple[pd.DataFrame, pd.Series]:
    """Return penguins whose text columns are pandas categories, with gaps."""
    X, y = penguins()
    return X.astype(dict.fromkeys(WORDS, "category")), y


@functools.cache
def nullable_penguins() -> tuple[pd.DataFrame, pd.Series]:
    """Return penguins in pandas' nullable dtypes Int64, Float64, boolean and string, with pd.NA."""
    X, y = penguins()
    X = X.assign(heavy=(X["body_mass_g"] > 4000).astype("boolean").mask(X["body_mass_g"].isna()))
    X = X.astype({"year": "Int64", "flipper_length_mm": "Float64", "island": "string"})
    return X[["year", "flipper_length_mm", "heavy", "island"]], y


@functools.cache
def object_penguins() -> tuple[pd.DataFrame, pd.Series]:
    """Return penguins whose text columns are of dtype object, with None for a gap."""
    X, y = penguins()
    text = X[WORDS].astype(object)
    return X.assign(**{name: text[name].where(text[name].notna(), None) for name in WORDS}), y


@functools.cache
def dated_penguins() -> tuple[pd.DataFrame, pd.Series]:
    """Return penguins with the day they were seen, a datetime column."""
    X, y = whole_penguins()
    return X.assign(seen=pd.to_datetime(X["year"].astype(str)) + pd.to_timedelta(range(len(X)), unit="D")), y


def bundled(
    load: Callable[..., Any], *, frame: bool = False, dtype: str = "float64", most: int = 400
) -> Callable[[], Any]:
    """Return a function for X and y of one of scikit-learn's own sets, at most `most` rows spread over it."""

    @functools.cache
    def read() -> tuple[Any, Any]:
        X, y = load(return_X_y=True, as_frame=frame)
        step = -(-len(X) // most)
        return (X.iloc[::step], y.iloc[::step]) if frame else (X[::step].astype(dtype), y[::step])

    return read


iris = bundled(datasets.load_iris)
iris_frame = bundled(datasets.load_iris, frame=True)
wine = bundled(datasets.load_wine)
wine_frame = bundled(datasets.load_wine, frame=True)
cancer = bundled(datasets.load_breast_cancer)
cancer_frame = bundled(datasets.load_breast_cancer, frame=True)
diabetes = bundled(datasets.load_diabetes)
diabetes_frame = bundled(datasets.load_diabetes, frame=True)
digits = bundled(datasets.load_digits, most=300)
digits_float32 = bundled(datasets.load_digits, dtype="float32", most=300)
digits_integer = bundled(datasets.load_digits, dtype="int64", most=300)


@functools.cache
def one_column() -> tuple[Any, Any]:
    """Return one column of the diabetes set (body mass index) and the target."""
    X, y = diabetes()
    return X[:, [2]], y


@functools.cache
def lines() -> tuple[list[str], list[str]]:
    """Return lines from the descriptions of four data sets, and which set each line describes."""
    loads = {"iris": datasets.load_iris, "wine": datasets.load_wine, "digits": datasets.load_digits}
    loads["cancer"] = datasets.load_breast_cancer
    pairs = [(line.strip(), name) for name, load in loads.items() for line in load().DESCR.splitlines()]
    kept = [(line, name) for line, name in pairs if len(line) > 30 and " " in line and "==" not in line]
    return [line for line, _ in kept], [name for _, name in kept]


@functools.cache
def line_table() -> tuple[pd.DataFrame, list[str]]:
    """Return a frame of a text column and a number, and which set each line describes."""
    texts, names = lines()
    return pd.DataFrame({"text": texts, "length": [float(len(text)) for text in texts]}), names
