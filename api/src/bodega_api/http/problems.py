"""Errors as RFC 9457 problem details: one table from the error tree to status and type, and nothing echoed.

The `type` of a problem is stable: programs branch on it. docs/problems.md lists them all.
"""

import logging
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
from bodega_db import errors as catalog_errors
from bodega_model import errors as model_errors
from bodega_model.errors import BodegaError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from bodega_api.errors import (
    BodyError,
    BodyTooLargeError,
    ContentCodingError,
    HostError,
    MediaTypeError,
    MisdirectedError,
    ModelBusyError,
    ModelHangsError,
    NotAcceptableError,
    ParameterError,
    PredictionTimeoutError,
    ShuttingDownError,
    SpoolError,
    TooManyGuessesError,
    UnauthorizedError,
    WarmingError,
)
from bodega_api.http.methods import EVERY_PATH, allowed, answer_options
from bodega_api.http.proxies import path_of
from bodega_api.http.seldom import Seldom

log = logging.getLogger("bodega_api")
seldom = Seldom(log, at_most=10)
PAGE = re.compile(r"(?<=GET )/|(?<=POST )/|(?<!\S)/(?=docs\b)")  # where a page of the API begins in a hint
LONGEST_CAUSE = 200  # characters
MEDIA_TYPE = "application/problem+json"
PROBLEM = "bodega.problem"  # in the scope of a request: the type of the problem that it was answered with
FOUND_ERROR = "bodega.error"  # in the scope of a request: what the fast path met, for the ordinary path to word
PREFIX = "urn:bodega:problem:"
RETRY_AFTER_SECONDS = "2"
# What a status says in its headers (RFC 9110): how to authorise, and when to try again.
HEADERS: dict[int, dict[str, str]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": RETRY_AFTER_SECONDS},
}


class Kind(NamedTuple):
    """What every problem of one type shares."""

    status: int
    slug: str
    title: str


