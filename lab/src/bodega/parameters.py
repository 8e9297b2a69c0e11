"""An estimator's own parameters, in a form that reads well in a catalog."""

from typing import Any

LONGEST = 200


def read_parameters(model: Any) -> dict[str, Any]:
    """Return what `get_params` says, estimators inside as one line of their repr; {} where there is no get_params.

    Of a search they are those of the model that it found.
    """
    from bodega_db.cores import find_core  # brings scikit-learn along

    if isinstance(model, type) or not hasattr(model, "get_params"):
        return {}
    core = find_core(model).model
    try:
        found = core.get_params(deep=True)
    except Exception:  # noqa: BLE001 (somebody's own estimator may fail here, and is no worse a model for it)
        return {}
    return {str(name): _readable(value) for name, value in found.items()}


def _readable(value: Any) -> Any:
    if hasattr(value, "get_params"):
        text = " ".join(repr(value).split())
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    if isinstance(value, list | tuple):
        return [_readable(part) for part in value]
    return value
