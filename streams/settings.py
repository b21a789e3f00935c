"""All settings in one validated object, read from a TOML file and the environment; the environment wins.

``PREFSTREAM_<SECTION>__<NAME>`` names a setting in the environment, such as ``PREFSTREAM_KAFKA__BOOTSTRAP_SERVERS``.
"""

import difflib
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.recommendation import ListReasons
from streams.errors import PrefstreamError

SIMULATOR = "simulator"
"""The value of ``kafka.bootstrap_servers`` that starts librdkafka's protocol simulator inside the worker."""

ENV_PREFIX = "PREFSTREAM_"
CONFIG_VARIABLE = "PREFSTREAM_CONFIG"
DEFAULT_CONFIG = Path("prefstream.toml")

Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]

Partitioner = Literal["murmur2", "crc32", "fnv1a"]
KeyedByUser = Literal["clicks", "browses", "purchases", "profile-commands", "actions"]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class SettingsError(PrefstreamError):
    """A setting can't be used; the message names the setting and says what was expected."""


class Section(BaseModel):
    """A table of the TOML file; an unknown name is an error, so that every typo is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Tls(Section):
    """TLS for the connections to a server; the paths are PEM files."""

    enabled: bool = False
    """Encrypt the connections."""
    ca_file: Path | None = None
    """Authorities that the servers' certificates must come from. Without it: those of the system."""
    cert_file: Path | None = None
    """Certificate of this client, for servers that ask clients for one."""
    key_file: Path | None = None
    """Key of the client's certificate."""
    verify_hostname: bool = True
    """Whether a server's certificate must name the address that it is reached at."""

    @model_validator(mode="after")
    def _files_exist(self) -> "Tls":
        for name in ("ca_file", "cert_file", "key_file"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: there is no file {str(path)!r}")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file come together: set both or neither")
        return self


class Sasl(Section):
    """SASL log-in to Kafka."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """SASL mechanism of the log-in."""
    username: str
    """Name of the user that logs in."""
    password: SecretStr
    """Password of the user; best given in the environment."""


class Kafka(Section):
    """The Kafka broker, its topics, and the worker's consumer group."""

    bootstrap_servers: str = SIMULATOR
    """`host:port` of brokers, separated by commas; `simulator` runs librdkafka's protocol simulator in the worker."""
    input_partitioner: Partitioner = "murmur2"
    """How your producers choose the partition of a key: `murmur2` as the clients of Java and Node do, `crc32` as
    librdkafka (Python, .NET), `fnv1a` as Sarama (Go). Users belong to the partition that it gives."""
    partitioners: dict[KeyedByUser, Partitioner] = {}
    """Inputs whose producers are known to hash otherwise, such as `{ clicks = "crc32" }`. Their records are rerouted,
    and no log line or alert complains."""
    session_timeout_s: Seconds = 10.0
    """Seconds of silence after which a worker loses its partitions. A hand-over must end within them too."""
    heartbeat_interval_s: Seconds = 3.0
    """Seconds between two heartbeats; at most half of the session timeout."""
    metadata_max_age_s: Seconds = 30.0
    """Seconds within which a topic that has grown is noticed."""
    max_batch_records: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    """Records of one partition in a batch at most."""
    max_fetch_bytes: Annotated[int, Field(ge=1024)] = 1 << 20
    """Bytes of one partition in a fetch at most."""
    replication_factor: Annotated[int, Field(ge=1, le=10)] = 1
    """Copies of the topics that `topics create` makes; 3 on a real cluster."""
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Partitions of the topics that `topics create` makes. As many workers can share the load."""
    input_retention_h: Annotated[float, Field(gt=0)] = 168.0
    """Hours that the inputs made by `topics create` keep records. What is left of a forgotten user expires after the
    last of them, as the broker tells; this setting counts if the broker does not tell."""
    max_rerouted_bytes: Annotated[int, Field(ge=4096, le=1 << 30)] = 1 << 20
    """Bytes of a record, uncompressed and with its headers, that a worker may send to `rerouted`. A larger event on the
    wrong partition becomes a dead letter. Raise `max.message.bytes` of an existing `rerouted` before this setting."""
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
    """Addresses of one or more nodes of the cluster."""
    port: Port = 9042
    """Port of Cassandra's native protocol."""
    local_dc: str | None = None
    """Datacentre of the workers. Without it: that of the first host that answers."""
    username: str | None = None
    """Name of the user that logs in, if the cluster asks for one."""
    password: SecretStr | None = None
    """Password of the user; best given in the environment."""
    tls: Tls = Tls()
    replication_factor: Annotated[int, Field(ge=1, le=10)] = 1
    """Copies of the rows, if prefstream creates the keyspace; 3 on a real cluster."""
    consistency: Literal["LOCAL_QUORUM", "QUORUM", "ALL", "LOCAL_ONE", "ONE"] = "LOCAL_QUORUM"
    """Consistency of reads and writes. Below LOCAL_QUORUM it is refused if there are several copies."""
    request_timeout_s: Seconds = 10.0
    """Seconds that the driver waits for an answer."""


