"""The models of `bench/serving.py`, fitted the same in every environment: by the program, and by each peer."""

from typing import Any

from palmerpenguins import load_penguins
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
WORDS = ["island", "sex"]
GENTOO = {
    "bill_length_mm": 50.0,
    "bill_depth_mm": 16.3,
    "flipper_length_mm": 230.0,
    "body_mass_g": 5700.0,
    "island": "Biscoe",
    "sex": "male",
}


def rows(name: str) -> Any:
    """Return what a model was fitted on, without the answer."""
    frame = load_penguins().dropna()
    return frame[NUMBERS + WORDS] if name == "pipeline" else frame[NUMBERS]


def one_row(name: str) -> dict[str, Any]:
    """Return the row that is asked for."""
    return {column: GENTOO[column] for column in (NUMBERS + WORDS if name == "pipeline" else NUMBERS)}


def make(name: str) -> Any:
    """Fit a model: a pipeline, a hundred trees, histogram boosting, or neighbours behind frames, which have no plan."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer([("numbers", numbers, NUMBERS), ("words", words, WORDS)])
    models = {
        "pipeline": make_pipeline(columns, LogisticRegression(max_iter=1000)),
        "forest": RandomForestClassifier(100, random_state=0),
        "boosting": HistGradientBoostingClassifier(random_state=0),
        "neighbours": make_pipeline(StandardScaler().set_output(transform="pandas"), KNeighborsClassifier()),
    }
    return models[name].fit(rows(name), load_penguins().dropna()["species"])


NAMES = ("pipeline", "forest", "boosting", "neighbours")
