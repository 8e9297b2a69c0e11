"""The token that writes over HTTP need: read from its file once, compared without telling how much of it was right."""

import hashlib
import re
import secrets
from pathlib import Path
from typing import Annotated, cast

from bodega_db.errors import SettingsError
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from bodega_api.problems import UnauthorizedError

SHORTEST, LONGEST = 20, 4096  # characters
PRINTABLE = re.compile(rb"[!-~]+")  # what a header carries unchanged
HINT = f"Put one line of {SHORTEST} or more random letters and digits into it, as `openssl rand -hex 32` makes."

bearer = HTTPBearer(auto_error=False, scheme_name="adminToken", description="the token in BODEGA_ADMIN_TOKEN_FILE")


class Token:
    """What is kept of a token: enough to tell whether another one is the same."""

    def __init__(self, token: bytes) -> None:
        self._digest = hashlib.sha256(token).digest()

    def matches(self, given: str) -> bool:
        """Tell whether a given token is this one, in a time that does not depend on where they differ."""
        return secrets.compare_digest(hashlib.sha256(given.encode()).digest(), self._digest)


def read_token(path: Path) -> Token:
    """Read the token in a file; raise SettingsError that names the file unless it holds one that is hard to guess."""
    name = f"{path} (BODEGA_ADMIN_TOKEN_FILE)"
    try:
        with path.open("rb") as file:
            token = file.read(LONGEST + 1).strip()
    except OSError as exc:
        raise SettingsError(
            f"{name} cannot be read: {exc.strerror}", "Check the path, and that this user may read it."
        ) from exc
    if not token:
        raise SettingsError(f"{name} is empty", HINT)
    if not SHORTEST <= len(token) <= LONGEST:
        raise SettingsError(f"{name} does not hold {SHORTEST} to {LONGEST} characters", HINT)
    if not PRINTABLE.fullmatch(token):
        raise SettingsError(f"{name} holds a space, a line break or something else than ASCII inside the token", HINT)
    return Token(token)


async def check_token(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
    """Raise UnauthorizedError, the same one for every reason, unless the request carries the app's token."""
    token = cast("Token", request.app.state.token)
    if given is None or not token.matches(given.credentials):
        raise UnauthorizedError("This takes the administrator's token")
