"""Where a tail begins, and that it hands on what comes at once; on the simulator."""

import threading
from typing import Any

from confluent_kafka import Consumer, Producer

from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.simulator import Simulator

DEADLINE_S = 20.0


class Collected:
    """Values that a tail handed on."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self._changed = threading.Condition()

    def __call__(self, messages: list[Any]) -> None:
        with self._changed:
            self.values += [message.value() for message in messages]
            self._changed.notify_all()

    def until(self, count: int) -> list[bytes]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.values) >= count, DEADLINE_S), self.values
            return list(self.values)


def test_a_tail_reads_all_or_what_is_latest_and_then_what_comes() -> None:
    simulator = Simulator()
    simulator.create_topics(["topic"])
    producer = Producer({"bootstrap.servers": simulator.address, "log_level": 0})

    def put(*values: int) -> None:
        for value in values:
            producer.produce("topic", str(value), partition=1)
        assert producer.flush(10) == 0

    def consumer() -> Consumer:
        options = {"group.id": "test", "log_level": 0, "fetch.wait.max.ms": 5}
        return Consumer({"bootstrap.servers": simulator.address} | options)

    put(*range(6))
    whole, latest, none = Collected(), Collected(), Collected()
    tails = [
        CompactedTopicReader("topic", consumer, whole),
        CompactedTopicReader("topic", consumer, latest, 2),
        CompactedTopicReader("topic", consumer, none, 0),
    ]
    try:
        for tail in tails:
            tail.start()
            assert tail.caught_up.wait(DEADLINE_S)
        put(6)
        assert whole.until(7) == [b"0", b"1", b"2", b"3", b"4", b"5", b"6"]
        assert latest.until(3) == [b"4", b"5", b"6"]
        assert none.until(1) == [b"6"]
    finally:
        for tail in tails:
            tail.stop()
