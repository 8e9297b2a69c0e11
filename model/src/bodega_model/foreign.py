"""Objects that others wrote, asked so that nothing they do comes out raw: it is a reason, or "not known".

An attribute of an estimator may raise, be of any type and never end, and a method may do anything. All questions that a
registration asks an estimator go through here.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from bodega_model.errors import BodegaError, RegistrationError

MOST_MEMBERS = 5_000_000  # of what says to be a list of names, categories or labels, and may be endless
LONGEST_CAUSE = 300
SECONDS_TO_FIND = 10

T = TypeVar("T")


@contextmanager
def asking(model: Any) -> Iterator[None]:
    """Turn what a foreign object raises meanwhile into a RegistrationError that names the part and the cause."""
    try:
        yield
    except (BodegaError, KeyboardInterrupt):
        raise
    except BaseException as exc:
        raise RegistrationError(
            f"{part_of(exc) or type_name(model)} raised {cause(exc)} when it was looked at",
            "Register an estimator whose attributes can be read as those of scikit-learn's can.",
        ) from exc


def known(question: Callable[[], T], otherwise: Any) -> T:
    """Return what a question to a foreign object gives, or the other value where that cannot be known."""
    try:
        return question()
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 (a foreign object may raise anything, SystemExit too)
        return otherwise  # type: ignore[no-any-return]


def read(part: Any, name: str, otherwise: Any = None) -> Any:
    """Return an attribute of a foreign object, or the other value where there is none that can be read."""
    return known(lambda: getattr(part, name, otherwise), otherwise)


def has(part: Any, name: str) -> bool:
    """Tell whether a foreign object has an attribute that can be read."""
    missing = object()
    return read(part, name, missing) is not missing


def members(values: Iterable[T]) -> list[T]:
    """Return what is in a foreign collection; ValueError for one that has no end in sight."""
    found = list(islice(values, MOST_MEMBERS + 1))
    if len(found) > MOST_MEMBERS:
        raise ValueError(f"more than {MOST_MEMBERS} members")
    return found


def type_name(part: Any) -> str:
    """Name the real type of an object, not the one it claims."""
    return type(part).__name__


def cause(exc: BaseException) -> str:
    """Name an exception and what it says, in one line; a foreign one may be unable to say it."""
    text = known(lambda: " ".join(f"{type_name(exc)}: {exc}".split()), type_name(exc))
    return text if len(text) <= LONGEST_CAUSE else f"{text[: LONGEST_CAUSE - 1]}…"


def find_part(model: Any, attempt: Callable[[Any], object]) -> tuple[str, Any]:
    """Return the innermost part of a model with which an attempt fails, and its place, as 'Scaler.mean_ (an ndarray)'.

    What is no estimator and no collection is not looked into. The place is '' where every part by itself succeeds.
    """
    place, part, deadline = "", model, time.monotonic() + SECONDS_TO_FIND
    while True:
        inner = ((name, one) for name, one in _inside(part) if not _succeeds(attempt, one))
        name, failing = next(inner, ("", None))
        if not name or time.monotonic() > deadline:
            return place, part
        owner = f"{type_name(part)}.{name}" if _is_estimator(part) else f"{place.partition(' (')[0]}[{name}]"
        place, part = f"{owner} (of type {type_name(failing)})", failing


def _inside(part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, list | tuple):
        yield from ((str(number), one) for number, one in enumerate(part))
    elif isinstance(part, dict):
        yield from ((str(name), one) for name, one in part.items())
    elif _is_estimator(part) and not _is_of_pandas(part):
        yield from vars(part).items()


def _succeeds(attempt: Callable[[Any], object], part: Any) -> bool:
    try:
        attempt(part)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 (a foreign object may raise anything)
        return False
    return True


def part_of(exc: BaseException | None) -> str | None:
    """Name the innermost estimator that was at work when the exception was raised, None where none was."""
    if exc is None:
        return None
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(exc.__traceback__)]
    return next((type_name(owner) for owner in reversed(owners) if _is_estimator(owner)), None)


def _is_of_pandas(part: Any) -> bool:
    return str(type(part).__module__).partition(".")[0] == "pandas"


def _is_estimator(owner: Any) -> bool:
    # Asked of its classes, not of the object, which may answer anything.
    return any("fit" in cls.__dict__ or "transform" in cls.__dict__ for cls in type(owner).__mro__)
