"""scikit-learn's global settings: a model is learned, loaded and served under those that scikit-learn has by default.

`sklearn.set_config` holds for one thread of one process. A model that needs it answers in the notebook and nowhere
else; so it is asked under both, and one that answers otherwise is refused with the setting's name.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import compress
from typing import Any

from bodega_model.errors import BodegaError, RegistrationError
from bodega_model.foreign import known, type_name
from bodega_model.signature.outputs import same_answer
from bodega_model.signature.tracing import objects_of

# Those that change what a model answers; an environment variable may have changed them before any line ran.
DEFAULTS: dict[str, Any] = {
    "assume_finite": False,
    "working_memory": 1024,
    "pairwise_dist_chunk_size": 256,
    "enable_cython_pairwise_dist": True,
    "array_api_dispatch": False,
    "transform_output": "default",
    "enable_metadata_routing": False,
    "skip_parameter_validation": False,
    "sparse_interface": "spmatrix",
}
INSTEAD = {
    "assume_finite": "Rows with missing or infinite values are refused without it: leave them out of the example, or "
    "fit with a step that fills them, such as SimpleImputer.",
    "array_api_dispatch": "Fit the model on numpy arrays or a DataFrame, without that setting.",
    "enable_metadata_routing": "Fit and predict without that setting; a pipeline's fit takes the weights of a step as "
    "STEP__sample_weight.",
    "skip_parameter_validation": "Give each part parameters that scikit-learn allows, and fit again.",
    "sparse_interface": "In functions of your own write X @ Y and X.multiply(Y), which mean the same for both kinds of "
    "sparse data, and fit without that setting.",
}
MOST_TRIED = 12

Answers = dict[str, list[Any]]
Ask = Callable[[Any], Answers]


@contextmanager
def by_default(**changed: Any) -> Iterator[None]:
    """Run with scikit-learn's default settings but for those that are given, and put back what was there."""
    from sklearn import config_context, get_config  # only for models: listing versions needs no scikit-learn

    known_here = get_config().keys()  # older versions have fewer
    with config_context(**{name: value for name, value in (DEFAULTS | changed).items() if name in known_here}):
        yield


def answer_by_default(model: Any, ask: Ask, name: str = "model") -> Answers:
    """Return what a model answers under the default settings; `name` is what it is called in an advice.

    Raises what `ask` raises; and RegistrationError, with the setting and the way out, for a model that answers
    otherwise under the settings of this process.
    """
    changed = _changed()
    try:
        with by_default():
            answers = ask(model)
    except BodegaError as exc:
        own = known(lambda: ask(model), None) if changed else None
        if own is None:
            raise
        raise _needs_settings(model, ask, own, changed, name, exc.message) from exc
    own = known(lambda: ask(model), None) if changed else None
    if own is not None and not _repeats(answers, own):
        raise _needs_settings(model, ask, own, changed, name, "it gives other answers.")
    return answers


def _changed() -> dict[str, Any]:
    from sklearn import get_config

    here = get_config()
    return {name: here[name] for name, value in DEFAULTS.items() if here.get(name, value) != value}


def _repeats(answers: Answers | None, own: Answers) -> bool:
    return answers is not None and all(
        method in answers and same_answer(expected, answers[method]) for method, expected in own.items()
    )


def _needs_settings(
    model: Any, ask: Ask, own: Answers, changed: Mapping[str, Any], name: str, without: str
) -> RegistrationError:
    needed = _needed(model, ask, own, changed)
    said = ", ".join(f"{setting}={value!r}" for setting, value in needed.items())
    advice = [INSTEAD[setting] for setting in needed if setting in INSTEAD]
    if "transform_output" in needed:
        advice.insert(0, _set_output(model, ask, own, needed["transform_output"], name))
    return RegistrationError(
        f"The {type_name(model)} answers as it does here only under sklearn.set_config({said}), which holds for this "
        f"process, and models are served without it. Without it: {without}"[:700],
        " ".join(advice) or "Fit the model without that setting.",
    )


def _needed(model: Any, ask: Ask, own: Answers, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without which the model answers otherwise; all, where no single one is to blame."""

    def answers_without(name: str) -> Answers | None:
        others = {other: value for other, value in changed.items() if other != name}
        with by_default(**others):
            return known(lambda: ask(model), None)

    needed = {name: value for name, value in changed.items() if not _repeats(answers_without(name), own)}
    return needed or dict(changed)


def _set_output(model: Any, ask: Ask, own: Answers, container: str, name: str) -> str:
    """Return how the model itself can say in which container its parts pass on what they made; it was tried.

    It is tried on copies, which this rare refusal is worth: the model is not changed.
    """

    def serves(say: Callable[[Any], object]) -> bool:
        twin = copy.deepcopy(model)
        say(twin)
        with by_default():
            return _repeats(ask(twin), own)

    if known(lambda: serves(lambda twin: twin.set_output(transform=container)), False):
        return f"Say it in the model itself, and register it then: {name}.set_output(transform={container!r})."
    if (types := _types_to_tell(model, container, serves)) is None:
        return "Let the part that needs a DataFrame make one of what it is given, and fit without that setting."
    return (
        f"Say it in the parts themselves before you fit, by .set_output(transform={container!r}) of "
        f"{', '.join(types)}; then fit without that setting."
    )


def _types_to_tell(model: Any, container: str, serves: Callable[[Callable[[Any], object]], bool]) -> list[str] | None:
    """Return the types of parts that have to be told, no more than are needed; None where that does not help."""
    dry = known(lambda: _transformers(copy.deepcopy(model)), [])
    able = [known(functools.partial(_tell, part, container), False) for part in dry]
    types = sorted({type_name(part) for part in compress(dry, able)})

    def serve(told: list[str]) -> bool:
        def tell(twin: Any) -> None:
            for part in compress(_transformers(twin), able):
                if type_name(part) in told:
                    _tell(part, container)

        return bool(known(lambda: serves(tell), False))

    if len(types) > MOST_TRIED or not serve(types):
        return None
    for name in list(types):
        if serve(fewer := [other for other in types if other != name]):
            types = fewer
    return types


def _tell(part: Any, container: str) -> bool:
    part.set_output(transform=container)
    return True


def _transformers(model: Any) -> list[Any]:
    """Return the parts of a model that make their output themselves, and can be told in which container."""
    return [part for part in objects_of(model) if known(functools.partial(_can_be_told, part), False)]


def _can_be_told(part: Any) -> bool:
    # A pipeline makes nothing itself.
    return not isinstance(part, type) and callable(part.set_output) and "steps" not in vars(part)
