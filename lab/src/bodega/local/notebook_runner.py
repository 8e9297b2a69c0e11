"""Running a notebook from a program, in a kernel of this Python and not of an installed one."""

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import nbformat
from bodega_model.errors import BodegaError
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

STARTUP_SECONDS = 120
CELL_SECONDS = 600
# What most notebooks import anyway: a kernel that waits for something else can do it meanwhile.
AHEAD = """
from bodega_model.loading.sandbox import shared_rehearsal
shared_rehearsal().start()
import bodega.verbs.register, matplotlib.pyplot
import sklearn.compose, sklearn.ensemble, sklearn.linear_model, sklearn.model_selection
"""

logger = logging.getLogger(__name__)
T = TypeVar("T")


class NotebookError(BodegaError):
    """A notebook failed, or its kernel ended."""


class Execution:
    """A notebook and the kernel that runs it, which starts when this is made and imports what notebooks need."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop, log: Path, output: int) -> None:
        self.path = path
        self.notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        # Without folders to look into, there is only the kernel of this Python.
        manager = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        self._client = NotebookClient(
            self.notebook, km=manager, timeout=CELL_SECONDS, startup_timeout=STARTUP_SECONDS, kernel_name="python3"
        )
        self._kernel = self._client.async_setup_kernel(
            cwd=str(path.parent),
            env={**os.environ, "JPY_SESSION_NAME": str(path)},
            cleanup_kc=True,
            stdout=output,
            stderr=output,
        )
        self._loop = loop
        self._log = log
        self._given_up = False
        self._entered = self._submit(self._kernel.__aenter__())
        self._ready = self._submit(self._prepare())

    def run(self, environment: Mapping[str, str]) -> int:
        """Run all cells with these variables added to the kernel's, and return how many; raise NotebookError."""
        try:
            self._ready.result()
        except (RuntimeError, OSError) as exc:
            raise NotebookError(f"The kernel for {self.path.name} did not start: {exc}", f"See {self._log}.") from exc
        running = self._submit(self._run(dict(environment)))
        try:
            return running.result()
        except BaseException:
            self._given_up = True
            running.cancel()
            raise

    def close(self) -> None:
        """End the kernel, whether it is busy or not."""
        self._ready.cancel()
        wait([self._entered])
        self._submit(self._kernel.__aexit__(None, None, None)).result()

    async def _prepare(self) -> None:
        # Shielded: to give up waiting for the kernel must not break its start off, or nobody could end it.
        await asyncio.shield(asyncio.wrap_future(self._entered))
        await self._do(AHEAD)

    async def _run(self, environment: dict[str, str]) -> int:
        await self._do(f"import os; os.environ.update({environment!r})")
        code = [(place, cell) for place, cell in enumerate(self.notebook.cells) if cell.cell_type == "code"]
        for number, (place, cell) in enumerate(code, 1):
            try:
                await self._client.async_execute_cell(cell, place, execution_count=number)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as exc:
                if self._given_up:  # nbclient takes our cancelling for the death of the kernel
                    break
                raise self._failure(number, cell, exc) from exc
        return len(code)

    async def _do(self, code: str) -> None:
        """Run code that is not the notebook's."""
        kernel = cast("AsyncKernelClient", self._client.kc)
        await kernel.execute_interactive(code, silent=True, store_history=False, timeout=CELL_SECONDS)

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _failure(self, number: int, cell: Any, exc: Exception) -> NotebookError:
        reason = f"{exc.ename}: {exc.evalue}" if isinstance(exc, CellExecutionError) else str(exc)
        first = cell.source.strip().partition("\n")[0]
        return NotebookError(
            f"{self.path.name} failed in code cell {number} ({first}): {reason}",
            "Open it in JupyterLab and run it from the top.",
        )


@contextmanager
def start_notebook(path: Path, log: Path) -> Iterator[Execution]:
    """Start a kernel for a notebook, yield what runs it, and end the kernel; its own output goes to the log."""
    if not path.is_file():
        raise NotebookError(f"There is no notebook {path}", "Restore it with git, or check BODEGA_HOME.")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output, run_loop() as loop:
        execution = Execution(path, loop, log, output.fileno())
        try:
            yield execution
        finally:
            execution.close()


def _note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Do not print the error of an abandoned task of nbclient's whose kernel has ended."""
    logger.debug(context["message"], exc_info=context.get("exception"))


@contextmanager
def run_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread: in the main one nbclient takes the signals, and does not give them back."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(_note)
    thread = threading.Thread(target=loop.run_forever, name="notebook", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
