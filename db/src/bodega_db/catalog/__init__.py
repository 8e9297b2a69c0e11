"""The catalog in Postgres: its tables and migrations, and the SQL that reads and changes versions."""
