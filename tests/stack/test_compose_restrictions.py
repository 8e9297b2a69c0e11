"""What the running containers may do, asked of the engine and tried from inside; not read from compose.yaml."""
# ruff: noqa: S108  # the /tmp of a container is its own

from typing import Any

import pytest
from containers import Deployment, inspect

RUNNING = ("postgres", "api", "lab")
ONE_SHOTS = ("init", "migrate")
# The mounts of each service and whether they can be written.
MOUNTS = {
    "init": {"/init.sh": False, "/volumes": True, "/notebooks": True},
    "postgres": {
        "/docker-entrypoint-initdb.d/owner.sh": False,
        "/run/secrets": False,
        "/var/lib/postgresql/data": True,
        "/var/run/postgresql": True,
    },
    "migrate": {
        "/models": True,
        "/run/secrets": False,
        "/run/roles/bodega_admin": False,
        "/run/roles/bodega_api": False,
        "/run/roles/bodega_lab": False,
    },
    "api": {"/models": False, "/run/secrets": False},
    "lab": {"/models": True, "/run/secrets": False, "/home/bodega": True, "/notebooks": True},
}
WRITE = """
import sys
for path in sys.argv[1:]:
    try:
        open(path + "/.probe", "w").close()
        print(path, "written")
    except OSError as exc:
        print(path, type(exc).__name__ if exc.errno != 30 else "read-only")
"""
STATUS = """
import os
said = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(os.getuid(), os.getgid(), int(said["CapEff"], 16), int(said["CapBnd"], 16), said["NoNewPrivs"].strip())
"""
CONNECT = """
import psycopg, pathlib
url = pathlib.Path("/run/secrets/bodega_database_url").read_text().strip()
"""
WHO = (
    CONNECT
    + """
with psycopg.connect(url) as connection:
    row = connection.execute(
        "SELECT current_user, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls "
        "FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
print(*row)
"""
)


def container(stack: Deployment, service: str) -> dict[str, Any]:
    """Return what the engine says of the one container of a service."""
    (found,) = stack.containers(service)
    return found


@pytest.mark.parametrize("service", [*RUNNING, *ONE_SHOTS])
def test_a_container_is_confined(stack: Deployment, service: str) -> None:
    """Every container has a read-only root, no capabilities, no way to new privileges, and limits."""
    host = container(stack, service)["HostConfig"]

    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] == (["CHOWN", "DAC_OVERRIDE", "FOWNER"] if service == "init" else None)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Privileged"] is False
    assert host["PidsLimit"] in (256, 2048)
    assert 0 < host["Memory"] <= 8 * 1024**3
    assert host["NetworkMode"] == "none" if service == "init" else host["NetworkMode"].endswith(("_catalog", "_web"))


@pytest.mark.parametrize("service", MOUNTS)
def test_a_container_reaches_its_own_folders_only(stack: Deployment, service: str) -> None:
    """A container has the mounts it needs, read-only wherever it only reads, and never the engine's socket."""
    mounts = {mount["Destination"]: mount["RW"] for mount in container(stack, service)["Mounts"]}

    assert mounts == MOUNTS[service]


@pytest.mark.parametrize("service", ["api", "lab"])
def test_a_service_runs_as_nobody_special(stack: Deployment, service: str) -> None:
    """API and lab run as the same ordinary user, without a single capability."""
    assert stack.run_python(service, STATUS).split() == ["1000", "1000", "0", "0", "1"]


def test_postgres_runs_as_its_own_user(stack: Deployment) -> None:
    """Postgres runs as neither root nor the user of the others, without a single capability."""
    uid, bounding, privileges = stack.execute(
        "postgres", "sh", "-c", "id -u; grep -E '^(CapBnd|NoNewPrivs)' /proc/1/status | tr -s '[:space:]' ' '"
    ).split(maxsplit=2)[0:3]

    assert int(uid) not in (0, 1000)
    assert (bounding, privileges.split()) == ("CapBnd:", ["0000000000000000", "NoNewPrivs:", "1"])


