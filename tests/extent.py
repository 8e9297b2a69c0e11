"""How much is tested: what ends in minutes, or everything with `./bodega test --all` (`TESTS=all`)."""

import os

ALL = os.environ.get("TESTS") == "all"
