"""The bodies of changes over HTTP: strict JSON, with each error named by its key and never by its value."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from bodega_db.reference import LARGEST_NUMBER, METRIC_NAME
from bodega_model.validation.forms import DuplicateKeys, json_type
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from bodega_api.errors import BodyError, BodyTooLargeError
from bodega_api.http.strict_json import parse_json
from bodega_api.routes.dependencies import Served, request_body

WRITER = "admin token"
LONGEST_ACTOR = 200
NEEDED = "x-needed"  # in the description of an operation: parameters that it is refused without
HINT = "Send one JSON object, or nothing; /docs lists its keys."


def check_actor(actor: str | None) -> str | None:
    """Return the actor; raise unless the history can show it in a line."""
    if actor is not None and not (actor.strip() and len(actor) <= LONGEST_ACTOR and actor.isprintable()):
        raise PydanticCustomError("actor", f"Give 1 to {LONGEST_ACTOR} printable characters")
    return actor


Actor = Annotated[str | None, AfterValidator(check_actor), Field(description="who does it; kept in the history")]
Reason = Annotated[str | None, Field(description="why; kept in the history")]
Number = Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]
TagName = Annotated[str, StringConstraints(pattern=rf"^(?:{METRIC_NAME.pattern})$")]


def recorded(actor: str | None) -> str:
    """Return the actor for the history; the name in a request is not proven."""
    return f"{actor} ({WRITER})" if actor else WRITER


class Order(BaseModel):
    """A change, why, and by whom."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    reason: Reason = None
    actor: Actor = None

    @property
    def by(self) -> str:
        """The actor for the history."""
        return recorded(self.actor)


class ReasonedOrder(Order):
    """A change that needs a reason, for the description of the API; the verb itself refuses one without."""

    reason: Annotated[str, Field(min_length=1, description="why; kept in the history")]


class Promotion(Order):
    """Put a version into production."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"force": {"const": True}}, "required": ["force"]},
            "then": {"required": ["reason"], "properties": {"reason": {"type": "string", "minLength": 1}}},
        }
    )

    force: bool = Field(default=False, description="also where present callers would break; needs a reason")


class Rollback(Order):
    """Put a former version back into production."""

    to: Number | None = Field(default=None, description="the version to return to; else the one before")


class Retention(Order):
    """Delete old versions."""

    keep: Number = Field(description="how many of the newest versions stay, of any status")
    candidates: bool = Field(default=False, description="also delete candidates, not only archived versions")
    dry_run: bool = Field(default=False, description="only list the versions, delete nothing")


class Words(Order):
    """Change the note and tags of a version; what is left out stays as it is."""

    note: str | None = Field(default=None, description="null removes it")
    tags: dict[TagName, str | None] = Field(default={}, description="null removes a tag")

    @property
    def new_note(self) -> str | None:
        """The note as `ModelStore.describe` takes it: None leaves it as it is, and a blank one takes it away."""
        return self.note or "" if "note" in self.model_fields_set else None


class ModelDescription(Order):
    """Set the description of a model."""

    description: str | None = Field(description="null removes it")


class AliasTarget(Order):
    """Set an alias to a version."""

    version: Number


Kind = TypeVar("Kind", bound=Order)


async def order_body(request: Request, services: Served) -> bytes:
    """Read the body of an order, of at most as many bytes as that of a prediction."""
    try:
        return await request_body(request, services)
    except BodyTooLargeError as exc:
        raise BodyTooLargeError(exc.message, "An order needs a few hundred.") from None


def ordered(kind: type[Kind]) -> Callable[[bytes], Kind]:
    """Make a dependency that reads an order of a kind; no body at all is an order without a word."""

    def read(body: Annotated[bytes, Depends(order_body)]) -> Kind:
        return read_order(kind, body)

    return read


def read_order(kind: type[Kind], body: bytes) -> Kind:
    """Read an order; raise BodyError for what is no JSON object, RequestValidationError for one that does not fit."""
    try:
        document = parse_json(body) if body else {}
    except BodyError as exc:
        raise BodyError(exc.message, HINT) from None
    if not isinstance(document, dict):
        raise BodyError(f"The body is {json_type(document)}, not an object", HINT)
    if any(isinstance(value, DuplicateKeys) for value in (document, *document.values())):
        raise BodyError("The body has a key twice", HINT)
    try:
        return kind.model_validate(document)
    except ValidationError as exc:
        raise RequestValidationError(_faults(kind, exc)) from None


def _faults(kind: type[Order], error: ValidationError) -> list[dict[str, Any]]:
    # Neither an unknown key nor the name of a tag is repeated: whoever sends them by mistake may have sent a secret.
    known = f"There is a key that is not known here; known are {', '.join(sorted(kind.model_fields))}"
    faults = [
        ("body", known) if fault["type"] == "extra_forbidden" else (fault["loc"][0], fault["msg"])
        for fault in error.errors(include_input=False, include_url=False)
    ]
    return [{"loc": ("body", key), "msg": message} for key, message in dict.fromkeys(faults)]


def described(kind: type[Order]) -> dict[str, Any]:
    """Describe the body of an order for OpenAPI."""
    required = any(field.is_required() for field in kind.model_fields.values())
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}
