"""Rows and columns of a request, held to a signature."""
