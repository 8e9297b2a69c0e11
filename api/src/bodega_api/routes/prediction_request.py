"""A request for predictions, understood: which version answers, with which output, and for which columns."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from bodega_model.errors import BodegaError, InputError, TooManyRowsError
from bodega_model.signature.outputs import check_output
from bodega_model.signature.types import Signature
from bodega_model.validation.quick import LongWayError
from bodega_model.validation.rows import Report, check_input, no_rows
from msgspec import DecodeError

from bodega_api.http.media.arrow import columns_of
from bodega_api.http.media.kinds import Medium
from bodega_api.http.media.reading import Batches, read_batches, read_together
from bodega_api.http.media.spool import Spool
from bodega_api.http.slicing import Parts, cut
from bodega_api.http.strict_json import read_body
from bodega_api.serving.engine import Columns, Engine
from bodega_api.serving.model_cache import LoadedVersions, key_of
from bodega_api.serving.version_router import Route, Routes

Reference = tuple[str | None, str | None]  # model and version, as the query has them


class Document(NamedTuple):
    """A body in JSON, and the most rows that it may have."""

    data: bytes
    max_rows: int


class Table(NamedTuple):
    """A body in another form, and the most that it may have: bytes once it is unpacked, and rows."""

    medium: Medium
    spool: Spool
    max_bytes: int
    max_rows: int


class Asked(NamedTuple):
    """A request that was understood: its first rows, the others, which are read in turn, and then the warnings.

    Of a table `together` reads all rows at once, for a model that must not be asked for some of them; it is told why.
    """

    route: Route
    method: str
    first: Columns
    rest: Iterator[Columns]
    warnings: Callable[[], list[str]]
    together: "Callable[[str], Asked] | None" = None


def understand_document(
    body: Document, reference: Reference, output: str | None, routes: Routes, loaded: LoadedVersions[Engine]
) -> Asked:
    """Read a request in JSON; raise what is wrong with its body, then with its parameters, then with its rows."""
    refusal: BodegaError | None = None
    engine, most_keys = None, 0
    try:
        route, method = _choose(routes, reference, output)
        engine = loaded.peek(key_of(route.resolution.version))
        most_keys = len(route.resolution.version.signature.columns)
    except BodegaError as exc:
        refusal = exc
    try:
        parts = cut(body.data, body.max_rows, most_keys)
        columns = None if engine is None else _decode(engine, parts, body.max_rows)
        if columns is not None:
            return Asked(route, method, columns, iter(()), list)
        rows = read_body(parts)
    except (InputError, TooManyRowsError) as exc:
        raise refusal or exc from None
    if refusal is not None:
        raise refusal
    checked = check_input(rows, route.resolution.version.signature, body.max_rows)
    return Asked(route, method, checked.columns, iter(()), lambda: checked.warnings)


def understand_table(table: Table, reference: Reference, output: str | None, routes: Routes) -> Asked:
    """Read a request with a table up to its first rows; raise what is wrong with it so far."""
    route, method = _choose(routes, reference, output)
    report = Report()
    rest = _read(table, route.resolution.version.signature, report)
    first = next(rest, None)
    if first is None:
        raise no_rows()
    asked = Asked(route, method, first, rest, lambda: report.warnings)
    return asked._replace(together=partial(_read_together, asked, table))


def _choose(routes: Routes, reference: Reference, output: str | None) -> tuple[Route, str]:
    route = routes.choose(*reference)
    return route, check_output(route.resolution.version.signature, output)


def _decode(engine: Engine, parts: Parts, max_rows: int) -> Columns | None:
    """Read a body that is beyond doubt, as most are, some ten times as fast; None for others."""
    if engine.decoder is None:
        return None
    together: dict[str, list[Any]] = {}
    count = 0
    try:
        for document in parts if parts.of_rows else [parts.data]:
            columns, rows = engine.decoder.decode(document)
            count += rows
            for name, values in columns.items():
                together.setdefault(name, []).extend(values)
    except (LongWayError, DecodeError, UnicodeDecodeError):
        return None
    return together if count <= max_rows else None


def _read_together(asked: Asked, table: Table, why: str) -> Asked:
    """Read a table from its beginning: what lies in several batches is one question to the model."""
    signature, report = asked.route.resolution.version.signature, Report()
    batch = read_together(_batches(table, signature), why)
    columns = columns_of(batch, signature, report, all_text=table.medium is Medium.CSV)
    report.raise_if_any()
    return Asked(asked.route, asked.method, columns, iter(()), lambda: report.warnings)


def _batches(table: Table, signature: Signature) -> Batches:
    return read_batches(table.medium, table.spool.view(), signature, table.max_bytes, table.max_rows)


def _read(table: Table, signature: Signature, report: Report) -> Iterator[Columns]:
    for batch in _batches(table, signature):
        columns = columns_of(batch, signature, report, all_text=table.medium is Medium.CSV)
        report.raise_if_any()
        yield columns