class Store(Section):
    """Where profiles are kept: a SQLite file (one machine) or Cassandra."""

    kind: Literal["sqlite", "cassandra"] = "sqlite"
    """`sqlite` for one machine, `cassandra` for several."""
    path: Path = Path(".prefstream/profiles.sqlite")
    """Path of the SQLite file."""
    cassandra: Cassandra = Cassandra()


class Encoder(Section):
    """Where encoders are, and how ONNX Runtime runs them."""

    folder: Path | None = None
    """The encoder folder that serves while no version is activated. Without it: the built-in hashed text encoder."""
    folders: Path | None = None
    """A folder with one encoder folder for each version that may be activated. Without it: `encoders` in `data_dir`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of ONNX Runtime; `auto` takes CUDA if it really loads."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """Threads of ONNX Runtime; 0 is one thread for each core."""


class Profiles(Section):
    """What a profile remembers, and how much memory the profiles in a worker may take."""

    history: Annotated[int, Field(ge=1, le=1_000)] = 20
    """Latest events of a user that are kept one by one; older events go into decayed sums."""
    duplicate_window: Annotated[int, Field(ge=1, le=10_000)] = 64
    """A repeated event is recognised within this many records of the user; an order with `items` is one record."""
    purchases: Annotated[int, Field(ge=1, le=1_000)] = 64
    """Items of a user's latest purchases that are remembered, each once."""
    pending: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Older events of a user that may wait for the vectors of their items."""
    memory_mb: Annotated[int, Field(ge=16)] = 256
    """Megabytes for the users that are kept in memory."""
    max_future_s: Annotated[float, Field(ge=0)] = 300.0
    """An event is refused if its time is more than this many seconds after its record's Kafka timestamp."""


class TypeWeights(Section):
    """How much an event of each type counts."""

    click: Annotated[float, Field(ge=0)] = 1.0
    """Weight of a click."""
    browse: Annotated[float, Field(ge=0)] = 0.5
    """Weight of a browse."""
    purchase: Annotated[float, Field(ge=0)] = 4.0
    """Weight of a purchase."""


class Ranking(Section):
    """How lists are made: their length, what they exclude, and how candidates are searched."""

    k: Annotated[int, Field(ge=1, le=1_000)] = 20
    """Items in a recommendation."""
    exclude_purchased_days: Annotated[float, Field(ge=0)] = 30.0
    """Days for which a purchased item is not recommended again; 0 lets it be recommended at once."""
    recently_seen: Literal["keep", "exclude"] = "exclude"
    """Whether items that the user has just seen may be recommended."""
    recently_seen_events: Annotated[int, Field(ge=0, le=1_000)] = 20
    """The items of this many latest events count as just seen."""
    candidates_from: Annotated[int, Field(ge=1)] = 30_000
    """Number of items from which on lists are made from candidates. Below it, and on CUDA, lists are exact."""
    candidate_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Share of the exact top-k that the candidates must contain."""
    trending_half_life_s: Seconds = 3_600.0
    """Seconds after which an event counts half in what is trending."""
    trending_weights: TypeWeights = TypeWeights()


class Output(Section):
    """How prefstream writes the topics that your applications read."""

    compression: Compression = "none"
    """Compression of the records that others may read. All Kafka clients read `none` and `gzip`; the others are smaller
    or faster, and KafkaJS and kafka-python need an extra package for them."""
    reasons: ListReasons = "full"
    """Reasons of the items in a list: all parts of each score, the `largest` part, or `none`."""


class Checkpoint(Section):
    """When users are saved to the store."""

    interval_s: Seconds = 1.0
    """Seconds between two saves. A small save is spread over as many, so a crash replays up to twice as much."""
    max_dirty_users: Annotated[int, Field(ge=1)] = 20_000
    """Number of unsaved users at which fetching pauses, for example while the store is down."""


class Server(Section):
    """The worker's HTTP server for /healthz, /readyz and /metrics."""

    host: str = "127.0.0.1"
    """Address that the port listens on; `0.0.0.0` for every network, as a container needs."""
    port: Port = 8080
    """Port number; 0 takes a free one and logs it."""


