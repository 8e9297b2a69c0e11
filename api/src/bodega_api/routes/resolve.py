"""Choosing over HTTP: which version would answer and why, aliases, and two versions compared."""

from typing import Annotated, Any, Literal

from bodega_db.store import ModelStore
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from bodega_api.http.parameters import only_parameters
from bodega_api.routes.dependencies import ModelName, Served
from bodega_api.routes.responses import ProblemAnswer

VERSION = "a number, latest, production, an alias or best:METRIC[:min]"

router = APIRouter(tags=["catalog"], responses={"4XX": {"model": ProblemAnswer}, "503": {"model": ProblemAnswer}})


class ResolutionAnswer(BaseModel):
    """The version that a prediction with the same parameters is answered by, and why."""

    model: str
    version: int
    sha256: str
    status: str
    chosen: str = Field(description="why this version answers")
    generation: int = Field(description="the answer includes every change of the catalog up to this one")


class AliasList(BaseModel):
    """The aliases of a model, each with the number of its version."""

    aliases: dict[str, int]
    protected: list[str] = Field(description="protected aliases (docs/roles.md)")


class Sides(BaseModel):
    """A value in either version; null where there is none."""

    before: Any
    after: Any


class DifferenceAnswer(BaseModel):
    """What differs between two versions; the objects hold only what does."""

    before: str
    after: str
    verdict: Literal["same", "note", "breaking"] = Field(
        description="what the second is to callers of the first; a note is wider or narrower, but not in what was "
        "shown, promised or asked"
    )
    compatible: bool = Field(description="whether callers of the first can call the second unchanged: not breaking")
    relied: dict[str, str] = Field(description="outputs that callers of the first rely on, each with the reason")
    signature: list[dict[str, Any]] = Field(description="changes, each with what, detail, grade and breaking")
    metrics: dict[str, Sides]
    params: dict[str, Sides]
    environment: dict[str, Sides]
    tags: dict[str, Sides]
    size_bytes: Sides
    format: Sides
    same_bytes: bool


@router.get("/resolve", dependencies=[Depends(only_parameters("model", "version"))], operation_id="resolve_version")
def resolve(
    services: Served,
    model: Annotated[str | None, Query(description="optional if the catalog has exactly one model")] = None,
    version: Annotated[str | None, Query(description=f"{VERSION}; default: in production")] = None,
) -> ResolutionAnswer:
    """Choose a version as a prediction does, without loading it."""
    resolution = services.store.choose(model, version)
    chosen = resolution.version
    return ResolutionAnswer(
        model=chosen.model,
        version=chosen.number,
        sha256=chosen.digest.hex,
        status=chosen.status.value,
        chosen=resolution.reason,
        generation=resolution.generation,
    )


@router.get("/models/{name}/aliases", dependencies=[Depends(only_parameters())], operation_id="list_aliases")
def list_aliases(services: Served, name: ModelName) -> AliasList:
    """List the aliases of a model."""
    return alias_list(services.store, name)


def alias_list(store: ModelStore, name: str) -> AliasList:
    """Return the aliases of a model as they are answered."""
    return AliasList(aliases=store.aliases(name), protected=store.protected_aliases(name))


@router.get(
    "/models/{name}/diff", dependencies=[Depends(only_parameters("before", "after"))], operation_id="compare_versions"
)
def diff(
    services: Served,
    name: ModelName,
    before: Annotated[str, Query(min_length=1, description=VERSION)],
    after: Annotated[str, Query(min_length=1, description=VERSION)],
) -> DifferenceAnswer:
    """Compare two versions of a model, and say whether the second breaks callers of the first."""
    services.usage.tell_if_possible()
    return DifferenceAnswer(**services.store.diff(f"{name}@{before}", f"{name}@{after}").to_dict())
