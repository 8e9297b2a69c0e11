"""What differs between two versions: signature, metrics, params, environment, tags, size."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bodega_model.golden import Json
from bodega_model.signature.compatibility import compare_signatures
from bodega_model.signature.contracts import relied_outputs
from bodega_model.signature.differences import Change, Grade

from bodega_db.records import Version

Pairs = Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two versions, which are named as people write them: 'penguins@2'.

    `relied` are the outputs that callers of the first one rely on, each with the reason. The other mappings hold only
    what differs: a name, and its value in either version, None where there is none.
    """

    before: str
    after: str
    signature: tuple[Change, ...]
    metrics: Pairs
    params: Pairs
    environment: Pairs
    tags: Pairs
    size_bytes: tuple[int, int]
    format: tuple[str, str]
    same_bytes: bool
    relied: Mapping[str, str]

    @property
    def verdict(self) -> Grade:
        """What the second version is to a client of the first one."""
        return Grade.worst([change.grade for change in self.signature])

    @property
    def breaking(self) -> tuple[Change, ...]:
        """The changes that a client of the first version does not survive."""
        return tuple(change for change in self.signature if change.breaking)

    @property
    def compatible(self) -> bool:
        """Whether a client of the first version can call the second one unchanged, and understand its answers."""
        return not self.breaking

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, each pair as {"before": …, "after": …}."""
        return {
            "before": self.before,
            "after": self.after,
            "verdict": self.verdict.value,
            "compatible": self.compatible,
            "relied": dict(self.relied),
            "signature": [change.to_dict() for change in self.signature],
            "metrics": _plain(self.metrics),
            "params": _plain(self.params),
            "environment": _plain(self.environment),
            "tags": _plain(self.tags),
            "size_bytes": _sides(self.size_bytes),
            "format": _sides(self.format),
            "same_bytes": self.same_bytes,
        }


def compare(before: Version, after: Version, asked: Mapping[str, datetime] | None = None) -> Difference:
    """Return what differs between two versions, of one model or of two; `asked` as `compare_signatures` has it."""
    return Difference(
        before=before.reference,
        after=after.reference,
        signature=compare_signatures(before.signature, after.signature, asked),
        metrics=_pairs(before.metrics, after.metrics),
        params=_pairs(before.params, after.params),
        environment=_pairs(_flat(before.environment), _flat(after.environment)),
        tags=_pairs(before.tags, after.tags),
        size_bytes=(before.size_bytes, after.size_bytes),
        format=(before.format, after.format),
        same_bytes=before.digest == after.digest,
        relied=relied_outputs(before.signature, asked or {}),
    )


def _pairs(before: Json, after: Json) -> dict[str, tuple[Any, Any]]:
    """Put values side by side where they differ; None and no value at all are the same, for a pair shows no more."""
    both = {name: (before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())}
    return {name: (was, now) for name, (was, now) in both.items() if _differ(was, now)}


def _differ(was: Any, now: Any) -> bool:
    # True is 1 in Python, and not in JSON.
    return bool(was != now) or isinstance(was, bool) != isinstance(now, bool)


def _flat(environment: Json) -> dict[str, Any]:
    """Name what lies one level deeper with a dot: 'libraries.numpy'."""
    flat: dict[str, Any] = {}
    for name, value in environment.items():
        flat |= {f"{name}.{part}": deep for part, deep in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _plain(pairs: Pairs) -> dict[str, Any]:
    return {name: _sides(pair) for name, pair in pairs.items()}


def _sides(pair: tuple[Any, Any]) -> dict[str, Any]:
    before, after = pair
    return {"before": before, "after": after}
