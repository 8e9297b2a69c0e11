"""Search and order at any size: metrics as rows, indexes for lists; aliases that few may move; a count of the deleted.

A metric is a key of a jsonb column, under a name that the user chose, and no index serves all names at once. So each
number gets a row of its own beside the version, made and kept by triggers.
"""

from alembic import op
from bodega_db.catalog.downgrade import may_lose, refuse_losses

revision = "0004"
down_revision = "0003"

# `servable` repeats what the version's status says, so that the best of all that may be served is one look into an
# index, however many better ones were archived. numeric, because jsonb compares its numbers exactly.
METRICS = """
CREATE TABLE metric (
    version_id bigint NOT NULL,
    model_id bigint NOT NULL,
    number integer NOT NULL,
    name text NOT NULL,
    value numeric NOT NULL,
    servable boolean NOT NULL,
    CONSTRAINT metric_pkey PRIMARY KEY (version_id, name),
    CONSTRAINT metric_version_id_fkey FOREIGN KEY (version_id) REFERENCES version (id) ON DELETE CASCADE,
    CONSTRAINT metric_model_id_fkey FOREIGN KEY (model_id) REFERENCES model (id)
);
INSERT INTO metric
    SELECT v.id, v.model_id, v.number, m.key, m.value::numeric, v.status IN ('candidate', 'production')
    FROM version v, jsonb_each(v.metrics) m WHERE jsonb_typeof(m.value) = 'number';
CREATE INDEX metric_servable_idx ON metric (model_id, name, value, number) WHERE servable;
CREATE INDEX metric_model_value_idx ON metric (model_id, name, value, version_id);
CREATE INDEX metric_value_idx ON metric (name, value, version_id);

CREATE FUNCTION version_keeps_its_metrics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO metric
            SELECT NEW.id, NEW.model_id, NEW.number, key, value::numeric, NEW.status IN ('candidate', 'production')
            FROM jsonb_each(NEW.metrics) WHERE jsonb_typeof(value) = 'number';
    ELSE
        UPDATE metric SET servable = NEW.status IN ('candidate', 'production')
        WHERE version_id = NEW.id AND servable <> (NEW.status IN ('candidate', 'production'));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER version_keeps_its_metrics AFTER INSERT OR UPDATE OF status ON version
    FOR EACH ROW EXECUTE FUNCTION version_keeps_its_metrics();
"""

# Without the count of those that are gone, how many versions a model has would be counted one by one.
DELETED = """
ALTER TABLE model ADD COLUMN deleted integer DEFAULT 0 NOT NULL;
UPDATE model SET deleted = last_version - (SELECT count(*) FROM version WHERE model_id = model.id);
ALTER TABLE model ADD CONSTRAINT model_deleted_check CHECK (deleted BETWEEN 0 AND last_version);

CREATE FUNCTION version_is_counted_out() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE model SET deleted = deleted + 1 WHERE id = OLD.model_id;
    RETURN NULL;
END $$;
CREATE TRIGGER version_is_counted_out AFTER DELETE ON version
    FOR EACH ROW EXECUTE FUNCTION version_is_counted_out();
"""

# Who may protect an alias may move a protected one: the right to write the column is the only list of them.
PROTECTED = """
ALTER TABLE alias ADD COLUMN protected boolean DEFAULT false NOT NULL;

CREATE FUNCTION alias_is_protected() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF OLD.protected AND NOT has_column_privilege('alias', 'protected', 'UPDATE') THEN
        RAISE EXCEPTION 'the alias % is protected', OLD.name
            USING ERRCODE = 'check_violation', CONSTRAINT = 'alias_is_protected';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER alias_is_protected BEFORE UPDATE OR DELETE ON alias
    FOR EACH ROW EXECUTE FUNCTION alias_is_protected();
"""

