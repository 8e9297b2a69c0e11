"""A small model that is written, loaded and asked once, before any other: libraries put off to that what all need.

pandas, scikit-learn and pydantic import further modules and build tables when they are first used. A process that
forked before that would do it again for each model.
"""

from functools import cache
from io import BytesIO
from typing import Any

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from bodega_model.formats.codecs import dump
from bodega_model.formats.policy import Policy
from bodega_model.golden import Golden
from bodega_model.loading.environment import capture_environment
from bodega_model.loading.runner import start_runner
from bodega_model.signature.types import Column, Container, Kind, Output, Signature

NUMBER, WORD = "number", "word"


@cache
def warm_up() -> None:
    """Load a model with an imputer and an encoder, and ask it; nothing of this starts a thread, which no fork has."""
    columns = Column(NUMBER, Kind.NUMBER, "float64", nullable=True), Column(WORD, Kind.STRING, "str")
    signature = Signature(Container.DATAFRAME, columns, {"transform": Output(Kind.NUMBER, (3,))})
    rows: dict[str, list[Any]] = {NUMBER: [1.0, None], WORD: ["a", "b"]}
    model = make_column_transformer((SimpleImputer(), [NUMBER]), (OneHotEncoder(), [WORD]))
    model.fit(pd.DataFrame(rows))
    golden = Golden(rows, {"transform": [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]})
    file = BytesIO()
    dump(model, "skops", file)
    start_runner(file, "skops", signature, golden, capture_environment(), Policy())
