"""A private Postgres for a machine that has none, and processes that end with their parent."""
