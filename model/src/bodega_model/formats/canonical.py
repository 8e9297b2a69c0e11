"""The canonical form of a skops file: the same model gives the same bytes.

skops names members and nodes after `id(obj)` and stamps the time, so that two dumps of one model differ.
Here the members are numbered as they appear in the schema, ids remain only where two nodes are one object,
and every date is 1980-01-01. The bytes also depend on the zlib in use: compare them on one machine.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO
from zipfile import ZIP64_LIMIT, ZIP_DEFLATED, ZipFile

SCHEMA = "schema.json"
# A model is written once and loaded often. Measured on forests, level 6 against level 1: files 10 to 20 %
# smaller, inflated 1.6 times as fast, for 20 ms more per MB at registration.
LEVEL = 6
# One block of a member in memory at a time: a member can be as large as the training data.
BLOCK = 1024 * 1024
# Whatever these load is looked up by name or is a constant: that two of them are one object tells nothing.
NAMED = frozenset({"JsonNode", "FunctionNode", "TypeNode"})
# pandas' missing value is one object, which skops writes as one of a type and cannot make anew: it goes by its name.
NA_TYPES = frozenset({"pandas.api.typing.NAType", "pandas._libs.missing.NAType"})
NA: dict[str, Any] = {"__class__": "NA", "__module__": "pandas", "__loader__": "FunctionNode"}
# What holds values for others: where a type stands in one of these, the object around it is named.
DATA = ("builtins", "collections", "numpy", "pandas")

Node = dict[str, Any]


def read_schema(archive: ZipFile) -> Node:
    """Return the tree of nodes that a skops file describes."""
    schema: Node = json.loads(archive.read(SCHEMA))
    return schema


def nodes(schema: Node) -> Iterator[Node]:
    """Yield every node of the schema, parents first, in the order in which they stand in the file."""
    stack: list[Any] = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            # A user's dictionary may have a key "__loader__" too, but its value is then a node.
            if isinstance(item.get("__loader__"), str):
                yield item
            stack.extend(reversed(item.values()))
        elif isinstance(item, list):
            stack.extend(reversed(item))


def name(node: Node) -> str:
    """Return the dotted name of the type or function that the node stands for."""
    return f"{node['__module__']}.{node['__class__']}"


def name_constants(schema: Node) -> None:
    """Let nodes of pd.NA name it, as a pickle does; the schema is changed in place."""
    for node in nodes(schema):
        if name(node) in NA_TYPES:
            node.clear()
            node.update(NA)


def places(schema: Node) -> dict[str, str]:
    """Return by dotted name of a type in which attribute of which object it stands first, as in 'Scaler.mean_'."""
    found: dict[str, str] = {}
    stack: list[tuple[Any, str, str]] = [(schema, "", "")]
    while stack:
        item, owner, attribute = stack.pop()
        if isinstance(item, list):
            stack.extend((one, owner, attribute) for one in reversed(item))
        elif isinstance(item, dict):
            if isinstance(item.get("__loader__"), str):
                if owner and attribute:
                    found.setdefault(name(item), f"{owner}.{attribute}")
                if item["__loader__"] == "ObjectNode" and str(item["__module__"]).partition(".")[0] not in DATA:
                    stack.extend((value, item["__class__"], key) for key, value in reversed(_attributes(item).items()))
                    continue
            stack.extend((value, owner, attribute) for value in reversed(item.values()))
    return found


def _attributes(node: Node) -> Node:
    state = node.get("content")
    inside = state.get("content") if isinstance(state, dict) else None
    return inside if isinstance(inside, dict) else {}


def write(archive: ZipFile, schema: Node, out: BinaryIO) -> None:
    """Write the file in canonical form, deflated; `out` needs no more than `write` and `flush`.

    The schema is changed in place.
    """
    _number_objects(schema)
    members = _number_members(schema)
    with ZipFile(out, "w", ZIP_DEFLATED, compresslevel=LEVEL) as canonical:
        for before, after in members.items():
            _copy(archive, before, canonical, after)
        with canonical.open(SCHEMA, "w", force_zip64=True) as member:
            member.write(json.dumps(schema, separators=(",", ":")).encode())


def _number_objects(schema: Node) -> None:
    """Number the objects that several nodes stand for, from 1 (skops ignores an id 0); drop all other ids."""
    seen = Counter(n["__id__"] for n in nodes(schema) if n["__loader__"] not in NAMED and "__id__" in n)
    numbers: dict[int, int] = {}
    for node in nodes(schema):
        before = node.pop("__id__", None)
        if seen[before] > 1 and node["__loader__"] not in NAMED:
            node["__id__"] = numbers.setdefault(before, len(numbers) + 1)


def _number_members(schema: Node) -> dict[str, str]:
    """Name the members 0.npy, 1.npy … in the schema, and return the new name of each old one."""
    members: dict[str, str] = {}
    for node in nodes(schema):
        if isinstance(before := node.get("file"), str):
            node["file"] = members.setdefault(before, f"{len(members)}{PurePosixPath(before).suffix}")
    return members


def _copy(archive: ZipFile, before: str, canonical: ZipFile, after: str) -> None:
    large = archive.getinfo(before).file_size * 1.05 > ZIP64_LIMIT
    # Opened by name, a member is dated 1980 and has the rights 0600; writestr() would put the time of day.
    with archive.open(before) as source, canonical.open(after, "w", force_zip64=large) as target:
        shutil.copyfileobj(source, target, BLOCK)
