"""The local stack itself, with servers of its own: data outlive a stop and a kill, and down leaves no process."""

from collections.abc import Iterator

import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local import processes, stack
from deploy.local.stack import Stack

CREATE = "CREATE KEYSPACE kept WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack.running(tmp_path_factory.mktemp("stack"), progress=print) as running:
        yield running


def produce(servers: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": servers})
    failures: list[object] = []
    producer.produce("kept", value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(20) == 0
    assert failures == []


def consume(servers: str, count: int) -> list[bytes | None]:
    """The topic's values through a consumer group, whose coordinator is the slowest part to come back."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "kept", "auto.offset.reset": "earliest"})
    consumer.subscribe(["kept"])
    try:
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()


def query(port: int, *statements: str) -> list[tuple[object, ...]]:
    """The rows of the last statement."""
    profile = ExecutionProfile(WhiteListRoundRobinPolicy(["127.0.0.1"]))
    profiles = {EXEC_PROFILE_DEFAULT: profile}
    with Cluster(["127.0.0.1"], port=port, execution_profiles=profiles, protocol_version=5) as cluster:
        session = cluster.connect()
        return [tuple(row) for statement in statements for row in session.execute(statement, timeout=20)]


def test_both_are_up_and_up_again_changes_nothing(own: Stack) -> None:
    found = stack.status(own.folder)
    assert found.running
    assert {server.name: server.pid for server in found.servers} == {
        "kafka": own.kafka_pid,
        "cassandra": own.cassandra_pid,
    }
    assert stack.up(own.folder) == own


def test_kafka_keeps_its_records_over_a_stop_and_a_kill(own: Stack) -> None:
    admin = AdminClient({"bootstrap.servers": own.bootstrap_servers})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
    produce(own.bootstrap_servers, b"before the stop")
    assert stack.stop_server(own.folder, "kafka")
    assert [server.answers for server in stack.status(own.folder).servers if server.name == "kafka"] == [False]
    stack.start_server(own.folder, "kafka")
    produce(own.bootstrap_servers, b"before the kill")
    assert stack.stop_server(own.folder, "kafka", kill=True)
    stack.start_server(own.folder, "kafka")
    assert consume(own.bootstrap_servers, 2) == [b"before the stop", b"before the kill"]


def test_cassandra_keeps_an_acknowledged_write_over_a_kill(own: Stack) -> None:
    query(
        own.cassandra_port,
        CREATE,
        "CREATE TABLE kept.rows (id int PRIMARY KEY, text text)",
        "INSERT INTO kept.rows (id, text) VALUES (1, 'plain')",
        "INSERT INTO kept.rows (id, text) VALUES (2, 'by compare-and-set') IF NOT EXISTS",
    )
    assert stack.stop_server(own.folder, "cassandra", kill=True)
    stack.start_server(own.folder, "cassandra")
    assert sorted(query(own.cassandra_port, "SELECT id, text FROM kept.rows")) == [
        (1, "plain"),
        (2, "by compare-and-set"),
    ]


def test_down_leaves_no_process(own: Stack) -> None:
    pids = [server.pid for server in stack.status(own.folder).servers]
    assert len(pids) == 2
    assert stack.down(own.folder)
    for pid in pids:
        assert pid is not None
        assert processes.mark_of(pid) is None
    assert not any(server.running or server.answers for server in stack.status(own.folder).servers)
