"""The names of the topics, and functions that create, grow and check the topics."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from streams.errors import PrefstreamError
from streams.settings import Settings

CATALOG = "catalog"
OFFERS = "offers"
RECOMMENDATIONS = "recommendations"
DEAD_LETTERS = "dead-letters"
TRENDING = "trending"
ENCODERS = "encoders"
REROUTED = "rerouted"
COMMANDS = "profile-commands"
ACTIONS = "actions"
EVENT_TOPICS = {"clicks": "click", "browses": "browse", "purchases": "purchase"}
INPUTS = (*EVENT_TOPICS, REROUTED, COMMANDS, ACTIONS)
"""The topics that must have one partition count, so that all records of a user reach one worker."""

LARGEST_INPUT_BYTES = 1 << 20
"""Size limit of a record of the inputs (Kafka's own default). A dead letter may be larger, because of its headers."""

_TIMEOUT_S = 30.0


class TopicsError(PrefstreamError):
    """Raised when topics are missing or do not fit together; the message says what to do."""


@dataclass(frozen=True)
class TopicNames:
    """Translates between the short and the full names of the topics of a namespace."""

    namespace: str = ""

    def full(self, name: str) -> str:
        """Return the topic's name on the broker."""
        return f"{self.namespace}.{name}" if self.namespace else name

    def short(self, full: str) -> str:
        """Return the name without the namespace."""
        return full.removeprefix(f"{self.namespace}.") if self.namespace else full

    @property
    def inputs(self) -> list[str]:
        """Full names of the six inputs."""
        return [self.full(name) for name in INPUTS]

    @property
    def events(self) -> list[str]:
        """Full names of the inputs that hold only events; a user's events are in the user's own partition."""
        return [self.full(name) for name in EVENT_TOPICS]

    def item_vectors(self, encoder_version: str) -> str:
        """Return the full name of the topic with one encoder version's item vectors."""
        return self.full(f"item-vectors-{encoder_version}")


def wanted_topics(settings: Settings, encoder_version: str, of_features: Iterable[str] = ()) -> list[NewTopic]:
    """Return every topic of the namespace, as it should be created.

    ``of_features`` are the short names of the features' topics, which are compacted.
    """
    names = TopicNames(settings.namespace)
    partitions, replicas = settings.kafka.partitions, settings.kafka.replication_factor
    retention = {"retention.ms": str(int(settings.kafka.input_retention_h * 3_600_000))}
    compacted = {"cleanup.policy": "compact"}
    dead = retention | {"max.message.bytes": str(2 * LARGEST_INPUT_BYTES)}
    rerouted = retention | {"max.message.bytes": str(settings.kafka.max_rerouted_bytes)}
    topics = [
        NewTopic(name, partitions, replicas, config=rerouted if name == names.full(REROUTED) else retention)
        for name in names.inputs
    ]
    topics += [
        NewTopic(names.full(name), partitions, replicas, config=compacted)
        for name in (CATALOG, OFFERS, RECOMMENDATIONS, TRENDING, ENCODERS, *of_features)
    ]
    topics.append(NewTopic(names.full(DEAD_LETTERS), partitions, replicas, config=dead))
    topics.append(NewTopic(names.item_vectors(encoder_version), partitions, replicas, config=compacted))
    return topics


def create_topics(admin: AdminClient, topics: list[NewTopic]) -> list[str]:
    """Create the topics that do not exist yet; return their names, sorted."""
    created = []
    for name, future in admin.create_topics(topics, operation_timeout=_TIMEOUT_S).items():
        try:
            future.result(_TIMEOUT_S)
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopicsError(f"Topic {name!r} could not be created: {error.args[0].str()}.") from None
    return sorted(created)


def create_item_vectors(admin: AdminClient, settings: Settings, encoder_version: str) -> None:
    """Create the topic of an encoder version's item vectors if it is missing.

    Raises `TopicsError` if the broker refuses, for example because this user may not create topics.
    """
    name = TopicNames(settings.namespace).item_vectors(encoder_version)
    if partition_counts(admin, [name]):
        return
    wanted = wanted_topics(settings, encoder_version)
    try:
        create_topics(admin, [topic for topic in wanted if topic.topic == name])
    except TopicsError as error:
        raise TopicsError(
            f"{error} Each encoder version needs this topic: create it by `prefstream topics create` with the same "
            "encoder.folder, as a user who may create topics."
        ) from None


def grow_topics(admin: AdminClient, names: TopicNames, partitions: int) -> None:
    """Give all six inputs ``partitions`` partitions, in one request: workers wait while the counts differ."""
    counts = partition_counts(admin, names.inputs)
    check_present(counts, names.inputs)
    largest = max(counts.values())
    if partitions < largest or all(count == partitions for count in counts.values()):
        raise TopicsError(
            f"The inputs have {largest} partitions already: Kafka can add partitions but not take any away, "
            f"so give a number above {largest}."
        )
    requests = [NewPartitions(name, partitions) for name, count in counts.items() if count < partitions]
    for name, future in admin.create_partitions(requests, operation_timeout=_TIMEOUT_S).items():
        try:
            future.result(_TIMEOUT_S)
        except KafkaException as error:
            raise TopicsError(
                f"Topic {name!r} could not be grown: {error.args[0].str()}. Workers wait while the counts differ: "
                "run the command again."
            ) from None


def partition_counts(admin: AdminClient, topics: list[str]) -> dict[str, int]:
    """Return the number of partitions of each topic; a topic that does not exist is absent."""
    # asks for all topics: some brokers create a topic when a client asks for it by name
    known = admin.list_topics(timeout=_TIMEOUT_S).topics
    return {topic: len(known[topic].partitions) for topic in topics if topic in known and known[topic].partitions}


def check_inputs(counts: Mapping[str, int], names: TopicNames) -> int:
    """Return the partition count of the inputs; raise `TopicsError` if an input is missing or the counts differ."""
    check_present(counts, names.inputs)
    if len({counts[name] for name in names.inputs}) > 1:
        shown = ", ".join(f"{name} {counts[name]}" for name in names.inputs)
        raise TopicsError(
            f"The input topics have unequal partition counts ({shown}): bring them to one count with "
            f"`prefstream topics grow {max(counts[name] for name in names.inputs)}`."
        )
    return counts[names.inputs[0]]


def check_present(counts: Mapping[str, int], topics: list[str]) -> None:
    """Raise `TopicsError` if one of the topics is missing."""
    missing = [name for name in topics if name not in counts]
    if missing:
        raise TopicsError(
            f"The broker has no topic {', '.join(repr(name) for name in missing)}: "
            "create them with `prefstream topics create`, or check the setting `namespace`."
        )
