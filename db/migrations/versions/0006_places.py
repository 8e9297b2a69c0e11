"""What stood in production last, however long ago: indexes into the history; and who holds a lock that others wait for.

A model that ever had a version in production must not be answered for by a candidate that nobody promoted. The history
knows: every move into production and out of it is an event, which outlives the version.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

# A rebuild writes an event of kind `restored`: which version was in production is then not known any more. The words
# are those of `tables.PLACED`: Postgres uses the index where a query repeats them.
PLACES = """
CREATE INDEX event_production_idx ON event (model, id DESC)
    WHERE kind = 'restored'
    OR (kind = 'status' AND (before->>'status' = 'production' OR after->>'status' = 'production'));
CREATE INDEX event_deletion_idx ON event (model, number) WHERE kind = 'deleted';
"""

# `writes` tells who changed or locked a row from who only reads, whom nobody but a migration waits for. Who waits too
# is no cause. With the rights of the owner, because Postgres shows states and times of other roles to few.
HOLDERS = """
CREATE FUNCTION lock_holders() RETURNS TABLE (
    pid integer, role text, application text, state text, since timestamptz, writes boolean
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT a.pid, a.usename::text, a.application_name, a.state, a.xact_start, held.writes
    FROM pg_stat_activity a
    JOIN (
        SELECT l.pid, bool_or(l.locktype = 'advisory' OR l.mode <> 'AccessShareLock') AS writes
        FROM pg_locks l LEFT JOIN pg_class c ON l.locktype = 'relation' AND c.oid = l.relation
        WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (l.locktype = 'advisory' OR c.relnamespace = 'public'::regnamespace)
        GROUP BY l.pid
    ) held ON held.pid = a.pid
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
        AND NOT EXISTS (SELECT FROM pg_locks w WHERE w.pid = a.pid AND NOT w.granted)
    ORDER BY held.writes DESC, a.xact_start
$$;
REVOKE EXECUTE ON FUNCTION lock_holders FROM PUBLIC;
COMMENT ON FUNCTION lock_holders IS 'Who has locks in the catalog and does not wait for one.';
"""


def upgrade() -> None:
    op.execute(PLACES)
    op.execute(HOLDERS)


def downgrade() -> None:
    op.execute("DROP FUNCTION lock_holders")
    op.execute("DROP INDEX event_deletion_idx, event_production_idx")
