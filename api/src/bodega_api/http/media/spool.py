"""Bytes that are kept until they are all there: few in memory, many in a temporary file that has no name."""

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from bodega_api.errors import SpoolError

IN_MEMORY = 4 * 1024**2
CHUNK = 256 * 1024


class Spool:
    """Bytes that come one piece after another."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self.size = 0

    @property
    def in_memory(self) -> bool:
        """Whether a write waits for no disk."""
        return self._file is None

    def write(self, data: bytes) -> None:
        """Keep some more bytes; raise SpoolError if there is no room for them."""
        self.size += len(data)
        if self._file is None and self.size <= IN_MEMORY:
            self._memory += data
            return
        with _explained():
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (`close` closes it)
                self._file.write(self._memory)
                self._memory = bytearray()
            self._file.write(data)

    def view(self) -> memoryview:
        """Return all bytes that were written, without a copy in memory; nothing may be written any more."""
        if self._file is None:
            return memoryview(self._memory)
        with _explained():
            self._file.flush()
            return memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))

    def chunks(self) -> Iterator[bytes]:
        """Go through what was written, a piece at a time."""
        view = self.view()
        for begin in range(0, self.size, CHUNK):
            yield bytes(view[begin : begin + CHUNK])

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise SpoolError(f"A temporary file in {tempfile.gettempdir()} cannot be written: {exc.strerror}") from exc