class Logging(Section):
    """Structured logs: JSON lines, or text for people."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""
    format: Literal["auto", "json", "text"] = "auto"
    """`auto`: text on a terminal, JSON lines elsewhere."""


class Settings(BaseSettings):
    """All settings of prefstream."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    namespace: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]{0,29})?$")] = ""
    """Prefix of the topics, the consumer group and the keyspace, and a label of the metrics."""
    kafka: Kafka = Kafka()
    store: Store = Store()
    encoder: Encoder = Encoder()
    profiles: Profiles = Profiles()
    ranking: Ranking = Ranking()
    output: Output = Output()
    checkpoint: Checkpoint = Checkpoint()
    server: Server = Server()
    logging: Logging = Logging()
    data_dir: Path = Path(".prefstream")
    """Folder for the worker's own files, such as the built-in encoder."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: the caller's values win over the environment."""
        return init_settings, env_settings

    @property
    def keyspace(self) -> str:
        """The Cassandra keyspace of this namespace."""
        return f"{self.namespace}_prefstream" if self.namespace else "prefstream"

    @property
    def encoder_folders(self) -> Path:
        """The folder that holds the encoder folders."""
        return self.encoder.folders or self.data_dir / "encoders"

    @property
    def group(self) -> str:
        """The consumer group of this namespace."""
        return f"{self.namespace}.prefstream" if self.namespace else "prefstream"


def load_settings(path: Path | None = None, **overrides: Any) -> Settings:
    """Load the settings from a TOML file, the environment and the caller; of these the later wins.

    Parameters
    ----------
    path : the file; None: the file that PREFSTREAM_CONFIG names, else ./prefstream.toml if it exists
    overrides : settings in the form of the TOML file; they replace others name by name, also inside tables

    Raises
    ------
    SettingsError
        The file is missing or is no TOML, or a setting is unknown or wrong; the message says what was expected.
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
        return Settings.model_construct(**dict(_with_file(stated)(**overrides)))
    except ValidationError as error:
        raise SettingsError(_sentence(error, f"{file} or the environment" if stated else "the environment")) from None
    except ValueError as error:  # from pydantic-settings: a variable must hold JSON but doesn't
        raise SettingsError(
            f'A list or table in the environment has to be JSON, such as ["a", "b"]; look at {_not_json()} ({error}).'
        ) from None


def _with_file(stated: dict[str, Any]) -> type[Settings]:
    """A class of settings whose last source is the content of a file."""

    class SettingsWithFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            above = super().settings_customise_sources(settings_cls, *sources, **named)
            return *above, InitSettingsSource(settings_cls, init_kwargs=stated)

    return SettingsWithFile


def _suggestion(loc: tuple[int | str, ...]) -> str:
    """A hint with the name of the setting that was probably meant, or nothing."""
    model: Any = Settings
    for part in loc[:-1]:
        options = (model.model_fields[str(part)].annotation, *get_args(model.model_fields[str(part)].annotation))
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    near = difflib.get_close_matches(str(loc[-1]), model.model_fields, n=1)
    return f"; did you mean {near[0]}" if near else ""


def _not_json() -> str:
    """Names of our variables that hold no JSON; if some of them have a comma or a bracket, only those."""

    def is_json(text: str) -> bool:
        try:
            json.loads(text)
        except ValueError:
            return False
        return True

    odd = [name for name, text in os.environ.items() if name.startswith(ENV_PREFIX) and not is_json(text)]
    listed = [name for name in odd if set(os.environ[name]) & set(",[{")]
    return ", ".join(sorted(listed or odd)) or f"the variables that start with {ENV_PREFIX}"


def _check_variables() -> None:
    """Refuse a variable with our prefix that names no setting: pydantic-settings would silently ignore it."""
    known = set(Settings.model_fields)
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX) and variable != CONFIG_VARIABLE:
            section = variable.removeprefix(ENV_PREFIX).split("__")[0].lower()
            if section not in known:
                raise SettingsError(
                    f"The environment variable {variable} names no setting: expected {ENV_PREFIX}SECTION__NAME with a "
                    f"section of {', '.join(sorted(known))}."
                )


_SECRET = {"password", "sasl"}


def _sentence(error: ValidationError, origin: str) -> str:
    parts = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"]) or "settings"
        if problem["type"] == "extra_forbidden":
            parts.append(
                f"{name} is no setting of prefstream{_suggestion(problem['loc'])} (docs/reference/settings.md has all)"
            )
        else:
            value = problem.get("input")
            secret = any(part in _SECRET for part in problem["loc"])
            shown = "" if isinstance(value, dict) or secret else f" is {value!r}"
            parts.append(f"{name}{shown}: {problem['msg'].removeprefix('Value error, ')}")
    return f"Wrong settings (from {origin}): " + "; ".join(parts) + "."
