"""One real stack for every test that needs a server; where it can't be had, those tests fail."""

from collections.abc import Iterator

import pytest

from deploy.local.stack import Stack, running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka and Cassandra on loopback, for the whole session."""
    with running(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="session")
def cassandra_address(stack: Stack) -> tuple[str, int]:
    """Host and port of the session's Cassandra."""
    return stack.cassandra_hosts[0], stack.cassandra_port


@pytest.fixture(scope="session")
def kafka_address(stack: Stack) -> str:
    """``host:port`` of the session's Kafka."""
    return stack.bootstrap_servers