# An event of kind `alias` says that the name went to another version; to protect it is something else.
ALIAS_EVENTS = """
CREATE OR REPLACE FUNCTION alias_writes_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := (SELECT m.name FROM model m WHERE m.id = coalesce(NEW.model_id, OLD.model_id));
    target_before integer := CASE WHEN TG_OP <> 'INSERT' THEN
        (SELECT v.number FROM version v WHERE v.id = OLD.version_id) END;
    target_after integer := CASE WHEN TG_OP <> 'DELETE' THEN
        (SELECT v.number FROM version v WHERE v.id = NEW.version_id) END;
BEGIN
    IF TG_OP <> 'UPDATE' OR NEW.version_id <> OLD.version_id THEN
        PERFORM record_event('alias', name, coalesce(target_after, target_before),
            CASE WHEN TG_OP <> 'INSERT' THEN jsonb_build_object('alias', OLD.name, 'number', target_before) END,
            CASE WHEN TG_OP <> 'DELETE' THEN jsonb_build_object('alias', NEW.name, 'number', target_after) END,
            next_generation());
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.protected <> OLD.protected OR TG_OP = 'INSERT' AND NEW.protected THEN
        PERFORM record_event('alias protection', name, target_after,
            jsonb_build_object('alias', NEW.name, 'protected', NOT NEW.protected),
            jsonb_build_object('alias', NEW.name, 'protected', NEW.protected),
            next_generation());
    END IF;
    RETURN NULL;
END $$;
"""

FORMER_ALIAS_EVENTS = """
CREATE OR REPLACE FUNCTION alias_writes_events() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := (SELECT m.name FROM model m WHERE m.id = coalesce(NEW.model_id, OLD.model_id));
    target_before integer := CASE WHEN TG_OP <> 'INSERT' THEN
        (SELECT v.number FROM version v WHERE v.id = OLD.version_id) END;
    target_after integer := CASE WHEN TG_OP <> 'DELETE' THEN
        (SELECT v.number FROM version v WHERE v.id = NEW.version_id) END;
BEGIN
    PERFORM record_event('alias', name, coalesce(target_after, target_before),
        CASE WHEN TG_OP <> 'INSERT' THEN jsonb_build_object('alias', OLD.name, 'number', target_before) END,
        CASE WHEN TG_OP <> 'DELETE' THEN jsonb_build_object('alias', NEW.name, 'number', target_after) END,
        next_generation());
    RETURN NULL;
END $$;
"""

INDEXES = """
CREATE INDEX version_created_at_idx ON version (created_at, id);
CREATE INDEX version_model_created_at_idx ON version (model_id, created_at, id);
CREATE INDEX version_status_idx ON version (status, created_at, id);
CREATE INDEX version_model_status_idx ON version (model_id, status, created_at, id);
CREATE INDEX version_servable_idx ON version (model_id, number) WHERE status IN ('candidate', 'production');
CREATE INDEX version_tags_idx ON version USING gin (tags jsonb_path_ops);
CREATE INDEX version_params_idx ON version USING gin (params jsonb_path_ops);
CREATE FUNCTION version_words(note text, tags jsonb) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('simple', coalesce(note, '')) || jsonb_to_tsvector('simple', tags, '["key", "string"]');
CREATE INDEX version_words_idx ON version USING gin (version_words(note, tags));
"""


def upgrade() -> None:
    for statements in (METRICS, DELETED, PROTECTED, ALIAS_EVENTS, INDEXES):
        op.execute(statements)
    op.execute("REVOKE EXECUTE ON FUNCTION version_keeps_its_metrics, version_is_counted_out FROM PUBLIC")
    op.execute("ANALYZE metric")


def downgrade() -> None:
    refuse_losses(op.get_bind(), [revision], lose=may_lose())
    op.execute("DROP INDEX version_words_idx, version_params_idx, version_tags_idx, version_servable_idx")
    op.execute("DROP INDEX version_model_status_idx, version_status_idx, version_model_created_at_idx")
    op.execute("DROP INDEX version_created_at_idx")
    op.execute("DROP FUNCTION version_words")
    op.execute(FORMER_ALIAS_EVENTS)
    op.execute("DROP TRIGGER alias_is_protected ON alias")
    op.execute("ALTER TABLE alias DROP COLUMN protected")
    op.execute("DROP TRIGGER version_is_counted_out ON version")
    op.execute("ALTER TABLE model DROP COLUMN deleted")
    op.execute("DROP TRIGGER version_keeps_its_metrics ON version")
    op.execute("DROP TABLE metric")
    op.execute("DROP FUNCTION alias_is_protected, version_is_counted_out, version_keeps_its_metrics")
