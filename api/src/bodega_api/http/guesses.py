"""How soon tokens are tried: a few at once, then one after another, by client and by all clients together.

A wrong token costs a turn, and the right one gives its turn back. A turn that is near is waited for, so that after a
series of guesses the right token is answered a second later; one that is far is refused before the token is looked at.
Memory holds so many clients and no more: to guess from ever new ones is held up by the turns of all together.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from bodega_api.errors import TooManyGuessesError

OF_ONE, SECONDS_OF_ONE = 20, 0.2  # at once from one client, and then one in so many seconds
OF_ALL, SECONDS_OF_ALL = 200, 0.02
LONGEST_WAIT = 2.0
MOST_CLIENTS, MOST_KNOWN = 1000, 100


@dataclass(slots=True)
class Turns:
    """Turns of which some may be taken at once, and each comes back after some seconds."""

    at_once: float
    seconds: float
    free_at: float = 0.0  # when all have come back

    def wait(self, now: float) -> float:
        """Return how many seconds it is to the next turn."""
        return max(0.0, self.free_at - now - (self.at_once - 1) * self.seconds)

    def take(self, now: float) -> None:
        """Take the next turn."""
        self.free_at = max(self.free_at, now) + self.seconds

    def give_back(self) -> None:
        """Give a turn back."""
        self.free_at -= self.seconds


class Guesses:
    """The turns of one process, which is one of `workers` behind an address."""

    def __init__(self, workers: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._workers = workers
        self._all = self._turns(OF_ALL, SECONDS_OF_ALL)
        self._clients: OrderedDict[str, Turns] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()  # who had the right token before

    def take(self, client: str) -> float:
        """Take a client's turn and return in how many seconds it is; raise TooManyGuessesError if that is too long."""
        client, now = _network(client), self._clock()
        turns = self._clients.setdefault(client, self._turns(OF_ONE, SECONDS_OF_ONE))
        self._clients.move_to_end(client)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        # Whoever had the right token before is not held up by the guesses of others.
        taken = [turns] if client in self._known else [turns, self._all]
        wait = max(each.wait(now) for each in taken)
        if wait > LONGEST_WAIT:
            raise TooManyGuessesError("Too many wrong tokens were sent in a short time", math.ceil(wait - LONGEST_WAIT))
        for each in taken:
            each.take(now)
        return wait

    def was_right(self, client: str) -> None:
        """Give a client's turn back, whose token was the right one."""
        client = _network(client)
        if client in self._clients:
            self._clients[client].give_back()
        if client not in self._known:
            self._all.give_back()
        self._known[client] = None
        self._known.move_to_end(client)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def _turns(self, at_once: int, seconds: float) -> Turns:
        return Turns(max(1.0, at_once / self._workers), seconds * self._workers)


def _network(client: str) -> str:
    """Return what one client may choose its addresses from: in IPv6 that is a network of them."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    return str(IPv6Network((int(address), 64), strict=False)) if isinstance(address, IPv6Address) else client
