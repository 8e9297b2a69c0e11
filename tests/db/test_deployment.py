"""What runs before the services of a deployment start."""

import subprocess
import sys

PROGRAM = """
import sys
sys.modules.update(dict.fromkeys({libraries!r}))
import bodega_db.deployment
"""
LIBRARIES = ("joblib", "numpy", "pandas", "sklearn", "scipy", "skops")  # which the image of `migrate` leaves out


def test_a_deployment_needs_no_library_of_models() -> None:
    """It runs in an image without the libraries that models need."""
    command = [sys.executable, "-c", PROGRAM.format(libraries=LIBRARIES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