def test_nothing_but_the_given_folders_can_be_written(stack: Deployment) -> None:
    """The API cannot write to the volume or its own program; the lab writes to its home, notebooks and volume."""
    api = stack.execute("api", "python", "-c", WRITE, "/models", "/opt/bodega", "/run/secrets", "/tmp").splitlines()
    lab = stack.execute(
        "lab", "python", "-c", WRITE, "/opt/bodega", "/run/secrets", "/home/bodega", "/notebooks", "/models"
    ).splitlines()

    assert api == ["/models read-only", "/opt/bodega read-only", "/run/secrets read-only", "/tmp written"]
    assert [line.split()[1] for line in lab] == ["read-only", "read-only", "written", "written", "written"]


def test_only_loopback_can_reach_the_ports(stack: Deployment) -> None:
    """The API and the lab are published on 127.0.0.1, and Postgres nowhere."""
    published = {
        service: [
            binding["HostIp"]
            for bindings in container(stack, service)["HostConfig"]["PortBindings"].values()
            for binding in bindings
        ]
        for service in RUNNING
    }

    assert published == {"postgres": [], "api": ["127.0.0.1"], "lab": ["127.0.0.1"]}


def test_postgres_reaches_nobody_outside(stack: Deployment) -> None:
    """Postgres stands in a network that leads nowhere else."""
    (network,) = container(stack, "postgres")["NetworkSettings"]["Networks"]
    (known,) = inspect(network)

    assert network.endswith("_catalog")
    assert known["Internal"] is True


@pytest.mark.parametrize(("service", "role"), [("api", "bodega_api"), ("lab", "bodega_lab")])
def test_a_service_has_its_own_role(stack: Deployment, service: str, role: str) -> None:
    """API and lab know the password of their own role only, which may nothing but what it was granted."""
    assert stack.run_python(service, WHO).split() == [role, *["False"] * 5]


@pytest.mark.parametrize("service", ["api", "lab"])
@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_a_role_reaches_the_catalog_only(stack: Deployment, service: str, database: str) -> None:
    """The roles of API and lab may connect to the catalog and to no other database of that Postgres."""
    source = CONNECT + (
        f"try:\n    psycopg.connect(url.rpartition('/')[0] + '/{database}')\n"
        "except psycopg.OperationalError as exc:\n    print(exc)\n"
    )

    assert f'permission denied for database "{database}"' in stack.run_python(service, source)


@pytest.mark.parametrize("service", ["api", "lab"])
def test_a_service_sees_no_secret_of_another(stack: Deployment, service: str) -> None:
    """The secrets that a container can read are its own."""
    found = stack.execute(service, "sh", "-c", "cd /run/secrets && ls").split()

    assert found == {"api": ["bodega_database_url"], "lab": ["bodega_database_url", "jupyter_token"]}[service]


def test_secrets_are_for_their_owner(stack: Deployment) -> None:
    """Nobody on the host but root and the service's own user can read a secret."""
    secrets = stack.volumes / "secrets"
    modes = {path.name: path.stat().st_mode & 0o777 for path in secrets.rglob("*")}

    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {modes.pop(folder) for folder in ("admin", "api", "lab", "migrate", "postgres")} == {0o700}
    assert set(modes.values()) == {0o400}


def test_the_api_cannot_change_the_catalog(stack: Deployment) -> None:
    """What the role of the API may not do, it cannot do from its own container either."""
    source = CONNECT + (
        "for verb in ['INSERT INTO model (name, created_by) VALUES (\\'x\\', \\'x\\')', 'UPDATE version SET note = note',"
        " 'DELETE FROM event', 'TRUNCATE alias', 'CREATE TABLE mine ()']:\n"
        "    try:\n"
        "        psycopg.connect(url).execute(verb)\n"
        "        print('allowed', verb)\n"
        "    except psycopg.errors.InsufficientPrivilege:\n"
        "        print('refused')\n"
    )

    assert stack.run_python("api", source).split() == ["refused"] * 5
