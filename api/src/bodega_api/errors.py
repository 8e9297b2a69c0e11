"""The errors of the API; `http.problems` has the status of each."""

from bodega_model.errors import BodegaError


class BodyError(BodegaError):
    """The body of the request cannot be read as JSON rows or columns."""

    hint = 'Send {"rows": [{"column": value, …}, …]} or {"columns": {"column": [value, …], …}}.'


class MediaTypeError(BodegaError):
    """The body of the request has an unsupported Content-Type."""

    hint = "Send the header Content-Type: application/json."


class ContentCodingError(BodegaError):
    """The body of the request has an unsupported Content-Encoding."""

    hint = "Send it with Content-Encoding: gzip or deflate, or uncompressed."


class ShuttingDownError(BodegaError):
    """The process is shutting down, and the request was not answered in time."""

    hint = "Send it again: another replica or the next process answers."


class NotAcceptableError(BodegaError):
    """The requested response format does not exist."""


class BodyTooLargeError(BodegaError):
    """The body of the request is longer than the server reads."""

    hint = "Send fewer rows at a time."


class SpoolError(BodegaError):
    """A table or its answer could not be kept in a temporary file."""

    hint = "Make room in the folder for temporary files (TMPDIR), or send fewer rows at a time."


class ParameterError(BodegaError):
    """A query parameter is unknown, repeated or malformed."""


class PredictionTimeoutError(BodegaError):
    """The model did not answer in time; the call still runs, and no request waits for it."""

    hint = "Send fewer rows at a time. Until that call returns, the version is not called again."


class ModelHangsError(BodegaError):
    """The version is not called, because an earlier call of it did not return in time and goes on."""

    hint = "Choose another version, or restart this replica of the API."


class ModelBusyError(BodegaError):
    """Too many requests wait for one version, or no thread for a prediction was free for too long."""

    hint = "Try again later, or use another replica of the API."


class WarmingError(BodegaError):
    """The process does not have the versions in production in memory yet."""

    hint = "Wait; the log and GET /models say what could not be loaded."


class HostError(BodegaError):
    """The request does not say in one way which host it is for."""

    hint = "Send the header Host once: the name or address in the URL, with its port."


class MisdirectedError(BodegaError):
    """The request names a host that is not one of this API's names."""

    hint = "Use an address of the API's machine, or add the name to BODEGA_ALLOWED_HOSTS and restart the API."


class UnauthorizedError(BodegaError):
    """The request does not carry the token that it needs."""

    hint = "Send the header Authorization: Bearer TOKEN."


class TooManyGuessesError(BodegaError):
    """There were too many wrong tokens, so this one was not checked."""

    hint = "Send the token again after the seconds in the header Retry-After."

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds
