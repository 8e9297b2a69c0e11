"""Which distributions a model comes from: recorded whatever holds the part, and compared when the model is loaded."""

import io
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import narwhals
import numpy as np
import pytest
from bodega_db.store import ModelStore
from bodega_model.errors import GoldenMismatchError
from bodega_model.formats.policy import Policy
from bodega_model.loading import distributions
from bodega_model.loading.distributions import distributions_of
from bodega_model.loading.environment import capture_environment, other_versions
from bodega_model.loading.runner import start_runner
from bodega_model.signature.infer import learn
from model_files import written
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

X = np.arange(40.0).reshape(20, 2)
NARWHALS = "narwhals.translate.to_native"


def foreign_step() -> Any:
    """Return a step whose function comes from another distribution than scikit-learn."""
    return FunctionTransformer(narwhals.to_native, kw_args={"pass_through": True})


class Everything:
    """An object that has every attribute."""

    def __getattr__(self, name: str) -> "Everything":
        return Everything()


HOLDERS: dict[str, Callable[[], Any]] = {
    "pipeline": lambda: make_pipeline(foreign_step(), LinearRegression()),
    "union": lambda: make_pipeline(
        FeatureUnion([("one", StandardScaler()), ("two", foreign_step())]), LinearRegression()
    ),
    "ensemble": lambda: BaggingRegressor(make_pipeline(foreign_step(), LinearRegression()), 2, random_state=0),
}


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_the_distribution_of_every_part_is_recorded(make: Callable[[], Any]) -> None:
    """However deep the part stands, the version of the library that it comes from is known."""
    libraries = capture_environment(make().fit(X, X[:, 0]))["libraries"]

    assert libraries["narwhals"] == version("narwhals")
    assert libraries["scikit-learn"] == version("scikit-learn")
    assert "narwhals" not in capture_environment(make_pipeline(StandardScaler()).fit(X))["libraries"]


def test_a_class_counts_for_its_bases_and_an_installed_package_for_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distribution under another name than its package is found by what it installed, also behind a subclass."""
    (tmp_path / "far_parts").mkdir()
    (tmp_path / "far_parts" / "__init__.py").write_text(
        "from sklearn.linear_model import LinearRegression\nclass Far(LinearRegression):\n    pass\n"
    )
    info = tmp_path / "parts_from_afar-1.2.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parts-from-afar\nVersion: 1.2.3\n")
    (info / "RECORD").write_text("far_parts/__init__.py,,\nparts_from_afar-1.2.3.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    distributions._all_packages.cache_clear()
    distributions._of_package.cache_clear()
    from far_parts import Far  # type: ignore[import-not-found]

    class Near(Far):  # type: ignore[misc]
        pass

    found = distributions_of(make_pipeline(StandardScaler(), Near()).fit(X, X[:, 0]))

    assert found["parts-from-afar"] == "1.2.3"
    distributions._all_packages.cache_clear()
    distributions._of_package.cache_clear()
    sys.modules.pop("far_parts")


@pytest.mark.parametrize(
    "model", [Everything(), lambda: None, (value for value in ()), 7], ids=["everything", "lambda", "generator", "7"]
)
def test_what_cannot_be_looked_through_has_told_of_its_parts_until_then(model: Any) -> None:
    """No model is refused because its libraries cannot be named."""
    assert isinstance(distributions_of(model), dict)


def test_a_part_that_describes_itself_without_an_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at is counted."""
    monkeypatch.setattr(distributions, "MOST_BYTES", 2**20)

    class Endless:
        def __reduce__(self) -> Any:
            return list, (), None, iter(lambda: 1, 2)

    assert isinstance(distributions_of(Endless()), dict)


def test_another_version_of_a_parts_library_is_said_when_the_model_is_loaded(
    connect: Callable[..., ModelStore], caplog: pytest.LogCaptureFixture
) -> None:
    """It is loaded, because it repeats its golden rows, and the log says what differs; of the same version it says nothing."""
    store = connect(trusted_types=[NARWHALS])
    registered = store.register(HOLDERS["pipeline"]().fit(X, X[:, 0]), "far", example=X)
    elsewhere = registered.environment["libraries"] | {"narwhals": "1.0", "gone": "2.0"}

    with caplog.at_level(logging.WARNING, "bodega_db"):
        store.open(registered)
        assert caplog.messages == []
        store.open(replace(registered, environment=registered.environment | {"libraries": elsewhere}))

    here = version("narwhals")
    assert caplog.messages == [
        f"far@1 is loaded and repeats its golden rows. A part of it comes from narwhals 1.0, and {here} runs here",
        "far@1 is loaded and repeats its golden rows. A part of it comes from gone 2.0, and is not installed here",
    ]


def test_where_a_load_fails_the_advice_names_the_other_version() -> None:
    """It may be the reason."""
    model = HOLDERS["pipeline"]().fit(X, X[:, 0])
    signature, golden = learn(model, X)
    environment = capture_environment(model)
    environment["libraries"]["narwhals"] = "0.9"
    wrong = replace(golden, outputs={"predict": [value + 1 for value in golden.outputs["predict"]]})

    with pytest.raises(GoldenMismatchError, match=r"narwhals 0\.9, and .* runs here\. It depends on chance"):
        start_runner(
            io.BytesIO(written(model)),
            "skops",
            signature,
            wrong,
            environment,
            Policy(trusted_types=frozenset({NARWHALS})),
        )


def test_other_versions_of_the_usual_libraries_are_not_told() -> None:
    """Only scikit-learn's minor version counts there, and has its own refusal."""
    environment = capture_environment()
    environment["libraries"] |= {"numpy": "1.0", "pandas": "0.1", "scikit-learn": "1.0"}

    assert other_versions(environment) == []
