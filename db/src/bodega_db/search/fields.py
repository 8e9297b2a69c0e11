"""Which fields of a version a list shows: `version,status,metrics.f1`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bodega_db.errors import InvalidSearchError
from bodega_db.search.grammar import SYNONYMS

SHOWN = (
    *("model", "version", "status", "format", "sha256", "path", "size_bytes", "metrics", "tags", "note"),
    *("created_at", "created_by", "params"),
)
OPENED = ("metrics", "params", "tags")
MOST = 50


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of fields, in the order that they are shown in."""

    names: tuple[str, ...]

    def of(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return these fields of a version; a metric, param or tag that it has not is None."""
        return {name: self._value(answer, name) for name in self.names}

    def _value(self, answer: Mapping[str, Any], name: str) -> Any:
        field, dot, key = name.partition(".")
        return answer[field].get(key) if dot else answer[field]


def read_fields(text: str) -> Fields:
    """Read names with commas between them; raise InvalidSearchError naming the place of one that is no field."""
    names = tuple(name.strip() for name in text.split(","))
    for place, name in enumerate(names, 1):
        field, dot, key = SYNONYMS.get(name, name).partition(".")
        if field not in SHOWN or (dot and (field not in OPENED or not key)):
            raise InvalidSearchError(
                f"Field {place} is unknown",
                f"The fields are {', '.join(SHOWN)}; one metric, param or tag is metrics.NAME, as in metrics.f1.",
            )
    if len(names) > MOST:
        raise InvalidSearchError(f"More than {MOST} fields")
    return Fields(tuple(dict.fromkeys(SYNONYMS.get(name, name) for name in names)))
