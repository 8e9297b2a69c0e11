"""An estimator's own parameters, in a form that reads well in a catalog."""

from typing import Any

from bodega_model.foreign import has, known, members, type_name

LONGEST = 200


def read_parameters(model: Any) -> dict[str, Any]:
    """Return what `get_params` says, estimators inside as one line of their repr; {} where there is no get_params.

    Of a search they are those of the model that it found. Somebody's own estimator may fail here, and is no worse a
    model for it.
    """
    return known(lambda: _parameters(model), {})


def _parameters(model: Any) -> dict[str, Any]:
    from bodega_model.formats.cores import find_core  # brings scikit-learn along

    if isinstance(model, type) or not has(model, "get_params"):
        return {}
    found = find_core(model).model.get_params(deep=True)
    return {str(name): _readable(value) for name, value in members(found.items())}


def _readable(value: Any) -> Any:
    if has(value, "get_params"):
        text = " ".join(known(lambda: repr(value), f"<{type_name(value)}>").split())
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    if isinstance(value, list | tuple):
        return [_readable(part) for part in value]
    return value