# An error is looked up by its class, else by the nearest of its bases.
PROBLEMS: dict[type[BodegaError], Kind] = {
    BodyError: Kind(400, "body", "Invalid request body"),
    BodyTooLargeError: Kind(413, "body-too-large", "The body is too large"),
    model_errors.TooManyRowsError: Kind(413, "too-many-rows", "Too many rows"),
    HostError: Kind(400, "host", "Missing or invalid Host header"),
    MisdirectedError: Kind(421, "misdirected", "Unknown host name"),
    MediaTypeError: Kind(415, "media-type", "Unsupported Content-Type"),
    ContentCodingError: Kind(415, "content-coding", "Unsupported Content-Encoding"),
    ShuttingDownError: Kind(503, "shutting-down", "The server is shutting down"),
    NotAcceptableError: Kind(406, "not-acceptable", "No acceptable response format"),
    SpoolError: Kind(503, "temporary-files", "Cannot write a temporary file"),
    UnauthorizedError: Kind(401, "unauthorized", "Missing or wrong token"),
    catalog_errors.NotPermittedError: Kind(403, "not-permitted", "The database role lacks the permission"),
    ParameterError: Kind(422, "parameter", "Invalid parameter"),
    catalog_errors.InvalidReferenceError: Kind(422, "version-reference", "Invalid version reference"),
    catalog_errors.InvalidNameError: Kind(422, "model-name", "Invalid model name"),
    catalog_errors.InvalidFilterError: Kind(422, "filter", "Invalid filter"),
    catalog_errors.InvalidSearchError: Kind(422, "search", "Invalid search"),
    catalog_errors.SearchTimeoutError: Kind(422, "search-timeout", "The search took too long"),
    catalog_errors.ModelNotFoundError: Kind(404, "model-not-found", "Model not found"),
    catalog_errors.ModelAmbiguousError: Kind(422, "model-ambiguous", "The request names no model"),
    catalog_errors.VersionNotFoundError: Kind(404, "version-not-found", "Version not found"),
    catalog_errors.NoProductionError: Kind(409, "no-production", "No version is in production"),
    catalog_errors.VersionQuarantinedError: Kind(409, "version-quarantined", "The version is quarantined"),
    catalog_errors.StatusMoveError: Kind(409, "status-move", "Status change not allowed"),
    catalog_errors.VersionInUseError: Kind(409, "version-in-use", "An alias points to the version"),
    catalog_errors.NoFormerVersionError: Kind(409, "no-former-version", "No earlier version to roll back to"),
    catalog_errors.IncompatibleSignatureError: Kind(
        409, "incompatible-signature", "The new version would break callers"
    ),
    catalog_errors.AliasNotFoundError: Kind(404, "alias-not-found", "Alias not found"),
    catalog_errors.AliasProtectedError: Kind(403, "alias-protected", "The alias is protected"),
    catalog_errors.InvalidAliasError: Kind(422, "alias-name", "Invalid alias"),
    catalog_errors.InvalidMetadataError: Kind(422, "metadata", "Invalid tags or text"),
    catalog_errors.RetentionError: Kind(422, "retention", "Invalid retention rule"),
    catalog_errors.ReasonMissingError: Kind(422, "reason-missing", "Missing reason"),
    model_errors.InputError: Kind(422, "input", "The input does not match the signature"),
    model_errors.OutputNotAvailableError: Kind(422, "output", "Unknown output"),
    model_errors.PredictionError: Kind(422, "prediction-failed", "The prediction failed"),
    model_errors.BrokenSignatureError: Kind(500, "prediction-failed", "The prediction failed"),
    model_errors.OutputNotFiniteError: Kind(422, "output-not-finite", "The model returned NaN or infinity"),
    catalog_errors.ArtifactMissingError: Kind(503, "artifact-missing", "The artifact is missing"),
    catalog_errors.ArtifactNotRegularError: Kind(503, "artifact-not-regular", "The artifact is not a regular file"),
    catalog_errors.ArtifactSizeError: Kind(503, "artifact-size", "The artifact has the wrong size"),
    catalog_errors.ArtifactDigestError: Kind(503, "artifact-digest", "The artifact has the wrong sha256"),
    catalog_errors.VolumeMismatchError: Kind(503, "volume-mismatch", "The volume belongs to another store"),
    catalog_errors.VolumeError: Kind(503, "volume", "The volume cannot be read"),
    model_errors.FormatNotAllowedError: Kind(503, "format-not-allowed", "The artifact format is not allowed"),
    model_errors.UntrustedTypeError: Kind(503, "untrusted-type", "The artifact contains untrusted types"),
    model_errors.EnvironmentMismatchError: Kind(
        503, "environment-mismatch", "Trained with another scikit-learn version"
    ),
    model_errors.GoldenMismatchError: Kind(
        503, "golden-mismatch", "The model does not repeat its recorded predictions"
    ),
    model_errors.DeserialiseError: Kind(503, "artifact-unreadable", "The artifact cannot be loaded"),
    model_errors.ArchiveError: Kind(503, "archive", "Invalid archive"),
    model_errors.LoadEndedError: Kind(503, "load-ended", "Loading was stopped"),
    TooManyGuessesError: Kind(429, "too-many-guesses", "Too many wrong tokens"),
    PredictionTimeoutError: Kind(504, "prediction-timeout", "The prediction took too long"),
    ModelHangsError: Kind(503, "model-hangs", "The model hangs"),
    ModelBusyError: Kind(503, "model-busy", "Too many waiting predictions"),
    WarmingError: Kind(503, "warming", "Versions are still loading"),
    catalog_errors.CatalogUnavailableError: Kind(503, "catalog-unavailable", "The catalog does not respond"),
    catalog_errors.CatalogLockedError: Kind(503, "catalog-locked", "Another session holds a lock"),
    catalog_errors.CatalogNotMigratedError: Kind(
        503, "catalog-not-migrated", "The database has another schema version"
    ),
    BodegaError: Kind(500, "internal", "Internal error"),
}
# What the framework refuses by itself. (The phrases of http.HTTPStatus change between versions of Python.)
REFUSALS: dict[int, Kind] = {
    404: Kind(404, "not-found", "Page not found"),
    405: Kind(405, "method-not-allowed", "Method not allowed"),
}
ENDING = PROBLEMS[ShuttingDownError]
# What connections are ended with, by `fastpath.framing`.
CONNECTION: dict[int, Kind] = {
    400: Kind(400, "malformed-request", "Invalid HTTP request"),
    405: REFUSALS[405],
    408: Kind(408, "request-timeout", "The request was too slow"),
    414: Kind(414, "target-too-long", "The URL is too long"),
    431: Kind(431, "headers-too-large", "The headers are too large"),
    501: Kind(501, "transfer-coding", "Unsupported Transfer-Encoding"),
    503: Kind(503, "too-many-connections", "Too many connections"),
    505: Kind(505, "http-version", "Unsupported HTTP version"),
}


def kind_of(error: BodegaError) -> Kind:
    """Return the row of the table that an error falls under."""
    return next(PROBLEMS[cls] for cls in type(error).__mro__ if cls in PROBLEMS)


