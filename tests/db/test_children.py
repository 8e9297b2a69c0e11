"""Child processes: they end with their parent, politely where they can, and leave nobody behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from bodega_db.postgres.process import Account, Child, open_log, start_child

# Writes its number and that of a grandchild in a session of its own, as a Jupyter kernel is; then works on.
FAMILY = """
import os, pathlib, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
grandchild = subprocess.Popen(sleep, start_new_session=True)
draft = pathlib.Path(sys.argv[1] + ".new")
draft.write_text(f"{os.getpid()} {grandchild.pid}")
draft.rename(sys.argv[1])
time.sleep(600)
"""
STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
pathlib.Path(sys.argv[1]).touch()
while True:
    time.sleep(0.05)
"""
# A parent: starts the family and waits to be killed.
PARENT = """
import pathlib, sys, threading, time
from bodega_db.postgres.process import start_child
def start():
    global child
    command = [sys.executable, "-c", sys.argv[2], sys.argv[1]]
    child = start_child(command, log=pathlib.Path(sys.argv[1] + ".log"), portable=sys.argv[3] == "portable")
starter = threading.Thread(target=start)
starter.start()
starter.join()
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Starts Python programs as children, and stops them after the test."""
    with ExitStack() as stack:

        def start_program(program: str, *arguments: str, **options: object) -> Child:
            child = start_child(
                [sys.executable, "-c", program, *arguments],
                log=tmp_path / "child.log",
                **options,  # type: ignore[arg-type]
            )
            stack.callback(child.stop)
            return child

        yield start_program


def wait_for(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def read_family(path: Path) -> list[psutil.Process]:
    wait_for(path.exists)
    return [psutil.Process(int(word)) for word in path.read_text().split()]


def are_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() for process in processes)


def zombies() -> set[psutil.Process]:
    return {p for p in psutil.Process().children(recursive=True) if p.status() == psutil.STATUS_ZOMBIE}


def start_parent(family: Path, mode: str) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(family), FAMILY, mode])
    members = read_family(family)
    return parent, [*psutil.Process(parent.pid).children(), *members]


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_a_child_is_told_to_end_and_ends(start: Callable[..., Child], tmp_path: Path) -> None:
    """Stopping a child ends it with the polite signal, well before its grace is over."""
    child = start(FAMILY, str(tmp_path / "family"))
    family = read_family(tmp_path / "family")

    began = time.monotonic()
    code = child.stop()

    assert (code, child.describe_end()) == (128 + signal.SIGTERM, "signal SIGTERM")
    assert time.monotonic() - began < 5
    assert are_gone(family)


def test_a_child_that_does_not_listen_is_killed(start: Callable[..., Child], tmp_path: Path) -> None:
    """A child that ignores the polite signal is killed when its grace is over."""
    child = start(STUBBORN, str(tmp_path / "ready"), grace=0.3)
    wait_for((tmp_path / "ready").exists)

    code = child.stop()

    assert code == 128 + signal.SIGKILL
    assert child.last_lines() == "asked"


def test_an_immediate_stop_is_heard(start: Callable[..., Child]) -> None:
    """A child that is stopped in the moment of its start ends at once, not after its grace."""
    began = time.monotonic()

    codes = {start("import time; time.sleep(600)", grace=60).stop() for _ in range(8)}

    assert codes == {128 + signal.SIGTERM}
    assert time.monotonic() - began < 20


def test_stopping_twice_is_no_harm(start: Callable[..., Child]) -> None:
    """A child that was stopped, or ended by itself, can be stopped again."""
    child = start("raise SystemExit(3)")

    codes = [child.wait(), child.stop(), child.stop()]

    assert codes == [3, 3, 3]
    assert child.describe_end() == "exit status 3"


def test_what_a_child_leaves_behind_ends_too(start: Callable[..., Child], tmp_path: Path) -> None:
    """When a child crashes, the processes it had started end as well, and no zombie is left."""
    before = zombies()  # of other tests in this process
    child = start(FAMILY, str(tmp_path / "family"))
    family = read_family(tmp_path / "family")

    family[0].kill()
    code = child.wait()

    assert code == 128 + signal.SIGKILL
    assert are_gone(family)
    assert zombies() <= before


