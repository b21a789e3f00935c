"""Every setting, in one validated object: from a TOML file and the environment, which wins.

``PREFSTREAM_<SECTION>__<NAME>`` names a setting in the environment, such as ``PREFSTREAM_KAFKA__BOOTSTRAP_SERVERS``.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SIMULATOR = "simulator"
"""Value of ``kafka.bootstrap_servers`` that asks for librdkafka's protocol simulator inside the worker."""

ENV_PREFIX = "PREFSTREAM_"
CONFIG_VARIABLE = "PREFSTREAM_CONFIG"
DEFAULT_CONFIG = Path("prefstream.toml")

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class SettingsError(Exception):
    """A setting that can't be used; the message names it and what was expected."""


class Section(BaseModel):
    """A table of the TOML file; a name that isn't a setting is an error, so that no typo goes unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(Section):
    """TLS towards a server; the paths are PEM files."""

    enabled: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    verify_hostname: bool = True

    @model_validator(mode="after")
    def _files_exist(self) -> "Tls":
        for name in ("ca_file", "cert_file", "key_file"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: there is no file {str(path)!r}")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file come together: set both or none")
        return self


class Sasl(Section):
    """SASL log-in to Kafka."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str
    password: SecretStr


class Kafka(Section):
    """The broker, and how the worker behaves in its group."""

    bootstrap_servers: str = SIMULATOR
    input_partitioner: Literal["murmur2", "crc32"] = "murmur2"
    session_timeout_s: Seconds = 10.0
    heartbeat_interval_s: Seconds = 3.0
    metadata_max_age_s: Seconds = 30.0
    max_batch_records: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    max_fetch_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    replication_factor: Annotated[int, Field(ge=1, le=10)] = 1
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    input_retention_h: Annotated[float, Field(gt=0)] = 168.0
    tls: Tls = Tls()
    sasl: Sasl | None = None

    @model_validator(mode="after")
    def _heartbeat_fits(self) -> "Kafka":
        if self.heartbeat_interval_s * 2 > self.session_timeout_s:
            raise ValueError(
                f"heartbeat_interval_s is {self.heartbeat_interval_s}, expected at most half of session_timeout_s "
                f"({self.session_timeout_s})"
            )
        return self


class Cassandra(Section):
    """The Cassandra cluster that keeps the profiles."""

    hosts: list[str] = ["127.0.0.1"]
    port: Port = 9042
    local_dc: str | None = None
    username: str | None = None
    password: SecretStr | None = None
    tls: Tls = Tls()
    replication_factor: Annotated[int, Field(ge=1, le=10)] = 1
    consistency: Literal["LOCAL_QUORUM", "QUORUM", "ALL", "LOCAL_ONE", "ONE"] = "LOCAL_QUORUM"
    request_timeout_s: Seconds = 10.0


class Store(Section):
    """Where profiles are kept: a SQLite file (one machine) or Cassandra."""

    kind: Literal["sqlite", "cassandra"] = "sqlite"
    path: Path = Path(".prefstream/profiles.sqlite")
    cassandra: Cassandra = Cassandra()


class Encoder(Section):
    """The encoder folder; without one the built-in hashed text encoder is made on first use."""

    folder: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=0, le=256)] = 0


class Profiles(Section):
    """What a profile remembers, and how much memory the hot ones may take."""

    history: Annotated[int, Field(ge=1, le=1_000)] = 20
    duplicate_window: Annotated[int, Field(ge=1, le=10_000)] = 64
    purchases: Annotated[int, Field(ge=1, le=1_000)] = 32
    pending: Annotated[int, Field(ge=1, le=10_000)] = 64
    memory_mb: Annotated[int, Field(ge=16)] = 256
    max_future_s: Annotated[float, Field(ge=0)] = 300.0
    """An event later than its record's Kafka timestamp by more than this is refused."""


class TypeWeights(Section):
    """How much an event of each type counts."""

    click: Annotated[float, Field(ge=0)] = 1.0
    browse: Annotated[float, Field(ge=0)] = 0.5
    purchase: Annotated[float, Field(ge=0)] = 4.0


