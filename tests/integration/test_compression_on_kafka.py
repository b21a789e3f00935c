"""The compression of what a worker writes, as the broker keeps it, and a consumer that reads it."""

import struct
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

from deploy.local.stack import Stack
from schemas.rerouted import Rerouted
from streams.decode.decoder import Misplaced
from streams.emit.producer import Emitter
from streams.kafka.clients import make_admin, make_tail_consumer
from streams.kafka.topics import TopicNames, create_topics
from streams.settings import Compression, Kafka

CODES: tuple[Compression, ...] = ("none", "gzip", "snappy", "lz4", "zstd")
"""By the code in the attributes of a record batch."""
LIST = b'{"items":' + b'"tea-1",' * 500 + b'""}'


def compressions(stack: Stack, topic: str) -> set[Compression]:
    """The compressions of the record batches in a topic's log files (https://kafka.apache.org/documentation/#recordbatch)."""
    found: set[Compression] = set()
    for path in Path(stack.folder).rglob(f"{topic}-[0-9]*/*.log"):
        data, start = path.read_bytes(), 0
        while start + 61 <= len(data):
            (length,) = struct.unpack_from(">i", data, start + 8)
            (attributes,) = struct.unpack_from(">h", data, start + 21)
            if length <= 0:  # the rest of the file is allocated and not written yet
                break
            found.add(CODES[attributes & 7])
            start += 12 + length
    return found


def values(kafka: Kafka, topic: str, count: int) -> list[bytes]:
    consumer = make_tail_consumer(kafka)
    consumer.assign([TopicPartition(topic, 0, 0)])
    read, deadline = [], time.monotonic() + 30
    while len(read) < count and time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is not None and not message.error():
            read.append(message.value())
    consumer.close()
    return read


@pytest.mark.parametrize("compression", CODES)
def test_lists_are_compressed_as_set_and_rerouted_events_by_lz4(
    stack: Stack, kafka_address: str, compression: Compression
) -> None:
    kafka, names = Kafka(bootstrap_servers=kafka_address), TopicNames(f"t{uuid.uuid4().hex[:12]}")
    topics = [names.full(name) for name in ("recommendations", "rerouted")]
    create_topics(make_admin(kafka), [NewTopic(topic, 1, 1) for topic in topics])
    emitter = Emitter.connect(kafka, names, compression)
    emitter.recommend_all([(f"user-{n}", LIST) for n in range(50)])
    record: Any = SimpleNamespace(value=LIST, headers=(), timestamp=1_234, key=b"k", topic="clicks")
    emitter.reroute([Misplaced(record, "anna", 0, Rerouted(topic="clicks", topic_id="id", partition=0, offset=7))])
    assert emitter.swap().wait(20)
    emitter.close()
    assert values(kafka, topics[0], 50) == [LIST] * 50
    assert compressions(stack, topics[0]) == {compression}
    assert compressions(stack, topics[1]) == {"lz4"}
