"""What a session of the catalog may take of Postgres, as data: connections of a role, and time with what others need.

The times are for sessions that a person opens by hand, as with psql or psycopg: a program of Bodega sets shorter ones
of its own (`connections`), and a dump, a restore or a migration lifts them for itself.
"""

from collections.abc import Mapping

LAB, API, ADMIN = "bodega_lab", "bodega_api", "bodega_admin"

# Of the hundred that Postgres gives by default, so that no role can lock out another; what is left is the owner's.
CONNECTIONS: Mapping[str, int] = {LAB: 25, API: 60, ADMIN: 10}

# A transaction that is left open keeps its locks, and every writer waits for the one row of the generation.
TIMEOUTS: Mapping[str, str] = {
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "20s",
    "statement_timeout": "5min",
}
IDLE_SECONDS = 60  # the same for a program of Bodega, whose transactions wait for nobody
MOST_LOCK_SECONDS = 10  # that a program waits for what another session holds
