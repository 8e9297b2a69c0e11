"""Which outputs of a version were asked over HTTP, so that a promotion knows what its callers rely on.

The API writes it, and nothing else of this database. It is no part of the catalog: no event and no generation tells of
it, and a rebuild does not bring it back.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

TABLE = """
CREATE TABLE asked_output (
    version_id bigint NOT NULL,
    output text NOT NULL,
    asked_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT asked_output_pkey PRIMARY KEY (version_id, output),
    CONSTRAINT asked_output_version_id_fkey FOREIGN KEY (version_id) REFERENCES version (id) ON DELETE CASCADE,
    CONSTRAINT asked_output_output_check CHECK (output ~ '^[a-z_]{1,40}$')
)
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(TABLE)


def downgrade() -> None:
    """Forget what was asked."""
    op.execute("DROP TABLE asked_output")
