"""Changes over HTTP with a token: the verbs of a version's life, notes and aliases.

These routes exist only if the settings name a token file. Each is one verb of `ModelStore`, which keeps the
rules, in one transaction; predictions follow because every copy of the API hears of changes.
"""

import asyncio
from typing import Annotated

from bodega_db.records import Version
from bodega_db.store import ModelStore
from fastapi import APIRouter, Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from bodega_api.errors import UnauthorizedError
from bodega_api.http.parameters import only_parameters
from bodega_api.routes.admin_requests import (
    NEEDED,
    Actor,
    AliasTarget,
    ModelDescription,
    Order,
    Promotion,
    Reason,
    ReasonedOrder,
    Retention,
    Rollback,
    Words,
    described,
    ordered,
    recorded,
)
from bodega_api.routes.dependencies import ModelName, Reference, Served
from bodega_api.routes.models import get_model
from bodega_api.routes.resolve import AliasList, alias_list
from bodega_api.routes.responses import ModelAnswer, ProblemAnswer, VersionDetail, version_detail
from bodega_api.services import Administration, Services
from bodega_api.serving.model_cache import key_of

VERSION = "/models/{name}/versions/{number}"
ALIAS = "/models/{name}/aliases/{alias}"
NOTHING_ELSE = [Depends(only_parameters())]
SAID = [Depends(only_parameters("reason", "actor"))]

bearer = HTTPBearer(auto_error=False, scheme_name="adminToken", description="the token in BODEGA_ADMIN_TOKEN_FILE")


async def get_administration(services: Served) -> Administration:
    """Return what writes need, which is there where these routes are."""
    if services.administration is None:
        raise RuntimeError("Routes that write need a token")
    return services.administration


Administrated = Annotated[Administration, Depends(get_administration)]


