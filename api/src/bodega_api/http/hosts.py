"""The names that the API answers to, in the header Host and in an absolute target.

A page on the web may let its own name lead to an address of this machine or this network (DNS rebinding). For the
browser the API is then a part of that page, which could read all of it. But each request names the host of its page.
"""

import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import httptools
from bodega_db.errors import SettingsError
from bodega_db.settings import Settings
from starlette.types import Scope

from bodega_api.errors import HostError, MisdirectedError

TARGET = "bodega.target"  # in the scope of a request: its target, where that is not only a path (`uvicorn_protocol`)
MOST_KNOWN = 64
EVERY = "*"
# No page on the web can be of such a name (RFC 6761, 6762, 8375, and what ICANN keeps for private use).
PRIVATE = (".localhost", ".local", ".internal", ".home.arpa")
HOST = re.compile(rb"(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9_-][a-z0-9._-]{0,253}))(?::[0-9]{0,5})?", re.I)
ENTRY = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.I)

Address = IPv4Address | IPv6Address


class Hosts:
    """The names of one API; `known` are values of the header that were looked at and are among them."""

    def __init__(self, names: Iterable[str], *, only_this_machine: bool) -> None:
        self._names = frozenset(names)
        self._only_this_machine = only_this_machine
        self.known: set[bytes] = set()

    @classmethod
    def of(cls, settings: Settings) -> "Hosts":
        """Return the names that the settings give the API; raise SettingsError for one that is none."""
        urls = (settings.api_url, settings.public_api_url)
        names = [_entry(name) for name in settings.allowed_hosts]
        names += [name for name in (urlsplit(url).hostname for url in urls) if name]
        return cls(
            [*names, settings.api_host.lower(), socket.gethostname().lower()],
            only_this_machine=_is_loopback(settings.api_host.lower()),
        )

    def admit(self, value: bytes) -> bool:
        """Tell whether the header Host may have a value, and remember it if so."""
        host = _read(value)
        if host is None or not self._is_ours(host):
            return False
        if len(self.known) < MOST_KNOWN:
            self.known.add(value)
        return True

    def refusal(self, scope: Scope) -> HostError | MisdirectedError | None:
        """Return what is wrong with the host that a request names, if anything is."""
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) > 1:
            return HostError(f"The header Host is there {len(given)} times")
        if not given and scope["http_version"] != "1.0":  # which has no such header
            return HostError("The header Host is missing")
        if TARGET in scope:
            given.append(_authority(scope[TARGET]))
        for value in given:
            if value not in self.known and not self.admit(value):
                return _misdirected() if _read(value) else HostError("The request's host is no name and no address")
        return None

    def _is_ours(self, host: str) -> bool:
        if host in self._names or EVERY in self._names or _is_loopback(host):
            return True
        _, dot, parent = host.partition(".")
        if dot and f"*.{parent}" in self._names:
            return True
        if self._only_this_machine:
            return False
        # An address is no name that leads elsewhere tomorrow, and names without a dot are those of this network.
        return _address(host) is not None or not dot or host.endswith(PRIVATE)


def _misdirected() -> MisdirectedError:
    return MisdirectedError("The API does not answer to the host name in the request")


def _entry(name: str) -> str:
    bare = name.strip("[]")
    if name != EVERY and _address(bare) is None and not ENTRY.fullmatch(name):
        raise SettingsError(
            f"BODEGA_ALLOWED_HOSTS: {name!r} is no host name",
            "Write names without a port, as in BODEGA_ALLOWED_HOSTS='[\"models.example.org\"]'; '*' is every name.",
        )
    address = _address(bare)
    return str(address) if address else name.lower()


@lru_cache(maxsize=MOST_KNOWN)
def _read(value: bytes) -> str | None:
    """Return the host that a value names, without its port and always written alike; None if it names none."""
    found = HOST.fullmatch(value)
    if found is None:
        return None
    text = (found["v6"] or found["name"]).decode().lower()
    address = _address(text)
    if found["v6"] and address is None:
        return None
    return str(address) if address else text.removesuffix(".")


def _authority(target: bytes) -> bytes:
    """Return the host and port of an absolute target; empty if it has none."""
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        return b""
    host = url.host or b""
    return b"[%b]" % host if b":" in host else host


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback
