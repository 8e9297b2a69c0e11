"""Numbers that name versions, and an index for what happened to places: production and aliases.

Whoever may register could raise a model's last number without a version, and so leave a gap, or begin a model at 7.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

BEGINNING = """
CREATE FUNCTION model_begins_its_numbers() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.last_version NOT IN (0, 1) THEN
        RAISE EXCEPTION 'the numbers of a model begin at 1'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'model_numbers_go_up_by_one';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER model_begins_its_numbers BEFORE INSERT ON model
    FOR EACH ROW EXECUTE FUNCTION model_begins_its_numbers();
"""

# Deferred, because the number is given out before the version is written; at the commit it must be there.
NAMING = """
CREATE FUNCTION model_numbers_name_versions() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.last_version > 0 AND NOT EXISTS (
        SELECT FROM version WHERE model_id = NEW.id AND number = NEW.last_version
    ) THEN
        RAISE EXCEPTION 'number % of the model was given out to no version', NEW.last_version
            USING ERRCODE = 'check_violation', CONSTRAINT = 'model_numbers_name_versions';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER model_numbers_name_inserted_versions AFTER INSERT ON model
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION model_numbers_name_versions();
CREATE CONSTRAINT TRIGGER model_numbers_name_versions AFTER UPDATE OF last_version ON model
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.last_version <> OLD.last_version) EXECUTE FUNCTION model_numbers_name_versions();
"""


def upgrade() -> None:
    op.execute(BEGINNING)
    op.execute(NAMING)
    # Where a model has 100 000 registrations, the few events about places must not be searched for among them.
    op.execute("CREATE INDEX event_place_idx ON event (model, kind, id DESC) WHERE kind IN ('status', 'alias')")


def downgrade() -> None:
    op.execute("DROP INDEX event_place_idx")
    op.execute("DROP TRIGGER model_numbers_name_versions ON model")
    op.execute("DROP TRIGGER model_numbers_name_inserted_versions ON model")
    op.execute("DROP TRIGGER model_begins_its_numbers ON model")
    op.execute("DROP FUNCTION model_numbers_name_versions, model_begins_its_numbers")