def type_and_title(error: BodegaError) -> tuple[str, str]:
    """Return what a problem says of the kind of an error."""
    kind = kind_of(error)
    return PREFIX + kind.slug, kind.title


def install_problem_handlers(app: FastAPI) -> None:
    """Make the app answer every error, its own and the framework's, as a problem."""
    app.add_exception_handler(BodegaError, _answer_bodega_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _answer_validation_error)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _answer_http_error)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _answer_crash)


def _answer_bodega_error(_: Request, error: BodegaError) -> Response:
    return answer_error(error)


def answer_error(error: BodegaError) -> Response:
    """Make the response to an error."""
    kind = kind_of(error)
    if kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR or kind.status == HTTPStatus.FORBIDDEN:
        seldom.warn(f"{kind.slug}: {error.message}", f"{kind.slug}: {error.message}{_cause(error)}")
    extra: dict[str, Any] = {}
    if isinstance(error, model_errors.InputError) and error.problems:
        extra["errors"] = list(error.problems)
    if isinstance(error, catalog_errors.InvalidFilterError):
        extra["errors"] = [{"parameter": "filter", "position": error.position, "detail": error.fault}]
    if error.step is not None:
        extra["step"] = error.step
    if isinstance(error, model_errors.UntrustedTypeError):
        extra["types"] = list(error.types[:20])
    response = problem(kind, error.message, error.advice, **extra)
    if isinstance(error, ContentCodingError):
        response.headers["Accept-Encoding"] = "gzip, deflate, identity"
    if isinstance(error, TooManyGuessesError):
        response.headers["Retry-After"] = str(error.seconds)
    return response


def _cause(error: BodegaError) -> str:
    """Return in a few words what an error came from: the line of a log has no room for all that led there."""
    cause = error.__cause__
    if cause is None:
        return ""
    words = str(cause).strip().partition("\n")[0][:LONGEST_CAUSE]
    return f" ({type(cause).__name__}: {words})" if words else f" ({type(cause).__name__})"


def _answer_validation_error(_: Request, error: RequestValidationError) -> Response:
    # The framework's own account quotes the input; only where and what are kept.
    faults = [
        {"parameter": ".".join(str(part) for part in fault["loc"][1:])[:64], "detail": fault["msg"]}
        for fault in error.errors()[:20]
    ]
    return problem(PROBLEMS[ParameterError], "Invalid parameter", "See /docs for what it takes.", errors=faults)


def _answer_http_error(request: Request, error: HTTPException) -> Response:
    if request.method == "OPTIONS" and (error.status_code == 405 or path_of(request.scope) == EVERY_PATH):
        return answer_options(request.app, request.scope)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        error.headers = {"Allow": allowed(request.app, request.scope)}
    other = Kind(error.status_code, f"http-{error.status_code}", "Request refused")
    kind = REFUSALS.get(error.status_code, other)
    response = problem(kind, f"{kind.title}.", "See /docs for what there is.")
    response.headers.update(error.headers or {})
    return response


def _answer_crash(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(PROBLEMS[BodegaError], "An unexpected error; the server's log has it.", "Report it.")


class ProblemResponse(Response):
    """A problem; the scope of its request tells the type of it, for those who count (`traffic`).

    Behind a prefix of the path the pages that its hint names have that prefix.
    """

    def __init__(self, kind: Kind, content: dict[str, Any]) -> None:
        super().__init__(orjson.dumps(content), kind.status, HEADERS.get(kind.status, {}), MEDIA_TYPE)
        self._slug, self._content = kind.slug, content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the problem."""
        scope[PROBLEM] = self._slug
        if (prefix := scope.get("root_path", "")) and "hint" in self._content:
            hint = PAGE.sub(lambda found: f"{prefix}{found[0]}", self._content["hint"])
            self.body = orjson.dumps(self._content | {"hint": hint})
            self.headers["Content-Length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def problem(kind: Kind, detail: str, hint: str, **extra: Any) -> Response:
    """Make the response, with the headers that its status has."""
    body = {"type": PREFIX + kind.slug, "title": kind.title, "status": kind.status, "detail": detail, "hint": hint}
    return ProblemResponse(kind, {key: value for key, value in (body | extra).items() if value != ""})


def table() -> Iterator[tuple[int, str, str]]:
    """Go through status, type and title of every problem, for the documentation."""
    yield from sorted({*PROBLEMS.values(), *REFUSALS.values(), *CONNECTION.values()})
