"""Which version a caller means: 'penguins', 'penguins@3', 'penguins@latest', 'penguins@best:accuracy'."""

import re
from dataclasses import dataclass

from bodega_db.errors import InvalidAliasError, InvalidNameError, InvalidReferenceError, ModelNotFoundError
from bodega_db.names import NAME_PATTERN, why_no_name

MODEL_NAME = re.compile(NAME_PATTERN.removeprefix("^").removesuffix("$"))
METRIC_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,127}")
RESERVED = ("latest", "production", "best")
LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ByNumber:
    """Exactly this version."""

    number: int


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest candidate or production version."""


@dataclass(frozen=True, slots=True)
class Production:
    """The version in production."""


@dataclass(frozen=True, slots=True)
class Default:
    """The version in production; of a model that never had one, the newest candidate."""


@dataclass(frozen=True, slots=True)
class ByAlias:
    """The version an alias names."""

    alias: str


@dataclass(frozen=True, slots=True)
class Best:
    """The candidate or production version with the highest (or lowest) value of a metric."""

    metric: str
    lowest: bool


Selector = ByNumber | Latest | Production | Default | ByAlias | Best


def check_model_name(name: str) -> str:
    """Return the name; raise InvalidNameError unless it may name a model."""
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
        raise InvalidNameError(*why_no_name(name))
    return name


def check_known_name(name: str) -> str:
    """Return the name; raise ModelNotFoundError for one that no model can have, as for one that no model has.

    What else it could be called is not said: that repeats the name, and no answer over HTTP repeats a request.
    """
    try:
        return check_model_name(name)
    except InvalidNameError as exc:
        raise ModelNotFoundError("No model can have this name", f"{exc.message}. {ModelNotFoundError.hint}") from exc


def check_alias(alias: str) -> str:
    """Return the alias; raise InvalidAliasError unless it may name a version and means nothing else behind an '@'."""
    if not isinstance(alias, str) or not MODEL_NAME.fullmatch(alias) or alias.isdigit() or alias in RESERVED:
        raise InvalidAliasError("Invalid alias")
    return alias


def parse_reference(reference: str) -> tuple[str, Selector]:
    """Split 'NAME@VERSION' into a checked name and the choice of a version."""
    name, at, version = reference.partition("@")
    if at and not version:
        raise InvalidReferenceError("Nothing follows the '@'")
    return check_model_name(name), parse_selector(version or None)


def parse_selector(version: str | None) -> Selector:
    """Read what stands behind '@' or in `?version=`; None chooses the default."""
    match version:
        case None:
            return Default()
        case "latest":
            return Latest()
        case "production":
            return Production()
    if version.isascii() and version.isdigit():
        return _number(version)
    if version.startswith("best:"):
        return _best(version)
    if MODEL_NAME.fullmatch(version) and version != "best":
        return ByAlias(version)
    raise InvalidReferenceError("That is not a version")


def _number(version: str) -> ByNumber:
    # The length first: converting a number of a million digits takes time that a caller should not have.
    if len(version) > 10 or not 0 < int(version) <= LARGEST_NUMBER:
        raise InvalidReferenceError("Version numbers begin at 1 and fit in 31 bits")
    return ByNumber(int(version))


def _best(version: str) -> Best:
    metric, _, direction = version.removeprefix("best:").partition(":")
    if not METRIC_NAME.fullmatch(metric) or direction not in ("", "min", "max"):
        raise InvalidReferenceError("A best version is written 'best:METRIC', 'best:METRIC:min' or 'best:METRIC:max'")
    return Best(metric, lowest=direction == "min")
