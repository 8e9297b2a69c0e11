"""Versions and models as plain JSON values, under the names that the API's answers use."""

from datetime import UTC, datetime
from typing import Any

from bodega_db.records import Event, ModelSummary, Version, VersionSummary
from bodega_db.search.fields import Fields


def version_answer(version: VersionSummary, fields: Fields | None = None) -> dict[str, Any]:
    """Return a version as lists show it, like one entry of GET /models, or only these fields of it."""
    answer = VersionSummary.to_dict(version) | {"created_at": timestamp(version.created_at)}
    return answer if fields is None else fields.of(answer | {"params": dict(version.params)})


def version_detail(version: Version) -> dict[str, Any]:
    """Return everything known about a version, like GET /models/{name}/versions/{n}."""
    return version.to_dict() | {"created_at": timestamp(version.created_at)}


def model_answer(model: ModelSummary) -> dict[str, Any]:
    """Return a model, like GET /models/{name}, with the count of its versions instead of a list of them."""
    return {
        "name": model.name,
        "description": model.description,
        "production": model.production,
        "last_version": model.last_version,
        "version_count": model.versions,
        "created_at": timestamp(model.created_at),
        "created_by": model.created_by,
    }


def event_answer(event: Event) -> dict[str, Any]:
    """Return one change of the catalog, like GET /models/{name}/history."""
    return {
        "id": event.id,
        "at": timestamp(event.at),
        "event": event.kind,
        "version": event.number,
        "actor": event.actor,
        "reason": event.reason,
        "before": event.before,
        "after": event.after,
    }


def timestamp(moment: datetime) -> str:
    """Write a moment as the API does: ISO 8601 in UTC, with a Z."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
