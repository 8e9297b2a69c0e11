"""What uv and pip get to see of the caller's environment."""

from __future__ import annotations

import os

from places import TOOLS, cache_folder, nearest

# Of the caller's UV_* only what says how to reach the network and the cache. An index, a Python, a project or
# a resolution from outside would make another environment than the one in the lock.
KEPT_UV = frozenset(
    {
        "UV_CACHE_DIR",
        "UV_COMPILE_BYTECODE",
        "UV_CONCURRENT_BUILDS",
        "UV_CONCURRENT_DOWNLOADS",
        "UV_CONCURRENT_INSTALLS",
        "UV_CREDENTIALS_DIR",
        "UV_HTTP_CONNECT_TIMEOUT",
        "UV_HTTP_RETRIES",
        "UV_HTTP_TIMEOUT",
        "UV_INSECURE_HOST",
        "UV_KEYRING_PROVIDER",
        "UV_LINK_MODE",
        "UV_LOCK_TIMEOUT",
        "UV_NATIVE_TLS",
        "UV_OFFLINE",
        "UV_REQUEST_TIMEOUT",
        "UV_SYSTEM_CERTS",
    }
)
# pip's index, proxy and certificate settings stay, which a company sets for its mirror; these would put the
# pinned uv somewhere else, or another file in its place.
DROPPED_PIP = frozenset(
    {
        "PIP_CONSTRAINT",
        "PIP_DRY_RUN",
        "PIP_EDITABLE",
        "PIP_IGNORE_INSTALLED",
        "PIP_NO_BINARY",
        "PIP_ONLY_BINARY",
        "PIP_PLATFORM",
        "PIP_PREFIX",
        "PIP_PYTHON",
        "PIP_REQUIREMENT",
        "PIP_ROOT",
        "PIP_TARGET",
        "PIP_USER",
    }
)
# Where the systems keep the certificates that the machine trusts, a company's own among them.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS
)


def clean(environment: dict[str, str]) -> dict[str, str]:
    """Returns the caller's environment less what leads uv or pip astray, plus what they need here."""
    kept = {name: value for name, value in environment.items() if is_kept(name)}
    kept |= {"UV_PYTHON_DOWNLOADS": "never", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    if not is_writable_cache(kept):
        kept["UV_CACHE_DIR"] = str(TOOLS / "cache")
    return trust_system(kept)


def is_kept(name: str) -> bool:
    """Tells whether uv and pip may see this variable."""
    if name.startswith(("UV_", "CONDA_")):
        return name in KEPT_UV
    return name not in DROPPED_PIP


def is_writable_cache(environment: dict[str, str]) -> bool:
    """Tells whether this user can keep downloads where uv would: a service's user often has no home."""
    folder = cache_folder(environment)
    return folder is not None and os.access(nearest(folder), os.W_OK | os.X_OK)


def trust_system(environment: dict[str, str]) -> dict[str, str]:
    """Lets uv and pip trust what the machine trusts; where it keeps no list they use their own."""
    bundle = environment.get("SSL_CERT_FILE") or next(filter(has_content, BUNDLES), None)
    if bundle is None:
        return environment
    if "UV_NATIVE_TLS" not in environment:
        environment.setdefault("UV_SYSTEM_CERTS", "1")
    if environment.keys().isdisjoint({"PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}):
        environment["REQUESTS_CA_BUNDLE"] = bundle
    return environment


def has_content(path: str) -> bool:
    """Tells whether a file is there with something in it."""
    return os.path.isfile(path) and os.path.getsize(path) > 0
