"""Guessing a token: a few tries at once, then slowly; the right token is answered all the same, and memory is bounded."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from bodega_api.errors import TooManyGuessesError
from bodega_api.http.credentials import read_token
from bodega_api.http.guesses import LONGEST_WAIT, MOST_CLIENTS, MOST_KNOWN, OF_ALL, OF_ONE, Guesses
from bodega_db.errors import SettingsError
from conftest import Api
from gallery import problem_of

TOKEN = "27fa01c93e5b86d4712cd8e0"


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def guesses(clock: Clock) -> Guesses:
    """What nobody has guessed at yet."""
    return Guesses(clock=clock)


def admitted(guesses: Guesses, client: str, tries: int) -> int:
    """Try so many wrong tokens; return how many were looked at."""
    looked_at = 0
    for _ in range(tries):
        try:
            guesses.take(client)
        except TooManyGuessesError:
            continue
        looked_at += 1
    return looked_at


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with a good token."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN)
    return path


def test_guesses_are_slowed_down_and_the_right_token_is_not_locked_out(
    start_api: Callable[..., Api], token_file: Path
) -> None:
    """A crowd that guesses is turned away with 429; seconds behind it the right token is answered, at the first try."""
    api = start_api(admin_token_file=token_file)

    def send(token: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return api.client.post("/models/dodos/rollback", headers=headers)

    began = time.monotonic()
    with ThreadPoolExecutor(60) as crowd:
        answers = list(crowd.map(send, [f"{number:020}" for number in range(300)]))
    seconds = time.monotonic() - began
    right = send(TOKEN)

    turned_away = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert len(answers) - len(turned_away) <= OF_ONE + (seconds + LONGEST_WAIT) / 0.2 + 1
    problem_of(turned_away[0], 429, "too-many-guesses")
    assert int(turned_away[0].headers["retry-after"]) >= 1
    if right.status_code == 429:  # as its advice says
        time.sleep(int(right.headers["retry-after"]))
        right = send(TOKEN)
    problem_of(right, 404, "model-not-found")


def test_one_client_does_not_use_up_the_turns_of_others(guesses: Guesses) -> None:
    """Who guesses without end from one address is held up alone."""
    assert admitted(guesses, "10.0.0.1", 10_000) < 40

    assert guesses.take("10.0.0.2") == 0


def test_networks_of_addresses_are_one_client(guesses: Guesses) -> None:
    """In IPv6 a client has as many addresses as it likes."""
    looked_at = sum(admitted(guesses, f"2001:db8::{number:x}", 1) for number in range(1000))

    assert looked_at < 40
    assert guesses.take("2001:db8:0:1::1") == 0


def test_many_clients_are_held_up_together_except_one_that_had_the_token(guesses: Guesses) -> None:
    """From ever new addresses no more is guessed than the turns of all; who had the right token before is answered."""
    guesses.take("10.9.9.9")
    guesses.was_right("10.9.9.9")

    looked_at = sum(admitted(guesses, f"10.0.{number // 250}.{number % 250}", 1) for number in range(5000))

    assert looked_at <= OF_ALL + LONGEST_WAIT / 0.02 + 1
    assert guesses.take("10.9.9.9") == 0


def test_the_right_token_costs_no_turn(guesses: Guesses) -> None:
    """A script that makes a thousand changes at once is held up by nothing."""
    for _ in range(1000):
        assert guesses.take("10.0.0.1") == 0
        guesses.was_right("10.0.0.1")


def test_turns_come_back(guesses: Guesses, clock: Clock) -> None:
    """After some quiet seconds a client begins anew."""
    first = admitted(guesses, "10.0.0.1", 1000)
    clock.now += 60

    assert admitted(guesses, "10.0.0.1", 1000) == first


def test_what_is_remembered_is_bounded(guesses: Guesses, clock: Clock) -> None:
    """As many clients as there may be, whether they were wrong or right, take the memory of a thousand."""
    for number in range(3 * MOST_CLIENTS):
        clock.now += 1
        client = f"10.{number // 60000}.{number // 250 % 240}.{number % 250}"
        guesses.take(client)
        guesses.was_right(client)

    assert len(guesses._clients) == MOST_CLIENTS
    assert len(guesses._known) == MOST_KNOWN


def test_workers_share_the_turns_of_one_address(clock: Clock) -> None:
    """Of four workers each looks at a fourth."""
    alone, worker = (admitted(Guesses(workers, clock), "10.0.0.1", 1000) for workers in (1, 4))

    assert worker <= alone / 4 + 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o620, 0o602, 0o610, 0o777])
def test_a_file_that_others_may_open_is_refused_and_the_advice_is_true(token_file: Path, mode: int) -> None:
    """The message says the mode, and what it says to do makes the file good."""
    token_file.chmod(mode)

    with pytest.raises(
        SettingsError, match=f"is open to other users of this machine: its mode is {mode:04o}"
    ) as refused:
        read_token(token_file)

    command = str(refused.value.advice).split("`")[1]
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert read_token(token_file).matches(TOKEN)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_is_taken(token_file: Path, mode: int) -> None:
    """As the page says to make it."""
    token_file.chmod(mode)

    assert read_token(token_file).matches(TOKEN)


def test_the_advice_makes_a_token_that_is_taken(tmp_path: Path) -> None:
    """What the message says about a weak token makes a good file, in the place of the weak one."""
    path = tmp_path / "a token"
    path.touch(0o600)
    path.write_text("changemechangemechangeme")
    with pytest.raises(SettingsError, match="easy to guess") as refused:
        read_token(path)

    subprocess.run(["/bin/sh", "-c", str(refused.value.advice).split("`")[1]], check=True)
    read_token(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a file that is of another user")
def test_a_secret_that_root_gave_a_group_is_taken() -> None:
    """As Kubernetes gives secrets to the group of a container: readable for it, and for nobody else."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "token"
        path.write_text(TOKEN)
        path.chmod(0o440)
        os.chown(path, 0, 65534)
        os.setegid(65534)
        os.seteuid(65534)
        try:
            assert read_token(path).matches(TOKEN)
        finally:
            os.seteuid(0)
            os.setegid(0)
