"""The reviewed types: what a skops file may hold beyond what skops itself trusts.

What was asked of each entry, with its source at hand: a crafted file can call it with any arguments made of
trusted types, create it without its constructor, give it any state, and hang it where scikit-learn calls it
with the rows of a request (as the `func` of a FunctionTransformer). Is it then still unable to import, to
evaluate, to read or write a file, or to call a method whose name stands in the file? Then it may stay.

Trust is about code, not about memory: scikit-learn's compiled code does not check the indices inside trees,
neighbour searches and sparse matrices (nor inside the SVMs that skops trusts by itself), so a crafted file
can crash the process that predicts with it. The sha256 keeps out files that nobody registered.
"""

import sys
import tomllib
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """Why a type was turned down, and what to do instead; '' where there is nothing."""

    because: str
    instead: str


# Which type is trusted for which reason, and which was turned down, stands in a table of its own.
_REVIEW: dict[str, list[dict[str, Any]]] = tomllib.loads(files("bodega_db").joinpath("reviewed.toml").read_text())

TRUSTED_TYPES = frozenset(name for group in _REVIEW["trusted"] for name in group["types"])

PARTIAL = "functools.partial"
# functools.partial is not trusted, with one exception: around these functions, by name and nothing else.
PARTIAL_OF: frozenset[str] = frozenset({"sklearn.utils.validation.check_array"})

_FROM_NOTEBOOK = (
    "{name} is defined in a notebook or a script, which no server has: move it into a package that is "
    "installed where the models run, import it from there, and fit again."
)
_FROM_PYTHON = "{name} is Python's own and no part of a model: take it out of the pipeline and fit again."
_FROM_PACKAGE = (
    "{name} was not reviewed: if no file can make it run code, trust it where the models run, "
    "BODEGA_TRUSTED_TYPES='[\"{name}\"]'."
)


@cache
def turned_down(name: str) -> Refusal | None:
    """Return why a type was reviewed and turned down, None for one that was not."""
    for group in _REVIEW["refused"]:
        if any(fnmatchcase(name, pattern) for pattern in group["types"]):
            return Refusal(group["because"], group.get("instead", ""))
    return None


def advise(name: str) -> str:
    """Return what to do about a type that is not trusted, in one sentence."""
    package = name.partition(".")[0]
    if package == "__main__":
        return _FROM_NOTEBOOK.format(name=name)
    if refusal := turned_down(name):
        return f"{name} {refusal.because}{': ' if refusal.instead else ''}{refusal.instead}."
    of_python = package in sys.stdlib_module_names or package in ("posix", "nt")
    return (_FROM_PYTHON if of_python else _FROM_PACKAGE).format(name=name)
