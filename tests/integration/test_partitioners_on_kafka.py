"""Where librdkafka's producers put keys: on the partitions that we compute, for each of their hash functions."""

import uuid
from types import SimpleNamespace

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from streams.decode.misplaced_records import PARTITIONER, MisplacedRecords
from streams.decode.partitioner import PARTITIONERS, partitions_of
from streams.kafka.clients import make_admin
from streams.kafka.topics import create_topics
from streams.settings import Kafka, Partitioner

PARTITIONS = 7
USERS = [f"user-{number}" for number in range(300)] + ["ü", "一" * 40, "x"]
DEFAULTS: dict[Partitioner, str] = {
    "murmur2": "murmur2_random",
    "crc32": "consistent_random",
    "fnv1a": "fnv1a_random",
}


@pytest.fixture
def topic(kafka_address: str) -> str:
    name = f"t{uuid.uuid4().hex[:12]}.clicks"
    create_topics(make_admin(Kafka(bootstrap_servers=kafka_address)), [NewTopic(name, PARTITIONS, 1)])
    return name


def places(kafka_address: str, topic: str, partitioner: str) -> dict[str, int]:
    """Partition of each user's record, as the broker reports it."""
    found: dict[str, int] = {}
    producer = Producer({"bootstrap.servers": kafka_address, "partitioner": partitioner})
    for user in USERS:
        producer.produce(
            topic, b"{}", user, on_delivery=lambda error, sent: found.update({sent.key().decode(): sent.partition()})
        )
    assert producer.flush(30) == 0
    return found


@pytest.mark.parametrize("partitioner", PARTITIONERS)
def test_partitions_are_those_of_the_producer(kafka_address: str, topic: str, partitioner: Partitioner) -> None:
    found = places(kafka_address, topic, DEFAULTS[partitioner])
    assert [found[user] for user in USERS] == partitions_of(USERS, PARTITIONS, partitioner).tolist()


@pytest.mark.parametrize(
    ("used", "canonical"), [("crc32", "murmur2"), ("murmur2", "crc32"), ("fnv1a", "murmur2"), ("murmur2", "fnv1a")]
)
def test_the_hash_function_of_the_producers_is_named(
    kafka_address: str, topic: str, used: Partitioner, canonical: Partitioner
) -> None:
    found = places(kafka_address, topic, DEFAULTS[used])
    homes = dict(zip(USERS, partitions_of(USERS, PARTITIONS, canonical).tolist(), strict=True))
    misplaced = [
        SimpleNamespace(user_id=user, record=SimpleNamespace(key=user.encode(), partition=found[user]))
        for user in USERS
        if found[user] != homes[user]
    ]
    counted, [sentence] = MisplacedRecords(canonical, {}).note(topic, misplaced, PARTITIONS)
    assert counted == {PARTITIONER: len(misplaced)}
    assert f"producers hash keys by {used}, and kafka.input_partitioner is {canonical}" in sentence
