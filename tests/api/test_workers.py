"""Several worker processes: all answer, one that ends is replaced, and all end together."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pandas as pd
import psutil
import pytest
from bodega_api.workers.sockets import open_listeners
from bodega_api.workers.supervisor import check_workers
from bodega_db.errors import SettingsError
from bodega_db.store import ModelStore
from gallery import GENTOO, enter, penguins, weaker_penguins
from outages import wait_for
from processes import ApiProcess, api_process
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several workers need Linux")
BODY = {"rows": [GENTOO]}
COUNT = 3


@pytest.fixture
def workers(store: ModelStore, database_url: str, volume: Path) -> Iterator[ApiProcess]:
    """An API of three workers with one model."""
    enter(store, "penguins", penguins())
    with api_process(database_url, volume, workers=COUNT) as api:
        yield api


def ask_anew(api: ApiProcess, path: str = "/predict?model=penguins", document: Any = BODY) -> Any:
    """Ask by a new connection, which goes to any worker."""
    return httpx2.post(api.url + path, json=document, timeout=60)


def samples(api: ApiProcess, name: str) -> dict[str, float]:
    """Return a metric of each worker that has it, all of them told by the one that is asked."""
    text = httpx2.get(f"{api.url}/metrics", timeout=60).raise_for_status().text
    found = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return {s.labels["worker"]: s.value for s in found if s.name == name}


def serving(api: ApiProcess) -> set[int]:
    """Return the processes that serve: they have a socket that listens, and are no supervisor."""
    children = psutil.Process(api.process.pid).children()
    return {one.pid for one in children if any(c.status == "LISTEN" for c in one.net_connections("tcp"))}


def ask_until_all_have_answered(api: ApiProcess, count: int, **question: Any) -> list[Any]:
    """Ask by new connections until each worker has given an answer; return all answers."""
    answers = []
    until = time.monotonic() + 120
    while len(samples(api, "bodega_prediction_seconds_count")) < count:
        assert time.monotonic() < until
        answers.append(ask_anew(api, **question).raise_for_status().json())
    return answers


# --- answering -----------------------------------------------------------------------------------------------


def test_all_workers_answer_and_each_tells_of_all(workers: ApiProcess) -> None:
    answers = ask_until_all_have_answered(workers, COUNT)
    assert {tuple(each["predictions"]) for each in answers} == {("Gentoo",)}
    counts = samples(workers, "bodega_prediction_seconds_count")
    assert set(counts) == {"1", "2", "3"}
    assert sum(counts.values()) == len(answers)
    assert samples(workers, "bodega_loaded_versions") == {"1": 1, "2": 1, "3": 1}


def test_a_promotion_reaches_all_workers(workers: ApiProcess, store: ModelStore) -> None:
    ask_until_all_have_answered(workers, COUNT)
    known = samples(workers, "bodega_catalog_generation")
    store.promote(enter(store, "penguins", weaker_penguins()).reference)
    wait_for(lambda: set(samples(workers, "bodega_catalog_generation").values()) == {known["1"] + 2})
    wait_for(lambda: {ask_anew(workers).json()["version"] for _ in range(20)} == {2})


def test_one_scrape_tells_also_of_a_worker_that_has_begun_anew(workers: ApiProcess) -> None:
    ask_until_all_have_answered(workers, COUNT)
    os.kill(min(serving(workers)), signal.SIGKILL)
    wait_for(lambda: len(samples(workers, "bodega_loaded_versions")) == COUNT)
    assert sorted(samples(workers, "bodega_loaded_versions").values()) == [0, 1, 1]


# --- workers that end ----------------------------------------------------------------------------------------


def test_a_worker_that_was_killed_is_replaced_and_no_connection_is_lost(workers: ApiProcess) -> None:
    before = serving(workers)
    assert len(before) == COUNT
    os.kill(min(before), signal.SIGKILL)
    answers = [ask_anew(workers).status_code for _ in range(40)]  # a third of them for the one that is gone
    assert Counter(answers) == {200: 40}
    wait_for(lambda: len(serving(workers)) == COUNT)
    assert len(serving(workers) - before) == 1


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_workers_after_what_they_are_answering(workers: ApiProcess, order: signal.Signals) -> None:
    processes = [psutil.Process(pid) for pid in serving(workers)]
    rows = 300_000
    table = pd.DataFrame([GENTOO] * rows).to_csv(index=False)
    types = {"content-type": "text/csv", "accept": "text/csv"}
    with workers.client.stream("POST", "/predict?model=penguins", content=table, headers=types) as answer:
        workers.process.send_signal(order)
        lines = answer.read().splitlines()
    assert len(lines) == rows + 1
    assert workers.process.wait(timeout=30) == 0
    assert not any(one.is_running() for one in processes)
    with pytest.raises(httpx2.ConnectError):
        ask_anew(workers)


def test_workers_end_when_the_supervisor_was_killed(workers: ApiProcess) -> None:
    processes = [psutil.Process(pid) for pid in serving(workers)]
    workers.process.kill()
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive


@contextmanager
def supervised(work: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Supervise two workers that do something else than serve, in a process of its own."""
    script = f"""
import os, signal, sys, time
from bodega_api.workers.supervisor import Supervisor
def work(number, line):
{textwrap.indent(work, "    ")}
sys.exit(Supervisor(work, 2, grace=1, before_end=lambda: None).run())
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_workers_that_cannot_start_end_the_supervisor() -> None:
    with supervised("return 3") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert b"ended with status 3, as every other one would" in errors


def test_a_worker_that_does_not_end_is_killed() -> None:
    work = "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(1, b'%d\\n' % number); time.sleep(60)"
    with supervised(work) as process:
        assert process.stdout is not None
        assert {process.stdout.readline(), process.stdout.readline()} == {b"1\n", b"2\n"}
        process.terminate()
        began = time.monotonic()
        assert process.wait(timeout=30) == 0
        assert 1 <= time.monotonic() - began < 20


def test_a_worker_that_fails_at_once_is_not_started_again_at_once() -> None:
    with supervised("os.write(1, b'%d\\n' % number); raise RuntimeError('no')") as process:
        time.sleep(2.5)
        process.terminate()
        said, errors = process.communicate(timeout=30)
    assert 2 <= said.count(b"1\n") <= 4
    assert b"RuntimeError: no" in errors


def test_a_worker_that_ends_with_unread_questions_ends_nobody_else() -> None:
    work = """
