"""The catalog over HTTP: models, their versions, and everything known about one."""

from typing import Annotated

from bodega_db.search.fields import read_fields
from fastapi import APIRouter, Depends, Path, Query, Response

from bodega_api.http.parameters import only_parameters
from bodega_api.routes.dependencies import Served
from bodega_api.routes.responses import (
    ModelAnswer,
    ProblemAnswer,
    VersionDetail,
    VersionList,
    list_response,
    model_answer,
    version_answer,
    version_detail,
)
from bodega_api.serving.model_cache import key_of

MOST_PER_PAGE = 500
LARGEST_NUMBER = 2**31 - 1

router = APIRouter(tags=["catalog"], responses={"4XX": {"model": ProblemAnswer}, "503": {"model": ProblemAnswer}})


PARAMETERS = ("model", "filter", "text", "order", "fields", "after", "limit")


@router.get(
    "/models",
    dependencies=[Depends(only_parameters(*PARAMETERS))],
    responses={"200": {"model": VersionList}},
    operation_id="list_models",
)
def list_versions(
    services: Served,
    model: Annotated[str | None, Query(description="only versions of this model")] = None,
    filter: Annotated[
        str | None, Query(description="as in: status=production and metrics.f1>=0.9 and tags.team=core")
    ] = None,
    text: Annotated[str | None, Query(description="words in the name, the note or the tags")] = None,
    order: Annotated[
        str, Query(description="created_at, version or metrics.NAME; '-' for largest first")
    ] = "-created_at",
    fields: Annotated[str | None, Query(description="fields to show, as in: version,metrics.f1")] = None,
    after: Annotated[str | None, Query(min_length=1, description="`next` of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_PER_PAGE)] = 100,
) -> Response:
    """List model versions, newest first unless ordered otherwise."""
    chosen = None if fields is None else read_fields(fields)
    page = services.store.search(model, filter=filter, text=text, order=order, after=after, limit=limit)
    return list_response(page, services.loaded, chosen)


@router.get("/models/{name}", dependencies=[Depends(only_parameters())], operation_id="get_model")
def get_model(services: Served, name: str) -> ModelAnswer:
    """Return a model with its newest versions."""
    versions = services.store.versions(name, limit=MOST_PER_PAGE)
    told = [version_answer(version, services.loaded.failure(version)) for version in versions]
    return model_answer(services.store.model(name), told)


@router.get("/models/{name}/versions/{number}", dependencies=[Depends(only_parameters())], operation_id="get_version")
def get_version(services: Served, name: str, number: Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]) -> VersionDetail:
    """Return a version with its signature, golden rows, environment and lineage."""
    version = services.store.get(name, number)
    return version_detail(version, services.loaded.failure(version), services.loaded.peek(key_of(version)))
