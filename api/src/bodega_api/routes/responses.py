"""The responses of the API as types, which the OpenAPI document shows, and records turned into them."""

from datetime import datetime
from typing import Annotated, Any

import orjson
from bodega_db.records import ModelSummary, Version, VersionPage, VersionSummary
from bodega_db.search.fields import Fields
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from bodega_api.http.problems import type_and_title
from bodega_api.serving.engine import Engine
from bodega_api.serving.model_cache import LoadedVersions, LoadFailure


class LoadProblem(BaseModel):
    """Why this replica does not serve a version: the error of its last load."""

    type: str = Field(description="the problem type of a prediction with this version")
    title: str
    detail: str
    step: str | None = Field(description="the step of loading that failed (docs/integrity.md)")
    at: datetime


class VersionAnswer(BaseModel):
    """A version as lists show it."""

    model: str
    version: int
    status: str
    format: str
    sha256: str
    path: str = Field(description="the path of the artifact on the volume")
    size_bytes: int
    metrics: dict[str, float]
    tags: dict[str, str]
    note: str | None
    created_at: datetime
    created_by: str
    problem: LoadProblem | None = Field(
        default=None,
        description="present if this replica could not load it",
        exclude_if=lambda problem: problem is None,
    )


class SelectedVersion(BaseModel):
    """A version with the fields that ?fields= names, in that order; metrics.NAME stands under its full name."""

    model_config = ConfigDict(extra="allow")


class VersionList(BaseModel):
    """Versions in the order that was asked for."""

    versions: list[VersionAnswer] | list[SelectedVersion]
    next: str | None = Field(description="the value of ?after= for the next page; null on the last one")


class ModelAnswer(BaseModel):
    """A model and its versions, newest first."""

    name: str
    description: str | None
    production: int | None = Field(description="the number of the version in production")
    last_version: int
    created_at: datetime
    created_by: str
    versions: list[VersionAnswer]


class Serving(BaseModel):
    """How this replica serves a loaded version."""

    plan: bool = Field(description="whether a plan answers in place of the model (docs/plans.md)")
    batched: bool = Field(description="whether waiting requests are computed together")
    why_no_plan: str | None = Field(
        default=None, description="why the model itself answers", exclude_if=lambda why: why is None
    )


class VersionDetail(VersionAnswer):
    """A version with everything needed to trust, call and reproduce it."""

    signature: dict[str, Any]
    golden: dict[str, Any]
    params: dict[str, Any]
    environment: dict[str, Any]
    lineage: dict[str, Any]
    serving: Serving | None = Field(
        default=None,
        description="present while this replica has the version in memory",
        exclude_if=lambda it: it is None,
    )


# What JSON has for a value of a column or of an answer; null is a missing value.
Scalar = bool | int | float | str | None
Prediction = Scalar | list[Any]  # of lists too deep generators of clients make no valid code


class PredictionRows(BaseModel):
    """Rows, each with a value for every column."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[list[Annotated[dict[str, Scalar], Field(min_length=1)]], Field(min_length=1)]


class PredictionColumns(BaseModel):
    """Columns, each with one value for every row."""

    model_config = ConfigDict(extra="forbid")

    columns: Annotated[dict[str, Annotated[list[Scalar], Field(min_length=1)]], Field(min_length=1)]


class PredictionAnswer(BaseModel):
    """Predictions, one for each row, and the version they come from."""

    model: str
    version: int
    sha256: str
    chosen: str = Field(description="why this version answers")
    output: str = Field(description="the method of the model that answered")
    predictions: list[Prediction] = Field(description="one for each row: a value or a list of values")
    classes: list[Scalar | list[Any]] | None = Field(
        default=None, description="the label of each number, in order; with several targets one list for each"
    )
    columns: list[str] | None = Field(default=None, description="the column names of transform")
    warnings: list[str] | None = Field(default=None, description="unusual input that was answered")


class ProblemAnswer(BaseModel):
    """An error (RFC 9457): programs branch on `type`, people read `detail` and `hint`."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    errors: list[dict[str, Any]] | None = None


class HealthAnswer(BaseModel):
    """The process responds."""

    status: str
    loaded: list[str] | None = Field(default=None, description="versions in memory")
    generation: int | None = Field(default=None, description="the catalog's last change")
    snapshot_age_seconds: float | None = Field(
        default=None, description="seconds since the remembered choices were known to be current"
    )
    trouble: str | None = Field(default=None, description="a fault that does not stop predictions")


def list_response(page: VersionPage, loaded: LoadedVersions[Engine], fields: Fields | None) -> Response:
    """Answer with a page of versions, straight from the records: a list has many, and each was checked when written."""
    versions = [_listed(version, loaded.failure(version), fields) for version in page.versions]
    return Response(
        orjson.dumps({"versions": versions, "next": page.next}, option=orjson.OPT_UTC_Z), media_type="application/json"
    )


def _listed(version: VersionSummary, failure: LoadFailure | None, fields: Fields | None) -> dict[str, Any]:
    answer = VersionSummary.to_dict(version)
    if fields is not None:
        return fields.of(answer | {"params": dict(version.params)})
    problem = load_problem(failure)
    return answer if problem is None else answer | {"problem": problem.model_dump(mode="json")}


def version_answer(version: VersionSummary, failure: LoadFailure | None) -> VersionAnswer:
    """Turn a record into what a list shows."""
    return VersionAnswer(**version.to_dict(), problem=load_problem(failure))


def version_detail(version: Version, failure: LoadFailure | None, engine: Engine | None) -> VersionDetail:
    """Turn a record into everything known about it, with how it is served if it is in memory."""
    serving = None if engine is None else _serving(engine)
    return VersionDetail(**version.to_dict(), problem=load_problem(failure), serving=serving)


def _serving(engine: Engine) -> Serving:
    return Serving(
        plan=engine.plan is not None,
        batched=engine.batched,
        why_no_plan=engine.why_no_plan or None,
    )


def load_problem(failure: LoadFailure | None) -> LoadProblem | None:
    """Turn a failed load into what is shown beside the version."""
    if failure is None:
        return None
    kind, title = type_and_title(failure.error)
    error = failure.error
    return LoadProblem(type=kind, title=title, detail=error.message, step=error.step, at=failure.at)


def model_answer(model: ModelSummary, versions: list[VersionAnswer]) -> ModelAnswer:
    """Turn a model and its versions into one answer."""
    return ModelAnswer(
        name=model.name,
        description=model.description,
        production=model.production,
        last_version=model.last_version,
        created_at=model.created_at,
        created_by=model.created_by,
        versions=versions,
    )
