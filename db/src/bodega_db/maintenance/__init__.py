"""Keeping catalog and volume in order: fsck, garbage collection, rebuild, and what these stand on."""
