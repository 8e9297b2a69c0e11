"""What a deployment chooses, read from `BODEGA_*` variables and secret files, and passed in from the edges."""

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
    """The settings of one process, made at its edge and handed on."""

    model_config = SettingsConfigDict(
        env_prefix="BODEGA_",
        extra="ignore",
        frozen=True,
        # A missing folder is a warning in pydantic-settings, and there is none outside of containers.
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
    )

    database_url: SecretStr = Field(description="postgresql://user:password@host:port/database")
    models: Path = Field(description="the volume: the folder that holds the artifacts")
    formats: frozenset[Format] = Field(
        default=frozenset({"skops"}),
        description="formats that may be loaded; joblib runs whatever code the file holds",
    )
    trusted_types: frozenset[str] = Field(
        default=frozenset(), description="types to trust in skops files beyond the reviewed list"
    )
    allow_sklearn_mismatch: bool = Field(
        default=False,
        description="load models of another scikit-learn minor version if they reproduce their golden rows",
    )
    max_model_bytes: PositiveInt = Field(
        default=8 * 1024**3, description="the largest model that is loaded: the size of its arrays, in bytes"
    )
    load_seconds: float = Field(
        default=120, gt=0, le=3600, description="how long loading a model may take in the process that tries it"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(default=1, description="processes of the API that serve")
    cache_bytes: PositiveInt = Field(default=2 * 1024**3, description="room for loaded versions, in bytes")
    keep_warm: bool = Field(
        default=False,
        description="load the versions in production before the process is ready, and keep them in memory",
    )
    max_body_bytes: PositiveInt = Field(default=16 * 1024**2, description="the largest request body in JSON, in bytes")
    max_rows: PositiveInt = Field(default=10_000, description="the most rows in one prediction request in JSON")
    max_table_bytes: PositiveInt = Field(
        default=256 * 1024**2, description="the largest body in CSV, Arrow or Parquet, packed or unpacked, in bytes"
    )
    max_table_rows: PositiveInt = Field(default=1_000_000, description="the most rows in such a body")
    max_header_bytes: Annotated[int, Field(ge=1024, le=1024**2)] = Field(
        default=64 * 1024, description="the longest head of a request: its target and its headers, in bytes"
    )
    header_seconds: float = Field(default=15, gt=0, le=3600, description="how long the head of a request may take")
    min_body_bytes_per_second: Annotated[int, Field(ge=0)] = Field(
        default=1000, description="how fast a body must arrive after its first ten seconds; 0 for any speed"
    )
    keep_alive_seconds: float = Field(
        default=75, gt=0, le=3600, description="how long a connection without a request stays open"
    )
    max_connections: PositiveInt = Field(
        default=10_000, description="the most connections of one process; beyond, those that are idle are ended"
    )
    predict_seconds: float = Field(default=30, gt=0, le=3600, description="how long a prediction may take, in seconds")
    max_waiting: PositiveInt = Field(
        default=1000, description="the most requests that wait for one version; others shall come again later"
    )
    max_stale: float = Field(
        default=300,
        gt=0,
        allow_inf_nan=False,
        description="how long a prediction may go by what is remembered of a catalog that does not answer, in seconds",
    )
    scrub_seconds: float = Field(
        default=3600, ge=0, allow_inf_nan=False, description="how long after a scrub the next begins; 0 for none"
    )
    scrub_bytes_per_second: PositiveInt = Field(
        default=20 * 1024**2, description="how fast a scrub reads the volume, in bytes"
    )
    scrub_quarantine: bool = Field(
        default=False, description="quarantine a version whose artifact a scrub finds damaged in two reads"
    )
    without_production: WithoutProduction = Field(
        default="refuse",
        description="what answers when no version is named, of a model that had one in production and has none now",
    )
    pool_size: Annotated[int, Field(ge=1, le=100)] = Field(default=10, description="database connections kept")
    api_url: str = Field(default="http://127.0.0.1:8000", description="where programs beside this one reach the API")
    public_api_url: str = Field(default="", description="where people reach the API, if that is elsewhere")
    api_host: str = Field(default="127.0.0.1", description="the address that the API listens on")
    allowed_hosts: frozenset[str] = Field(
        default=frozenset(), description="names that requests may call the API by, beside those of its own machine"
    )
    root_path: str = Field(default="", description="the prefix of paths below which a proxy shows the API")
    trusted_proxies: frozenset[str] = Field(
        default=frozenset(), description="addresses and networks of proxies whose X-Forwarded headers are believed"
    )
    admin_token_file: Path | None = Field(
        default=None, description="the file with the token that writes over HTTP need; without it there are none"
    )
    admin_database_url: SecretStr | None = Field(
        default=None, description="the catalog for those writes, with a role that may change it"
    )
    api_port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8000, description="the port it listens on")

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
                "A setting that is a list is not written as JSON",
                "As in BODEGA_FORMATS='[\"skops\"]'; docs/settings.md.",
            ) from None

    def policy(self) -> Policy:
        """Return what a process with these settings may load."""
        return Policy(**{field.name: getattr(self, field.name) for field in fields(Policy)})