if number == 1:
    import socket
    for _ in range(5):
        socket.send_fds(line, [b"question"], [line.fileno()])
        time.sleep(0.3)
    time.sleep(60)
time.sleep(1)
os.write(1, b"the second ends\\n")
return 0
"""
    with supervised(work) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == [b"the second ends\n"] * 3
        assert process.poll() is None


# --- starting ------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_named(make_settings: Any, database_url: str, volume: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        names = {"DATABASE_URL": database_url, "MODELS": volume, "API_PORT": port, "WORKERS": 2}
        environment = {**os.environ, **{f"BODEGA_{name}": str(value) for name, value in names.items()}}
        command = [sys.executable, "-m", "bodega_api"]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"The API cannot listen on 127.0.0.1:{port}: Address already in use" in ended.stderr
    assert "BODEGA_API_PORT" in ended.stderr


def test_two_apis_of_several_workers_do_not_share_a_port(workers: ApiProcess) -> None:
    host, port = workers.url.removeprefix("http://").split(":")
    with pytest.raises(SettingsError, match="Address already in use"):
        open_listeners(host, int(port), 2)


def test_elsewhere_there_is_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    check_workers(1)
    with pytest.raises(SettingsError, match="4 workers need Linux"):
        check_workers(4)


def test_the_command_line_wins_over_the_settings(database_url: str, volume: Path) -> None:
    environment = {**os.environ, "BODEGA_DATABASE_URL": database_url, "BODEGA_MODELS": str(volume)}
    command = [sys.executable, "-m", "bodega_api", "--workers", "0"]
    environment["BODEGA_WORKERS"] = "2"
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "BODEGA_WORKERS: Input should be greater than or equal to 1" in ended.stderr


def test_the_supervisor_ends_without_a_word() -> None:
    """A child that ends after it, as one that was being replaced, leaves no traceback."""
    program = """
        import os, signal
        from bodega_api.workers import supervisor
        with supervisor._signals():
            pass
        os.kill(os.getpid(), signal.SIGCHLD)
    """

    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)

    assert ended.stderr == ""
