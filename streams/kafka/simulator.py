"""Runs librdkafka's in-process protocol simulator, for a first look without a server.

The simulator speaks Kafka's protocol, but it is not Kafka. Its records are lost when the process ends. It creates a
topic, of four partitions, on first use.
"""

import uuid
from collections.abc import Iterable

from confluent_kafka import Producer

from streams.settings import SIMULATOR, Settings


class Simulator:
    """A simulator that runs as long as this object lives."""

    def __init__(self) -> None:
        self._host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "simulator:1", "log_level": 0})
        broker = next(iter(self._host.list_topics(timeout=10).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"
        """``host:port`` for any Kafka client on this machine."""
        self.id = uuid.uuid4().hex
        """One id for all topics, because the simulator has no topic ids; a new simulator has a new one."""

    def create_topics(self, names: Iterable[str]) -> None:
        """Create topics by asking for their metadata: the simulator has no CreateTopics request."""
        client = Producer({"bootstrap.servers": self.address, "log_level": 0})
        for name in names:
            client.list_topics(name, timeout=10)


def uses_simulator(settings: Settings) -> bool:
    """Tell whether the worker runs its own broker, the simulator."""
    return settings.kafka.bootstrap_servers == SIMULATOR
