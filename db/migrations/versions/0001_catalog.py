"""The catalog: models, versions, aliases, events, the generation and the store's identity.

The rules that must hold whoever writes (numbers, immutability, moves between states, history) are triggers and
constraints here, so that a direct UPDATE in psql meets them too. Each refusal carries a constraint name.
"""

from alembic import op
from bodega_db.catalog.downgrade import may_lose, refuse_losses

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE store (
    singleton boolean DEFAULT true NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT store_pkey PRIMARY KEY (singleton),
    CONSTRAINT store_one_row_check CHECK (singleton)
);
INSERT INTO store DEFAULT VALUES;

CREATE TABLE generation (
    singleton boolean DEFAULT true NOT NULL,
    value bigint DEFAULT 0 NOT NULL,
    CONSTRAINT generation_pkey PRIMARY KEY (singleton),
    CONSTRAINT generation_one_row_check CHECK (singleton)
);
INSERT INTO generation DEFAULT VALUES;

CREATE TABLE model (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    description text,
    last_version integer DEFAULT 0 NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT model_pkey PRIMARY KEY (id),
    CONSTRAINT model_name_key UNIQUE (name),
    CONSTRAINT model_name_check CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,127}$'),
    CONSTRAINT model_last_version_check CHECK (last_version >= 0)
);

CREATE TABLE version (
    id bigint GENERATED ALWAYS AS IDENTITY,
    model_id bigint NOT NULL,
    number integer NOT NULL,
    status text DEFAULT 'candidate' NOT NULL,
    sha256 text NOT NULL,
    size_bytes bigint NOT NULL,
    format text NOT NULL,
    path text GENERATED ALWAYS AS ('objects/sha256/' || substr(sha256, 1, 2) || '/' || sha256) STORED NOT NULL,
    signature jsonb NOT NULL,
    golden jsonb NOT NULL,
    metrics jsonb NOT NULL,
    params jsonb NOT NULL,
    tags jsonb NOT NULL,
    environment jsonb NOT NULL,
    lineage jsonb NOT NULL,
    note text,
    idempotency_key text,
    generation bigint NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT version_pkey PRIMARY KEY (id),
    CONSTRAINT version_model_id_fkey FOREIGN KEY (model_id) REFERENCES model (id),
    CONSTRAINT version_model_id_number_key UNIQUE (model_id, number),
    CONSTRAINT version_idempotency_key_key UNIQUE (idempotency_key),
    CONSTRAINT version_number_check CHECK (number > 0),
    CONSTRAINT version_sha256_check CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT version_size_bytes_check CHECK (size_bytes > 0),
    CONSTRAINT version_status_check CHECK (status IN ('candidate', 'production', 'archived', 'quarantined')),
    CONSTRAINT version_format_check CHECK (format IN ('skops', 'joblib')),
    CONSTRAINT version_metrics_check CHECK (jsonb_typeof(metrics) = 'object'),
    CONSTRAINT version_tags_check CHECK (jsonb_typeof(tags) = 'object')
);
CREATE UNIQUE INDEX version_one_production ON version (model_id) WHERE status = 'production';
CREATE INDEX version_generation_idx ON version (generation);
CREATE INDEX version_sha256_idx ON version (sha256);

CREATE TABLE alias (
    model_id bigint NOT NULL,
    name text NOT NULL,
    version_id bigint NOT NULL,
    CONSTRAINT alias_pkey PRIMARY KEY (model_id, name),
    CONSTRAINT alias_model_id_fkey FOREIGN KEY (model_id) REFERENCES model (id),
    CONSTRAINT alias_version_id_fkey FOREIGN KEY (version_id) REFERENCES version (id),
    CONSTRAINT alias_name_check CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,127}$' AND name !~ '^[0-9]+$'),
    CONSTRAINT alias_reserved_check CHECK (name NOT IN ('latest', 'production', 'best'))
);
CREATE INDEX alias_version_id_idx ON alias (version_id);

CREATE TABLE event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz DEFAULT clock_timestamp() NOT NULL,
    kind text NOT NULL,
    model text NOT NULL,
    number integer,
    actor text NOT NULL,
    reason text,
    before jsonb,
    after jsonb,
    generation bigint NOT NULL,
    CONSTRAINT event_pkey PRIMARY KEY (id)
);
CREATE INDEX event_model_idx ON event (model, id DESC);
"""

# Every writer ends by taking the one generation row, so the order of generations is the order of commits: who
# has seen generation g has seen everything before it. The notification is sent at commit, by Postgres itself.
GENERATION = """
CREATE FUNCTION next_generation() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE g bigint;
BEGIN
    UPDATE generation SET value = value + 1 RETURNING value INTO g;
    PERFORM pg_notify('bodega_generation', g::text);
    RETURN g;
