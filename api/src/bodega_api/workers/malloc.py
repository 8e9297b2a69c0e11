"""How the C library's allocator is told to give memory while a version is loaded: in mappings, which it gives back.

A load unpacks and copies what is many times as large as what stays. From its heap the allocator would give back little
of that: what stays lies in between. (A forest of 730 MB left 2.2 GB; in mappings of their own 740 MB.)
"""

import contextlib
import ctypes
import mmap
import os
import sys
import threading
from collections.abc import Iterator

LARGE = 256 * 1024  # bytes of what gets a mapping of its own during a load
# glibc's parameters (malloc.h), and where they come to rest by themselves once a process has used large arrays: a
# mapping for each array that a prediction makes would cost more than its arithmetic
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
USUAL_MMAP, USUAL_TRIM = 32 * 1024**2, 64 * 1024**2
HEADER, IS_MMAPPED = 16, 2


def is_glibc() -> bool:
    """Tell whether this process has the allocator that is meant here; any other one does as it likes."""
    name = "CS_GNU_LIBC_VERSION"
    return sys.platform == "linux" and name in os.confstr_names and bool(os.confstr(name))


class Allocator:
    """The allocator of this process, which is one for all threads."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None) if is_glibc() else None
        self._lock = threading.Lock()
        self._loads = 0

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Give every large allocation its own mapping, until the last running load has ended."""
        self._count(+1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._loads += change
            if self._libc is not None:
                self._libc.mallopt(M_MMAP_THRESHOLD, LARGE if self._loads else USUAL_MMAP)
                self._libc.mallopt(M_TRIM_THRESHOLD, LARGE if self._loads else USUAL_TRIM)


def own_mapping(address: int, size: int) -> int:
    """Return how many bytes the mapping has that begins 16 bytes before so many others; 0 if there is none of theirs.

    glibc writes the size of what it gives before it, and marks there what it gives back by unmapping (malloc.c).
    """
    if not is_glibc() or address % mmap.PAGESIZE != HEADER:
        return 0
    word = ctypes.c_size_t.from_address(address - HEADER // 2).value
    given = word & ~7
    return given if word & IS_MMAPPED and given % mmap.PAGESIZE == 0 and given >= HEADER + size else 0
