"""Why an install failed, told in one sentence that says what to do."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

from places import ROOT, VENV, cache_folder, nearest

ROOM = 32 * 2**20  # bytes; with less than this left, whatever failed failed for want of room
FULL = f"the disk is full: free about 2 GB for {ROOT} and for uv's cache, then start again"

# What uv or pip wrote, and what the person is told; the first that fits.
CAUSES = (
    (r"No space left on device|os error 28\b|Disk quota exceeded", FULL),
    (
        r"CERTIFICATE_VERIFY_FAILED|UnknownIssuer|invalid peer certificate",
        "the package registry's certificate is not trusted: set SSL_CERT_FILE to a file with your company's "
        "CA, then start again",
    ),
    (
        r"DO NOT MATCH THE HASHES|[Hh]ash mismatch",
        "a downloaded file is not the one that was pinned: find out what changes downloads on the way here",
    ),
    (
        r"lockfile .*needs to be updated",
        "uv.lock does not fit the pyproject.toml files: run `uv lock` and look at what it changes",
    ),
    (
        r"error sending request|dns error|ProxyError|ConnectionError|NewConnectionError|Connection refused"
        r"|timed out|Failed to fetch|Could not fetch URL|network was disabled|Failed to (establish|create)",
        "the package registry cannot be reached: check the network and HTTPS_PROXY, or set PIP_INDEX_URL to "
        "your company's mirror, then start again",
    ),
    (
        r"[Pp]ermission denied|Read-only file system|os error (13|30)\b",
        f"a file of an earlier install cannot be written: give {ROOT} to the user who starts it",
    ),
    (
        r"No matching distribution found for uv|building source distributions is disabled"
        r"|(doesn't|does not) have a (source distribution or )?wheel for",
        "a pinned package has no build for this machine: use Linux with glibc (x86_64, arm64) or macOS (arm64)",
    ),
    (
        r"not a valid Python environment",
        f"{VENV} is something else than a virtual environment: move it away, then start again",
    ),
)


class RefusalError(Exception):
    """What stands in the way of an install and what to do about it, in one sentence."""


def explain_command(step: str, status: int, output: str, environment: dict[str, str]) -> str:
    """Turns a failed command into the sentence for the person."""
    # A full disk takes the log's last lines too: ask the disk itself.
    if is_full(ROOT) or is_full(cache_folder(environment)):
        return FULL
    for pattern, sentence in CAUSES:
        if re.search(pattern, output):
            return sentence
    return f"`{step}` ended with exit status {status}: read the log, put right what it names, and start again"


def is_full(folder: Path | None) -> bool:
    """Tells whether the file system of that folder has no room left."""
    return folder is not None and shutil.disk_usage(nearest(folder)).free < ROOM


def explain_failure(failure: OSError) -> str:
    """Turns a refusal of the operating system into the sentence for the person."""
    if failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return FULL
    if failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{failure.filename} cannot be written ({failure.strerror}): Bodega installs into its checkout, "
            "so start it as the owner, or clone it to a place of your own"
        )
    return f"{failure}: put this right and start again"
