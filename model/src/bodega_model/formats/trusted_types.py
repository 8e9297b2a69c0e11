"""The reviewed types: what a skops file may hold beyond what skops itself trusts.

What was asked of each entry, with its source at hand: a crafted file can call it with any arguments made of
trusted types, create it without its constructor, give it any state, and hang it where scikit-learn calls it
with the rows of a request (as the `func` of a FunctionTransformer). Is it then still unable to import, to
evaluate, to read or write a file, or to call a method whose name stands in the file? Then it may stay.

Trust is about code, not about memory: scikit-learn's compiled code does not check the indices inside trees,
neighbour searches and sparse matrices (nor inside the SVMs that skops trusts by itself), so a crafted file
can crash the process that predicts with it. The sha256 keeps out files that nobody registered.
"""

import json
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import packages_distributions
from importlib.resources import files
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """Why a type was turned down, and what to do instead; '' where there is nothing."""

    because: str
    instead: str


# Which type is trusted for which reason, and which was turned down, stands in a table of its own.
_REVIEW: dict[str, list[dict[str, Any]]] = tomllib.loads(
    files("bodega_model.formats").joinpath("reviewed.toml").read_text()
)

TRUSTED_TYPES = frozenset(name for group in _REVIEW["trusted"] for name in group["types"])

PARTIAL = "functools.partial"
# functools.partial is not trusted, with one exception: around these functions, by name and nothing else.
PARTIAL_OF: frozenset[str] = frozenset({"sklearn.utils.validation.check_array"})

_FROM_NOTEBOOK = (
    "{name} is defined in a notebook or a script, which no server has: move it into a package that is "
    "installed where the models run, import it from there, and fit again."
)
_TO_MOVE = (
    "Move lambdas, and what is defined in a notebook, a script or inside a function, to the top of a "
    "module in a package that is installed where the models run, import it from there, fit again."
)
_FROM_PYTHON = "{name} is Python's own and no part of a model: keep plain values in its place, and fit again."
_FROM_PANDAS = (
    "{name} is no part of a model: keep the values as an array in its place, as to_numpy() gives them, and fit again."
)
MOST_NAMED = 3  # in a sentence, of types that two lines list
_FROM_PACKAGES = (
    "{names} {were} not reviewed: if no file can make {them} run code, trust {them} in the notebook, "
    "bodega.connect(trusted_types={line}), and where the models run, BODEGA_TRUSTED_TYPES='{line}'."
)


@cache
def turned_down(name: str) -> Refusal | None:
    """Return why a type was reviewed and turned down, None for one that was not."""
    for group in _REVIEW["refused"]:
        if any(fnmatchcase(name, pattern) for pattern in group["types"]):
            return Refusal(group["because"], group.get("instead", ""))
    return None


def advise(names: Sequence[str], places: Mapping[str, str], trusted: Iterable[str] = ()) -> list[str]:
    """Return what to do about types that are not trusted: a sentence for each, and one for all that may be trusted.

    `places` says where a type stands in the model; `trusted` are those that a setting trusts already, which its one
    line must go on to name.
    """
    open_to_trust = [name for name in names if _advise(name) is None]
    told = [_at(advice, name, places) for name in names if (advice := _advise(name))]
    if open_to_trust:
        words = {"were": "were", "them": "them"} if len(open_to_trust) > 1 else {"were": "was", "them": "it"}
        line = json.dumps(sorted({*open_to_trust, *trusted}))
        told.append(_FROM_PACKAGES.format(names=_named(open_to_trust), line=line, **words))
    return told


def advise_to_write(name: str, fmt: str) -> str:
    """Return what to do about a type that a format cannot write."""
    if refusal := turned_down(name):
        return f"It {refusal.because}: {refusal.instead}."
    if name.partition(".")[0] == "pandas":
        return (
            f"{fmt} writes no tables: keep the values as an array, as to_numpy() gives them, and fit again; or take "
            "the step that needs the table out of the model, and send rows that went through it."
        )
    return "Take the part that is named out of the model, or train with an estimator that can be written."


def advise_to_move(names: Sequence[str]) -> list[str]:
    """Return what to do about lambdas and other things that no process can import by their names."""
    foreign = [name for name in names if name.partition(".")[0] in packages_distributions()]
    told = [_TO_MOVE] if len(foreign) < len(names) else []
    if foreign:
        packages = ", ".join(sorted({name.partition(".")[0] for name in foreign}))
        told.append(
            f"What is of {packages} has no name that can be imported: choose an option that does without it, or "
            "another estimator; in a package of your own, move it to the top of a module."
        )
    return told


def _named(names: Sequence[str]) -> str:
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    packages = sorted({name.partition(".")[0] for name in names})
    return f"{len(names)} types of {', '.join(packages)}"


def _at(advice: str, name: str, places: Mapping[str, str]) -> str:
    return advice.replace(name, f"{name} (in {places[name]})", 1) if name in places else advice


def _advise(name: str) -> str | None:
    package = name.partition(".")[0]
    if package == "__main__":
        return _FROM_NOTEBOOK.format(name=name)
    if refusal := turned_down(name):
        return f"{name} {refusal.because}{': ' if refusal.instead else ''}{refusal.instead}."
    if package == "pandas":
        return _FROM_PANDAS.format(name=name)
    if package in sys.stdlib_module_names or package in ("posix", "nt"):
        return _FROM_PYTHON.format(name=name)
    return None
