"""librdkafka's in-process protocol simulator, for a first look without a server: it speaks Kafka's protocol, is lost
with the process, makes topics of four partitions on first use, and is no Kafka."""

import uuid
from collections.abc import Iterable

from confluent_kafka import Producer

from streams.settings import SIMULATOR, Settings


class Simulator:
    """Runs as long as this object lives."""

    def __init__(self) -> None:
        self._host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "simulator:1", "log_level": 0})
        broker = next(iter(self._host.list_topics(timeout=10).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"
        """``host:port`` for any Kafka client on this machine."""
        self.id = uuid.uuid4().hex
        """Stands in for the topic ids that the simulator lacks: one life of all its topics."""

    def create_topics(self, names: Iterable[str]) -> None:
        """Make topics by asking for them: the simulator has no CreateTopics."""
        client = Producer({"bootstrap.servers": self.address, "log_level": 0})
        for name in names:
            client.list_topics(name, timeout=10)


def uses_simulator(settings: Settings) -> bool:
    """Whether the worker brings its own broker, the simulator."""
    return settings.kafka.bootstrap_servers == SIMULATOR
