"""Answers in JSON, CSV and Arrow, some rows at a time."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import orjson
import pyarrow as pa
from bodega_db.records import Resolution
from bodega_model.errors import PredictionError
from bodega_model.signature.conformance import Contract, flat
from bodega_model.signature.types import Output
from pyarrow import csv

from bodega_api.http.media.json import answer_of, around_predictions
from bodega_api.http.media.kinds import Medium
from bodega_api.http.media.spool import Spool

Types = frozenset[type]
NUMBERS: Types = frozenset({float, int})
COLUMNS = {NUMBERS: pa.float64, frozenset({int}): pa.int64, frozenset({bool}): pa.bool_, frozenset({str}): pa.string}


class Writer(Protocol):
    """Writes one answer into a spool."""

    def add(self, predictions: list[Any]) -> None:
        """Write the predictions for some rows; raise SpoolError, or PredictionError for what the form cannot carry."""

    def end(self, warnings: list[str]) -> None:
        """Write what comes behind the last row."""


def start_writer(medium: Medium, spool: Spool, resolution: Resolution, method: str) -> Writer:
    """Begin an answer in one of the forms that answers have."""
    if medium is Medium.JSON:
        return JsonWriter(spool, resolution, method)
    if medium is Medium.CSV:
        return CsvWriter(spool, resolution, method)
    return ArrowWriter(spool, resolution, method)


class JsonWriter:
    """The answer that rows in JSON get too."""

    def __init__(self, spool: Spool, resolution: Resolution, method: str) -> None:
        self._spool, self._resolution, self._method = spool, resolution, method
        self._separator = around_predictions(resolution, method, [])[0] + b"["

    def add(self, predictions: list[Any]) -> None:
        """Write the predictions for some rows."""
        self._spool.write(self._separator + orjson.dumps(predictions)[1:-1])
        self._separator = b","

    def end(self, warnings: list[str]) -> None:
        """Write what is known behind the last row."""
        self._spool.write(b"]" + around_predictions(self._resolution, self._method, warnings)[1])


class CsvWriter:
    """A header and a line for each row; its source is in the headers of the response."""

    def __init__(self, spool: Spool, resolution: Resolution, method: str) -> None:
        self._spool, self._method = spool, method
        self._output = resolution.version.signature.outputs[method]
        self._types = types_of_columns(resolution, method)
        self._header = True

    def add(self, predictions: list[Any]) -> None:
        """Write the predictions for some rows."""
        sink = pa.BufferOutputStream()
        options = csv.WriteOptions(include_header=self._header, quoting_style="needed", quoting_header="needed")
        csv.write_csv(to_batch(self._output, self._method, self._types, predictions), sink, options)
        self._spool.write(sink.getvalue().to_pybytes())
        self._header = False

    def end(self, warnings: list[str]) -> None:
        """Write nothing more: how many warnings there are is in the headers of the response."""


class ArrowWriter:
    """A stream of record batches; its source is in the metadata of the schema, as JSON."""

    def __init__(self, spool: Spool, resolution: Resolution, method: str) -> None:
        self._output, self._method = resolution.version.signature.outputs[method], method
        self._types = types_of_columns(resolution, method)
        source = answer_of(resolution, method, [], [])
        del source["predictions"]
        self._metadata = {"bodega": orjson.dumps(source)}
        schema = to_batch(self._output, method, self._types, []).schema.with_metadata(self._metadata)
        self._writer = pa.ipc.new_stream(pa.PythonFile(_Sink(spool), "w"), schema)

    def add(self, predictions: list[Any]) -> None:
        """Write the predictions for some rows."""
        batch = to_batch(self._output, self._method, self._types, predictions)
        self._writer.write_batch(batch.replace_schema_metadata(self._metadata))

    def end(self, warnings: list[str]) -> None:
        """Write the end of the stream."""
        self._writer.close()


class _Sink:
    """A spool as a file that pyarrow writes."""

    closed = False

    def __init__(self, spool: Spool) -> None:
        self.write = spool.write

    def flush(self) -> None:
        """Do nothing: the spool is read when all is written."""


# --- predictions as columns ----------------------------------------------------------------------------------


def types_of_columns(resolution: Resolution, method: str) -> list[Types]:
    """Return the types of the values in each column of an answer."""
    version = resolution.version
    output = version.signature.outputs[method]
    types = Contract.of(method, output, version.golden.outputs.get(method, ())).types
    return list(types * len(column_names(output, method)) if len(types) == 1 else types)


def to_batch(output: Output, method: str, types: Sequence[Types], predictions: Sequence[Any]) -> "pa.RecordBatch":
    """Return predictions as columns; raise PredictionError for those that no column can hold."""
    names = column_names(output, method)
    try:
        kinds = [COLUMNS[one]() for one in types]
        if not output.shape:
            columns = [pa.array(predictions, type=kinds[0])]
        elif set(types) == {NUMBERS} and not output.per_target:
            table = np.array(predictions, dtype=np.float64).reshape(len(predictions), len(names))
            columns = [pa.array(values) for values in table.T]
        else:
            rows = [list(flat(row)) for row in predictions]
            columns = [pa.array([row[place] for row in rows], type=kind) for place, kind in enumerate(kinds)]
    except (KeyError, pa.ArrowException, OverflowError) as exc:
        reason = "A column of the answer would have values of several kinds, or integers beyond 2^63"
        raise PredictionError(reason, "Ask for JSON (Accept: application/json).") from exc
    return pa.RecordBatch.from_arrays(columns, names=names)


def column_names(output: Output, method: str) -> list[str]:
    """Return what the columns of an answer are called: `prediction`, or the names that the values of a row have."""
    if not output.shape:
        return ["prediction"]
    if output.columns is not None:
        return list(output.columns)
    classes: Any = output.classes if method != "predict" and output.classes else ()
    if output.per_target and classes:
        return [f"{target}.{label}" for target, labels in enumerate(classes) for label in labels]
    if output.shape == (len(classes),):
        return [str(label) for label in classes]
    return [str(place) for place in range(math.prod(output.shape))]
