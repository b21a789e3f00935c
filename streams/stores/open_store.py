"""Makes the profile store that the settings name."""

from typing import TYPE_CHECKING

from streams.settings import Settings
from streams.stores.base import ProfileStore
from streams.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from streams.stores.cassandra_options import CassandraOptions


def make_store(settings: Settings) -> ProfileStore:
    """Make the store that the settings name; it is not opened yet."""
    if settings.store.kind == "sqlite":
        path = settings.store.path
        if settings.namespace:
            path = path.with_name(f"{settings.namespace}-{path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return SqliteStore(path)
    # imported here: the driver takes long to import, and only workers that use Cassandra should wait for it
    from streams.stores.cassandra_store import CassandraStore

    return CassandraStore(cassandra_options(settings))


def cassandra_options(settings: Settings) -> "CassandraOptions":
    """Return what a `CassandraStore` needs to know of the settings."""
    from streams.stores.cassandra_options import CassandraOptions, CassandraTls

    cassandra = settings.store.cassandra
    tls = cassandra.tls
    return CassandraOptions(
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
