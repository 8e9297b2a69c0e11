"""Tags beside the metrics: an order by a metric passes over a version without the wanted tag inside its index.

To find fifty versions of one team in the order of a metric, several hundred are looked at. Each look at a version's
own row costs four pages; beside the metric, in the index that holds the order, it costs none.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

# A key is four bytes of a hash, because a tag's value may be too long for an index. So it can only tell that a version
# does not have a tag; whether it has, its own row tells. sha256, for hashtext() may change with Postgres.
KEYS = """
CREATE FUNCTION tag_key(name text, value text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ('x' || left(encode(sha256(convert_to(name || '=' || value, 'UTF8')), 'hex'), 8))::bit(32)::integer;

-- NULL, which says nothing, for more tags than the index shall hold.
CREATE FUNCTION tag_keys(tags jsonb) RETURNS integer[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT CASE WHEN count(*) <= 32 THEN coalesce(array_agg(tag_key(key, value) ORDER BY key), '{}') END
    FROM jsonb_each_text(tags)
);
ALTER TABLE metric ADD COLUMN tag_keys integer[];
"""

# Hashed once for a version, and not once for each of its metrics.
FILL = """
WITH hashed AS MATERIALIZED (SELECT id, tag_keys(tags) AS keys FROM version)
UPDATE metric SET tag_keys = hashed.keys FROM hashed WHERE hashed.id = metric.version_id
"""

METRICS = """
CREATE OR REPLACE FUNCTION version_keeps_its_metrics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO metric (version_id, model_id, number, name, value, servable, tag_keys)
            SELECT NEW.id, NEW.model_id, NEW.number, key, value::numeric, NEW.status IN ('candidate', 'production'),
                   tag_keys(NEW.tags)
            FROM jsonb_each(NEW.metrics) WHERE jsonb_typeof(value) = 'number';
    ELSE
        UPDATE metric SET servable = NEW.status IN ('candidate', 'production'), tag_keys = tag_keys(NEW.tags)
        WHERE version_id = NEW.id
            AND (servable, tag_keys) IS DISTINCT FROM (NEW.status IN ('candidate', 'production'), tag_keys(NEW.tags));
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER version_keeps_its_metrics ON version;
CREATE TRIGGER version_keeps_its_metrics AFTER INSERT OR UPDATE OF status, tags ON version
    FOR EACH ROW EXECUTE FUNCTION version_keeps_its_metrics();
"""

FORMER_METRICS = """
CREATE OR REPLACE FUNCTION version_keeps_its_metrics() RETURNS trigger
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
DROP TRIGGER version_keeps_its_metrics ON version;
CREATE TRIGGER version_keeps_its_metrics AFTER INSERT OR UPDATE OF status ON version
    FOR EACH ROW EXECUTE FUNCTION version_keeps_its_metrics();
"""


def upgrade() -> None:
    op.execute(KEYS)
    op.execute(METRICS)
    op.execute("DROP INDEX metric_model_value_idx, metric_value_idx")
    op.execute(FILL)
    _make_indexes("INCLUDE (tag_keys)")
    op.execute("ANALYZE metric")


def downgrade() -> None:
    op.execute("DROP INDEX metric_model_value_idx, metric_value_idx")
    _make_indexes("")
    op.execute(FORMER_METRICS)
    op.execute("ALTER TABLE metric DROP COLUMN tag_keys")
    op.execute("DROP FUNCTION tag_keys, tag_key")


def _make_indexes(further: str) -> None:
    op.execute(f"CREATE INDEX metric_model_value_idx ON metric (model_id, name, value, version_id) {further}")
    op.execute(f"CREATE INDEX metric_value_idx ON metric (name, value, version_id) {further}")
