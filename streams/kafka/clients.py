"""Makes Kafka clients from the settings: producers, consumers that read a whole topic, and admin clients."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.errors import PrefstreamError
from streams.settings import Compression, Kafka, Partitioner

OWN_COMPRESSION: Compression = "lz4"
"""Compression of the topics that only prefstream reads: the one that costs producers the least CPU."""

_RETRY_AFTER_S = 0.3
# a higher level takes twice the time and makes lists a sixth smaller
_LEVELS: dict[Compression, int] = {"gzip": 1}
_LIBRDKAFKA_PARTITIONERS: dict[Partitioner, str] = {
    "murmur2": "murmur2_random",
    "crc32": "consistent_random",
    "fnv1a": "fnv1a_random",
}
_NO_LIMIT_BYTES = 1_000_000_000
_librdkafka = logging.getLogger("librdkafka")


class BrokerUnavailable(PrefstreamError):
    """Raised when the broker does not answer in time; the message says what was asked and what to check."""


def client_config(kafka: Kafka) -> dict[str, Any]:
    """Return the librdkafka settings that all clients share."""
    config: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": "prefstream",
        "topic.metadata.refresh.interval.ms": int(kafka.metadata_max_age_s * 1000),
        "log.connection.close": False,
        # reconnect soon after an outage: by default librdkafka waits up to 10 s
        "reconnect.backoff.max.ms": 2_000,
    }
    tls = kafka.tls
    protocol = ("SASL_" if kafka.sasl else "") + ("SSL" if tls.enabled else "PLAINTEXT")
    config["security.protocol"] = protocol
    if tls.enabled:
        files = {
            "ssl.ca.location": tls.ca_file,
            "ssl.certificate.location": tls.cert_file,
            "ssl.key.location": tls.key_file,
        }
        config |= {name: str(path) for name, path in files.items() if path is not None}
        config["ssl.endpoint.identification.algorithm"] = "https" if tls.verify_hostname else "none"
    if kafka.sasl:
        config |= {
            "sasl.mechanism": kafka.sasl.mechanism,
            "sasl.username": kafka.sasl.username,
            "sasl.password": kafka.sasl.password.get_secret_value(),
        }
    return config


def make_producer(kafka: Kafka, compression: Compression = "none", **extra: Any) -> Producer:
    """Make an idempotent producer that retries for ever: an outage delays records, and loses none.

    ``compression`` is one for all topics of the producer: confluent-kafka has no settings for single topics.
    """
    return Producer(
        client_config(kafka)
        | {
            "enable.idempotence": True,
            "partitioner": _LIBRDKAFKA_PARTITIONERS[kafka.input_partitioner],
            "compression.type": compression,
            "compression.level": _LEVELS.get(compression, -1),
            "linger.ms": 2,
            "message.timeout.ms": 0,
            # only the topic limits the size: a dead letter is the refused record, of any size, plus headers
            "message.max.bytes": _NO_LIMIT_BYTES,
            "queue.buffering.max.kbytes": 256 << 10,
        }
        | extra,
        logger=_librdkafka,
    )


def make_tail_consumer(kafka: Kafka, **extra: Any) -> Consumer:
    """Make a consumer that joins no consumer group: the caller assigns its partitions, to read a whole topic."""
    return Consumer(
        client_config(kafka)
        | {
            "group.id": "prefstream-tail",  # librdkafka needs a name even if no group is joined
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": False,
            "isolation.level": "read_committed",  # then the ends that it tells are last stable offsets
            "fetch.wait.max.ms": 50,
        }
        | extra,
        logger=_librdkafka,
    )


def make_admin(kafka: Kafka) -> AdminClient:
    """Make an admin client for metadata and topics."""
    return AdminClient(client_config(kafka), logger=_librdkafka)


def committed_partitions(kafka: Kafka, group: str, counts: Mapping[str, int], timeout_s: float = 30.0) -> set[int]:
    """Return the partition numbers for which a consumer group has committed an offset in any of the topics.

    ``counts`` maps each topic to its number of partitions.
    """
    partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    # no admin client here: it was seen to crash while a broker that has just started loads its consumer groups
    consumer = make_tail_consumer(kafka, **{"group.id": group})
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            try:
                committed = consumer.committed(partitions, timeout=timeout_s)
                return {part.partition for part in committed if part.offset >= 0}
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(
                        f"The broker did not return the offsets of consumer group {group!r} within {timeout_s:.0f} s "
                        f"({error.args[0].str()}): check that all brokers are running."
                    ) from None
                time.sleep(_RETRY_AFTER_S)
    finally:
        consumer.close()


def check_broker(admin: AdminClient, kafka: Kafka, timeout_s: float = 10.0) -> None:
    """Raise `BrokerUnavailable` if no broker answers a metadata request within ``timeout_s``."""
    try:
        admin.list_topics(timeout=timeout_s)
    except Exception as error:
        raise BrokerUnavailable(
            f"No Kafka broker answered at {kafka.bootstrap_servers} within {timeout_s:.0f} s: start it "
            "(`prefstream stack up` for a local one) or check kafka.bootstrap_servers and the TLS and SASL settings "
            f"({error})."
        ) from None
