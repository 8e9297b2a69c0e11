"""Where and by whom a model was made: Python, platform, library versions, user; and whether it may be loaded here."""

import getpass
import platform
from collections.abc import Mapping
from functools import cache, partial
from importlib.metadata import version
from typing import Any

from bodega_model.errors import EnvironmentMismatchError, RegistrationError
from bodega_model.foreign import known
from bodega_model.loading.distributions import distributions_of

LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "joblib", "skops")
SKLEARN = "scikit-learn"


def capture_environment(model: Any = None) -> dict[str, Any]:
    """Return Python, platform and the versions of the model's libraries, as the catalog keeps them.

    These are the usual ones, and every distribution that any part of the model comes from. Raises RegistrationError.
    """
    try:
        libraries = {name: installed_version(name) for name in LIBRARIES} | distributions_of(model)
    except OSError as exc:
        raise RegistrationError(
            f"What is installed cannot be read: {exc.strerror}", "Check the disk of this Python, and register again."
        ) from exc
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "libraries": libraries,
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


def other_versions(recorded: Mapping[str, Any]) -> list[str]:
    """Return, as sentences, which libraries of the model's parts have another version here than they had, or none.

    Of the usual ones only scikit-learn makes a difference, and `check_environment` is about that.
    """
    parts = {name: number for name, number in recorded["libraries"].items() if name not in LIBRARIES}
    here = {name: known(partial(installed_version, name), None) for name in parts}
    told = {name: f"{number} runs here" if number else "is not installed here" for name, number in here.items()}
    return [
        f"A part of it comes from {name} {number}, and {told[name]}"
        for name, number in parts.items()
        if here[name] != number
    ]


def minor(number: str) -> tuple[str, ...]:
    """Return the part of a version number that must agree: '1.9.1' gives ('1', '9')."""
    return tuple(number.split(".")[:2])


def default_actor() -> str:
    """Return who works here, for the catalog's history."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