class Ranking(Section):
    """The rules of the top-k."""

    k: Annotated[int, Field(ge=1, le=1_000)] = 20
    exclude_purchased_days: Annotated[float, Field(ge=0)] = 30.0
    """Days for which what was bought is left out; 0 keeps it."""
    recently_seen: Literal["keep", "exclude"] = "exclude"
    recently_seen_events: Annotated[int, Field(ge=0, le=1_000)] = 20
    """How many of the latest events count as just seen."""
    trending_half_life_s: Seconds = 3_600.0
    trending_weights: TypeWeights = TypeWeights()


class Checkpoint(Section):
    """When state is saved."""

    interval_s: Seconds = 1.0
    max_dirty_users: Annotated[int, Field(ge=1)] = 20_000


class Server(Section):
    """The worker's port for /healthz, /readyz and /metrics; 0 picks a free one."""

    host: str = "127.0.0.1"
    port: Port = 8080


class Logging(Section):
    """Structured logs: JSON lines, or text for people."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class Settings(BaseSettings):
    """All settings of prefstream."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, case_sensitive=False
    )

    namespace: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]{0,29})?$")] = ""
    """Prefixes topics, consumer group and keyspace, and labels the metrics."""
    kafka: Kafka = Kafka()
    store: Store = Store()
    encoder: Encoder = Encoder()
    profiles: Profiles = Profiles()
    ranking: Ranking = Ranking()
    checkpoint: Checkpoint = Checkpoint()
    server: Server = Server()
    logging: Logging = Logging()
    data_dir: Path = Path(".prefstream")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what the file (given as keywords) says."""
        return env_settings, init_settings

    @property
    def keyspace(self) -> str:
        """Cassandra keyspace of this namespace."""
        return f"{self.namespace}_prefstream" if self.namespace else "prefstream"

    @property
    def group(self) -> str:
        """Consumer group of this namespace."""
        return f"{self.namespace}.prefstream" if self.namespace else "prefstream"


def load_settings(path: Path | None = None, **overrides: Any) -> Settings:
    """Settings from a TOML file and the environment.

    Parameters
    ----------
    path : the file; else the one that PREFSTREAM_CONFIG names, else ./prefstream.toml where there is one
    overrides : top-level settings that win over the file, as the TOML file would hold them

    Raises
    ------
    SettingsError
        A file that is missing or no TOML, a setting that is unknown or wrong: named, with what was expected.
    """
    given = path or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    if given is not None and not given.is_file():
        raise SettingsError(f"There is no settings file {str(given)!r}: check --config or {CONFIG_VARIABLE}.")
    file = given or DEFAULT_CONFIG
    stated: dict[str, Any] = {}
    if file.is_file():
        try:
            stated = tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file} is not valid TOML: {error}.") from None
    try:
        _check_variables()
        return Settings(**_merged(stated, overrides))
    except ValidationError as error:
        raise SettingsError(_sentence(error, str(file) if stated else "the environment")) from None
    except ValueError as error:  # pydantic-settings: a variable that should hold JSON doesn't
        raise SettingsError(f"A setting in the environment can't be read: {error}.") from None


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` laid on ``base``, table by table."""
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = _merged(base[name], value) if both else value
    return merged


def _check_variables() -> None:
    """A misspelt variable would be ignored in silence, so each one with our prefix must name a setting."""
    known = set(Settings.model_fields)
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX) and variable != CONFIG_VARIABLE:
            section = variable.removeprefix(ENV_PREFIX).split("__")[0].lower()
            if section not in known:
                raise SettingsError(
                    f"The environment variable {variable} names no setting: expected {ENV_PREFIX}SECTION__NAME with a "
                    f"section of {', '.join(sorted(known))}."
                )


def _sentence(error: ValidationError, origin: str) -> str:
    parts = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"]) or "settings"
        if problem["type"] == "extra_forbidden":
            parts.append(f"{name} is no setting of prefstream (see the README for their names)")
        else:
            value = problem.get("input")
            shown = "" if isinstance(value, dict) else f" is {value!r}"
            parts.append(f"{name}{shown}: {problem['msg'].removeprefix('Value error, ')}")
    return f"Wrong settings (from {origin} or the environment): " + "; ".join(parts) + "."
