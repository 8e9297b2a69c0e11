"""What a process may load."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Policy:
    """What a process may load: formats, and types beyond the reviewed ones. An artifact has no say."""

    formats: frozenset[str] = frozenset({"skops"})
    trusted_types: frozenset[str] = frozenset()
    allow_sklearn_mismatch: bool = False
    max_model_bytes: int = 8 * 1024**3
    load_seconds: float = 120

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, for another process."""
        sets = {"formats": sorted(self.formats), "trusted_types": sorted(self.trusted_types)}
        return {field.name: getattr(self, field.name) for field in fields(self)} | sets

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` wrote."""
        sets = {name: frozenset(value[name]) for name in ("formats", "trusted_types")}
        return cls(**(dict(value) | sets))
