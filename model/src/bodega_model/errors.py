"""The errors of one model, with a message that says what happened and a hint what to do next.

A message never quotes the caller's data, only names of columns, models and types.
"""

import linecache
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class BodegaError(Exception):
    """Something Bodega refuses or cannot do; `hint` says what to do next."""

    hint: ClassVar[str] = ""
    step: ClassVar[str | None] = None  # of the way from the volume to a model that answers (docs/integrity.md)

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.advice = self.hint if hint is None else hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.advice}" if self.advice else self.message

    def _render_traceback_(self) -> list[str]:
        """Say in a notebook what happened and in which line of the cell, without our own frames (IPython asks)."""
        own = [(f, line) for f, line in traceback.walk_tb(self.__traceback__) if f.f_globals["__name__"] == "__main__"]
        place = [f"line {line}: {linecache.getline(f.f_code.co_filename, line).strip()}" for f, line in own[-1:]]
        return [*place, f"{type(self).__name__}: {self}"]


# --- from bytes to a model ------------------------------------------------------------------------------------


class LoadError(BodegaError):
    """The verified bytes were not turned into a model that answers as it did when it was registered."""

    step = "load"


class FormatNotAllowedError(LoadError):
    """The server's policy does not load this format."""

    step = "format"
    hint = (
        "Register with format='skops', or allow the format where the models run: "
        'BODEGA_FORMATS=\'["skops", "joblib"]\'.'
    )


class ArchiveError(LoadError):
    """The artifact is no archive as the format has it, or asks for more than may be loaded."""

    step = "archive"
    hint = "Register the model again; a larger one needs BODEGA_MAX_MODEL_BYTES where the models run."


class UntrustedTypeError(LoadError):
    """The artifact needs types that are not reviewed."""

    step = "types"

    def __init__(self, message: str, types: Sequence[str], hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.types = tuple(types)


class DeserialiseError(LoadError):
    """The loader failed on bytes that are the registered ones."""


class EnvironmentMismatchError(LoadError):
    """The model was trained with another scikit-learn minor version than runs here."""

    step = "environment"
    hint = (
        "Serve it where that version is installed, register it again from here, or set "
        "BODEGA_ALLOW_SKLEARN_MISMATCH=true: the golden predictions must then still be reproduced."
    )


class LoadEndedError(LoadError):
    """The process that tried to load the model was ended: it crashed, took too long, or used too much memory."""

    hint = "Load it by hand with bodega.load(), on a machine where that is safe, to see why."


class GoldenMismatchError(LoadError):
    """The loaded model does not reproduce the predictions it made when it was registered."""

    step = "golden"


# --- what a registration refuses ------------------------------------------------------------------------------


class RegistrationError(BodegaError):
    """The model cannot be registered as it is."""


class NotFittedError(RegistrationError):
    """The model was not fitted."""

    hint = "Call fit() first."


class ExampleError(RegistrationError):
    """The example cannot serve as one: of an unknown kind, without rows, or the model fails on it."""


class SerialiseError(RegistrationError):
    """The model cannot be written in the chosen format."""


class NotServableError(RegistrationError):
    """A fresh process could not load the model or did not get the same predictions."""


# --- prediction -----------------------------------------------------------------------------------------------


class InputError(BodegaError):
    """The rows do not fit the signature; `problems` says at most 20 times which row and column, and why."""

    hint = "Compare with the signature at GET /models/NAME/versions/N."

    def __init__(self, message: str, problems: Sequence[Mapping[str, Any]] = (), hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.problems = tuple(problems)


class OutputNotAvailableError(BodegaError):
    """The model has no such output."""


class PredictionError(BodegaError):
    """The model raised while it predicted."""

    hint = "The rows fit the signature but the model cannot take them; try them in a notebook with bodega.load()."


class OutputNotFiniteError(PredictionError):
    """The model answered NaN or an infinity."""


class BrokenSignatureError(PredictionError):
    """The model answered otherwise than its signature says: another number of rows, another shape, kind or label."""

    hint = "The fault is in the model. Fix it, and register it again with an example that has such outputs."


class TooManyRowsError(BodegaError):
    """The body of the request has more rows than the server answers at once."""

    hint = "Send fewer rows at a time."
