"""The script `bodega`: a clone and a Python are enough, and where it cannot install it says what to do.

Every test runs the real script, with real uv and pip, in a copy of the checkout whose path has a space. In the
copies the command is a small one that prints what it was given, so that a test can look at it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
BASE_PYTHON = Path(os.path.realpath(sys._base_executable))  # type: ignore[attr-defined]
NEEDED = ("cat", "cksum", "dirname", "readlink", "sh")
PACKAGES = ".venv/lib/python3*/site-packages/*.dist-info"
CLOSED_PORT = "http://127.0.0.1:9"

PRINTING_COMMAND = """
import json, os, sys

def main():
    names = ("BODEGA_HOME", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "HTTPS_PROXY")
    seen = {name: os.environ.get(name) for name in names}
    print(json.dumps({"arguments": sys.argv[1:], "prefix": sys.prefix, "cwd": os.getcwd(), "base": sys.base_prefix, **seen}))
"""

MEMBER = """
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = {dependencies}
[project.scripts]
bodega = "bodega.cli:main"
[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"
"""


def copy_checkout(target: Path) -> Path:
    """Copies what a commit of the checkout would hold, with the printing command in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target / name)
    (target / "lab/src/bodega/__init__.py").write_text("")
    (target / "lab/src/bodega/cli.py").write_text(PRINTING_COMMAND)
    return target


