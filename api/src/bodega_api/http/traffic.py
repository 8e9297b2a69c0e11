"""What was asked and how that ended, counted by method, route, class of status and type of problem.

All labels are words of this program: whoever asks for other methods or paths makes no new series. A prediction that was
answered is not counted here, because its version's tally has it: the fast path has no work left to do.
"""

from collections import Counter
from http import HTTPMethod, HTTPStatus
from typing import NamedTuple

from starlette.types import Message, Scope, Send

from bodega_api.http.problems import PROBLEM

PREDICT = "/predict"
UNKNOWN, OTHER = "unknown", "other"
METHODS = frozenset(HTTPMethod)


class Ending(NamedTuple):
    """How some requests ended."""

    method: str
    route: str
    status: str  # its class, as in 4xx
    problem: str


ANSWERED = Ending("POST", PREDICT, "2xx", "")  # counted in the tallies


class Traffic:
    """The requests of one process, counted in its event loop."""

    def __init__(self) -> None:
        self.endings: Counter[Ending] = Counter()

    def counted(self, scope: Scope, send: Send, method: str) -> Send:
        """Return what sends an answer and counts it, by the method that it was asked with."""

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.count(scope, message["status"], method)
            await send(message)

        return send_and_count

    def count(self, scope: Scope, status: int, method: str) -> None:
        """Count a request by what its scope holds at the end."""
        known = method if method in METHODS else OTHER
        ending = Ending(known, _route(scope), f"{status // 100}xx", scope.get(PROBLEM, ""))
        if ending != ANSWERED:
            self.endings[ending] += 1

    def refused(self, problem: str, status: HTTPStatus | int) -> None:
        """Count a request that was refused before it had a method and a path."""
        self.endings[Ending(OTHER, UNKNOWN, f"{status // 100}xx", problem)] += 1


def _route(scope: Scope) -> str:
    """Return the template of the path, such as /models/{name}; one word for all paths that there are not."""
    route = scope.get("route")
    return str(getattr(route, "path_format", None) or getattr(route, "path", None) or UNKNOWN)
