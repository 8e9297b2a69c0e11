"""Searches: the grammar of filters, orders and fields, and one SQL statement for a page."""
