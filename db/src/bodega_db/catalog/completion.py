"""The names in a catalog, for completion.

Each asks the catalog once, over a connection of its own and without SQLAlchemy, whose import alone takes as long as all
the rest. They raise what psycopg raises.
"""

from typing import Any, LiteralString

import psycopg

SECONDS = 1  # for the answer; psycopg waits for a connection for two at least
MOST = 200

MODELS = "SELECT name FROM model WHERE starts_with(name, %(beginning)s) ORDER BY name LIMIT %(most)s"
ALIASES = """
    SELECT a.name, 'version ' || v.number FROM alias a JOIN version v ON v.id = a.version_id
    JOIN model m ON m.id = a.model_id WHERE m.name = %(model)s ORDER BY a.name LIMIT %(most)s
"""
# Behind the '@' of a reference: the newest first, since those are meant most often.
VERSIONS = """
    SELECT v.number::text, v.status FROM version v JOIN model m ON m.id = v.model_id
    WHERE m.name = %(model)s ORDER BY v.number DESC LIMIT %(most)s
"""
PLACES = """
    SELECT 'latest', 'version ' || max(v.number) FROM version v JOIN model m ON m.id = v.model_id
    WHERE m.name = %(model)s AND v.status IN ('candidate', 'production') HAVING count(*) > 0
    UNION ALL
    SELECT 'production', 'version ' || v.number FROM version v JOIN model m ON m.id = v.model_id
    WHERE m.name = %(model)s AND v.status = 'production'
"""

Named = tuple[str, str]  # a name, and what is to be known of it


def model_names(database_url: str, beginning: str) -> list[str]:
    """Return the names of models that begin so."""
    return [name for (name,) in _ask(database_url, MODELS, beginning=beginning)]


def alias_names(database_url: str, model: str) -> list[Named]:
    """Return the aliases of a model."""
    return _ask(database_url, ALIASES, model=model)


def version_names(database_url: str, model: str) -> list[Named]:
    """Return what may stand behind the '@' of a model: places, aliases and numbers."""
    return _ask(database_url, PLACES, ALIASES, VERSIONS, model=model)


def _ask(database_url: str, *queries: LiteralString, **values: str) -> list[Any]:
    scheme, _, rest = database_url.partition("://")
    with psycopg.connect(
        f"{scheme.partition('+')[0]}://{rest}",
        connect_timeout=SECONDS,
        application_name="bodega completion",
        options=f"-c statement_timeout={SECONDS}s -c default_transaction_read_only=on",
    ) as connection:
        return [row for query in queries for row in connection.execute(query, values | {"most": MOST})]
