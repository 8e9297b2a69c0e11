"""Golden rows: example rows and the answers that a model gave for them, which every load must give again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Golden:
    """Example rows as JSON columns, and what each output answered for them before the model was written."""

    inputs: Mapping[str, list[Any]]
    outputs: Mapping[str, list[Any]]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.inputs.values()), ()))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, as the catalog keeps them."""
        return {"inputs": dict(self.inputs), "outputs": dict(self.outputs)}

    @classmethod
    def from_dict(cls, value: Json) -> Self:
        """Read back what `to_dict` wrote."""
        return cls(inputs=value["inputs"], outputs=value["outputs"])
