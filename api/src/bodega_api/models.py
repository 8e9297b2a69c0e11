"""The catalog over HTTP: models, their versions, and everything known about one."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from bodega_api.answers import (
    ModelAnswer,
    ProblemAnswer,
    VersionDetail,
    VersionList,
    model_answer,
    version_answer,
    version_detail,
)
from bodega_api.dependencies import Loaded, Store, only_parameters

MOST_PER_PAGE = 500
LARGEST_NUMBER = 2**31 - 1

router = APIRouter(tags=["catalog"], responses={"4XX": {"model": ProblemAnswer}, "503": {"model": ProblemAnswer}})


@router.get("/models", dependencies=[Depends(only_parameters("model", "after", "limit"))])
def list_versions(
    store: Store,
    loaded: Loaded,
    model: Annotated[str | None, Query(description="only versions of this model")] = None,
    after: Annotated[
        str | None, Query(min_length=1, description="continue behind this version, as in penguins@3")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_PER_PAGE)] = 100,
) -> VersionList:
    """List model versions, newest first."""
    found = store.versions(model, after=after, limit=limit + 1)
    page = found[:limit]
    return VersionList(
        versions=[version_answer(version, loaded.failure(version)) for version in page],
        next=page[-1].reference if len(found) > limit else None,
    )


@router.get("/models/{name}", dependencies=[Depends(only_parameters())])
def get_model(store: Store, loaded: Loaded, name: str) -> ModelAnswer:
    """Return a model with its newest versions."""
    versions = store.versions(name, limit=MOST_PER_PAGE)
    return model_answer(store.model(name), [version_answer(version, loaded.failure(version)) for version in versions])


@router.get("/models/{name}/versions/{number}", dependencies=[Depends(only_parameters())])
def get_version(
    store: Store, loaded: Loaded, name: str, number: Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]
) -> VersionDetail:
    """Return a version with its signature, golden rows, environment and lineage."""
    version = store.get(name, number)
    return version_detail(version, loaded.failure(version))
