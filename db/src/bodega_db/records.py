"""The values that leave the catalog: frozen, typed, free of sessions and rows."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from bodega_model.golden import Golden, Json
from bodega_model.signature.types import Signature

from bodega_db.lifecycle import Status

HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Digest:
    """The sha256 of an artifact, as 64 hexadecimal digits; it is also where the artifact lies."""

    hex: str

    def __post_init__(self) -> None:
        if not HEX64.fullmatch(self.hex):
            raise ValueError("a sha256 is 64 hexadecimal digits")

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Hash bytes that are already in memory."""
        return cls(hashlib.sha256(data).hexdigest())

    @property
    def path(self) -> str:
        """The place on the volume; the catalog generates the same in its `path` column."""
        return f"objects/sha256/{self.hex[:2]}/{self.hex}"

    def __str__(self) -> str:
        return self.hex


@dataclass(frozen=True, slots=True)
class Registration:
    """Everything a row says of a version that the catalog does not make itself."""

    model: str
    digest: Digest
    size_bytes: int
    format: str
    signature: Signature
    golden: Golden
    idempotency_key: str
    metrics: Json = field(default_factory=dict)
    params: Json = field(default_factory=dict)
    tags: Json = field(default_factory=dict)
    environment: Json = field(default_factory=dict)
    lineage: Json = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model by name, with how many versions it has and which of them answers."""

    name: str
    description: str | None
    versions: int
    last_version: int
    production: int | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """One version as lists show it: without signature, golden rows and provenance."""

    model: str
    number: int
    status: Status
    digest: Digest
    size_bytes: int
    format: str
    path: str
    metrics: Json
    params: Json
    tags: Json
    note: str | None
    created_at: datetime
    created_by: str
    generation: int

    @property
    def reference(self) -> str:
        """The version as people write it: 'penguins@3'."""
        return f"{self.model}@{self.number}"

    def to_dict(self) -> dict[str, Any]:
        """Return a version as lists show it, under the names that HTTP and the command line share."""
        return {
            "model": self.model,
            "version": self.number,
            "status": self.status.value,
            "format": self.format,
            "sha256": self.digest.hex,
            "path": self.path,
            "size_bytes": self.size_bytes,
            "metrics": dict(self.metrics),
            "tags": dict(self.tags),
            "note": self.note,
            "created_at": self.created_at,
            "created_by": self.created_by,
        }


@dataclass(frozen=True, slots=True)
class Version(VersionSummary):
    """One version with everything needed to trust, call and reproduce it."""

    signature: Signature
    golden: Golden
    environment: Json
    lineage: Json
    idempotency_key: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything that is known about the version, under the same names."""
        return VersionSummary.to_dict(self) | {
            "signature": self.signature.to_dict(),
            "golden": self.golden.to_dict(),
            "params": dict(self.params),
            "environment": dict(self.environment),
            "lineage": dict(self.lineage),
        }


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Some versions of a longer list, and where the next page begins; None behind the last one."""

    versions: tuple[VersionSummary, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Resolution:
    """The version that answers for a reference, why it was chosen, and the last change of the catalog that was seen."""

    version: Version
    reason: str
    generation: int


@dataclass(frozen=True, slots=True)
class Changes:
    """The catalog's last change, and which models changed since an earlier one; None stands for all of them."""

    generation: int
    models: frozenset[str] | None

    def concern(self, model: str | None) -> bool:
        """Tell whether what was known of a model may be wrong now; of None, the only model, after any change."""
        return self.models is None or (bool(self.models) if model is None else model in self.models)


@dataclass(frozen=True, slots=True)
class Event:
    """One change of the catalog: what, who, when, why, before and after."""

    id: int
    at: datetime
    kind: str
    model: str
    number: int | None
    actor: str
    reason: str | None
    before: Json | None
    after: Json | None
    generation: int


@dataclass(frozen=True, slots=True)
class Holder:
    """The version that was in production, or had an alias, at a moment: since when, who put it there, and why."""

    model: str
    number: int
    since: datetime
    actor: str
    reason: str | None

    @property
    def reference(self) -> str:
        """The version as people write it: 'penguins@3'."""
        return f"{self.model}@{self.number}"
