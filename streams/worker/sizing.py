"""From settings to the outside systems: which store, which encoder, which broker."""

import shutil
import tempfile
from pathlib import Path

import structlog

from encoders.artifact import manifest
from encoders.artifact.manifest import Encoder
from encoders.items import hashed_text
from streams.settings import SIMULATOR, Settings, SettingsError
from streams.state.profile_table import ProfileShape
from streams.stores.base import ProfileStore
from streams.stores.sqlite import SqliteStore

log = structlog.get_logger(__name__)


def make_store(settings: Settings) -> ProfileStore:
    """The store that the settings name, not opened yet."""
    if settings.store.kind == "sqlite":
        path = settings.store.path
        if settings.namespace:
            path = path.with_name(f"{settings.namespace}-{path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return SqliteStore(path)
    # the driver is heavy: only those who use it wait for it
    from streams.stores.cassandra_options import CassandraOptions, CassandraTls
    from streams.stores.cassandra_store import CassandraStore

    cassandra = settings.store.cassandra
    tls = cassandra.tls
    return CassandraStore(
        CassandraOptions(
            hosts=cassandra.hosts,
            port=cassandra.port,
            keyspace=settings.keyspace,
            local_dc=cassandra.local_dc,
            username=cassandra.username,
            password=None if cassandra.password is None else cassandra.password.get_secret_value(),
            tls=CassandraTls(
                ca_file=None if tls.ca_file is None else str(tls.ca_file),
                cert_file=None if tls.cert_file is None else str(tls.cert_file),
                key_file=None if tls.key_file is None else str(tls.key_file),
                verify_hostname=tls.verify_hostname,
            )
            if tls.enabled
            else None,
            replication=cassandra.replication_factor,
            consistency=cassandra.consistency,
            request_timeout_s=cassandra.request_timeout_s,
        )
    )


def load_encoder(settings: Settings) -> Encoder:
    """The encoder folder of the settings, or the built-in hashed text encoder, made on first use."""
    if settings.encoder.folder is not None:
        return manifest.load(settings.encoder.folder)
    folder = settings.data_dir / "encoders" / "hashed-text-1"
    if not folder.is_dir():
        log.info("building the built-in hashed text encoder", folder=str(folder))
        _build_aside(folder)
    return manifest.load(folder)


def _build_aside(folder: Path) -> None:
    """Build in a folder of its own, then move it: a second worker never sees half an encoder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        hashed_text.build(temporary / folder.name)
        try:
            (temporary / folder.name).rename(folder)
        except OSError:
            if not folder.is_dir():  # not just another worker that was first: both build the same bytes
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def profile_shape(settings: Settings, encoder: Encoder) -> ProfileShape:
    """Sizes of a profile, from the settings and the encoder."""
    return ProfileShape(
        history=settings.profiles.history,
        dimension=encoder.manifest.dimension,
        half_lives=len(encoder.manifest.half_lives_s),
        duplicate_window=settings.profiles.duplicate_window,
        purchases=settings.profiles.purchases,
        pending=settings.profiles.pending,
        offered=settings.ranking.k,
    )


def table_capacity(settings: Settings, shape: ProfileShape) -> int:
    """Users that fit into the memory budget; at least four full batches, so that one always fits in."""
    budget = settings.profiles.memory_mb * 1_000_000 // shape.bytes_per_user
    least = 4 * settings.kafka.max_batch_records
    if budget < least:
        needed = least * shape.bytes_per_user // 1_000_000 + 1
        raise SettingsError(
            f"profiles.memory_mb is {settings.profiles.memory_mb}, which holds {budget} users of "
            f"{shape.bytes_per_user} bytes: expected at least {needed} for batches of "
            f"{settings.kafka.max_batch_records} (kafka.max_batch_records)."
        )
    return budget


def uses_simulator(settings: Settings) -> bool:
    """Whether the worker brings its own broker, the simulator."""
    return settings.kafka.bootstrap_servers == SIMULATOR
