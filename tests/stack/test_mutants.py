"""Each small change of what verifies is noticed by a test: here of the innermost functions; tools/mutate.py makes all."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INNERMOST = (
    "bodega_db.volume.folder.x__check_kind*",
    "bodega_db.volume.folder.x__read_verified*",
    "bodega_db.volume.files.x_copy_hashing*",
    "bodega_model.formats.codecs.x_check_format*",
    "bodega_db.volume.marker.x_check_owner*",
)


@pytest.mark.slow
@pytest.mark.sweep
def test_no_change_of_the_innermost_checks_goes_unnoticed(capsys: pytest.CaptureFixture[str]) -> None:
    """Of kind, size, hash, format and marker."""
    command = [sys.executable, ROOT / "tools" / "mutate.py", *INNERMOST]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)

    said = done.stdout.strip().splitlines()[-1]
    with capsys.disabled():
        print(f"\n{said}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert said.startswith("Of ")
