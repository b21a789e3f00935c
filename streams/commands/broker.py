"""Connects a command to its broker: checks that the broker answers, and asks which topics it has."""

from dataclasses import dataclass, field

from confluent_kafka.admin import AdminClient

from streams.kafka.clients import BrokerUnavailable, check_broker, client_config
from streams.kafka.topics import TopicsError
from streams.settings import Kafka

# librdkafka would print lines of its own about connections beside our one error message
QUIET = {"log_level": 2}
TIMEOUT_S = 10.0

_SIMULATOR_CLUSTER = "mockCluster"


@dataclass(frozen=True)
class Broker:
    """A broker that answered, and the partitions that its topics had at that moment."""

    kafka: Kafka
    admin: AdminClient
    partitions: dict[str, int] = field(default_factory=dict)
    is_simulator: bool = False

    def need(self, topic: str) -> int:
        """Return the number of partitions of a topic; raises `TopicsError` if the broker doesn't have the topic."""
        if topic not in self.partitions:
            raise TopicsError(
                f"The broker at {self.kafka.bootstrap_servers} has no topic {topic!r}: create it with "
                "`prefstream topics create`, or check the setting `namespace`."
            )
        return self.partitions[topic]


def connect(kafka: Kafka, timeout_s: float = TIMEOUT_S) -> Broker:
    """Ask the broker for its topics, without creating any; raises `BrokerUnavailable` if it doesn't answer."""
    admin = AdminClient(client_config(kafka) | QUIET)
    check_broker(admin, kafka, timeout_s)
    try:
        metadata = admin.list_topics(timeout=timeout_s)
    except Exception as error:
        raise BrokerUnavailable(f"The broker at {kafka.bootstrap_servers} did not list its topics: {error}.") from None
    partitions = {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}
    return Broker(kafka, admin, partitions, str(metadata.cluster_id).startswith(_SIMULATOR_CLUSTER))
