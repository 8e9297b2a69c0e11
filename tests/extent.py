"""How much of what could be tested is: a sample that ends in minutes, or with `FAULTS=all` everything."""

import os

ALL = os.environ.get("FAULTS") == "all"
