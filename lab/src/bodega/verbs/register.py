"""The verbs of a notebook: register, get, load, list, compare."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from bodega_db.errors import InvalidReferenceError
from bodega_db.records import Resolution, Version

from bodega.capture.fingerprints import fingerprint
from bodega.capture.lineage import capture_lineage
from bodega.capture.parameters import read_parameters
from bodega.display import frames
from bodega.display.comparisons import Comparison
from bodega.display.receipts import Receipt
from bodega.display.row_wise import warning_of
from bodega.verbs.connection import current


def register(
    model: Any,
    name: str,
    *,
    example: Any,
    metrics: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    note: str | None = None,
    data: Any = None,
    outputs: Sequence[str] | str | None = None,
    format: str = "skops",
    idempotency_key: str | None = None,
) -> Receipt:
    """Register a fitted model as the next version of a name, and return that version.

    `example` is what you would pass to `predict`: a DataFrame, an array of shape (rows, columns) or a list of texts.
    Up to 20 of its rows are stored with their predictions, and every load must repeat these. `metrics` are single
    finite numbers; `params` default to those of the estimator; of `data`, the training data, only a fingerprint is
    stored. `outputs` promises outputs to callers besides the default one, as in ["predict_proba"]. The same
    `idempotency_key` registers the same model once. Warns if predictions depend on the other rows of a request.
    Raises RegistrationError or a subclass, before the version is visible, if the model could not be served.
    """
    connection = current()
    lineage = capture_lineage()
    if data is not None:
        lineage["data"] = fingerprint(data)
    version = connection.store.register(
        model,
        name,
        example=example,
        metrics=metrics,
        params=read_parameters(model) if params is None else params,
        tags=tags,
        note=note,
        outputs=outputs,
        format=format,
        lineage=lineage,
        idempotency_key=idempotency_key,
    )
    if said := warning_of(version):
        warnings.warn(said, stacklevel=2)
    return Receipt.of(version, connection.settings)


def get(reference: str) -> Receipt:
    """Return a version: 'penguins', 'penguins@3', 'penguins@best:accuracy'; raise VersionNotFoundError."""
    connection = current()
    return Receipt.of(connection.store.find(_checked(reference)), connection.settings)


def load(reference: str | Version) -> Any:
    """Return the model of a version from verified bytes, after it repeated its golden predictions.

    Raises VersionQuarantinedError, ArtifactError or LoadError with the reason.
    """
    store = current().store
    chosen = store.resolve(reference.reference if isinstance(reference, Version) else _checked(reference))
    return store.open(chosen.version).model


def models() -> pd.DataFrame:
    """Return all models by name, with which version of each is in production."""
    return frames.models_frame(current().store.models())


def versions(
    name: str | None = None,
    *,
    filter: str | None = None,
    text: str | None = None,
    order: str | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Return the versions of a model, or of all models, newest first, with a column for each metric.

    `filter` selects versions, as in "status=production and metrics.f1>=0.9"; `text` selects those with its words in
    name, note or tags; `order` is created, version or metrics.NAME, with a '-' before it for the largest first.
    Raises InvalidFilterError with the position in the filter, or InvalidSearchError.
    """
    found = current().store.versions(name, filter=filter, text=text, order=order, limit=limit)
    return frames.versions_frame(found)


def resolve(reference: str) -> Resolution:
    """Return which version serves for a reference, and why: 'penguins', 'penguins@best:accuracy', 'penguins@stable'."""
    return current().store.resolve(_checked(reference))


def history(name: str) -> pd.DataFrame:
    """Return the history of a model, newest first: when, what, who and why."""
    return frames.history_frame(current().store.history(name))


def diff(before: str, after: str) -> Comparison:
    """Return what differs between two versions, and whether callers of the first can call the second."""
    return Comparison(current().store.diff(_checked(before), _checked(after)))


def _checked(reference: Any) -> str:
    if not isinstance(reference, str):
        raise InvalidReferenceError(f"A {type(reference).__name__} is no reference to a version")
    return reference
