"""How Alembic reaches the catalog: one migration at a time, and never waiting long for a lock.

A migration that waits for a lock makes everybody behind it wait too, so it gives up after a few seconds and is
tried again; the advisory lock lets two deployments start at the same moment.
"""

import os

from alembic import context
from bodega_db.catalog.connections import create_catalog_engine
from bodega_db.catalog.tables import Base
from sqlalchemy import Connection, text

ADVISORY_LOCK = 0x626F6465676101  # "bodega", 1


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=False)
    with context.begin_transaction():
        # The engine's limit is for what somebody waits for; to fill a new column of a large catalog takes longer.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        # The lock ends with the transaction, however that ends; another deployment's migration may take a while.
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        context.run_migrations()


def main() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    engine = create_catalog_engine(os.environ["BODEGA_DATABASE_URL"], pool_size=1)
    try:
        with engine.connect() as connection:
            run(connection)
    finally:
        engine.dispose()  # a refused migration leaves no connection open either


main()
