"""The commands of `bodega`, one module for each group."""
