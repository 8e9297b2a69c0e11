"""How much of the program a trip goes through, as `tools/trace_calls.py` counts it, stays bounded."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# For each trip the most modules, and the most calls that go into another module.
MOST = {
    "register": (44, 2400),
    "promote": (24, 100),
    "search": (9, 32),
    "warm prediction, fast path": (21, 60),
    "warm prediction, ordinary path": (42, 110),
    "refused prediction": (34, 90),
}
pytestmark = [pytest.mark.slow, pytest.mark.sweep]


def test_no_trip_goes_through_more_than_it_does_now() -> None:
    """A change that sends a registration or a prediction through more modules, or to and fro more often, is seen."""
    told = subprocess.run(
        [sys.executable, ROOT / "tools" / "trace_calls.py"], capture_output=True, text=True, check=True, timeout=600
    ).stdout
    found = {line[:32].strip(): [int(number) for number in line[32:].split()] for line in told.splitlines()[1:]}

    assert found.keys() == MOST.keys()
    assert {
        name: (modules, changes)
        for name, (modules, _, _, changes, _) in found.items()
        if modules > MOST[name][0] or changes > MOST[name][1]
    } == {}
