"""Go through scikit-learn and tell of each public class and function whether a file may hold it, and why (not).

.venv/bin/python tools/review_types.py            what is public, and what was said of it
.venv/bin/python tools/review_types.py --open     what was not reviewed yet: read its source, then add it to
                                                  model/src/bodega_model/formats/reviewed.toml
.venv/bin/python tools/review_types.py --fitted   fit every estimator as scikit-learn's own tests do, and tell what
                                                  the fitted ones hold (some minutes)
"""

import argparse
import contextlib
import importlib
import inspect
import pkgutil
import signal
import sys
import warnings
from collections import defaultdict
from typing import Any

import numpy as np
import sklearn
from bodega_model.formats.trusted_types import TRUSTED_TYPES, turned_down
from skops.io import _trusted_types as of_skops
from skops.io import dumps, get_untrusted_types

SKOPS = {
    name
    for names in (
        *(of_skops.SKLEARN_ESTIMATOR_TYPE_NAMES, of_skops.SKLEARN_INTERNAL_TYPE_NAMES),
        *(of_skops.NUMPY_UFUNC_TYPE_NAMES, of_skops.SCIPY_UFUNC_TYPE_NAMES),
    )
    for name in names
}
# Private modules whose classes a fitted model holds one of: where one is trusted, its sisters are asked for next.
FAMILIES = (
    "sklearn._loss.link",
    "sklearn._loss.loss",
    "sklearn.gaussian_process.kernels",
    "sklearn.metrics._dist_metrics",
    "sklearn.metrics._scorer",
    "sklearn.model_selection._split",
    "sklearn.neural_network._stochastic_optimizers",
)
NOT_OF_THEIRS = ("tests", "conftest", "_build_utils")


def public() -> set[str]:
    """Return the dotted names of all public classes and functions of scikit-learn, by where they are defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name for module in _public_modules() for name in _offered(module)}


def siblings() -> set[str]:
    """Return the dotted names of the classes in the families of which a model holds one."""
    found = set()
    for family in FAMILIES:
        module = importlib.import_module(family)
        own = (v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == family)
        found |= {_name(value) for value in own if not value.__name__.startswith("_") and "Mixin" not in value.__name__}
    return found


def held(seconds: int) -> tuple[dict[str, list[str]], int]:
    """Fit scikit-learn's own test models; return the types that they hold beyond those of skops, and their number."""
    from sklearn.utils._test_common.instance_generator import _tested_estimators

    found: dict[str, list[str]] = defaultdict(list)
    fitted = 0
    for estimator in _tested_estimators():
        with contextlib.suppress(Exception), _time_limit(seconds):
            content = dumps(_fit(estimator))
            fitted += 1
            for name in get_untrusted_types(data=content):
                found[name].append(type(estimator).__name__)
    return dict(found), fitted


def verdict(name: str) -> str | None:
    """Return what was said of a type: by whom it is trusted or why it was turned down; None if it was not reviewed."""
    if name in SKOPS:
        return "trusted by skops"
    if name in TRUSTED_TYPES:
        return "trusted"
    if "HalvingGridSearchCV" in name or "HalvingRandomSearchCV" in name:
        return "stored as what it found"  # experimental: skops knows it if it was enabled before skops was imported
    refusal = turned_down(name)
    return refusal and f"turned down: {refusal.because}"


def _public_modules() -> list[Any]:
    modules = [sklearn]
    for found in pkgutil.walk_packages(sklearn.__path__, "sklearn."):
        parts = found.name.split(".")
        if not any(part.startswith(("_", "test_")) or part in NOT_OF_THEIRS for part in parts):
            with contextlib.suppress(ImportError):  # of what is installed for their tests alone
                modules.append(importlib.import_module(found.name))
    return modules


def _offered(module: Any) -> set[str]:
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    values = [getattr(module, name, None) for name in names]
    return {
        _name(value)
        for value in values
        if callable(value)
        and hasattr(value, "__name__")
        and str(getattr(value, "__module__", "")).startswith("sklearn")
    }


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__name__}"


def _fit(estimator: Any) -> Any:
    from sklearn.base import clone
    from sklearn.utils.estimator_checks import _enforce_estimator_tags_X, _enforce_estimator_tags_y

    chance = np.random.RandomState(0)
    X = chance.normal(size=(60, 4))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    fresh = clone(estimator)
    return fresh.fit(_enforce_estimator_tags_X(fresh, X), _enforce_estimator_tags_y(fresh, y))


@contextlib.contextmanager
def _time_limit(seconds: int) -> Any:
    def give_up(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    """Print the review; return 1 if something was not reviewed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--open", action="store_true", help="only what was not reviewed")
    parser.add_argument("--fitted", action="store_true", help="what fitted estimators hold")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    names = held(seconds=20)[0] if chosen.fitted else public() | siblings()
    said = {name: verdict(name) for name in sorted(names)}
    for name, words in said.items():
        if words is None or not chosen.open:
            print(f"{name}: {words or 'NOT REVIEWED'}")
    return int(None in said.values())


if __name__ == "__main__":
    sys.exit(main())
