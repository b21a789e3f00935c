"""A keyspace of its own for these tests, and ids and partitions that no other test has."""

import random
import uuid
from collections.abc import Callable, Iterator

import pytest
from cassandra.cluster import Cluster, Session

from streams.stores.cassandra_options import CassandraOptions


@pytest.fixture(scope="session")
def cassandra_admin(cassandra_address: tuple[str, int]) -> Iterator[Session]:
    host, port = cassandra_address
    with Cluster([host], port, protocol_version=4) as cluster:
        session = cluster.connect()
        session.default_timeout = 60
        yield session


@pytest.fixture(scope="session")
def cassandra_options(cassandra_address: tuple[str, int], cassandra_admin: Session) -> Iterator[CassandraOptions]:
    host, port = cassandra_address
    keyspace = f"contract_{uuid.uuid4().hex[:12]}"
    yield CassandraOptions(hosts=[host], port=port, keyspace=keyspace, request_timeout_s=20)
    cassandra_admin.execute(f"DROP KEYSPACE IF EXISTS {keyspace}")


@pytest.fixture
def ids() -> Callable[[int], list[str]]:
    prefix = uuid.uuid4().hex
    return lambda count: [f"{prefix}-{number}" for number in range(count)]


@pytest.fixture
def partitions() -> list[int]:
    first = random.randrange(1, 2**31 - 100)
    return list(range(first, first + 40))
