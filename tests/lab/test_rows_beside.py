"""Who registers a model whose answers depend on other rows is told so, and what it means for callers."""

from collections.abc import Callable
from types import ModuleType

import pytest
from conftest import Api
from fitting import Fitted
from sklearn.dummy import DummyClassifier


def test_a_model_that_looks_at_other_rows_is_registered_with_a_warning(
    lab: ModuleType, fitted: Fitted, start_api: Callable[..., Api], run: Callable[..., "tuple[int | str, str]"]
) -> None:
    """The warning, the receipt, `show` and GET say the same, and a model that answers each row by itself has none."""
    chance = DummyClassifier(strategy="uniform", random_state=1).fit(fitted.X, fitted.y)

    with pytest.warns(UserWarning, match="chance@1 answers a row otherwise when other rows are asked with it") as told:
        version = lab.register(chance, "chance", example=fitted.X)
    by_itself = lab.register(fitted.model, "tree", example=fitted.X)

    assert "rows of one request are answered together" in str(told[0].message)
    assert "16384 rows" in str(told[0].message)
    assert told[0].filename == __file__
    assert "rows      answered together: those of one request, at most 16384 of a table" in str(version)
    assert "rows      each is answered by itself" in str(by_itself)
    assert "answered together" in version._repr_html_()
    assert "answered together" in run("show", "chance@1")[1]
    api = start_api()
    said = [api.client.get(f"/models/{name}/versions/1").json()["signature"]["row_wise"] for name in ("chance", "tree")]
    assert said == [False, True]
