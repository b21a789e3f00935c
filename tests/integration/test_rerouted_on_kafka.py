"""What Kafka has of `rerouted` after it refused one of the records."""

import dataclasses
import os
import time
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions, NewTopic

from schemas.rerouted import Rerouted
from streams.decode.decoder import Misplaced
from streams.decode.rerouted_size import rerouted_bytes
from streams.emit.deliveries import DeliveryFailed
from streams.emit.producer import Emitter
from streams.kafka.clients import make_admin, make_tail_consumer
from streams.kafka.topics import TopicNames, create_topics
from streams.settings import Kafka

LARGEST = 20_000


@pytest.fixture
def kafka(kafka_address: str) -> Kafka:
    return Kafka(bootstrap_servers=kafka_address)


@pytest.fixture
def names(kafka: Kafka) -> TopicNames:
    """Names of a namespace whose `rerouted` takes small records only."""
    names = TopicNames(f"t{uuid.uuid4().hex[:12]}")
    topic = NewTopic(names.full("rerouted"), 2, 1, config={"max.message.bytes": str(LARGEST)})
    create_topics(make_admin(kafka), [topic])
    return names


def misplaced(name: str, size: int) -> Misplaced:
    value = name.encode() + b"." * size
    record: Any = SimpleNamespace(value=value, headers=(), timestamp=1_234, key=b"k", topic="clicks")
    return Misplaced(record, "anna", 1, Rerouted(topic="clicks", topic_id="id", partition=0, offset=7))


def written(kafka: Kafka, names: TopicNames) -> list[Any]:
    """What partition 1 of `rerouted` holds."""
    consumer = make_tail_consumer(kafka, **{"enable.partition.eof": True})
    consumer.assign([TopicPartition(names.full("rerouted"), 1, 0)])
    records, deadline = [], time.monotonic() + 30
    while time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is not None and message.error():
            consumer.close()
            return records
        if message is not None:
            records.append(message)
    raise AssertionError("the log's end was not reached")


def names_of(records: list[Any]) -> list[str]:
    return [record.value().decode().rstrip(".") for record in records]


@pytest.mark.parametrize("before", [[], ["a"]], ids=["unknown to the broker", "known to the broker"])
def test_nothing_comes_in_behind_a_record_that_kafka_refuses(
    kafka: Kafka, names: TopicNames, before: list[str]
) -> None:
    """Regression: the later record was counted, and the refused one was then skipped as one that was applied before."""
    # small batches: the records behind the large one are in flight when it is refused
    emitter = Emitter.connect(kafka, names, **{"batch.size": 6_000, "compression.type": "none"})
    emitter.reroute([misplaced(name, 5_000) for name in before])
    assert emitter.swap().wait(20)
    large = misplaced("large", 2 * LARGEST)
    with pytest.raises(DeliveryFailed, match="rerouted"):  # noqa: PT012  # either call may say so
        emitter.reroute([large, *(misplaced(name, 5_000) for name in "bcd")])
        assert emitter.swap().wait(20)
        raise AssertionError("Kafka took it")
    with pytest.raises(DeliveryFailed, match="rerouted"):  # noqa: PT012
        emitter.reroute([misplaced("later", 5)])
        assert emitter.swap().wait(20)
    emitter.close()
    assert names_of(written(kafka, names)) == before


def test_a_rerouted_record_has_the_time_of_writing_and_names_the_time_of_its_origin(
    kafka: Kafka, names: TopicNames
) -> None:
    """Regression: it kept its old time, and retention deleted it before it was read."""
    emitter = Emitter.connect(kafka, names)
    emitter.reroute([misplaced("a", 5)])
    assert emitter.swap().wait(20)
    emitter.close()
    (record,) = written(kafka, names)
    assert abs(record.timestamp()[1] / 1000 - time.time()) < 60


def test_a_record_goes_to_a_partition_that_came_after_the_producer(kafka: Kafka, names: TopicNames) -> None:
    """Regression: the producer did not know the partition yet, and that ended the worker after `topics grow`."""
    emitter = Emitter.connect(kafka, names)
    emitter.reroute([misplaced("a", 5)])
    admin, topic = make_admin(kafka), names.full("rerouted")
    for future in admin.create_partitions([NewPartitions(topic, 6)], operation_timeout=30).values():
        future.result(30)
    emitter.reroute([dataclasses.replace(misplaced("b", 5), partition=5)])
    assert emitter.swap().wait(20)
    emitter.close()


def test_kafka_takes_the_largest_record_that_is_judged_to_fit_and_batches_of_small_ones(
    kafka: Kafka, names: TopicNames
) -> None:
    emitter = Emitter.connect(kafka.model_copy(update={"max_rerouted_bytes": LARGEST}), names)
    origin = Rerouted(topic="c" * 249, topic_id="i" * 64, partition=2**31 - 1, offset=2**63 - 1, timestamp_ms=2**63 - 1)
    headers = tuple((f"h{number}", b"") for number in range(100))  # mostly lengths
    record: Any = SimpleNamespace(value=b"", headers=headers, timestamp=1_234, key=b"k", topic="clicks")
    record.value = os.urandom(LARGEST - rerouted_bytes(record, "u" * 256))
    assert rerouted_bytes(record, "u" * 256) == LARGEST
    small: Any = SimpleNamespace(value=os.urandom(500), headers=(), timestamp=1_234, key=b"k", topic="clicks")
    emitter.reroute([Misplaced(record, "u" * 256, 1, origin), *[Misplaced(small, "anna", 1, origin)] * 500])
    assert emitter.swap().wait(20)
    emitter.close()
    assert len(written(kafka, names)) == 501
