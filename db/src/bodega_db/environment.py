"""Where and by whom a model was made: Python, platform, library versions, user; and whether it may be loaded here."""

import getpass
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from bodega_db.errors import EnvironmentMismatchError
from bodega_db.foreign import known

LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "joblib", "skops")
SKLEARN = "scikit-learn"


def capture_environment(model: Any = None) -> dict[str, Any]:
    """Return Python, platform and the versions of the model's libraries, as the catalog keeps them."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "libraries": {name: installed_version(name) for name in (*LIBRARIES, *known(lambda: _own_library(model), ()))},
    }


@cache
def installed_version(name: str) -> str:
    """Return the version of a library, read once: an upgrade beneath a running process changes nothing in it."""
    return version(name)


def check_environment(recorded: Mapping[str, Any], *, allow_mismatch: bool) -> None:
    """Raise EnvironmentMismatchError when the model's scikit-learn has another minor version than runs here.

    scikit-learn promises nothing across minor versions: a model may load and answer something else.
    """
    trained, running = recorded["libraries"][SKLEARN], installed_version(SKLEARN)
    if minor(trained) != minor(running) and not allow_mismatch:
        raise EnvironmentMismatchError(f"Trained with scikit-learn {trained}, but {running} runs here")


def minor(number: str) -> tuple[str, ...]:
    """Return the part of a version number that must agree: '1.9.1' gives ('1', '9')."""
    return tuple(number.split(".")[:2])


def _own_library(model: Any) -> tuple[str, ...]:
    """Name the distribution that the model's own class comes from, if it is not one of the usual ones."""
    package = type(model).__module__.partition(".")[0]
    found = packages_distributions().get(package, [])[:1] if package not in ("builtins", "sklearn", "__main__") else []
    try:
        return tuple(name for name in found if installed_version(name))
    except PackageNotFoundError:
        return ()


def default_actor() -> str:
    """Return who works here, for the catalog's history."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
