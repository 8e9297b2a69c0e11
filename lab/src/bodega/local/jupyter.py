"""JupyterLab as `bodega up` starts it: on loopback, behind a token, quiet, with the catalog in its environment."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from bodega_db.postgres.private_files import write_privately

from bodega.local.home import Home
from bodega.local.ports import HOST

# Nothing of this asks the network: the news feed, the check for a newer version, the extension catalog.
LAB = {
    "news_url": None,
    "check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
    "extension_manager": "readonly",
}
OVERRIDES = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


def write_settings(folder: Path, token: str) -> None:
    """Write JupyterLab's settings, which hold its token, to its folder of settings."""
    labconfig = folder / "labconfig"
    labconfig.mkdir(parents=True, exist_ok=True)
    # The token stands in a file because everybody can read a command line. An empty password keeps one that the
    # person has set for a JupyterLab of their own from counting here.
    server = {"IdentityProvider": {"token": token}, "PasswordIdentityProvider": {"hashed_password": ""}}
    write_privately(folder / "jupyter_server_config.json", json.dumps(server, indent=2))
    write_privately(folder / "jupyter_lab_config.json", json.dumps({"LabApp": LAB}, indent=2))
    write_privately(labconfig / "default_setting_overrides.json", json.dumps(OVERRIDES, indent=2))


def lab_command(notebooks: Path, port: int, host: str = HOST) -> list[str]:
    """Return the command line of JupyterLab over a folder of notebooks."""
    return [
        *(sys.executable, "-P", "-m", "jupyterlab", "--no-browser", f"--ServerApp.ip={host}"),
        *(f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={notebooks}"),
        *(("--allow-root",) if os.geteuid() == 0 else ()),
    ]


def lab_environment(home: Home, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of JupyterLab, which its kernels and terminals inherit."""
    programs = str(Path(sys.executable).parent)
    # Last: the uv that ./bodega brought where there was none, for `uv pip install` in a cell.
    brought = map(str, sorted((home.root / ".tools").glob("uv-*/bin")))
    return {
        **environment,
        "PATH": os.pathsep.join([programs, environment.get("PATH", os.defpath), *brought]),
        "JUPYTER_CONFIG_DIR": str(home.jupyter),
        "JUPYTER_RUNTIME_DIR": str(home.jupyter / "runtime"),
        # The kernel "python3" is the one beside JupyterLab, whatever the person has installed for other projects.
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
