"""The command line in this process, in an empty folder, and a simulator as its broker."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from typer.testing import CliRunner

from streams.cli import app
from streams.kafka.simulator import Simulator
from streams.kafka.topics import CATALOG, DEAD_LETTERS, INPUTS, RECOMMENDATIONS
from streams.settings import ENV_PREFIX

Run = Callable[..., Any]

_DEADLINE_POLLS = 300


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings of the machine, and the logs of the process as they were."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    root, cassandra = logging.getLogger(), logging.getLogger("cassandra")
    handlers, levels = root.handlers[:], (root.level, cassandra.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    cassandra.setLevel(levels[1])
    structlog.reset_defaults()


@pytest.fixture
def run() -> Run:
    """Call the command line; the result has exit_code, stdout and stderr."""

    def call(*arguments: object, stdin: str | None = None) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


class Shop:
    """A simulator with the topics that commands use."""

    def __init__(self) -> None:
        self.simulator = Simulator()
        self.address = self.simulator.address
        self.simulator.create_topics([*INPUTS, CATALOG, RECOMMENDATIONS, DEAD_LETTERS])
        self._producer = Producer({"bootstrap.servers": self.address, "partitioner": "murmur2_random", "log_level": 0})

    def put(self, topic: str, key: str | None, value: bytes | None, headers: Any = None, **extra: Any) -> None:
        self._producer.produce(topic, value, key, headers=headers or [], **extra)
        assert self._producer.flush(10) == 0

    def read(self, topic: str) -> list[Message]:
        """Everything in a topic, partition by partition."""
        options = {"group.id": "test", "log_level": 0, "fetch.wait.max.ms": 5}
        consumer = Consumer({"bootstrap.servers": self.address} | options)
        found: list[Message] = []
        try:
            spans = {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
                for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions
            }
            consumer.assign([TopicPartition(topic, number, low) for number, (low, _) in spans.items()])
            wanted = sum(high - low for low, high in spans.values())
            for _ in range(_DEADLINE_POLLS):
                if len(found) < wanted:
                    found += consumer.consume(wanted - len(found), timeout=0.1)
            assert len(found) == wanted
        finally:
            consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))


@pytest.fixture
def shop() -> Shop:
    return Shop()
