"""The catalog and the artifact store: Postgres knows every model version, a volume holds the bytes."""
