"""How a model becomes bytes and bytes a model: one pair of functions per format, under the loader's policy.

skops describes a model as data: every type it names is checked against the reviewed ones before anything is
constructed. joblib is pickle: loading a joblib file RUNS whatever code its author put there, so it is loaded
only where the settings say so, and its sha256 tells no more than that the author's bytes are unchanged.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO
from zipfile import ZipFile

from bodega_model.errors import (
    ArchiveError,
    DeserialiseError,
    FormatNotAllowedError,
    LoadError,
    SerialiseError,
    UntrustedTypeError,
)
from bodega_model.foreign import cause, find_part, known, type_name
from bodega_model.formats import canonical
from bodega_model.formats.archive_limits import check_archive
from bodega_model.formats.policy import Policy
from bodega_model.formats.trusted_types import (
    PARTIAL,
    PARTIAL_OF,
    TRUSTED_TYPES,
    advise,
    advise_to_move,
    advise_to_write,
)


@dataclass(frozen=True, slots=True)
class Codec:
    """The two directions of one format, and what can be known of a file before anything is loaded."""

    dump: Callable[[Any, BinaryIO], None]
    load: Callable[[BinaryIO, Policy], Any]
    measure: Callable[[BinaryIO, Policy], int]
    review: Callable[[BinaryIO, Policy], None]


def dump(model: Any, fmt: str, out: BinaryIO) -> None:
    """Write the model; `out` needs no more than `write` and `flush`. As skops, one model is one sequence of bytes.

    Raise FormatNotAllowedError for a format that does not exist, SerialiseError for a model that cannot be
    written or that no other process could load.
    """
    codec = _codec(fmt)
    try:
        codec.dump(model, out)
    except (SerialiseError, OSError, KeyboardInterrupt):
        # A full disk is not the model's fault.
        raise
    except BaseException as exc:  # a part of the model may raise anything when its state is asked for
        place, part = known(partial(find_part, model, lambda one: codec.dump(one, BytesIO())), ("", model))
        raise SerialiseError(
            f"{type_name(model)} cannot be written as {fmt}{f' because of {place}' if place else ''}: {cause(exc)}",
            advise_to_write(f"{type(part).__module__}.{type_name(part)}", fmt),
        ) from exc


def load(file: BinaryIO, fmt: str, policy: Policy) -> Any:
    """Read a model from a seekable file whose sha256 was checked.

    Raise FormatNotAllowedError before the file is touched, UntrustedTypeError before anything is constructed,
    DeserialiseError for whatever else goes wrong in the loader.
    """
    check_format(fmt, policy)
    try:
        return _codec(fmt).load(file, policy)
    except LoadError:
        raise
    except Exception as exc:  # the bytes may hold anything, so anything may be raised
        raise DeserialiseError(
            f"the {fmt} file could not be turned into a model: {cause(exc)}",
            "Compare the versions of the libraries here with those of the version's environment, "
            "or register the model again from here.",
        ) from exc


def measure(file: BinaryIO, fmt: str, policy: Policy) -> int:
    """Return about how much memory a model takes, which is the size of its arrays, before anything of it is loaded.

    Raise FormatNotAllowedError, or ArchiveError for a file that is not as the format has it or asks for too much.
    """
    check_format(fmt, policy)
    return _codec(fmt).measure(file, policy)


def review(file: BinaryIO, fmt: str, policy: Policy) -> None:
    """Raise LoadError for a file of which `load` would construct nothing, because of its format, archive or types."""
    measure(file, fmt, policy)
    _codec(fmt).review(file, policy)


def check_format(fmt: str, policy: Policy) -> None:
    """Raise FormatNotAllowedError for a format that does not exist, or that the policy does not load."""
    _codec(fmt)
    if fmt not in policy.formats:
        raise FormatNotAllowedError(f"this process does not load {fmt}, only {', '.join(sorted(policy.formats))}")


def _codec(fmt: str) -> Codec:
    if fmt not in CODECS:
        raise FormatNotAllowedError(f"there is no format {fmt!r}; there are {', '.join(CODECS)}")
    return CODECS[fmt]


# --- skops -----------------------------------------------------------------------------------------------


def _dump_skops(model: Any, out: BinaryIO) -> None:
    import skops.io

    # skops writes only to seekable files, uncompressed here: the canonical form is what gets deflated.
    with tempfile.TemporaryFile() as raw:
        skops.io.dump(model, raw)
        with ZipFile(raw) as archive:
            schema = canonical.read_schema(archive)
            canonical.name_constants(schema)
            _refuse_homeless(schema)
            canonical.write(archive, schema, out)


def _refuse_homeless(schema: canonical.Node) -> None:
    """Refuse what skops writes by name and no other process finds: lambdas, what a notebook defines."""
    named = {(n["__module__"], n["__class__"]) for n in canonical.nodes(schema)}
    homeless = sorted(f"{m}.{c}" for m, c in named if m == "__main__" or not hasattr(sys.modules.get(m), c))
    if homeless:
        raise SerialiseError(
            f"the model holds {', '.join(homeless)}, which no other process can import",
            "\n  ".join(advise_to_move(homeless)),
        )


def _measure_skops(file: BinaryIO, policy: Policy) -> int:
    return check_archive(file, policy.max_model_bytes)


def _load_skops(file: BinaryIO, policy: Policy) -> Any:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.load(file, trusted=_trusted(file, policy))
    except UntrustedTypesFoundException:
        _review_skops(file, policy)
        raise


def _review_skops(file: BinaryIO, policy: Policy) -> None:
    import skops.io

    untrusted = sorted(set(skops.io.get_untrusted_types(file=file)).difference(_trusted(file, policy)))
    if untrusted:
        with ZipFile(file) as archive:
            places = canonical.places(canonical.read_schema(archive))
        raise UntrustedTypeError(
            f"the file asks for types that are not trusted, and nothing was loaded: {', '.join(untrusted)}",
            untrusted,
            "\n  ".join(advise(untrusted, places, policy.trusted_types)),
        )


def _trusted(file: BinaryIO, policy: Policy) -> list[str]:
    """Return the trusted types that the file names; skops compares every node with all it is given."""
    with ZipFile(file) as archive:
        every = list(canonical.nodes(canonical.read_schema(archive)))
    named = {canonical.name(node) for node in every}
    trusted = (TRUSTED_TYPES & named) | policy.trusted_types
    if all(_is_reviewed_partial(node) for node in every if canonical.name(node) == PARTIAL):
        trusted |= {PARTIAL} & named
    return sorted(trusted)


def _is_reviewed_partial(node: canonical.Node) -> bool:
    if node["__loader__"] != "PartialNode":
        return False
    function = node["content"]["func"]
    # A node with an id can stand for another node: then the name here would say nothing.
    return (
        function["__loader__"] == "FunctionNode" and canonical.name(function) in PARTIAL_OF and "__id__" not in function
    )


# --- joblib ----------------------------------------------------------------------------------------------


def _dump_joblib(model: Any, out: BinaryIO) -> None:
    import joblib

    # Uncompressed, joblib asks `out` for its position to align arrays for memory maps, which nobody makes.
    joblib.dump(model, out, compress=("zlib", 1))


def _load_joblib(file: BinaryIO, policy: Policy) -> Any:
    import joblib

    return joblib.load(file)


def _measure_joblib(file: BinaryIO, policy: Policy) -> int:
    # How much it becomes, nobody knows before it is unpacked.
    size = file.seek(0, 2)
    file.seek(0)
    if size > policy.max_model_bytes:
        raise ArchiveError(f"The file has {size} bytes, and {policy.max_model_bytes} are allowed")
    return size


def _review_joblib(file: BinaryIO, policy: Policy) -> None:
    """Look at nothing: a pickle says what it is when it runs."""


CODECS: dict[str, Codec] = {
    "skops": Codec(_dump_skops, _load_skops, _measure_skops, _review_skops),
    "joblib": Codec(_dump_joblib, _load_joblib, _measure_joblib, _review_joblib),
}
