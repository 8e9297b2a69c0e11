"""Query parameters: those that some request takes, and a refusal of all others."""

from collections import Counter
from collections.abc import Awaitable, Callable

from bodega_model.validation.rows import shown
from fastapi import Request

from bodega_api.errors import ParameterError

PARAMETERS: set[str] = set()  # the names of all that some request takes


def only_parameters(*names: str) -> Callable[[Request], Awaitable[None]]:
    """Make a dependency that refuses other query parameters, and any that comes twice.

    A misspelt ?verison=3 would otherwise be answered by another version without a word.
    """
    PARAMETERS.update(names)

    async def check(request: Request) -> None:
        for name, count in Counter(key for key, _ in request.query_params.multi_items()).items():
            if name not in names:
                known = ", ".join(names) or "none"
                raise ParameterError(f"{shown(name)} is not a parameter here", f"Known are: {known}.")
            if count > 1:
                raise ParameterError(f"The parameter {name} is there {count} times", "Give it once.")

    return check