END $$;

CREATE FUNCTION generation_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR NEW.value <= OLD.value THEN
        RAISE EXCEPTION 'the generation only grows'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'generation_only_grows';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER generation_only_grows BEFORE INSERT OR UPDATE OR DELETE ON generation
    FOR EACH ROW EXECUTE FUNCTION generation_only_grows();
"""

# Who and why reach the triggers as settings of the transaction: set_config('bodega.actor', …, true).
EVENTS = """
CREATE FUNCTION record_event(kind text, model text, number integer, before jsonb, after jsonb, g bigint)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO event (kind, model, number, actor, reason, before, after, generation)
    VALUES (kind, model, number, coalesce(nullif(current_setting('bodega.actor', true), ''), session_user::text),
            nullif(current_setting('bodega.reason', true), ''), before, after, g)
$$;

CREATE FUNCTION event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'event_is_append_only';
END $$;
CREATE TRIGGER event_is_append_only BEFORE UPDATE OR DELETE ON event
    FOR EACH ROW EXECUTE FUNCTION event_is_append_only();
CREATE TRIGGER event_is_never_truncated BEFORE TRUNCATE ON event
    FOR EACH STATEMENT EXECUTE FUNCTION event_is_append_only();
"""

MODEL = """
CREATE FUNCTION model_keeps_its_numbers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.name <> OLD.name OR NEW.created_at <> OLD.created_at OR NEW.created_by <> OLD.created_by
    THEN
        RAISE EXCEPTION 'the name and origin of a model never change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'model_is_immutable';
    END IF;
    IF NEW.last_version NOT IN (OLD.last_version, OLD.last_version + 1) THEN
        RAISE EXCEPTION 'version numbers go up by one and are never used again'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'model_numbers_go_up_by_one';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER model_keeps_its_numbers BEFORE UPDATE ON model
    FOR EACH ROW EXECUTE FUNCTION model_keeps_its_numbers();

CREATE FUNCTION model_writes_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM record_event('model created', NEW.name, NULL, NULL, NULL, next_generation());
    ELSIF NEW.description IS DISTINCT FROM OLD.description THEN
        PERFORM record_event('model described', NEW.name, NULL, jsonb_build_object('description', OLD.description),
                             jsonb_build_object('description', NEW.description), next_generation());
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER model_writes_events AFTER INSERT OR UPDATE ON model
    FOR EACH ROW EXECUTE FUNCTION model_writes_events();

CREATE FUNCTION model_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a model row holds the last number given out and is kept'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'model_is_kept';
END $$;
CREATE TRIGGER model_is_kept BEFORE DELETE ON model FOR EACH ROW EXECUTE FUNCTION model_is_kept();
CREATE TRIGGER model_is_never_truncated BEFORE TRUNCATE ON model FOR EACH STATEMENT EXECUTE FUNCTION model_is_kept();
"""

VERSION = """
CREATE FUNCTION version_takes_its_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number <> (SELECT last_version FROM model WHERE id = NEW.model_id) THEN
        RAISE EXCEPTION 'version % was not given out by its model', NEW.number
            USING ERRCODE = 'check_violation', CONSTRAINT = 'version_takes_its_number';
    END IF;
    IF NEW.status <> 'candidate' THEN
        RAISE EXCEPTION 'a version begins as a candidate'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'version_begins_as_candidate';
    END IF;
    NEW.generation := next_generation();
    RETURN NEW;
END $$;
CREATE TRIGGER version_takes_its_number BEFORE INSERT ON version
    FOR EACH ROW EXECUTE FUNCTION version_takes_its_number();

