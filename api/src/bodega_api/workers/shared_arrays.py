"""The large arrays of a version, in memory once for all worker processes that have it loaded.

Each worker loads the version for itself, verified and proven as anywhere else. Then the pages of its large arrays are
replaced by the pages of a sealed file in memory, made by the worker that was first, after they were compared byte by
byte. So no worker takes another's word for anything, no format has to allow it, and no answer can change: memory holds
what it held before. Whoever writes to such a page gets a copy of it.

Pages are equal only where an array begins at the same distance from the begin of a page in all workers, and mapped
pages are unmapped only where an array has a mapping of its own. The allocator gives it one during a load (`malloc`);
where it does not, nothing is shared.
"""

import ctypes
import fcntl
import gc
import logging
import mmap
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from bodega_db.records import VersionSummary
from bodega_db.volume.files import SEALS, seal

from bodega_api.serving.engine import Engine
from bodega_api.workers.ipc import Siblings
from bodega_api.workers.malloc import LARGE, own_mapping

log = logging.getLogger("bodega_api")
LEAST_FILE = 1024**2  # bytes of an artifact whose arrays are looked at
MOST = 10_000  # arrays: a process may have 65 530 mappings (vm.max_map_count), and each takes three
ATOMS = (str, bytes, int, float, complex, type, ModuleType, type(None))
# of Linux and its C library; elsewhere there is one worker
MAP_FIXED = 0x10
WORD = 8  # bytes


class Span(NamedTuple):
    """The whole pages inside an array: where they begin, and how many bytes they are; 0 if they are not its alone."""

    address: int
    size: int

    def bytes(self) -> "ctypes.Array[ctypes.c_char]":
        """Return what is there, not a copy of it."""
        return (ctypes.c_char * self.size).from_address(self.address)


class Pages:
    """A file in memory: the sizes of the spans, up to the end of a page, and then the spans."""

    def __init__(self, key: str, fd: int) -> None:
        self.key, self.fd = key, fd
        weakref.finalize(self, os.close, fd)

    def sizes(self, count: int) -> list[int]:
        """Return the sizes of so many spans; of a file that may change, or is not of so many, nothing."""
        if fcntl.fcntl(self.fd, fcntl.F_GET_SEALS) != SEALS:
            return []
        sizes = memoryview(os.pread(self.fd, WORD * count, 0)).cast("q").tolist()
        return sizes if _whole(WORD * count) + sum(sizes) == os.fstat(self.fd).st_size else []


class SharedArrays:
    """The versions of this worker whose arrays lie in files, which it hands to a sibling that asks."""

    def __init__(self, siblings: Siblings) -> None:
        self._siblings = siblings
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._kept: weakref.WeakKeyDictionary[Engine, Pages] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        siblings.answer("pages", self._find)

    def load(self, version: VersionSummary, load: Callable[[bool], Engine]) -> Engine:
        """Load a version, in turn with siblings that load it too, and share what it takes with those that have it.

        `load` is told whether a sibling has the version already: what was tried there need not be tried here.
        """
        if self._siblings.number is None or version.size_bytes < LEAST_FILE:
            return load(False)
        key = version.digest.hex
        with self._siblings.in_turn(int(key[:15], 16)):
            there = self._look_for(key)
            engine = load(there is not None)
            try:
                shared = self._settle(engine, there, key)
            except OSError as exc:  # as much memory as this process may have
                log.warning("%s is not shared with other workers: %s", version.reference, exc.strerror)
            else:
                log.info("%s has %d MiB in common with other workers", version.reference, shared // 1024**2)
        return engine

    def _settle(self, engine: Engine, there: Pages | None, key: str) -> int:
        """Share the arrays of a version; return how many bytes are shared now."""
        spans = find_spans(engine.runner.model, engine.plan)
        sizes = there.sizes(len(spans)) if there else []
        if there is None or len(sizes) != len(spans):
            there, sizes = make_pages(key, spans), [span.size for span in spans]
        with self._lock:
            self._kept[engine] = there
        shared, place = 0, _whole(WORD * len(sizes))
        for span, size in zip(spans, sizes, strict=True):
            if span.size and span.size == size and self._replace(span, there.fd, place):
                shared += size
            place += size
        return shared

    def _look_for(self, key: str) -> Pages | None:
        """Return what there is of a version here or in a sibling."""
        found = self._find(key)
        if found is None:
            found = next((os.dup(file.fileno()) for file in self._siblings.ask(f"pages {key}")), None)
        return None if found is None else Pages(key, found)

    def _find(self, key: str) -> int | None:
        with self._lock:
            return next((os.dup(pages.fd) for pages in self._kept.values() if pages.key == key), None)

    def _replace(self, span: Span, fd: int, place: int) -> bool:
        with mmap.mmap(fd, span.size, prot=mmap.PROT_READ, offset=place) as there:
            if not np.array_equal(words(there), words(span.bytes())):
                return False
        access, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | MAP_FIXED
        if self._libc.mmap(span.address, span.size, access, kind, fd, place) != span.address:
            raise OSError(ctypes.get_errno(), "mmap")
        return True


def words(pages: Any) -> npt.NDArray[np.uint64]:
    """Return some pages as what is compared fast."""
    return np.frombuffer(pages, dtype=np.uint64)


def make_pages(key: str, spans: Sequence[Span]) -> Pages:
    """Copy pages into a sealed file in memory; raise OSError if there is no room."""
    pages = Pages(key, os.memfd_create("bodega-arrays", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    with os.fdopen(pages.fd, "wb", closefd=False) as file:
        sizes = np.array([span.size for span in spans], dtype=np.int64)
        file.write(sizes.tobytes().ljust(_whole(sizes.nbytes), b"\0"))
        for span in spans:
            file.write(span.bytes())
        file.flush()
        seal(file)
    return pages


def find_spans(*roots: object) -> list[Span]:
    """Return the pages of the large arrays that can be reached from some objects, in an order that is the same anew."""
    spans: list[Span] = []
    seen: dict[int, object] = {}  # with the objects, so that no identity is used twice
    waiting = list(roots)
    while waiting and len(spans) < MOST:
        found = waiting.pop()
        if isinstance(found, ATOMS) or id(found) in seen:
            continue
        seen[id(found)] = found
        spans += [_whole_pages(array) for array in _arrays(found) if array.nbytes >= LARGE]
        waiting += _parts(found)
    return spans


def _arrays(found: object) -> list[npt.NDArray[Any]]:
    """Return the arrays that an object is the owner of."""
    from sklearn.tree._tree import Tree  # not before there is a model

    if isinstance(found, np.ndarray):
        return [found] if found.base is None and not found.dtype.hasobject else []
    if isinstance(found, Tree):  # which has them from the allocator, and shows them
        state = found.__getstate__()
        return [state["nodes"], state["values"]]
    return []


def _parts(found: object) -> list[Any]:
    if isinstance(found, np.ndarray):
        return [found.base, *(found.flat if found.dtype.hasobject and found.base is None else ())]
    if isinstance(found, FunctionType):  # not its globals, which are everything
        return [found.__closure__, found.__defaults__]
    return gc.get_referents(found)


def _whole_pages(array: npt.NDArray[Any]) -> Span:
    first = _whole(array.ctypes.data)
    end = (array.ctypes.data + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    # In the allocator's heap pages of the file would stay mapped after the array was freed, and with them the file.
    return Span(first, end - first if own_mapping(array.ctypes.data, array.nbytes) else 0)


def _whole(size: int) -> int:
    """Return the next whole number of pages, in bytes."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
