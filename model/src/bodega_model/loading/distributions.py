"""Which distributions a fitted model comes from: those of every type and function that its parts are made of."""

import pickle
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from types import BuiltinFunctionType, FunctionType
from typing import Any

from bodega_model.foreign import known, read
from bodega_model.signature.tracing import objects_of

OURS = ("builtins", "__main__", "copyreg", "collections")
CONTAINERS = {"pandas", "polars"}  # libraries of what set_output makes
MOST_BYTES = 2**30  # that are looked at beside the arrays: a part may describe itself without an end


def distributions_of(model: Any) -> dict[str, str]:
    """Return the versions of all distributions that any part of the model comes from, by name."""
    names = {name for package, module in _packages(model) for name in _of_package(package, module)}
    return {name: version(name) for name in sorted(names)}


def _packages(model: Any) -> Iterator[tuple[str, str]]:
    """Yield the top package and the module of every type and function that a pickle of the model would name."""
    listing = _Listing()
    known(lambda: listing.dump(model), None)  # what cannot be pickled has told of its parts until then
    containers = {str(said["transform"]) for part in objects_of(model) if (said := _output_of(part))}
    for module in listing.modules | (containers & CONTAINERS):
        package = module.partition(".")[0]
        if package not in OURS:
            yield package, module


def _output_of(part: Any) -> Any:
    """Return what a part was told by scikit-learn's set_output."""
    attributes = read(part, "__dict__")
    said = dict.get(attributes, "_sklearn_output_config") if isinstance(attributes, dict) else None
    return said if isinstance(said, dict) and "transform" in said else None


class _Listing(pickle.Pickler):
    """Pickles to nowhere, and keeps the modules of what it meets; arrays are not copied."""

    def __init__(self) -> None:
        super().__init__(_Nowhere(), protocol=5, buffer_callback=lambda _: None)
        self.modules: set[str] = set()
        self._seen: set[int] = set()

    def reducer_override(self, obj: Any) -> Any:
        """Note where the object's type, its bases, or the object itself are defined, and pickle it as usual."""
        is_named = isinstance(obj, type | FunctionType | BuiltinFunctionType)
        kind = obj if is_named else type(obj)
        if id(kind) not in self._seen:
            self._seen.add(id(kind))
            homes = {getattr(one, "__module__", None) for one in (kind, *getattr(kind, "__mro__", ()))}
            self.modules |= {home for home in homes if isinstance(home, str)}
        return NotImplemented


class _Nowhere:
    def __init__(self) -> None:
        self.left = MOST_BYTES

    def write(self, piece: Any) -> int:
        self.left -= len(piece)
        if self.left < 0:
            raise OverflowError
        return len(piece)


@cache
def _of_package(package: str, module: str) -> tuple[str, ...]:
    """Name the distributions that brought a package; of several that share it, those that have the module."""
    names = tuple(dict.fromkeys(_all_packages().get(package, (package,))))
    if len(names) > 1:
        names = tuple(name for name in names if _has_module(name, module)) or names
    return tuple(name for name in names if _is_installed(name))


def _has_module(name: str, module: str) -> bool:
    begin = module.replace(".", "/")
    return any(str(file).startswith(begin) for file in distribution(name).files or ())


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


@cache
def _all_packages() -> Mapping[str, list[str]]:
    return packages_distributions()