async def check_token(
    request: Request,
    administration: Administrated,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> None:
    """Raise UnauthorizedError, the same one for every reason, unless the request carries the app's token.

    Raises TooManyGuessesError where too many others were tried just now.
    """
    refusal = UnauthorizedError("This takes the administrator's token")
    if given is None:
        raise refusal
    client = request.client.host if request.client else ""
    await asyncio.sleep(administration.guesses.take(client))
    if not administration.token.matches(given.credentials):
        raise refusal
    administration.guesses.was_right(client)


router = APIRouter(
    tags=["administration"],
    dependencies=[Depends(check_token)],
    responses={"4XX": {"model": ProblemAnswer}, "503": {"model": ProblemAnswer}},
)


async def get_writing_store(administration: Administrated) -> ModelStore:
    """Return the app's store for writes."""
    return administration.store


class PruneAnswer(BaseModel):
    """Which versions left, or would leave, newest first."""

    model: str
    versions: list[int]
    dry_run: bool


Writing = Annotated[ModelStore, Depends(get_writing_store)]

# --- moves -------------------------------------------------------------------------------------------------


@router.post(
    f"{VERSION}/promote", dependencies=NOTHING_ELSE, openapi_extra=described(Promotion), operation_id="promote_version"
)
def promote(
    store: Writing,
    services: Served,
    reference: Reference,
    order: Annotated[Promotion, Depends(ordered(Promotion))],
) -> VersionDetail:
    """Put a version into production and archive the former one, at once."""
    services.usage.tell_if_possible()  # what was asked here in the last second counts too
    return _told(store.promote(reference, reason=order.reason, force=order.force, actor=order.by), services)


@router.post(
    "/models/{name}/rollback",
    dependencies=NOTHING_ELSE,
    openapi_extra=described(Rollback),
    operation_id="roll_back_model",
)
def roll_back(
    store: Writing, services: Served, name: ModelName, order: Annotated[Rollback, Depends(ordered(Rollback))]
) -> VersionDetail:
    """Return to the version that was in production before, or to the given number."""
    return _told(store.rollback(name, to=order.to, reason=order.reason, actor=order.by), services)


@router.post(
    f"{VERSION}/archive", dependencies=NOTHING_ELSE, openapi_extra=described(Order), operation_id="archive_version"
)
def archive(
    store: Writing, services: Served, reference: Reference, order: Annotated[Order, Depends(ordered(Order))]
) -> VersionDetail:
    """Archive a version: then only its number or an alias chooses it."""
    return _told(store.archive(reference, reason=order.reason, actor=order.by), services)


@router.post(
    f"{VERSION}/quarantine",
    dependencies=NOTHING_ELSE,
    openapi_extra=described(ReasonedOrder),
    operation_id="quarantine_version",
)
def quarantine(
    store: Writing, services: Served, reference: Reference, order: Annotated[Order, Depends(ordered(Order))]
) -> VersionDetail:
    """Stop serving a version on all replicas; needs a reason."""
    return _told(store.quarantine(reference, reason=order.reason or "", actor=order.by), services)


@router.post(
    f"{VERSION}/release",
    dependencies=NOTHING_ELSE,
    openapi_extra=described(ReasonedOrder),
    operation_id="release_version",
)
def release(
    store: Writing, services: Served, reference: Reference, order: Annotated[Order, Depends(ordered(Order))]
) -> VersionDetail:
    """Make a quarantined version a candidate again, after hashing its bytes; needs a reason."""
    return _told(store.release(reference, reason=order.reason or "", actor=order.by), services)


def _told(version: Version, services: Services) -> VersionDetail:
    return version_detail(version, services.loaded.failure(version), services.loaded.peek(key_of(version)))


# --- words -------------------------------------------------------------------------------------------------


@router.patch(VERSION, dependencies=NOTHING_ELSE, openapi_extra=described(Words), operation_id="update_version")
def describe(
    store: Writing, services: Served, reference: Reference, order: Annotated[Words, Depends(ordered(Words))]
) -> VersionDetail:
    """Change the note and tags of a version."""
    version = store.describe(reference, note=order.new_note, tags=order.tags, reason=order.reason, actor=order.by)
    return _told(version, services)


@router.patch(
    "/models/{name}", dependencies=NOTHING_ELSE, openapi_extra=described(ModelDescription), operation_id="update_model"
)
def describe_model(
    store: Writing,
    services: Served,
    name: ModelName,
    order: Annotated[ModelDescription, Depends(ordered(ModelDescription))],
) -> ModelAnswer:
    """Set the description of a model."""
    store.describe_model(name, order.description, reason=order.reason, actor=order.by)
    return get_model(services, name)


# --- aliases -----------------------------------------------------------------------------------------------


@router.put(ALIAS, dependencies=NOTHING_ELSE, openapi_extra=described(AliasTarget), operation_id="set_alias")
def set_alias(
    store: Writing, name: ModelName, alias: str, order: Annotated[AliasTarget, Depends(ordered(AliasTarget))]
) -> AliasList:
    """Set an alias to a version; return all aliases of the model."""
    store.set_alias(f"{name}@{order.version}", alias, reason=order.reason, actor=order.by)
    return alias_list(store, name)


@router.delete(ALIAS, status_code=204, dependencies=SAID, operation_id="remove_alias")
def remove_alias(
    store: Writing,
    name: ModelName,
    alias: str,
    reason: Annotated[Reason, Query()] = None,
    actor: Annotated[Actor, Query()] = None,
) -> None:
    """Remove an alias."""
    store.remove_alias(name, alias, reason=reason, actor=recorded(actor))


@router.post(
    f"{ALIAS}/protect", dependencies=NOTHING_ELSE, openapi_extra=described(Order), operation_id="protect_alias"
)
def protect_alias(
    store: Writing, name: ModelName, alias: str, order: Annotated[Order, Depends(ordered(Order))]
) -> AliasList:
    """Let only an administrator of the catalog move an alias; return all aliases of the model."""
    store.protect_alias(name, alias, reason=order.reason, actor=order.by)
    return alias_list(store, name)


@router.post(
    f"{ALIAS}/unprotect", dependencies=NOTHING_ELSE, openapi_extra=described(Order), operation_id="unprotect_alias"
)
def unprotect_alias(
    store: Writing, name: ModelName, alias: str, order: Annotated[Order, Depends(ordered(Order))]
) -> AliasList:
    """Remove the protection of an alias; return all aliases of the model."""
    store.unprotect_alias(name, alias, reason=order.reason, actor=order.by)
    return alias_list(store, name)


# --- leaving -----------------------------------------------------------------------------------------------


@router.delete(
    VERSION, status_code=204, dependencies=SAID, operation_id="delete_version", openapi_extra={NEEDED: ["reason"]}
)
def delete(
    store: Writing,
    reference: Reference,
    reason: Annotated[Reason, Query()] = None,
    actor: Annotated[Actor, Query()] = None,
) -> None:
    """Delete an archived or quarantined version from the catalog; needs a reason."""
    store.delete(reference, reason=reason or "", actor=recorded(actor))


@router.post(
    "/models/{name}/prune", dependencies=NOTHING_ELSE, openapi_extra=described(Retention), operation_id="prune_model"
)
def prune(store: Writing, name: ModelName, order: Annotated[Retention, Depends(ordered(Retention))]) -> PruneAnswer:
    """Delete the archived versions except the newest; those with an alias, or that a rollback returns to, stay."""
    gone = store.prune(
        name,
        keep=order.keep,
        candidates=order.candidates,
        dry_run=order.dry_run,
        reason=order.reason,
        actor=order.by,
    )
    return PruneAnswer(model=name, versions=[version.number for version in gone], dry_run=order.dry_run)
