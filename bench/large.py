"""How much memory a table of a million rows takes, and what small requests notice of one of a hundred thousand.

Run it with `.venv/bin/python bench/large.py`. It needs `wrk`, `ss` (on Debian: apt install wrk iproute2) and two cores.
docs/performance.md has the results.
"""

import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import Server, bodega, question, ready
from serving import measure
from tables import JSON, Ask, own_asks, table


def main() -> None:
    """Measure and print."""
    with bodega("pipeline") as port:
        server = ready(port, "bodega", *question("bodega", "pipeline"), '["Gentoo"]')
        take_a_million(port)
        notice_the_large(server, port)


# --- a million rows ------------------------------------------------------------------------------------------


def take_a_million(port: int) -> None:
    """Print how long a table of a million rows takes, and how much memory the server takes for it."""
    frame = table("pipeline", 1_000_000)
    process = server_of(port)
    print(f"\n{len(frame)} rows of the pipeline; the server takes {resident(process)[0]:.0f} MB")
    for ask in own_asks(port, frame):
        if ask.sends == JSON:
            continue
        Path(f"/proc/{process}/clear_refs").write_text("5")  # the peak begins anew
        before = resident(process)[0]
        began = time.perf_counter()
        count = len(ask())
        seconds = time.perf_counter() - began
        peak = resident(process)[1] - before
        print(
            f"{ask.name:24} {len(ask.body) / 1e6:6.1f} MB sent, {count} answers in {seconds:.1f} s "
            f"({count / seconds / 1000:.0f} 000 rows/s), peak memory +{peak:.0f} MB",
            flush=True,
        )


def server_of(port: int) -> int:
    """Return the process that listens on a port."""
    said = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    return int(said.partition("pid=")[2].partition(",")[0])


def resident(process: int) -> tuple[float, float]:
    """Return the resident memory of a process now, and at its peak, in MB; pages of mapped files are in it."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    now, peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


# --- what others notice --------------------------------------------------------------------------------------


def notice_the_large(server: Server, port: int) -> None:
    """Print how long small requests take alone, and while tables of 100 000 rows are answered one after another."""
    frame = table("pipeline", 100_000)
    print("\nsmall requests, alone and while tables of 100000 rows are answered: p99 in ms, median of 5 rounds")
    for ask in own_asks(port, frame):
        if ask.sends == JSON:
            continue
        for connections in (1, 8):
            alone, beside = [], []
            for _ in range(5):
                alone.append(measure(server, connections, 3).p99)
                with repeated(ask) as count:
                    beside.append(measure(server, connections, 3).p99)
            quiet, busy = statistics.median(alone), statistics.median(beside)
            print(
                f"{ask.name:24} {connections} connections: {quiet:.1f} alone, {busy:.1f} beside, "
                f"{busy - quiet:+.1f} ({count[0]} tables in the last round)",
                flush=True,
            )


@contextmanager
def repeated(ask: Ask) -> Iterator[list[int]]:
    """Ask again and again in a thread; count the answers."""
    count, stop = [0], threading.Event()

    def run() -> None:
        while not stop.is_set():
            ask()
            count[0] += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        time.sleep(0.5)
        yield count
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    main()
