"""What the catalog holds, as DataFrames: to look at, sort and filter in a notebook."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from bodega_db.records import Event, ModelSummary, VersionSummary

MODEL_COLUMNS = ("model", "production", "last_version", "versions", "description", "created_at", "created_by")
VERSION_COLUMNS = ("model", "version", "status")
MORE_COLUMNS = ("note", "tags", "format", "size_bytes", "created_at", "created_by", "sha256")
EVENT_COLUMNS = ("at", "event", "model", "version", "actor", "reason", "before", "after")


def models_frame(models: Sequence[ModelSummary]) -> pd.DataFrame:
    """Return one row for each model."""
    rows = [
        (m.name, m.production, m.last_version, m.versions, m.description, m.created_at, m.created_by) for m in models
    ]
    return _frame(rows, MODEL_COLUMNS, integers=("production", "last_version", "versions"))


def versions_frame(versions: Sequence[VersionSummary]) -> pd.DataFrame:
    """Return one row for each version, with a column for each metric that any of them has."""
    metrics = list(dict.fromkeys(name for version in versions for name in version.metrics))
    rows = [
        (
            *(v.model, v.number, v.status.value),
            *(v.metrics.get(name) for name in metrics),
            *(v.note, dict(v.tags), v.format, v.size_bytes, v.created_at, v.created_by, v.digest.hex),
        )
        for v in versions
    ]
    columns = (*VERSION_COLUMNS, *map(_metric_column, metrics), *MORE_COLUMNS)
    return _frame(rows, columns, integers=("version", "size_bytes"))


def history_frame(events: Sequence[Event]) -> pd.DataFrame:
    """Return one row for each change."""
    rows = [(e.at, e.kind, e.model, e.number, e.actor, e.reason, e.before, e.after) for e in events]
    return _frame(rows, EVENT_COLUMNS, integers=("version",))


def _metric_column(name: str) -> str:
    # No metric's name holds a colon, so this one is nobody else's.
    return f"metric:{name}" if name in (*VERSION_COLUMNS, *MORE_COLUMNS) else name


def _frame(rows: Sequence[tuple[Any, ...]], columns: Sequence[str], integers: Iterable[str]) -> pd.DataFrame:
    # A missing number of a version must not turn the others into 1.0, 2.0 …
    return pd.DataFrame(rows, columns=list(columns)).astype(dict.fromkeys(integers, "Int64"))
