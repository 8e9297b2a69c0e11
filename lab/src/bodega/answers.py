"""Versions and models as plain JSON values, under the names that the API's answers use."""

from datetime import UTC, datetime
from typing import Any

from bodega_db.records import ModelSummary, Version, VersionSummary


def version_answer(version: VersionSummary) -> dict[str, Any]:
    """Return a version as lists show it, like one entry of GET /models."""
    return VersionSummary.to_dict(version) | {"created_at": timestamp(version.created_at)}


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


def timestamp(moment: datetime) -> str:
    """Write a moment as the API does: ISO 8601 in UTC, with a Z."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
