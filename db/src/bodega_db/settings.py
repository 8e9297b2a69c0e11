"""The settings of a deployment, read from `BODEGA_*` variables and secret files, and passed in by the entry points."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal, Self

from bodega_model.formats.policy import Policy
from pydantic import Field, PositiveInt, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from bodega_db.errors import SettingsError

Format = Literal["skops", "joblib"]
WithoutProduction = Literal["refuse", "newest"]
SECRETS = Path("/run/secrets")


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="BODEGA_",
        extra="ignore",
        frozen=True,
        # A missing folder is a warning in pydantic-settings, and there is none outside of containers.
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
    )

    database_url: SecretStr = Field(description="postgresql://user:password@host:port/database")
    models: Path = Field(description="the volume: the folder with the artifacts")
    formats: frozenset[Format] = Field(
        default=frozenset({"skops"}),
        description="formats that may be loaded; joblib runs any code in the file",
    )
    trusted_types: frozenset[str] = Field(
        default=frozenset(), description="types to trust in skops files besides the reviewed list"
    )
    allow_sklearn_mismatch: bool = Field(
        default=False,
        description="load models trained with another scikit-learn minor version, if they repeat their golden rows",
    )
    max_model_bytes: PositiveInt = Field(
        default=8 * 1024**3, description="the largest model to load: the size of its arrays, in bytes"
    )
    load_seconds: float = Field(
        default=120, gt=0, le=3600, description="time limit for loading a model in the sandbox process, in seconds"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(default=1, description="worker processes of the API")
    share_arrays: bool = Field(
        default=False,
        description="keep equal large arrays of a version in memory once for all workers, by replacing memory pages",
    )
    fast_path: bool = Field(
        default=True, description="answer short, simple predictions before they become requests of the web framework"
    )
    cache_bytes: PositiveInt = Field(default=2 * 1024**3, description="memory for loaded versions, in bytes")
    keep_warm: bool = Field(
        default=False,
        description="load the versions in production before the API is ready, and remove them from memory last",
    )
    max_body_bytes: PositiveInt = Field(default=16 * 1024**2, description="the largest JSON request body, in bytes")
    max_rows: PositiveInt = Field(default=10_000, description="the most rows in one JSON prediction request")
    max_table_bytes: PositiveInt = Field(
        default=256 * 1024**2,
        description="the largest body in CSV, Arrow or Parquet, compressed or decompressed, in bytes",
    )
    max_table_rows: PositiveInt = Field(default=1_000_000, description="the most rows in such a body")
    max_header_bytes: Annotated[int, Field(ge=1024, le=1024**2)] = Field(
        default=64 * 1024, description="the longest head of a request (URL and headers), in bytes"
    )
    header_seconds: float = Field(
        default=15, gt=0, le=3600, description="time limit for the head of a request, in seconds"
    )
    min_body_bytes_per_second: Annotated[int, Field(ge=0)] = Field(
        default=1000, description="the slowest body after its first ten seconds, in bytes per second; 0 for no limit"
    )
    keep_alive_seconds: float = Field(
        default=75, gt=0, le=3600, description="how long an idle connection stays open, in seconds"
    )
    max_connections: PositiveInt = Field(
        default=10_000, description="the most connections of one process; above it idle connections are closed"
    )
    predict_seconds: float = Field(default=30, gt=0, le=3600, description="time limit for a prediction, in seconds")
    max_waiting: PositiveInt = Field(
        default=1000,
        description="the most requests that may wait for one version; further requests get 503 with Retry-After",
    )
    max_stale: float = Field(
        default=300,
        gt=0,
        allow_inf_nan=False,
        description="how long the API predicts from memory while the catalog does not respond, in seconds",
    )
    scrub_seconds: float = Field(
        default=3600,
        ge=0,
        allow_inf_nan=False,
        description="the pause between two scrubs, in seconds; 0 turns them off",
    )
    scrub_bytes_per_second: PositiveInt = Field(
        default=20 * 1024**2, description="the read speed of a scrub, in bytes per second"
    )
    scrub_quarantine: bool = Field(
        default=False, description="quarantine a version if two reads of a scrub find its artifact damaged"
    )
    without_production: WithoutProduction = Field(
        default="refuse",
        description="what answers a request without a version if the model had one in production and has none now",
    )
    pool_size: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10, description="database connections of one process"
    )
    api_url: str = Field(default="http://127.0.0.1:8000", description="where programs on this machine reach the API")
    public_api_url: str = Field(default="", description="where people reach the API, if that differs")
    api_host: str = Field(default="127.0.0.1", description="the address that the API listens on")
    allowed_hosts: frozenset[str] = Field(
        default=frozenset(), description="host names of the API besides those of its own machine"
    )
    root_path: str = Field(default="", description="the path prefix under which a proxy publishes the API")
    trusted_proxies: frozenset[str] = Field(
        default=frozenset(), description="addresses and networks of proxies whose X-Forwarded headers are trusted"
    )
    admin_token_file: Path | None = Field(
        default=None, description="the file with the token for changes over HTTP; without it the API only reads"
    )
    admin_database_url: SecretStr | None = Field(
        default=None, description="the catalog for those changes, with a role that may make them"
    )
    api_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8000, description="the port that the API listens on"
    )

    @classmethod
    def read(cls, **overrides: object) -> Self:
        """Read the settings of this process; raise SettingsError naming each variable that is missing or wrong."""
        try:
            return cls(**overrides)  # type: ignore[arg-type]
        except ValidationError as exc:
            faults = [f"BODEGA_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in exc.errors()]
            raise SettingsError(
                "; ".join(faults), "Set these variables, or start everything with `./bodega up`."
            ) from None
        except SourceError:  # its own words name a class, and its cause shows the value
            raise SettingsError(
                "A setting with a list is not valid JSON",
                "Write it as in BODEGA_FORMATS='[\"skops\"]'; docs/settings.md.",
            ) from None

    def policy(self) -> Policy:
        """Return what a process with these settings may load."""
        return Policy(**{field.name: getattr(self, field.name) for field in fields(Policy)})
