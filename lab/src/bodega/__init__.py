"""What a person touches: register, list, load and promote models from a notebook.

    import bodega
    bodega.register(model, "penguins", example=X_test, metrics={"accuracy": 0.98})
    bodega.promote("penguins@latest")

The verbs bring pandas and scikit-learn along, so they are imported at their first use: the `bodega` command, which
imports this package too, answers `--help` at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bodega_model.errors import BodegaError

    from bodega.verbs.admin import delete, protect_alias, prune, unprotect_alias
    from bodega.verbs.connection import connect, disconnect
    from bodega.verbs.lifecycle import (
        aliases,
        archive,
        as_of,
        describe,
        promote,
        quarantine,
        release,
        remove_alias,
        rollback,
        set_alias,
    )
    from bodega.verbs.register import diff, get, history, load, models, register, resolve, versions
    from bodega.verbs.transfer import export, import_bundle

__all__ = [
    "BodegaError",
    "aliases",
    "archive",
    "as_of",
    "connect",
    "delete",
    "describe",
    "diff",
    "disconnect",
    "export",
    "get",
    "history",
    "import_bundle",
    "load",
    "models",
    "promote",
    "protect_alias",
    "prune",
    "quarantine",
    "register",
    "release",
    "remove_alias",
    "resolve",
    "rollback",
    "set_alias",
    "unprotect_alias",
    "versions",
]

MOVING = (
    *("aliases", "archive", "as_of", "describe", "promote"),
    *("quarantine", "release", "remove_alias", "rollback", "set_alias"),
)
ADMINISTERING = ("delete", "protect_alias", "prune", "unprotect_alias")
HOMES = {
    **dict.fromkeys(__all__, "bodega.verbs.register"),
    **dict.fromkeys(("connect", "disconnect"), "bodega.verbs.connection"),
    **dict.fromkeys(MOVING, "bodega.verbs.lifecycle"),
    **dict.fromkeys(("export", "import_bundle"), "bodega.verbs.transfer"),
    **dict.fromkeys(ADMINISTERING, "bodega.verbs.admin"),
    "BodegaError": "bodega_model.errors",
}


def __getattr__(name: str) -> Any:
    # Not kept in this module's globals: after %autoreload the next use must find the new function.
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("bodega")
    raise AttributeError(f"module 'bodega' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
