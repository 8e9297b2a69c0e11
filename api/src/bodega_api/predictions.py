"""Prediction over HTTP: choose a version, verify and load it if need be, check the rows, answer."""

import asyncio
from typing import Annotated, Any, NamedTuple

import orjson
from bodega_db.errors import BodegaError
from bodega_db.outputs import check_output
from bodega_db.records import Resolution
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from bodega_api.answers import PredictionAnswer, ProblemAnswer
from bodega_api.body import read_body
from bodega_api.dependencies import AppSettings, Choices, Loaded, ModelCalls, only_parameters, request_body
from bodega_api.loaded import key_of
from bodega_api.routing import Route, Routes
from bodega_api.timing import Laps
from bodega_api.validation import Input, check_input

DESCRIPTION = """Predict with one version of a model.

The body holds rows, `{"rows": [{"column": value}]}`, or columns, `{"columns": {"column": [value]}}`. Values are
strictly of the kind that the model's signature names; a missing value is `null`, where the signature allows it."""

BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    {
                        "type": "object",
                        "required": ["rows"],
                        "additionalProperties": False,
                        "properties": {"rows": {"type": "array", "minItems": 1, "items": {"type": "object"}}},
                    },
                    {
                        "type": "object",
                        "required": ["columns"],
                        "additionalProperties": False,
                        "properties": {
                            "columns": {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}}
                        },
                    },
                ]
            }
        }
    },
}

# No `Age` (RFC 9111): that is of a stored response, and this one was made for the request.
HEADERS = {
    "Bodega-Generation": {
        "description": "every change of the catalog up to this one was taken into account",
        "schema": {"type": "integer"},
    },
    "Bodega-Snapshot-Age": {
        "description": "seconds since it was certain that there was no later change",
        "schema": {"type": "number"},
    },
    "Server-Timing": {
        "description": "with timing=true: milliseconds to read the request and choose, to load, and to predict",
        "schema": {"type": "string"},
    },
}

FOUND_ERROR = "bodega.error"  # in the scope of a request: what the fast path met, to be worded here


def raise_what_was_found(request: Request) -> None:
    """Raise the error that the fast path met when it asked the model."""
    error: BodegaError | None = request.scope.get(FOUND_ERROR)
    if error is not None:
        raise error


router = APIRouter(tags=["prediction"], responses={"4XX": {"model": ProblemAnswer}, "503": {"model": ProblemAnswer}})


@router.post(
    "/predict",
    dependencies=[Depends(only_parameters("model", "version", "output", "timing")), Depends(raise_what_was_found)],
    response_model=PredictionAnswer,
    responses={"200": {"headers": HEADERS}},
    description=DESCRIPTION,
    openapi_extra={"requestBody": BODY},
)
async def predict(
    routes: Choices,
    loaded: Loaded,
    calls: ModelCalls,
    settings: AppSettings,
    body: Annotated[bytes, Depends(request_body)],
    model: Annotated[str | None, Query(description="may be left out when the catalog has one model")] = None,
    version: Annotated[
        str | None,
        Query(description="a number, latest, production, an alias or best:METRIC[:min]; else production or newest"),
    ] = None,
    output: Annotated[str | None, Query(description="predict, predict_proba, …: what the signature lists")] = None,
    timing: Annotated[bool, Query(description="tell in Server-Timing how long each step took")] = False,
) -> Response:
    """Predict with one version of a model."""
    laps = Laps()
    asked = await run_in_threadpool(_read, body, routes, model, version, output, settings.max_rows)
    resolution = asked.route.resolution
    chosen = resolution.version
    laps.lap("read")
    with calls.admitted(key_of(chosen)):
        engine = await asyncio.wrap_future(loaded.request(chosen))
        laps.lap("load")

        def work() -> bytes:
            predictions = engine.predict(asked.checked.columns, asked.method)
            return orjson.dumps(answer_of(resolution, asked.method, predictions, asked.checked.warnings))

        answer = await calls.run(key_of(chosen), work)
        laps.lap("predict")
    response = Response(answer, media_type="application/json")
    response.raw_headers += freshness(asked.route.generation, asked.route.age_seconds)
    if timing:
        response.headers["Server-Timing"] = laps.header
    return response


class Asked(NamedTuple):
    """A request that was understood: the version that answers it, the output that was asked for, and the rows."""

    route: Route
    method: str
    checked: Input


def _read(body: bytes, routes: Routes, model: str | None, version: str | None, output: str | None, most: int) -> Asked:
    rows = read_body(body)
    route = routes.choose(model, version)
    signature = route.resolution.version.signature
    return Asked(route, check_output(signature, output), check_input(rows, signature, most))


def freshness(generation: int, age_seconds: float) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell how fresh the choice of the version is, as ASGI sends them."""
    return [(b"bodega-generation", b"%d" % generation), (b"bodega-snapshot-age", b"%.1f" % age_seconds)]


def answer_of(resolution: Resolution, method: str, predictions: list[Any], warnings: list[str]) -> dict[str, Any]:
    version = resolution.version
    output = version.signature.outputs[method]
    answer: dict[str, Any] = {
        "model": version.model,
        "version": version.number,
        "sha256": version.digest.hex,
        "chosen": resolution.reason,
        "output": method,
        "predictions": predictions,
    }
    optional = {
        "classes": output.classes if method != "predict" else None,
        "columns": output.columns,
        "warnings": warnings,
    }
    return answer | {key: value for key, value in optional.items() if value}
