"""The program between a parent and its child process: the child ends whenever the parent does.

`bodega_db.postgres.process` starts it as a script with a bare interpreter (`python -I -S guard.py PLAN COMMAND …`),
so it imports nothing but the standard library. It reads from a pipe whose other end only the parent holds: a
byte, or the end of the file, is the order to stop. A parent that was killed gives that order too, whichever
of its threads had started the child.

On Linux two things are added. The child asks the kernel to be told when its guard dies (PR_SET_PDEATHSIG),
and the guard adopts what the child leaves behind (PR_SET_CHILD_SUBREAPER), so that processes in a session of
their own, as Jupyter kernels are, end as well. Elsewhere the pipe and the child's process group must do.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from types import FrameType
from typing import NamedTuple, Self

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ORDERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CANNOT_START = 127
SWEEP = 5.0  # seconds: a process that survives SIGKILL for longer hangs in the kernel


class Plan(NamedTuple):
    """What the parent asks for, as one argument on the command line."""

    orders: int  # the descriptor to read orders from
    parent: int
    polite: int  # the signal that asks the child to end
    grace: float  # seconds from that signal to SIGKILL
    uid: int  # -1: as the parent
    gid: int
    portable: bool  # do without what only Linux has
    kept: tuple[int, ...]  # descriptors to hold open until the end, without handing them on

    def write(self) -> str:
        """Write the plan as text without spaces."""
        return ",".join(str(float(field)) for field in (*self[:-1], *self.kept))

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what `write` has written."""
        numbers = [float(field) for field in text.split(",")]
        orders, parent, polite, grace, uid, gid, portable, *kept = numbers
        whole = tuple(int(fd) for fd in kept)
        return cls(int(orders), int(parent), int(polite), grace, int(uid), int(gid), bool(portable), whole)


def main(arguments: list[str]) -> int:
    """Run the command until it ends or is to end; return its exit code (128 + n for signal n)."""
    plan, command = Plan.read(arguments[0]), arguments[1:]
    for descriptor in (plan.orders, *plan.kept):
        os.set_inheritable(descriptor, False)
    wake = listen()
    libc = None if plan.portable or sys.platform != "linux" else ctypes.CDLL(None)
    if libc:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = start(command, plan, libc)
    code = watch(child, plan, wake)
    if code is None:
        code = end(child, plan)
    sweep(child, adopted=libc is not None)
    return code


def listen() -> int:
    """Return a descriptor that becomes readable at each signal; none of them ends the guard."""
    wake, notify = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(notify, False)
    signal.set_wakeup_fd(notify, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *ORDERS):
        signal.signal(number, ignore)
    return wake


def ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: the number is read from the wake-up descriptor, where SIG_IGN would not write it."""


def start(command: list[str], plan: Plan, libc: ctypes.CDLL | None) -> int:
    """Start the command in a session of its own; one that cannot be started ends with 127 and a reason."""
    guard = os.getpid()
    # Blocked until the child's own handlers stand: an order in between would be swallowed by `ignore`.
    signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)
        return child
    try:
        become(command, plan, libc, guard)
    except OSError as exc:
        os.write(2, f"{command[0]} could not be started: {exc.strerror}\n".encode())
    finally:
        os._exit(CANNOT_START)


def become(command: list[str], plan: Plan, libc: ctypes.CDLL | None, guard: int) -> None:
    """Turn this process into the command."""
    os.setsid()
    for number in (*ORDERS, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        # An ignored signal stays ignored across exec, and this interpreter ignores the last two.
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)
    if plan.uid >= 0:
        os.setgroups([])
        os.setgid(plan.gid)
        os.setuid(plan.uid)
    if libc:
        # After setuid, which clears it; and the guard may have died before this line.
        libc.prctl(PR_SET_PDEATHSIG, plan.polite, 0, 0, 0)
        if os.getppid() != guard:
            return
    os.execvp(command[0], command)  # noqa: S606 (the parent built the list)


def watch(child: int, plan: Plan, wake: int) -> int | None:
    """Wait until the child ended by itself (its code) or has to end (None)."""
    # The pipe tells at once. The parent's number is looked at too: a copy of the parent made by fork() would
    # hold the pipe open after the parent is gone.
    while os.getppid() == plan.parent:
        ready, _, _ = select.select([plan.orders, wake], [], [], 1.0)
        if plan.orders in ready:
            return None
        if wake in ready and set(os.read(wake, 512)) & set(ORDERS):
            return None
        code = reap(child)
        if code is not None:
            return code
    return None


def reap(child: int) -> int | None:
    """Collect ended processes; return the child's code if it is among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def end(child: int, plan: Plan) -> int:
    """Ask the child to end, wait, and kill it when the grace is over."""
    deadline = time.monotonic() + plan.grace
    send(child, plan.polite)
    while (code := reap(child)) is None:
        if time.monotonic() > deadline:
            send(child, signal.SIGKILL)
        time.sleep(0.01)
    return code


def sweep(child: int, *, adopted: bool) -> None:
    """Kill what the child has left behind: its process group, and all that this guard adopted."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left; on macOS: only zombies
        os.killpg(child, signal.SIGKILL)
    deadline = time.monotonic() + SWEEP
    # Each process that ends hands its own children to the guard, so this goes on until there are none.
    while adopted and time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                for orphan in children():
                    send(orphan, signal.SIGKILL)
                time.sleep(0.005)
        except ChildProcessError:
            return


def children() -> list[int]:
    """Return the processes whose parent is this one (Linux)."""
    me, found = os.getpid(), []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/stat", "rb") as stat:
                # The name in parentheses may hold anything; the state and the parent follow the last ')'.
                parent = int(stat.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == me:
            found.append(int(entry))
    return found


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone, or no longer ours."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
