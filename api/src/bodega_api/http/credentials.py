"""The token that writes over HTTP need: read from its file once, compared without telling how much of it was right."""

import hashlib
import os
import re
import secrets
import stat
from pathlib import Path
from shlex import quote

from bodega_db.errors import SettingsError

SHORTEST, LONGEST = 20, 4096  # characters
PRINTABLE = re.compile(rb"[!-~]+")  # what a header carries unchanged
HARD_TO_GUESS = 16.0  # the power of ten of guesses that it takes at least
LOOKED_AT = 72  # characters, which `zxcvbn` does in a tenth of a second
# What stands in examples and in the place of tokens.
WORDS = re.compile(
    "change|replace|me|token|secret|password|admin|istrator|root|bodega|model|example|sample|default|insecure|dummy|"
    "placeholder|development|production|local|test|super|very|please|your|this|with|some|random|goes|here|value|key|my",
    re.IGNORECASE,
)


class Token:
    """What is kept of a token: enough to tell whether another one is the same."""

    def __init__(self, token: bytes) -> None:
        self._digest = hashlib.sha256(token).digest()

    def matches(self, given: str) -> bool:
        """Tell whether a given token is this one, in a time that does not depend on where they differ."""
        return secrets.compare_digest(hashlib.sha256(given.encode()).digest(), self._digest)


def read_token(path: Path) -> Token:
    """Read the token in a file; raise SettingsError that names the file unless it is private and hard to guess."""
    name = f"{path} (BODEGA_ADMIN_TOKEN_FILE)"
    hint = f"Put one line of {SHORTEST} or more random letters and digits into it, as `{_make(path)}` does."
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            token = file.read(LONGEST + 1).strip()
    except OSError as exc:
        raise SettingsError(
            f"{name} cannot be read: {exc.strerror}", "Check the path, and that this user may read it."
        ) from exc
    _check_private(status, name, path)
    if not token:
        raise SettingsError(f"{name} is empty", hint)
    if not SHORTEST <= len(token) <= LONGEST:
        raise SettingsError(f"{name} does not hold {SHORTEST} to {LONGEST} characters", hint)
    if not PRINTABLE.fullmatch(token):
        raise SettingsError(f"{name} holds a space, a line break or something else than ASCII inside the token", hint)
    if is_easy_to_guess(token.decode("ascii")):
        raise SettingsError(f"{name} holds a token that is easy to guess: words, repetitions or a sequence", hint)
    return Token(token)


def _check_private(status: os.stat_result, name: str, path: Path) -> None:
    # Where the system's owner gives a file to a group, as Kubernetes does with secrets, the group is the program's own.
    ours = stat.S_IRWXO | (stat.S_IWGRP if status.st_uid == 0 != os.geteuid() else stat.S_IRWXG)
    if stat.S_IMODE(status.st_mode) & ours:
        raise SettingsError(
            f"{name} is open to other users of this machine: its mode is {stat.S_IMODE(status.st_mode):04o}",
            f"Run `chmod 600 {quote(str(path))}`, and make a new token if others may have read it: `{_make(path)}`.",
        )


def _make(path: Path) -> str:
    return f"(umask 077; openssl rand -hex 32 > {quote(str(path))})"


def is_easy_to_guess(token: str) -> bool:
    """Tell whether guessing a token takes fewer than 10^16 tries, without the words that such tokens are made of."""
    from zxcvbn import zxcvbn  # its lists of words take a while, and are for processes that have a token

    rest = WORDS.sub("", token)[:LOOKED_AT]
    return not rest or float(zxcvbn(rest)["guesses_log10"]) < HARD_TO_GUESS
