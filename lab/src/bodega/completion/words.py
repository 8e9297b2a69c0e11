"""What a shell completes: names of models, versions and aliases, from a catalog that is there already.

Whoever presses TAB wants an answer at once or none: nothing is started, nothing fails aloud, and a catalog that leaves
a question open for a second is asked no longer. The parameters of the commands name the functions here.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

import typer

VARIABLE = "_BODEGA_COMPLETE"
PATIENCE = 1.0  # seconds
MORE = "a version of it"

T = TypeVar("T")


def enable_completion() -> None:
    """Let this process answer the shell that has set VARIABLE: Typer does so for apps that have options for it."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()


def complete_model(incomplete: str) -> list[str]:
    """Return the names of models that begin so."""
    from bodega_db.catalog.completion import model_names

    return ask(lambda url: model_names(url, incomplete))


def complete_version(incomplete: str) -> list[tuple[str, str]]:
    """Return references to versions that begin so, as in 'penguins@3'; before the '@', 'penguins@'."""
    from bodega_db.catalog.completion import version_names

    model, at, _ = incomplete.partition("@")
    if not at:
        return [(f"{name}@", MORE) for name in complete_model(incomplete)]
    return [(f"{model}@{name}", known) for name, known in ask(lambda url: version_names(url, model))]


def complete_reference(incomplete: str) -> list[tuple[str, str]]:
    """Return references that begin so where a model's name alone is one too."""
    if "@" in incomplete:
        return complete_version(incomplete)
    names = complete_model(incomplete)
    return [*((name, "the one that serves") for name in names), *((f"{name}@", MORE) for name in names)]


def complete_alias(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the aliases of the model that stands before them in the command."""
    from bodega_db.catalog.completion import alias_names

    # Behind an option that waits for its value, what was read before is among the rest.
    before = context.params.get("name") or context.params.get("reference") or next(iter(context.args), "")
    model = str(before).partition("@")[0]
    return ask(lambda url: alias_names(url, model))


def ask(question: Callable[[str], list[T]]) -> list[T]:
    """Return what the catalog that is meant answers within a second, else nothing."""
    from bodega.local.find_catalog import running_database

    answers: list[T] = []

    def put() -> None:
        with contextlib.suppress(Exception):  # also what nobody thought of: an error would be written into the prompt
            if url := running_database():
                answers.extend(question(url))

    # In a thread, because a name server or a socket may keep a question from being broken off.
    asking = threading.Thread(target=put, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return list(answers)
