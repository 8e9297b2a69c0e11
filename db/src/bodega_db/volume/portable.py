"""One version as a file tells of it, in a bundle or beside its artifact; read without trust."""

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from bodega_model.errors import BodegaError
from bodega_model.golden import Golden
from bodega_model.signature.types import Signature
from pydantic import TypeAdapter, ValidationError

from bodega_db.errors import BundleError
from bodega_db.metadata import check_metrics, check_note, check_params, check_storable, check_tags
from bodega_db.records import Digest, Registration, Version

BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)
HINT = "Export it again, and compare the sha256 of the file after moving it."


@dataclass(frozen=True, slots=True)
class PortableVersion:
    """One version as a file tells of it: what a registration says, and where, when and by whom it was registered."""

    model: str
    number: int
    sha256: str
    size_bytes: int
    format: str
    signature: dict[str, Any]
    golden: dict[str, Any]
    metrics: dict[str, Any]
    params: dict[str, Any]
    tags: dict[str, Any]
    environment: dict[str, Any]
    lineage: dict[str, Any]
    note: str | None
    created_at: str
    created_by: str

    @classmethod
    def of(cls, version: Version) -> Self:
        """Turn a version of a catalog into one of a file."""
        told = version.to_dict() | {"number": version.number, "created_at": version.created_at.isoformat()}
        return cls(**{field.name: told[field.name] for field in fields(cls)})

    @property
    def reference(self) -> str:
        """The version where it comes from: 'penguins@3'."""
        return f"{self.model}@{self.number}"

    @property
    def digest(self) -> Digest:
        """The sha256 of its artifact."""
        return Digest(self.sha256)

    def read_signature(self) -> Signature:
        """Return the signature; raise BundleError if it is none."""
        with explain(f"The signature of {self.reference} cannot be read"):
            return Signature.from_dict(self.signature)

    def read_golden(self, signature: Signature) -> Golden:
        """Return the golden rows; raise BundleError if they are none, or prove less than the whole signature."""
        with explain(f"The golden rows of {self.reference} cannot be read"):
            golden = TypeAdapter(Golden).validate_python(self.golden)
        lengths = {len(values) for values in (*golden.inputs.values(), *golden.outputs.values())}
        columns = sorted(column.name for column in signature.columns)
        if sorted(golden.inputs) != columns or golden.outputs.keys() != signature.outputs.keys():
            raise BundleError(f"The golden rows of {self.reference} are of another signature", HINT)
        # Without rows the rehearsal would have nothing to repeat.
        if len(lengths) != 1 or 0 in lengths:
            raise BundleError(f"The golden rows of {self.reference} are not whole", HINT)
        return golden

    def to_registration(self, model: str, idempotency_key: str, lineage: Mapping[str, Any]) -> Registration:
        """Return what a catalog needs to register it under a name; raise what a registration refuses."""
        signature = self.read_signature()
        golden = self.read_golden(signature)
        check_storable("signature and golden rows", [signature.to_dict(), golden.to_dict()])
        return Registration(
            model=model,
            digest=self.digest,
            size_bytes=self.size_bytes,
            format=self.format,
            signature=signature,
            golden=golden,
            idempotency_key=idempotency_key,
            metrics=check_metrics(self.metrics),
            params=check_params(self.params),
            tags=check_tags(self.tags),
            environment=check_storable("environment", self.environment),
            lineage=check_params(lineage),
            note=check_note(self.note),
        )


@contextlib.contextmanager
def explain(what: str) -> Iterator[None]:
    """Turn any error that a damaged or malicious file causes in the libraries into BundleError."""
    try:
        yield
    except BodegaError:
        raise
    except ValidationError as exc:
        places = ", ".join(".".join(map(str, error["loc"])) for error in exc.errors()[:3])
        raise BundleError(f"{what}: {places[:200]}", HINT) from exc
    except (*BROKEN, KeyError, TypeError, RecursionError) as exc:
        raise BundleError(what, HINT) from exc
    except OSError as exc:
        raise BundleError(f"{what}: {exc.strerror}", "Check the disk.") from exc
