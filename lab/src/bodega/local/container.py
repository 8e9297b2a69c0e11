"""JupyterLab in the lab's container: `python -m bodega.local.container`.

The image cannot be changed while it runs, and a person shall be able to install a package. So the kernels and terminals
work in an environment of links: every file of the image's environment has its place in it, and what `uv pip install`
brings lies beside them, replaces them, or takes their names away. It lies in memory, and begins anew at every start.
JupyterLab itself runs from the image: it serves no file that is a link.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from bodega_db.errors import SettingsError
from bodega_db.settings import SECRETS
from bodega_model.errors import BodegaError

from bodega.local.jupyter import lab_command, write_settings

NOTEBOOKS = Path("/notebooks")
PORT = 8888
EVERYWHERE = "0.0.0.0"  # noqa: S104  # inside the container; compose.yaml says who reaches it from outside


def main() -> None:
    """Become JupyterLab, or say why not, with exit status 1."""
    os.umask(0o002)  # the group of the notebooks is their person's, who edits them outside of the container too
    try:
        environment = link_environment(Path(sys.prefix), Path(os.environ["VIRTUAL_ENV"]))
        add_kernel(Path(sys.prefix), environment, Path.home() / ".local" / "share" / "jupyter")
        settings = Path.home() / ".jupyter"
        write_settings(settings, read_token(SECRETS / "jupyter_token"))
    except BodegaError as exc:
        sys.exit(f"lab: {exc}")
    os.environ["JUPYTER_CONFIG_DIR"] = str(settings)
    command = lab_command(NOTEBOOKS, PORT, EVERYWHERE)
    os.execv(command[0], command)  # noqa: S606


def link_environment(image: Path, environment: Path) -> Path:
    """Make an environment of links to every file of another one, and return it."""
    try:
        shutil.copytree(image, environment, symlinks=True, copy_function=os.symlink)
    except (OSError, shutil.Error) as exc:
        raise SettingsError(
            f"The environment {environment} cannot be made: {exc}", "It needs an empty tmpfs, as in compose.yaml."
        ) from exc
    return environment


def add_kernel(image: Path, environment: Path, data: Path) -> None:
    """Make the kernel "python3" of a person's Jupyter data folder the Python of an environment."""
    kernel = data / "kernels" / "python3"
    shutil.copytree(image / "share" / "jupyter" / "kernels" / "python3", kernel, dirs_exist_ok=True)
    spec = json.loads((kernel / "kernel.json").read_text())
    spec["argv"][0] = str(environment / "bin" / "python")
    (kernel / "kernel.json").write_text(json.dumps(spec, indent=1))


def read_token(file: Path) -> str:
    """Return the token that lets a person in; raise SettingsError if there is none."""
    try:
        token = file.read_text().strip()
    except OSError as exc:
        raise SettingsError(f"{file} cannot be read: {exc.strerror}", "`docker compose up` makes it.") from exc
    if not token:
        raise SettingsError(f"{file} is empty", "Remove it; `docker compose up` makes it anew.")
    return token


if __name__ == "__main__":
    main()
