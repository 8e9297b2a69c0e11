"""Whether a model looks at the rows beside a row: it is asked, and the signature says so."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bodega_model.signature.infer import learn
from bodega_model.signature.types import Signature
from rows_beside import BESIDE, Beside
from sklearn.dummy import DummyClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(5, 3, (60, 4)), columns=list("abcd"))
y = X.sum(axis=1)


@pytest.mark.parametrize("look", BESIDE, ids=lambda look: look.__name__)
def test_a_model_that_looks_at_other_rows_is_found_out(look: Callable[[Any], Any]) -> None:
    """Ranks, lags, means, counts, sums and windows: alone, fewer, twice or in another order it answers otherwise."""
    signature, _ = learn(Beside(look), X)

    assert signature.row_wise is False
    assert Signature.from_dict(signature.to_dict()).row_wise is False


@pytest.mark.parametrize("count", [2, 3, 20])
def test_few_rows_are_enough_to_see_it(count: int) -> None:
    """Also an example of two rows shows that the one before counts."""
    assert learn(Beside(BESIDE[1]), X.head(count))[0].row_wise is False


def test_chance_is_no_answer_by_row() -> None:
    """What a model answers by the place of a row among the others depends on them too."""
    model = DummyClassifier(strategy="uniform", random_state=1).fit(X, y > 20)

    assert learn(model, X)[0].row_wise is False


@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(),
        KNeighborsRegressor(),
        KernelRidge(alpha=1e-6, kernel="rbf"),
        GaussianProcessRegressor(),
        make_pipeline(StandardScaler(), MLPRegressor(max_iter=20, random_state=0)),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.filterwarnings("ignore")
def test_the_last_digits_are_not_the_rows_beside(model: Any, dtype: str) -> None:
    """Kernels of one row and of many add in another order; a fitted scaler keeps the mean it was fitted on."""
    data = X.astype(dtype)

    assert learn(model.fit(data, y.astype(dtype)), data)[0].row_wise is True


def test_a_signature_of_before_does_not_say() -> None:
    """What was registered before it was asked is not known, and not taken for granted."""
    signature, _ = learn(LinearRegression().fit(X, y), X)
    old = {name: value for name, value in signature.to_dict().items() if name != "row_wise"}

    assert Signature.from_dict(old).row_wise is None