CREATE FUNCTION version_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Everything but these four: a column that a later migration adds is immutable too, unless it says otherwise.
    -- A generated column is not computed yet in a BEFORE trigger; it follows the sha256, which is compared.
    IF to_jsonb(NEW) - '{status,tags,note,generation,path}'::text[]
       IS DISTINCT FROM to_jsonb(OLD) - '{status,tags,note,generation,path}'::text[] THEN
        RAISE EXCEPTION 'a version never changes: only status, tags and note move'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'version_is_immutable';
    END IF;
    IF NEW.status <> OLD.status AND (OLD.status || '>' || NEW.status) NOT IN (
        'candidate>production', 'candidate>archived', 'candidate>quarantined',
        'production>archived', 'production>quarantined',
        'archived>production', 'archived>quarantined',
        'quarantined>candidate', 'quarantined>archived'
    ) THEN
        RAISE EXCEPTION 'a % version cannot become %', OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'version_status_move';
    END IF;
    NEW.generation := next_generation();
    RETURN NEW;
END $$;
CREATE TRIGGER version_is_immutable BEFORE UPDATE ON version
    FOR EACH ROW EXECUTE FUNCTION version_is_immutable();

CREATE FUNCTION version_leaves_only_when_retired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' OR OLD.status NOT IN ('archived', 'quarantined') THEN
        RAISE EXCEPTION 'only an archived or quarantined version can be deleted'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'version_leaves_only_when_retired';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER version_leaves_only_when_retired BEFORE DELETE ON version
    FOR EACH ROW EXECUTE FUNCTION version_leaves_only_when_retired();
CREATE TRIGGER version_is_never_truncated BEFORE TRUNCATE ON version
    FOR EACH STATEMENT EXECUTE FUNCTION version_leaves_only_when_retired();

CREATE FUNCTION version_writes_events() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    name text := (SELECT m.name FROM model m WHERE m.id = coalesce(NEW.model_id, OLD.model_id));
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM record_event('registered', name, NEW.number, NULL,
            jsonb_build_object('status', NEW.status, 'sha256', NEW.sha256), NEW.generation);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM record_event('deleted', name, OLD.number,
            jsonb_build_object('status', OLD.status, 'sha256', OLD.sha256), NULL, next_generation());
    ELSE
        IF NEW.status <> OLD.status THEN
            PERFORM record_event('status', name, NEW.number, jsonb_build_object('status', OLD.status),
                jsonb_build_object('status', NEW.status), NEW.generation);
        END IF;
        IF (NEW.tags, NEW.note) IS DISTINCT FROM (OLD.tags, OLD.note) THEN
            PERFORM record_event('described', name, NEW.number, jsonb_build_object('tags', OLD.tags, 'note', OLD.note),
                jsonb_build_object('tags', NEW.tags, 'note', NEW.note), NEW.generation);
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER version_writes_events AFTER INSERT OR UPDATE OR DELETE ON version
    FOR EACH ROW EXECUTE FUNCTION version_writes_events();
"""

ALIAS = """
CREATE FUNCTION alias_writes_events() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER alias_writes_events AFTER INSERT OR UPDATE OR DELETE ON alias
    FOR EACH ROW EXECUTE FUNCTION alias_writes_events();

CREATE FUNCTION alias_stays_in_its_model() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.model_id <> (SELECT model_id FROM version WHERE id = NEW.version_id) THEN
        RAISE EXCEPTION 'an alias names a version of its own model'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'alias_stays_in_its_model';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER alias_stays_in_its_model BEFORE INSERT OR UPDATE ON alias
    FOR EACH ROW EXECUTE FUNCTION alias_stays_in_its_model();
"""

STORE = """
CREATE FUNCTION store_keeps_its_identity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the identity of a store never changes'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'store_keeps_its_identity';
END $$;
CREATE TRIGGER store_keeps_its_identity BEFORE UPDATE OR DELETE ON store
    FOR EACH ROW EXECUTE FUNCTION store_keeps_its_identity();
"""


def upgrade() -> None:
    for statements in (TABLES, GENERATION, EVENTS, MODEL, VERSION, ALIAS, STORE):
        op.execute(statements)


def downgrade() -> None:
    refuse_losses(op.get_bind(), [revision], lose=may_lose())
    op.execute("DROP TABLE alias, version, model, event, generation, store")
    op.execute(
        "DROP FUNCTION next_generation, generation_only_grows, record_event, event_is_append_only, "
        "model_keeps_its_numbers, model_writes_events, model_is_kept, version_takes_its_number, "
        "version_is_immutable, version_leaves_only_when_retired, version_writes_events, alias_writes_events, "
        "alias_stays_in_its_model, store_keeps_its_identity"
    )
