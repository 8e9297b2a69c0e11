"""Which form a body says it has, and which form an answer is asked for in (RFC 9110, Content-Type and Accept)."""

from collections.abc import Iterator
from enum import StrEnum

from bodega_api.errors import MediaTypeError, NotAcceptableError


class Medium(StrEnum):
    """A form, by its media type; Arrow's is the stream of record batches (IPC)."""

    JSON = "application/json"
    CSV = "text/csv"
    ARROW = "application/vnd.apache.arrow.stream"
    PARQUET = "application/vnd.apache.parquet"


ANSWERS = (Medium.JSON, Medium.CSV, Medium.ARROW)
# The first that a range of media types has; the form of errors is no form of an answer.
RANGES = {"*/*": Medium.JSON, "application/*": Medium.JSON, "text/*": Medium.CSV} | {str(m): m for m in ANSWERS}


def body_medium(content_type: str | None) -> Medium:
    """Return the form of a body, JSON where none is said; raise MediaTypeError for one that is not read here."""
    media_type, *parameters = (part.strip().lower() for part in (content_type or Medium.JSON).split(";"))
    if media_type.endswith("+json"):
        return Medium.JSON
    try:
        medium = Medium(media_type)
    except ValueError:
        known = ", ".join(Medium)
        raise MediaTypeError("The body has an unsupported Content-Type", f"Supported: {known}.") from None
    charset = dict(part.partition("=")[::2] for part in parameters).get("charset", "utf-8").strip('"')
    if medium is Medium.CSV and charset not in ("utf-8", "utf8", "us-ascii"):
        raise MediaTypeError("The CSV has another charset than UTF-8", "Send it as UTF-8.")
    return medium


def answer_medium(accept: str) -> Medium:
    """Return the form of an answer, JSON where nothing is asked for; raise NotAcceptableError if there is none."""
    wanted = sorted(_ranges(accept), key=lambda one: -one[1])  # of equals the one that is named first
    for media_range, quality in wanted:
        if quality > 0 and media_range in RANGES:
            return RANGES[media_range]
    if not accept.strip():
        return Medium.JSON
    raise NotAcceptableError("The answer has none of the forms in the header Accept", f"It has: {', '.join(ANSWERS)}.")


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.split(","):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        try:
            yield media_range, float(quality)
        except ValueError:
            continue
