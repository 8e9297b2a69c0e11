"""Which version answers, the versions in memory, and the calls of models."""
