"""History over HTTP: the events of a model, and which version was in production at a time."""

import re
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Self

from bodega_db.records import Event, Holder
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from bodega_api.errors import ParameterError
from bodega_api.http.parameters import only_parameters
from bodega_api.routes.dependencies import ModelName, Served
from bodega_api.routes.responses import ProblemAnswer

MOST_EVENTS = 500
LARGEST_ID = 2**63 - 1
# In a query string '+' is a space, and so a space before the offset can be nothing else.
TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?"
MOMENT = re.compile(rf"(?P<local>{TIME})(?P<zone>Z|[+ -]\d\d:\d\d)", re.ASCII)

router = APIRouter(tags=["history"], responses={"4XX": {"model": ProblemAnswer}, "503": {"model": ProblemAnswer}})


class EventAnswer(BaseModel):
    """One change: what, who, when, why, before and after."""

    id: int
    at: datetime
    event: str = Field(description="the kind of change")
    version: int | None = Field(description="null for a change of the model itself")
    actor: str
    reason: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    generation: int

    @classmethod
    def of(cls, event: Event) -> Self:
        """Turn a record into an answer."""
        shared = cls.model_fields.keys() - {"event", "version"}
        return cls(event=event.kind, version=event.number, **{name: getattr(event, name) for name in shared})


class EventList(BaseModel):
    """Changes of a model, newest first."""

    events: list[EventAnswer]
    next: int | None = Field(description="the value of ?before= for the next page; null on the last one")


class HolderAnswer(BaseModel):
    """The version that was in production, or had the alias: since when, by whom, and why."""

    model: str
    version: int
    since: datetime
    actor: str
    reason: str | None

    @classmethod
    def of(cls, holder: Holder) -> Self:
        """Turn a record into an answer."""
        return cls(
            model=holder.model, version=holder.number, since=holder.since, actor=holder.actor, reason=holder.reason
        )


class AsOfAnswer(BaseModel):
    """The version in production, or with the alias, at the time; null if there was none."""

    held_by: HolderAnswer | None


@router.get(
    "/models/{name}/history", dependencies=[Depends(only_parameters("limit", "before"))], operation_id="list_history"
)
def list_history(
    services: Served,
    name: ModelName,
    before: Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="continue after this event")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 100,
) -> EventList:
    """List the history of a model, newest first."""
    found = services.store.history(name, before=before, limit=limit + 1)
    page = found[:limit]
    return EventList(events=[EventAnswer.of(event) for event in page], next=page[-1].id if len(found) > limit else None)


@router.get(
    "/models/{name}/as-of", dependencies=[Depends(only_parameters("moment", "alias"))], operation_id="get_holder"
)
def get_as_of(
    services: Served,
    name: ModelName,
    moment: Annotated[str, Query(description="ISO 8601 with a zone, as in 2026-01-31T12:00:00Z")],
    alias: Annotated[str | None, Query(description="find the version with this alias; default: in production")] = None,
) -> AsOfAnswer:
    """Return the version that was in production, or had an alias, at a time."""
    holder = services.store.as_of(name, read_moment(moment), alias=alias)
    return AsOfAnswer(held_by=holder and HolderAnswer.of(holder))


def read_moment(text: str) -> datetime:
    """Return the moment that a query names; raise ParameterError unless it is ISO 8601 with a zone."""
    found = MOMENT.fullmatch(text)
    if found:
        zone = found["zone"].replace(" ", "+")
        with suppress(ValueError):  # of a day that no month has
            return datetime.fromisoformat(found["local"] + zone)
    raise ParameterError(
        "The parameter moment is not an ISO 8601 date and time with a zone",
        "Write it as in 2026-01-31T12:00:00Z or 2026-01-31T13:00:00%2B01:00: a bare '+' in a query is a space.",
    )
