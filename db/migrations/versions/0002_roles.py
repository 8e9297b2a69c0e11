"""Triggers that work for writers without rights on what they write, and the one move that a reader may make.

The roles themselves belong to the cluster and not to this schema: `bodega_db.catalog.roles` makes them.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# These write history and generation, which no role but the owner may write. So they run with the owner's rights,
# whoever's statement called them.
WRITERS = (
    "model_writes_events",
    "version_takes_its_number",
    "version_is_immutable",
    "version_writes_events",
    "alias_writes_events",
)

# Whoever may call these, or hang them on a table of their own, could forge history: PUBLIC may by default. A
# trigger asks for EXECUTE when it is made, not when it fires.
CLOSED = ", ".join(("next_generation", "record_event", *WRITERS))

# A function finds its tables by the caller's search_path, so a caller could lead it to others of the same name.
# pg_temp must be named, and last: where it is not named it is searched first, and a temporary table `event` would
# swallow the history.
SEARCH_PATH = "public, pg_temp"

# This one writes nothing and stays with the caller's rights, but it must look at the real tables too.
READER = "alias_stays_in_its_model"

QUARANTINE = """
CREATE FUNCTION quarantine_version(model text, number integer, reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    wanted bigint := (SELECT v.id FROM version v JOIN model m ON m.id = v.model_id
                      WHERE m.name = quarantine_version.model AND v.number = quarantine_version.number);
BEGIN
    IF reason IS NULL OR reason !~ '\\S' THEN
        RAISE EXCEPTION 'a quarantine has a reason'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'quarantine_has_a_reason';
    END IF;
    IF wanted IS NULL THEN
        RAISE EXCEPTION 'there is no such version to quarantine'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'quarantine_names_a_version';
    END IF;
    PERFORM set_config('bodega.reason', reason, true);
    UPDATE version SET status = 'quarantined' WHERE id = wanted AND status <> 'quarantined';
    RETURN FOUND;
END $$;
REVOKE EXECUTE ON FUNCTION quarantine_version FROM PUBLIC;
COMMENT ON FUNCTION quarantine_version IS 'Quarantine a version; false if it is in quarantine already.';
"""


def upgrade() -> None:
    for function in WRITERS:
        op.execute(f"ALTER FUNCTION {function} SECURITY DEFINER SET search_path = {SEARCH_PATH}")
    op.execute(f"ALTER FUNCTION {READER} SET search_path = {SEARCH_PATH}")
    op.execute(f"REVOKE EXECUTE ON FUNCTION {CLOSED} FROM PUBLIC")
    op.execute(QUARANTINE)
    # What changed since generation g is asked every time the generation has grown.
    op.execute("CREATE INDEX event_generation_idx ON event (generation)")


def downgrade() -> None:
    op.execute("DROP INDEX event_generation_idx")
    op.execute("DROP FUNCTION quarantine_version")
    op.execute(f"GRANT EXECUTE ON FUNCTION {CLOSED} TO PUBLIC")
    op.execute(f"ALTER FUNCTION {READER} RESET search_path")
    for function in WRITERS:
        op.execute(f"ALTER FUNCTION {function} SECURITY INVOKER RESET search_path")