def slim(clone: Path, uv: Path, *dependencies: str, **environment: str) -> Path:
    """Leaves the clone its script, its members and nothing to download but these dependencies."""
    (clone / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["db", "lab", "api"]\n')
    for folder, name in {"db": "bodega-db", "lab": "bodega", "api": "bodega-api"}.items():
        wanted = json.dumps(dependencies if folder == "lab" else ())
        text = MEMBER.format(name=name, dependencies=wanted)
        (clone / folder / "pyproject.toml").write_text(text)
    (clone / "uv.lock").unlink()
    command = [str(uv), "--no-config", "lock", "--quiet", "--python", str(BASE_PYTHON)]
    subprocess.run(command, cwd=clone, check=True, env=basic_environment() | environment)
    return clone


def make_path(folder: Path, **programs: Path) -> str:
    """Makes a PATH that holds only what the script may count on, and these programs."""
    folder.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found, f"this machine has no {name}"
        (folder / name).symlink_to(found)
    for name, program in programs.items():
        (folder / name).symlink_to(program)
    return str(folder)


def basic_environment() -> dict[str, str]:
    """This process's environment less what belongs to its own Python, uv and pip."""
    foreign = ("UV_", "PIP_", "PYTHON", "VIRTUAL_ENV", "CONDA_", "BODEGA_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def start(clone: Path, *arguments: str, path: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs the clone's script to its end."""
    environment = basic_environment() | {"PATH": path} | more
    command = [str(clone / "bodega"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def read(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """What the printing command saw."""
    assert done.returncode == 0, done.stderr
    seen: dict[str, object] = json.loads(done.stdout)
    return seen


def check_refusal(done: subprocess.CompletedProcess[str], *expected: str) -> None:
    """Checks that the script ended with one sentence, which holds these words and names a log that exists."""
    assert done.returncode not in (0, 126, 127), done.stdout
    assert done.stdout == ""
    assert done.stderr.startswith("bodega: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for words in expected:
        assert words in done.stderr
    _, has_log, log = done.stderr.strip().partition("(log: ")
    assert not has_log or Path(log.removesuffix(")")).is_file()


def missing_files(clone: Path) -> list[str]:
    """Files that the installed packages say they have and have not."""
    code = (
        "import importlib.metadata as m, json\n"
        "print(json.dumps([str(f) for d in m.distributions() for f in d.files or () if not f.locate().exists()]))"
    )
    done = subprocess.run([clone / ".venv/bin/python", "-I", "-c", code], capture_output=True, text=True, check=True)
    missing: list[str] = json.loads(done.stdout)
    return missing


def as_nobody(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command as the user nobody, who has no home."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("no setpriv to become another user with")
    drop = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
    return subprocess.run(
        [*drop, *command],
        env=basic_environment() | {"HOME": "/nonexistent"} | environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="bodega test ") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def first_starts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, str, str]]]:
    """A fresh clone, and how two starts at the same moment ended there, with no uv on PATH."""
    folder = tmp_path_factory.mktemp("first")
    clone = copy_checkout(folder / "my clone")
    environment = basic_environment() | {"PATH": make_path(folder / "bin", python3=BASE_PYTHON)}
    command = [str(clone / "bodega"), "one", "two words"]
    starts = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [(*process.communicate(timeout=300), process.returncode) for process in starts]
    return clone, [(status, out, err) for out, err, status in ends]


@pytest.fixture(scope="module")
def installed(first_starts: tuple[Path, list[tuple[int, str, str]]]) -> Path:
    """A clone that was started before."""
    return first_starts[0]


@pytest.fixture(scope="module")
def uv(installed: Path) -> Path:
    """The uv that the script brought."""
    return next((installed / ".tools").glob("uv-*/bin/uv"))


@pytest.fixture
def path(tmp_path: Path, uv: Path) -> str:
    """A PATH with the needed programs, Python and uv."""
    return make_path(tmp_path / "bin", python3=BASE_PYTHON, uv=uv)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone that nobody started yet."""
    return copy_checkout(tmp_path / "my clone")


def test_two_first_starts_at_once(first_starts: tuple[Path, list[tuple[int, str, str]]]) -> None:
    """Two starts at the same moment in a fresh clone, with only sh, coreutils and Python, both do their work."""
    clone, ends = first_starts

    for status, out, err in ends:
        assert (status, err) == (0, "")
        seen = json.loads(out)
        assert seen["arguments"] == ["one", "two words"]
        assert seen["BODEGA_HOME"] == str(clone)
        assert seen["prefix"] == str(clone / ".venv")
    assert missing_files(clone) == []
    assert not (clone / ".tools/unfinished").exists()


def test_the_real_command(installed: Path, path: str) -> None:
    """The script hands over to the command of the checkout."""
    for name in ("__init__.py", "cli.py"):
        shutil.copy2(CHECKOUT / "lab/src/bodega" / name, installed / "lab/src/bodega" / name)

    done = start(installed, path=path)
    (installed / "lab/src/bodega/__init__.py").write_text("")
    (installed / "lab/src/bodega/cli.py").write_text(PRINTING_COMMAND)

    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage" in done.stdout


def test_a_later_start_needs_neither_python_nor_uv(installed: Path, tmp_path: Path) -> None:
    """A start with nothing to install looks for no Python and no uv, and is quick."""
    bare = make_path(tmp_path / "bare")

    begun = time.monotonic()
    seen = read(start(installed, "list", path=bare))

    assert seen["arguments"] == ["list"]
    assert time.monotonic() - begun < 2


def test_without_arguments(installed: Path, path: str) -> None:
    """Without arguments the script asks the command for help."""
    assert read(start(installed, path=path))["arguments"] == ["--help"]


def test_through_links_from_anywhere(installed: Path, path: str, tmp_path: Path) -> None:
    """A chain of links to the script works from any directory, and the command runs in the caller's directory."""
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "first").symlink_to(os.path.relpath(installed / "bodega", elsewhere))
    (tmp_path / "second").symlink_to("else where/first")

    done = subprocess.run(
        ["../second", "up", "--port", "1"],
        cwd=elsewhere,
        env=basic_environment() | {"PATH": path, "CDPATH": "/"},
        capture_output=True,
        text=True,
        check=False,
    )

    seen = read(done)
    assert seen["BODEGA_HOME"] == str(installed)
    assert seen["cwd"] == str(elsewhere)
    assert seen["arguments"] == ["up", "--port", "1"]


def test_the_callers_settings_stay_outside(clone: Path, path: str, tmp_path: Path) -> None:
    """Another environment, index, project or Python in the caller's variables changes nothing of the install."""
    poison = tmp_path / "poison"
    poison.mkdir()
    for module in ("bodega", "json", "subprocess"):
        (poison / f"{module}.py").write_text("raise SystemExit('the poison was imported')")
    lock = (clone / "uv.lock").read_bytes()

    done = start(
        clone,
        path=path,
        VIRTUAL_ENV=str(poison),
        CONDA_PREFIX=str(poison),
        PYTHONPATH=str(poison),
        PYTHONHOME=str(poison),
        UV_INDEX=CLOSED_PORT,
        UV_FIND_LINKS=str(poison),
        UV_PROJECT=str(poison),
        UV_PROJECT_ENVIRONMENT=str(poison / "venv"),
        UV_PYTHON="2.7",
        UV_FROZEN="1",
        UV_NO_DEV="1",
        PIP_TARGET=str(poison),
        HTTPS_PROXY="",
    )

    seen = read(done)
    assert seen["prefix"] == str(clone / ".venv")
    assert (seen["VIRTUAL_ENV"], seen["PYTHONPATH"], seen["PYTHONHOME"]) == (None, None, None)
    assert seen["HTTPS_PROXY"] == ""
    assert (clone / ".venv/bin/pytest").exists()
    assert (clone / "uv.lock").read_bytes() == lock
    assert len(list(poison.iterdir())) == 3


def test_a_changed_member_is_installed_anew(clone: Path, path: str) -> None:
    """After a change of a pyproject.toml the next start installs what it says."""
    read(start(clone, path=path))
    member = clone / "lab/pyproject.toml"
    member.write_text(member.read_text().replace("bodega.cli:main", "bodega.other:main"))
    (clone / "lab/src/bodega/cli.py").rename(clone / "lab/src/bodega/other.py")

    assert read(start(clone, "list", path=path))["arguments"] == ["list"]


def test_a_moved_and_damaged_clone_heals(clone: Path, path: str) -> None:
    """A clone that was moved, or whose command was deleted, is whole after the next start."""
    read(start(clone, path=path))
    moved = clone.rename(clone.with_name("moved clone"))

    seen = read(start(moved, path=path))
    (moved / ".venv/bin/bodega").unlink()
    again = read(start(moved, path=path))

    assert seen["prefix"] == again["prefix"] == str(moved / ".venv")
    for script in ("pytest", "alembic", "bodega"):
        assert str(clone) not in (moved / ".venv/bin" / script).read_text()


def test_an_install_that_was_killed_heals(clone: Path, path: str) -> None:
    """After kill -9 in the middle of an install the next start is not blocked, and leaves nothing half there."""
    slow = {"UV_LINK_MODE": "copy", "UV_CONCURRENT_INSTALLS": "1"}
    environment = basic_environment() | slow | {"PATH": path}
    process = subprocess.Popen([str(clone / "bodega")], env=environment, start_new_session=True)
    wait_for_packages(clone, 20)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    half = len(list(clone.glob(PACKAGES)))
    assert (clone / ".tools/unfinished").exists()

    done = start(clone, path=path)

    assert half < len(list(clone.glob(PACKAGES)))
    assert read(done)["prefix"] == str(clone / ".venv")
    assert missing_files(clone) == []
    assert not (clone / ".tools/unfinished").exists()


def wait_for_packages(clone: Path, count: int) -> None:
    """Waits until an install is under way and far from done."""
    for _ in range(3000):
        if len(list(clone.glob(PACKAGES))) >= count:
            return
        time.sleep(0.01)
    pytest.fail("the install never got that far")


def test_the_python_that_was_asked_for(clone: Path, path: str, uv: Path, tmp_path: Path) -> None:
    """PYTHON= chooses the Python, also for an environment that stands already."""
    other = another_python()
    slim(clone, uv)
    first = read(start(clone, path=path))

    second = read(start(clone, path=path, PYTHON=other))

    assert first["base"] == sys.base_prefix
    assert second["base"] != first["base"]


def another_python() -> str:
    """Another suitable Python of this machine."""
    code = "import sys; print(sys.base_prefix); sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))"
    for name in ("/usr/bin/python3", "python3.14", "python3.13", "python3.12", "python3.11"):
        if found := shutil.which(name):
            done = subprocess.run([found, "-c", code], capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout.strip() != sys.base_prefix:
                return found
    pytest.skip("this machine has one suitable Python only")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user(open_folder: Path, uv: Path) -> None:
    """A user without rights and without a home starts a clone of their own, from nothing."""
    python = reachable_python()
    clone = slim(copy_checkout(open_folder / "my clone"), uv)
    for item in (clone, *clone.rglob("*")):
        os.chown(item, 65534, 65534)
    path = make_path(open_folder / "bin", python3=python)

    done = as_nobody([str(clone / "bodega"), "list"], PATH=path)

    seen = read(done)
    assert seen["prefix"] == str(clone / ".venv")
    assert (clone / ".venv").stat().st_uid == 65534


def reachable_python() -> Path:
    """A Python with ensurepip that the user nobody can start."""
    for python in ("/usr/bin/python3", "/usr/local/bin/python3", str(BASE_PYTHON)):
        code = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
        if Path(python).exists() and as_nobody([python, "-c", code]).returncode == 0:
            return Path(python)
    pytest.skip("no Python with ensurepip that an ordinary user can start")


def test_a_read_only_checkout(open_folder: Path) -> None:
    """In a checkout of somebody else the script says whose it must be."""
    clone = copy_checkout(open_folder / "my clone")
    if os.geteuid() == 0:
        path = make_path(open_folder / "bin", python3=reachable_python())
        done = as_nobody([str(clone / "bodega")], PATH=path)
    else:
        path = make_path(open_folder / "bin", python3=BASE_PYTHON)
        clone.chmod(0o555)
        done = start(clone, path=path)
        clone.chmod(0o755)

    check_refusal(done, ".tools cannot be written (Permission denied)", "start it as the owner")


def test_no_python(clone: Path, tmp_path: Path) -> None:
    """Without any Python the script says which ones it takes and how to get one."""
    done = start(clone, path=make_path(tmp_path / "bare"))

    check_refusal(done, "PATH has no Python", "sudo apt install python3 python3-venv", "PYTHON=/path/to/python3")


def test_an_old_python(clone: Path, tmp_path: Path) -> None:
    """With only an old Python the script names its version and which ones it takes."""
    path = make_path(tmp_path / "bare")
    pretend = "import sys; sys.version_info = (3, 9, 18, 'final', 0); exec(sys.argv[1])"
    wrapper = tmp_path / "bare" / "python3"
    wrapper.write_text(f'#!/bin/sh\nexec "{BASE_PYTHON}" -c "{pretend}" "$4"\n')
    wrapper.chmod(0o755)

    check_refusal(start(clone, path=path), "PATH has Python 3.9.18", "CPython 3.11, 3.12, 3.13 or 3.14")
    check_refusal(start(clone, path=path, PYTHON="python3"), "PYTHON=python3 is Python 3.9.18")


def test_a_python_that_is_none(clone: Path, path: str) -> None:
    """A PYTHON= that cannot be started is named, and no other is taken in its place."""
    done = start(clone, path=path, PYTHON="/no/such/python")

    check_refusal(done, "PYTHON=/no/such/python is not a Python that starts")


def test_a_python_without_ensurepip(clone: Path, tmp_path: Path) -> None:
    """Where Debian split ensurepip off, the script names the package to install."""
    python = copy_python_without_ensurepip(tmp_path / "debian")
    path = make_path(tmp_path / "bin", python3=python)

    done = start(clone, path=path)

    check_refusal(done, f"{python} comes without ensurepip", f"sudo apt install python3.{sys.version_info[1]}-venv")


def copy_python_without_ensurepip(prefix: Path) -> Path:
    """A real Python whose standard library lacks that one package."""
    version = f"python3.{sys.version_info[1]}"
    library = prefix / "lib" / version
    library.mkdir(parents=True)
    for item in Path(os.__file__).parent.iterdir():
        if item.name != "ensurepip":
            (library / item.name).symlink_to(item)
    (prefix / "bin").mkdir()
    shutil.copy2(BASE_PYTHON, prefix / "bin" / version)
    return prefix / "bin" / version


def test_no_network_for_uv(clone: Path, tmp_path: Path) -> None:
    """Without a network and without uv the script says what to check."""
    path = make_path(tmp_path / "bin", python3=BASE_PYTHON)
    offline = {"HTTPS_PROXY": CLOSED_PORT, "https_proxy": CLOSED_PORT, "PIP_CONFIG_FILE": os.devnull}

    done = start(clone, path=path, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1", **offline)

    check_refusal(done, "cannot be reached", "HTTPS_PROXY", "PIP_INDEX_URL", str(clone / ".tools/install.log"))


def test_no_network_for_the_packages(clone: Path, path: str, tmp_path: Path) -> None:
    """Without a network and with an empty cache the script says what to check, and heals when it is back."""
    offline = {
        "HTTPS_PROXY": CLOSED_PORT,
        "https_proxy": CLOSED_PORT,
        "UV_CACHE_DIR": str(tmp_path / "cache"),
    }

    done = start(clone, path=path, UV_HTTP_RETRIES="0", **offline)

    check_refusal(done, "cannot be reached", "HTTPS_PROXY", str(clone / ".tools/install.log"))
    assert read(start(clone, "list", path=path))["arguments"] == ["list"]


def test_a_stale_lock(clone: Path, path: str, uv: Path) -> None:
    """A member that asks for something else than the lock holds is refused, and the lock is left as it was."""
    slim(clone, uv)
    member = clone / "db/pyproject.toml"
    member.write_text(member.read_text().replace(">=3.11", ">=3.11.1"))
    lock = (clone / "uv.lock").read_bytes()

    done = start(clone, path=path)

    check_refusal(done, "uv.lock does not fit the pyproject.toml files", "run `uv lock`")
    assert (clone / "uv.lock").read_bytes() == lock


def test_a_copied_script(clone: Path, path: str, tmp_path: Path) -> None:
    """A copy of the script outside a checkout says that a link is wanted."""
    shutil.copy2(clone / "bodega", tmp_path / "bodega")

    check_refusal(start(tmp_path, path=path), "does not stand in a Bodega checkout", "symbolic link")


@pytest.mark.parametrize("left", [0, 48 * 2**20], ids=["from-the-start", "half-way"])
def test_a_full_disk(clone: Path, path: str, tmp_path: Path, left: int) -> None:
    """On a full disk the script says how much to free, wherever the room ran out."""
    small = tmp_path / "small disk"
    small.mkdir()
    room = 8 * 2**20 + left
    fill = f'&& {{ head -c {room} /dev/zero >"{small}/filler" 2>/dev/null || true; }}' if not left else ""
    script = (
        f'mount -t tmpfs -o size={room} tmpfs "{small}" && cp -R "{clone}/." "{small}/" {fill}\n'
        f'test -x "{small}/bodega" || exit 99\n'
        f'PATH="{path}" exec "{small}/bodega"'
    )
    if subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("this user cannot mount a small disk")

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env=basic_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "the disk is full: free about 2 GB" in done.stderr


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output free of requests."""


class QuietServer(ThreadingHTTPServer):
    """Lets clients hang up, as those do that do not trust the certificate."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Keeps the test's output free of broken connections."""


def serve(folder: Path, context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
    """Serves a folder on a free port of this machine, over TLS where a context is given."""
    server = QuietServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def stop(server: ThreadingHTTPServer) -> None:
    """Closes the port."""
    server.shutdown()
    server.server_close()


@pytest.fixture
def registry(tmp_path: Path, uv: Path) -> Path:
    """The files of a small package registry that holds one package."""
    package = tmp_path / "package"
    (package / "src/tapas").mkdir(parents=True)
    (package / "src/tapas/__init__.py").write_text("")
    (package / "pyproject.toml").write_text(MEMBER.format(name="tapas", dependencies="[]"))
    folder = tmp_path / "registry/simple/tapas"
    folder.mkdir(parents=True)
    build = [str(uv), "--no-config", "build", "--wheel", "--quiet", "--python", str(BASE_PYTHON)]
    subprocess.run([*build, "--out-dir", str(folder), str(package)], check=True, env=basic_environment())
    wheel = next(folder.glob("*.whl"))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "index.html").write_text(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>')
    return tmp_path / "registry"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A company's own authority, which no system trusts, and a server's side with a certificate of it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    key = "-newkey rsa:2048 -nodes -keyout"
    for command in (
        f"req -x509 {key} company.key -out company.pem -days 2 -subj /CN=Company",
        f"req -new {key} server.key -out server.csr -subj /CN=mirror",
        "x509 -req -in server.csr -CA company.pem -CAkey company.key -CAcreateserial -days 2 "
        "-extfile names -out server.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return folder / "company.pem", context


def test_a_company_mirror(
    clone: Path, path: str, registry: Path, certificate: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    """Where only a company's mirror with the company's certificate is reached, PIP_INDEX_URL and SSL_CERT_FILE do."""
    public = serve(registry)
    index = f"http://127.0.0.1:{public.server_port}/simple"
    slim(clone, Path(path) / "uv", "tapas", UV_DEFAULT_INDEX=index, UV_CACHE_DIR=str(tmp_path / "other cache"))
    stop(public)
    cert, context = certificate
    mirror = serve(registry, context)
    named = {
        "PIP_INDEX_URL": f"https://127.0.0.1:{mirror.server_port}/simple",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_HTTP_RETRIES": "0",
    }

    unreached = start(clone, path=path, UV_CACHE_DIR=named["UV_CACHE_DIR"], UV_HTTP_RETRIES="0")
    untrusted = start(clone, path=path, **named)
    trusted = start(clone, path=path, SSL_CERT_FILE=str(cert), **named)
    stop(mirror)

    check_refusal(unreached, "cannot be reached", "PIP_INDEX_URL")
    check_refusal(untrusted, "certificate is not trusted", "SSL_CERT_FILE")
    assert read(trusted)["prefix"] == str(clone / ".venv")
    assert list((clone / ".venv").glob("lib/python3*/site-packages/tapas/__init__.py"))
