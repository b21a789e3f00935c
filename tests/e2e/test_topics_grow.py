"""Input topics that grow again and again under two workers: each new partition is soon read."""

import json
import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from deploy.local.stack import Stack
from streams.decode.partitioner import partitions_of
from streams.kafka.topics import TopicNames, grow_topics
from tests.e2e.shop import ShopOnStack
from tests.e2e.worker_process import Late, wait_for

pytestmark = pytest.mark.timeout(400)

GROWTHS = 12
METADATA_S = 2.0
DEADLINE_S = METADATA_S + 8.0
"""The growth is noticed, the group shares the partitions out, perhaps twice, and a checkpoint is saved."""


def test_each_new_partition_is_soon_read(stack: Stack, tmp_path: Path) -> None:
    """Regression: a leader that did not know the new partitions left them out, and nobody asked again."""
    shop = ShopOnStack(stack, tmp_path, kafka={"metadata_max_age_s": METADATA_S, "partitions": 1})
    names = TopicNames(shop.namespace)
    group = Consumer({"bootstrap.servers": shop.bootstrap, "group.id": shop.settings.group, "log_level": 2})
    workers = [shop.start_worker("one"), shop.start_worker("two")]
    took: list[float] = []
    late: list[int] = []
    try:
        for partitions in range(2, 2 + GROWTHS):
            time.sleep(0.37 * (partitions % 6))  # at all moments between two looks at the topics
            grow_topics(shop.admin, names, partitions)
            began = time.monotonic()
            ends = _click_on_each(shop, partitions)

            def read(ends: dict[int, int] = ends) -> bool:
                parts = [TopicPartition(shop.topic("clicks"), number) for number in ends]
                return all(part.offset >= ends[part.partition] for part in group.committed(parts, timeout=20))

            try:
                wait_for("events in all partitions", read, DEADLINE_S)
            except Late:
                late.append(partitions)
            took.append(round(time.monotonic() - began, 1))
        assert not late, f"of {GROWTHS} growths, those to {late} partitions were not read in {DEADLINE_S} s: {took}"
        for worker in workers:
            worker.wait_ready(DEADLINE_S)
    finally:
        group.close()
        for worker in workers:
            worker.kill()


def _click_on_each(shop: ShopOnStack, partitions: int) -> dict[int, int]:
    """Write an event into each partition; returns the offsets after them."""
    ends: dict[int, int] = {}

    def written(error: object, message: object) -> None:
        assert error is None
        ends[message.partition()] = message.offset() + 1  # type: ignore[attr-defined]

    topic = shop.topic("clicks")
    wait_for(
        "the producer to know the partitions",
        lambda: len(shop.producer.list_topics(topic, timeout=20).topics[topic].partitions) == partitions,
    )
    users = [f"user-{number}" for number in range(40 * partitions)]
    homes = partitions_of(users, partitions, "murmur2")
    for home, user in {int(home): user for user, home in zip(users, homes, strict=True)}.items():
        event = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": "tent"}
        value = json.dumps(event | {"event_time_ms": int(time.time() * 1000)})
        shop.producer.produce(topic, value, key=user, partition=home, on_delivery=written)
    assert shop.producer.flush(30) == 0
    return ends
