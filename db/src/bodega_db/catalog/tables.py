"""The tables of the catalog, as Postgres has them after the migrations; triggers stand in the migrations alone."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bodega_db.names import NAME_PATTERN

HEAD = "0007"  # the migration that makes them; a test holds it to be the newest
STATUSES = ("candidate", "production", "archived", "quarantined")
FORMATS = ("skops", "joblib")
SERVABLE = "status IN ('candidate', 'production')"
# The events that tell that a model had a version in production; or may have had one, before it was restored.
PLACED = (
    "(kind = 'restored' OR (kind = 'status' AND (before->>'status' = 'production' OR after->>'status' = 'production')))"
)


class Base(DeclarativeBase):
    """Names every constraint, because errors are recognised by constraint name."""

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        }
    )
    type_annotation_map = {dict[str, Any]: JSONB, str: Text, datetime: DateTime(timezone=True), int: BigInteger}  # noqa: RUF012


class ModelRow(Base):
    """A name, and the last number given out under it."""

    __tablename__ = "model"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint(f"name ~ '{NAME_PATTERN}'", name="name"),
        CheckConstraint("last_version >= 0", name="last_version"),
        CheckConstraint("deleted BETWEEN 0 AND last_version", name="deleted"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str]
    description: Mapped[str | None]
    last_version: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    deleted: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_by: Mapped[str]


class VersionRow(Base):
    """One registered version; only status, tags, note and generation ever change."""

    __tablename__ = "version"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        UniqueConstraint("idempotency_key"),
        CheckConstraint("number > 0", name="number"),
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
        CheckConstraint("size_bytes > 0", name="size_bytes"),
        CheckConstraint(f"status IN ({', '.join(map(repr, STATUSES))})", name="status"),
        CheckConstraint(f"format IN ({', '.join(map(repr, FORMATS))})", name="format"),
        CheckConstraint("jsonb_typeof(metrics) = 'object'", name="metrics"),
        CheckConstraint("jsonb_typeof(tags) = 'object'", name="tags"),
        Index("version_one_production", "model_id", unique=True, postgresql_where=text("status = 'production'")),
        Index("version_generation_idx", "generation"),
        Index("version_sha256_idx", "sha256"),
        Index("version_created_at_idx", "created_at", "id"),
        Index("version_model_created_at_idx", "model_id", "created_at", "id"),
        Index("version_status_idx", "status", "created_at", "id"),
        Index("version_model_status_idx", "model_id", "status", "created_at", "id"),
        Index("version_servable_idx", "model_id", "number", postgresql_where=text(SERVABLE)),
        Index("version_tags_idx", "tags", postgresql_using="gin", postgresql_ops={"tags": "jsonb_path_ops"}),
        Index("version_params_idx", "params", postgresql_using="gin", postgresql_ops={"params": "jsonb_path_ops"}),
        Index("version_words_idx", text("version_words(note, tags)"), postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    number: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(server_default=text("'candidate'"))
    sha256: Mapped[str]
    size_bytes: Mapped[int]
    format: Mapped[str]
    path: Mapped[str] = mapped_column(
        Computed("'objects/sha256/' || substr(sha256, 1, 2) || '/' || sha256", persisted=True)
    )
    signature: Mapped[dict[str, Any]]
    golden: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    params: Mapped[dict[str, Any]]
    tags: Mapped[dict[str, Any]]
    environment: Mapped[dict[str, Any]]
    lineage: Mapped[dict[str, Any]]
    note: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    generation: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_by: Mapped[str]


class MetricRow(Base):
    """One metric of one version, beside its row so that versions can be ordered by it; triggers keep it in step."""

    __tablename__ = "metric"
    __table_args__ = (
        Index("metric_servable_idx", "model_id", "name", "value", "number", postgresql_where=text("servable")),
        Index("metric_model_value_idx", "model_id", "name", "value", "version_id", postgresql_include=["tag_keys"]),
        Index("metric_value_idx", "name", "value", "version_id", postgresql_include=["tag_keys"]),
    )

    version_id: Mapped[int] = mapped_column(ForeignKey("version.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    number: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Decimal] = mapped_column(Numeric)
    servable: Mapped[bool]
    tag_keys: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))


class AliasRow(Base):
    """A movable name for one version of a model."""

    __tablename__ = "alias"
    __table_args__ = (
        CheckConstraint(f"name ~ '{NAME_PATTERN}' AND name !~ '^[0-9]+$'", name="name"),
        CheckConstraint("name NOT IN ('latest', 'production', 'best')", name="reserved"),
        Index("alias_version_id_idx", "version_id"),
    )

    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("version.id"))
    protected: Mapped[bool] = mapped_column(server_default=text("false"))


class AskedOutputRow(Base):
    """An output of a version that the API answered, and when it last noted that."""

    __tablename__ = "asked_output"
    __table_args__ = (CheckConstraint("output ~ '^[a-z_]{1,40}$'", name="output"),)

    version_id: Mapped[int] = mapped_column(ForeignKey("version.id", ondelete="CASCADE"), primary_key=True)
    output: Mapped[str] = mapped_column(primary_key=True)
    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EventRow(Base):
    """One change of the catalog, written by a trigger in the transaction that made it; append-only.

    It names model and version by value, so that it outlives them.
    """

    __tablename__ = "event"
    __table_args__ = (
        Index("event_model_idx", "model", text("id DESC")),
        Index("event_generation_idx", "generation"),
        Index(
            "event_place_idx", "model", "kind", text("id DESC"), postgresql_where=text("kind IN ('status', 'alias')")
        ),
        Index("event_production_idx", "model", text("id DESC"), postgresql_where=text(PLACED)),
        Index("event_deletion_idx", "model", "number", postgresql_where=text("kind = 'deleted'")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    model: Mapped[str]
    number: Mapped[int | None] = mapped_column(Integer)
    actor: Mapped[str]
    reason: Mapped[str | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    generation: Mapped[int]


class GenerationRow(Base):
    """One row that every change bumps, so that a replica can ask what it has not seen."""

    __tablename__ = "generation"
    __table_args__ = (CheckConstraint("singleton", name="one_row"),)

    singleton: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    value: Mapped[int] = mapped_column(server_default=text("0"))


class StoreRow(Base):
    """One row with the identity of this store; the volume's marker file holds the same."""

    __tablename__ = "store"
    __table_args__ = (CheckConstraint("singleton", name="one_row"),)

    singleton: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    id: Mapped[Any] = mapped_column(Uuid, server_default=func.gen_random_uuid())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
