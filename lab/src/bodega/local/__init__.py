"""Bodega on one machine: Postgres, API and JupyterLab together."""
