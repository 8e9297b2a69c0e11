"""What may be a name, why a text is none, and which known name may have been meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

NAME_PATTERN = "^[a-z0-9][a-z0-9._-]{0,127}$"
LONGEST_NAME = 128
RULE = "A name has 1 to 128 of a-z, 0-9, '.', '_' and '-', and begins with a letter or a digit, as in 'penguins'."


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return "Did you mean 'penguins'? " if a known name is close, and an empty text otherwise."""
    close = (
        get_close_matches(name.lower(), list(known), 1) if isinstance(name, str) and len(name) <= LONGEST_NAME else []
    )
    return f"Did you mean {close[0]!r}? " if close else ""


def why_no_name(name: object) -> tuple[str, str]:
    """Return why a model cannot have a name, and what it could be called."""
    if not isinstance(name, str):
        return f"A {type(name).__name__} is not a model name", f"Give a text. {RULE}"
    possible = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:LONGEST_NAME]
    advice = f"Use {possible!r}. {RULE}" if re.fullmatch(NAME_PATTERN, possible) else RULE
    return f"Invalid model name: {_fault(name)}", advice


def _fault(name: str) -> str:
    if not name:
        return "it is empty"
    if len(name) > LONGEST_NAME:
        return f"it has {len(name)} characters"
    if re.fullmatch(NAME_PATTERN, name.lower()):
        return "it has capital letters"
    if re.search(r"\s", name):
        return "it has a space"
    if re.search(r"[^a-z0-9._-]", name.lower()):
        return "it has characters beyond letters, digits, '.', '_' and '-'"
    return "it does not begin with a letter or a digit"