def test_a_killed_parent_leaves_nobody_behind(tmp_path: Path) -> None:
    """After kill -9 of the parent, its child, grandchildren in other sessions and the guard are gone."""
    parent, family = start_parent(tmp_path / "family", "native")

    kill(parent)

    assert len(family) == 3
    wait_for(lambda: are_gone(family))


def test_without_linux_a_killed_parent_takes_its_child_along(tmp_path: Path) -> None:
    """With nothing but the pipe and the process group, kill -9 of the parent still ends its child."""
    parent, (guard, child, grandchild) = start_parent(tmp_path / "family", "portable")

    kill(parent)
    wait_for(lambda: are_gone([guard, child]))

    # In a session of its own it is out of reach there: this is what the Linux part adds.
    assert grandchild.is_running()
    grandchild.kill()


def test_a_killed_guard_takes_its_child_along(tmp_path: Path) -> None:
    """After kill -9 of the guard itself, the child still ends (Linux)."""
    parent, (guard, child, grandchild) = start_parent(tmp_path / "family", "native")

    guard.kill()

    wait_for(lambda: are_gone([child]))
    grandchild.kill()
    kill(parent)


def test_a_copy_of_the_parent_does_not_keep_the_child_alive(tmp_path: Path) -> None:
    """A fork of the parent, which has the pipe open too, does not keep the child alive after the parent."""
    forking = "import os, time\n" + PARENT.replace("starter.join()", "starter.join()\nos.fork()")
    parent = subprocess.Popen([sys.executable, "-W", "ignore", "-c", forking, str(tmp_path / "f"), FAMILY, "native"])
    family = read_family(tmp_path / "f")
    copies = [p for p in psutil.Process(parent.pid).children() if "guard.py" not in " ".join(p.cmdline())]

    kill(parent)

    assert [copy.is_running() for copy in copies] == [True]
    wait_for(lambda: are_gone(family))
    copies[0].kill()


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """A command that cannot be started ends with status 127, and the log says which and why."""
    child = start_child(["/no/such/program"], log=tmp_path / "log")

    assert child.wait() == 127
    assert child.last_lines() == "/no/such/program could not be started: No such file or directory"


def test_a_child_reads_what_it_is_given(start: Callable[..., Child]) -> None:
    """A child finds on its standard input what was passed, and then its end."""
    child = start("import sys; print(sys.stdin.read().upper())", stdin=b"palmer")

    assert child.wait() == 0
    assert child.last_lines() == "PALMER"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_ignores_no_signal(tmp_path: Path) -> None:
    """A child starts with every signal at its default and unblocked, although Python ignores some itself."""
    child = start_child(["/bin/cat", "/proc/self/status"], log=tmp_path / "log")

    child.wait()

    masks = dict(line.split(":\t") for line in child.log.read_text().splitlines() if line.startswith("Sig"))
    assert (int(masks["SigIgn"], 16), int(masks["SigBlk"], 16)) == (0, 0)


def test_kept_descriptors_stay_with_the_guard(start: Callable[..., Child], tmp_path: Path) -> None:
    """A descriptor that is to be kept is open in the guard and not in the child."""
    with (tmp_path / "claim").open("w") as claim:
        child = start("import time; time.sleep(600)", kept=[claim.fileno()])
        guard = psutil.Process(child.process.pid)
        wait_for(lambda: guard.children() and guard.children()[0].cmdline()[1:2] == ["-c"])

        holders = [process.pid for process in (guard, *guard.children()) if opens(process, tmp_path / "claim")]

    assert holders == [guard.pid]


def opens(process: psutil.Process, path: Path) -> bool:
    return str(path) in {os.path.realpath(entry) for entry in Path(f"/proc/{process.pid}/fd").iterdir()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a child as somebody else")
def test_another_account_is_taken_whole(tmp_path: Path) -> None:
    """A child that runs as another account has its user and group, and no group of root's."""
    child = start_child(["/usr/bin/id"], log=tmp_path / "log", account=Account(65534, 65534))

    assert child.wait() == 0
    assert "uid=65534" in child.last_lines()
    assert "root" not in child.last_lines()


def test_a_log_begins_anew_and_the_last_one_is_kept(tmp_path: Path) -> None:
    """Each start writes to an empty log that only its owner can read; the one before is kept beside it."""
    for text in (b"first", b"second"):
        with open_log(tmp_path / "log") as log:
            log.write(text)

    assert [(tmp_path / name).read_text() for name in ("log", "log.1")] == ["second", "first"]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
