"""What commands ask a broker before they read or write: does it answer, and which topics has it?"""

from dataclasses import dataclass, field

from confluent_kafka.admin import AdminClient

from streams.kafka.clients import BrokerUnavailable, check_broker, client_config
from streams.kafka.topics import TopicsError
from streams.settings import Kafka

# librdkafka's own lines about connections would come beside our one sentence
QUIET = {"log_level": 2}
TIMEOUT_S = 10.0

_SIMULATOR_CLUSTER = "mockCluster"


@dataclass(frozen=True)
class Broker:
    """A broker that answered, and the partitions of its topics then."""

    kafka: Kafka
    admin: AdminClient
    partitions: dict[str, int] = field(default_factory=dict)
    is_simulator: bool = False

    def need(self, topic: str) -> int:
        """The partitions of a topic; `TopicsError` if the broker doesn't have it."""
        if topic not in self.partitions:
            raise TopicsError(
                f"The broker at {self.kafka.bootstrap_servers} has no topic {topic!r}: create it with "
                "`prefstream topics create`, or check the setting `namespace`."
            )
        return self.partitions[topic]


def connect(kafka: Kafka, timeout_s: float = TIMEOUT_S) -> Broker:
    """Ask the broker for its topics; `BrokerUnavailable` if it doesn't answer. No topic is made by asking."""
    admin = AdminClient(client_config(kafka) | QUIET)
    check_broker(admin, kafka, timeout_s)
    try:
        found = admin.list_topics(timeout=timeout_s)
    except Exception as error:
        raise BrokerUnavailable(f"The broker at {kafka.bootstrap_servers} did not list its topics: {error}.") from None
    partitions = {name: len(topic.partitions) for name, topic in found.topics.items() if topic.error is None}
    return Broker(kafka, admin, partitions, str(found.cluster_id).startswith(_SIMULATOR_CLUSTER))
