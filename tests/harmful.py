"""Artifacts that would harm whoever loads them: bombs, other formats under the name of skops, types nobody reviewed."""

import gzip
import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bodega_model.formats.codecs import dump
from fitting import fit_tree

MIB = 1024**2
MOST_MODEL_BYTES = 64 * MIB
Make = Callable[[Path], bytes]


class Harmful:
    """Pickled, it leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def sound() -> bytes:
    """Return the artifact of a model that loads."""
    file = io.BytesIO()
    dump(fit_tree().model, "skops", file)
    return file.getvalue()


def repacked(change: Callable[[dict[str, bytes]], None]) -> bytes:
    """Return a sound artifact with some of its members changed."""
    with zipfile.ZipFile(io.BytesIO(sound())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    return packed(members)


def packed(members: dict[str, bytes]) -> bytes:
    """Pack members as skops does."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(shape: str, content: bytes = b"") -> bytes:
    """Write an array whose header claims a shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def a_bomb(_: Path) -> bytes:
    """One member that would take more memory than is allowed."""
    return repacked(lambda members: members.update({"0.npy": bytes(2 * MOST_MODEL_BYTES)}))


def many_bombs(_: Path) -> bytes:
    """Many members, of which each is small."""
    return repacked(lambda members: members.update({f"x{place}": bytes(MIB) for place in range(65)}))


def many_members(_: Path) -> bytes:
    """A directory that is itself what fills the memory."""
    return repacked(lambda members: members.update({str(place): b"" for place in range(200_001)}))


def a_large_array(_: Path) -> bytes:
    """A header of some bytes that claims eight terabytes."""
    return repacked(lambda members: members.update({"0.npy": npy("(1000000000000,)")}))


def an_endless_array(_: Path) -> bytes:
    """A product of numbers beyond what any machine counts in."""
    return repacked(lambda members: members.update({"0.npy": npy("(" + "9999999999, " * 50 + ")")}))


def an_array_of_objects(path: Path) -> bytes:
    """An array that numpy would have to unpickle."""
    file = io.BytesIO()
    np.save(file, np.array([Harmful(path)], dtype=object), allow_pickle=True)
    return repacked(lambda members: members.update({"0.npy": file.getvalue()}))


def a_deep_schema(_: Path) -> bytes:
    """A schema that runs a parser out of stack."""
    return repacked(lambda members: members.update({"schema.json": b'{"a":' * 100_000 + b"1" + b"}" * 100_000}))


def a_path(_: Path) -> bytes:
    """A member that would lie elsewhere if somebody unpacked it."""
    return repacked(lambda members: members.update({"../../etc/cron.d/x": b"x"}))


def a_pickle(path: Path) -> bytes:
    """Another format under the name of skops."""
    return pickle.dumps(Harmful(path))


def a_compressed_pickle(path: Path) -> bytes:
    """A format that joblib takes without asking."""
    return gzip.compress(pickle.dumps(Harmful(path)))


def a_zlib_pickle(path: Path) -> bytes:
    """Another one."""
    return zlib.compress(pickle.dumps(Harmful(path)))


def a_polyglot(path: Path) -> bytes:
    """A pickle to whoever reads from the front, and an archive to whoever reads from the end."""
    return pickle.dumps(Harmful(path)) + sound()


def a_comment(path: Path) -> bytes:
    """An archive with something behind it."""
    file = io.BytesIO(sound())
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = pickle.dumps(Harmful(path))
    return file.getvalue()


def a_half(_: Path) -> bytes:
    """An archive that was cut off before it was registered."""
    return sound()[:-100]


ARCHIVES = [
    *(a_bomb, many_bombs, many_members, a_large_array, an_endless_array, an_array_of_objects, a_deep_schema),
    *(a_path, a_pickle, a_compressed_pickle, a_zlib_pickle, a_polyglot, a_comment, a_half),
]


def with_type(name: str, loader: str = "ObjectNode") -> bytes:
    """Return an artifact that asks for a type."""
    module, _, cls = name.rpartition(".")

    def change(members: dict[str, bytes]) -> None:
        schema = json.loads(members["schema.json"])
        schema.update({"__module__": module, "__class__": cls, "__loader__": loader})
        members["schema.json"] = json.dumps(schema).encode()

    return repacked(change)


def an_unknown_type(_: Path) -> bytes:
    """A type that nobody reviewed."""
    return with_type("subprocess.Popen")


def a_trust_list(_: Path) -> bytes:
    """An artifact that says itself what is to be trusted."""

    def change(members: dict[str, bytes]) -> None:
        schema = json.loads(members["schema.json"])
        trusted = ["subprocess.Popen"]
        schema.update({"__module__": "subprocess", "__class__": "Popen", "trusted": trusted, "__trusted__": True})
        members |= {"schema.json": json.dumps(schema).encode(), "trusted.json": json.dumps(trusted).encode()}

    return repacked(change)


def crashing_tree() -> bytes:
    """Return a tree whose children lie far outside of its arrays: scikit-learn's compiled code follows them."""

    def change(members: dict[str, bytes]) -> None:
        for name, content in members.items():
            if name.endswith(".npy"):
                array = np.load(io.BytesIO(content))
                if array.dtype.names and "left_child" in array.dtype.names:
                    array["left_child"] = array["right_child"] = 2**40
                    file = io.BytesIO()
                    np.save(file, array)
                    members[name] = file.getvalue()

    return repacked(change)
