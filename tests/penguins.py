"""A small model on the Palmer penguins, fitted once per process, for tests that need any model at all."""

from functools import cache

import pandas as pd
from palmerpenguins import load_penguins
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
WORDS = ["island", "sex"]


@cache
def data() -> tuple[pd.DataFrame, "pd.Series[str]"]:
    """Return the penguins, missing values included, and their species."""
    frame = load_penguins()
    return frame[NUMBERS + WORDS], frame["species"]


def example() -> pd.DataFrame:
    """Return the rows that serve as example."""
    return data()[0]


@cache
def classifier(strength: float = 1.0) -> Pipeline:
    """Return a fitted pipeline with imputers and encoders; another strength makes another model."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    columns = make_column_transformer((numbers, NUMBERS), (words, WORDS))
    return make_pipeline(columns, LogisticRegression(C=strength, max_iter=1000)).fit(*data())
