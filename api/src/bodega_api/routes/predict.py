"""Prediction over HTTP: choose a version, verify and load it if need be, check the rows, answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing, nullcontext
from functools import partial
from typing import Annotated

from bodega_model.errors import BodegaError
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from bodega_api.errors import BodyError, BodyTooLargeError, PredictionTimeoutError
from bodega_api.http.media.kinds import Medium, answer_medium, body_medium
from bodega_api.http.media.spool import IN_MEMORY, Spool
from bodega_api.http.media.writing import Writer, start_writer
from bodega_api.http.parameters import only_parameters
from bodega_api.http.problems import FOUND_ERROR
from bodega_api.http.server_timing import Laps
from bodega_api.http.slicing import LONG
from bodega_api.routes.dependencies import Served, body_stream, read_body, reading
from bodega_api.routes.prediction_request import Asked, Document, Table, understand_document, understand_table
from bodega_api.routes.responses import PredictionAnswer, PredictionColumns, PredictionRows, ProblemAnswer
from bodega_api.serving.engine import Columns, Engine
from bodega_api.serving.model_cache import key_of
from bodega_api.serving.version_router import freshness

DESCRIPTION = """Predict with one version of a model.

The body holds rows, `{"rows": [{"column": value}]}`, or columns, `{"columns": {"column": [value]}}`, or is a table in
CSV with a header, a stream of Arrow, or Parquet. Values are strictly of the kind that the model's signature names; a
missing value is `null`, in CSV an empty field, where the signature allows it. The answer has the form that the header
`Accept` asks for: JSON, CSV or a stream of Arrow."""

BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    PredictionRows.model_json_schema(),
                    PredictionColumns.model_json_schema(),
                ]
            }
        },
        Medium.CSV: {"schema": {"type": "string"}},
        Medium.ARROW: BINARY,
        Medium.PARQUET: BINARY,
    },
}

# No `Age` (RFC 9111): that is of a stored response, and this one was made for the request.
HEADERS = {
    "Bodega-Generation": {
        "description": "the answer includes every change of the catalog up to this one",
        "schema": {"type": "integer"},
    },
    "Bodega-Snapshot-Age": {
        "description": "seconds since it was certain that there was no later change",
        "schema": {"type": "number"},
    },
    "Bodega-Source": {
        "description": "of an answer in CSV or Arrow: model@version, sha256, and the output",
        "schema": {"type": "string"},
    },
    "Bodega-Warnings": {
        "description": "of an answer in CSV or Arrow: how many warnings the one in JSON would have",
        "schema": {"type": "integer"},
    },
    "Server-Timing": {
        "description": "with timing=true: milliseconds to read the request and choose, to load, and to predict",
        "schema": {"type": "string"},
    },
}


async def raise_what_was_found(request: Request) -> None:
    """Raise the error that the fast path met when it asked the model."""
    error: BodegaError | None = request.scope.get(FOUND_ERROR)
    if error is not None:
        raise error


async def prediction_body(request: Request, services: Served) -> AsyncIterator[Document | Table]:
    """Read the body of a prediction; a table is kept until the request was answered, in a file if it is long."""
    settings, medium = services.settings, body_medium(request.headers.get("content-type"))
    if medium is Medium.JSON:
        yield Document(await read_body(request, settings.max_body_bytes), settings.max_rows)
        return
    with closing(Spool()) as spool:
        with reading():
            async for chunk in body_stream(request, settings.max_table_bytes):
                await _keep(chunk, spool, settings.max_table_bytes)
        yield Table(medium, spool, settings.max_table_bytes, settings.max_table_rows)


async def _keep(chunk: bytes, spool: Spool, limit: int) -> None:
    if spool.size + len(chunk) > limit:
        raise BodyTooLargeError(f"The body is longer than {limit} bytes")
    if spool.size + len(chunk) <= IN_MEMORY:
        spool.write(chunk)
    else:  # a disk can be slow, and others shall not wait for it
        await run_in_threadpool(spool.write, chunk)


async def answer_spool() -> AsyncIterator[Spool]:
    """Return what an answer is written into; it is given back when the response was sent."""
    with closing(Spool()) as spool:
        yield spool


async def wanted_medium(request: Request) -> Medium:
    """Return the form that the answer is asked for in."""
    return answer_medium(",".join(request.headers.getlist("accept")))


router = APIRouter(tags=["prediction"], responses={"4XX": {"model": ProblemAnswer}, "503": {"model": ProblemAnswer}})


@router.post(
    "/predict",
    dependencies=[Depends(only_parameters("model", "version", "output", "timing")), Depends(raise_what_was_found)],
    response_model=PredictionAnswer,
    responses={
        "200": {"headers": HEADERS, "content": {Medium.CSV: {"schema": {"type": "string"}}, Medium.ARROW: BINARY}}
    },
    description=DESCRIPTION,
    openapi_extra={"requestBody": BODY},
    operation_id="predict",
)
async def predict(
    request: Request,
    services: Served,
    body: Annotated[Document | Table, Depends(prediction_body)],
    medium: Annotated[Medium, Depends(wanted_medium)],
    spool: Annotated[Spool, Depends(answer_spool)],
    model: Annotated[str | None, Query(description="optional if the catalog has exactly one model")] = None,
    version: Annotated[
        str | None,
        Query(description="a number, latest, production, an alias or best:METRIC[:min]; default: in production"),
    ] = None,
    output: Annotated[str | None, Query(description="a method of the signature: predict, predict_proba, …")] = None,
    timing: Annotated[bool, Query(description="return the time of each step in Server-Timing")] = False,
) -> Response:
    """Predict with one version of a model."""
    laps, routes, loaded, calls = Laps(), services.routes, services.loaded, services.calls
    if isinstance(body, Table):
        asked = await run_in_threadpool(understand_table, body, (model, version), output, routes)
    else:
        async with services.long_bodies if len(body.data) > LONG else nullcontext():
            asked = await run_in_threadpool(understand_document, body, (model, version), output, routes, loaded)
    chosen = asked.route.resolution.version
    key = key_of(chosen)
    laps.lap("read")
    with calls.admitted(key):
        engine = await asyncio.wrap_future(loaded.request(chosen))
        laps.lap("load")
        if asked.together is not None and not engine.row_wise:
            asked = await run_in_threadpool(asked.together, engine.why_together)
        writer = start_writer(medium, spool, asked.route.resolution, asked.method)
        columns: Columns | None = asked.first
        while columns is not None:
            try:
                columns = await calls.run(key, partial(_answer, engine, columns, asked, writer))
            except PredictionTimeoutError:
                engine.tally.failed += 1
                raise
            if columns is not None and await request.is_disconnected():
                raise BodyError("The client hung up")
        laps.lap("predict")
    engine.tally.seconds.observe(laps.seconds)
    response = _response(spool, medium)
    response.raw_headers += freshness(asked.route.generation, asked.route.age_seconds)
    if medium is not Medium.JSON:
        response.headers["Bodega-Source"] = f"{chosen.reference}; sha256={chosen.digest.hex}; output={asked.method}"
        response.headers["Bodega-Warnings"] = str(len(asked.warnings()))
    if timing:
        response.headers["Server-Timing"] = laps.header
    return response


def _answer(engine: Engine, columns: Columns, asked: Asked, writer: Writer) -> Columns | None:
    """Answer some rows and return the next; None behind the last, where the answer is complete."""
    writer.add(engine.predict(columns, asked.method))
    following = next(asked.rest, None)
    if following is None:
        writer.end(asked.warnings())
    return following


def _response(spool: Spool, medium: Medium) -> Response:
    media_type = f"{medium}; header=present" if medium is Medium.CSV else medium
    if spool.in_memory:
        return Response(bytes(spool.view()), media_type=media_type)
    return StreamingResponse(spool.chunks(), media_type=media_type, headers={"Content-Length": str(spool.size)})
