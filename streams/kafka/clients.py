"""How the Kafka clients are set up from the settings: for producing, tailing and administration."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.errors import PrefstreamError
from streams.settings import Kafka

_AGAIN_S = 0.3
_NO_LIMIT_BYTES = 1_000_000_000
_librdkafka = logging.getLogger("librdkafka")


class BrokerUnavailable(PrefstreamError):
    """The broker doesn't answer; the message says where it was looked for."""


def client_config(kafka: Kafka) -> dict[str, Any]:
    """librdkafka's settings that every client shares."""
    config: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": "prefstream",
        "topic.metadata.refresh.interval.ms": int(kafka.metadata_max_age_s * 1000),
        "log.connection.close": False,
        # tried again soon after an outage: the default backs off to 10 s
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


def make_producer(kafka: Kafka, **extra: Any) -> Producer:
    """An idempotent producer that retries for ever: an outage delays what is sent, it loses nothing."""
    return Producer(
        client_config(kafka)
        | {
            "enable.idempotence": True,
            "partitioner": "murmur2_random" if kafka.input_partitioner == "murmur2" else "consistent_random",
            "compression.type": "lz4",
            "linger.ms": 2,
            "message.timeout.ms": 0,
            # the topic decides what it takes: a dead letter is its record, of whatever size, plus headers
            "message.max.bytes": _NO_LIMIT_BYTES,
            "queue.buffering.max.kbytes": 256 << 10,
        }
        | extra,
        logger=_librdkafka,
    )


def make_tail_consumer(kafka: Kafka, **extra: Any) -> Consumer:
    """A consumer without a group that is assigned partitions by hand: it reads a whole topic."""
    return Consumer(
        client_config(kafka)
        | {
            "group.id": "prefstream-tail",  # librdkafka wants one even where none is joined
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": False,
            "fetch.wait.max.ms": 50,
        }
        | extra,
        logger=_librdkafka,
    )


def make_admin(kafka: Kafka) -> AdminClient:
    """An admin client for metadata and topics."""
    return AdminClient(client_config(kafka), logger=_librdkafka)


def committed_partitions(kafka: Kafka, group: str, counts: Mapping[str, int], timeout_s: float = 30.0) -> set[int]:
    """Partitions for which a group has committed offsets, of topics with these partition counts."""
    parts = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    # not the admin client, which was seen to crash while a broker that has just started is loading its groups
    consumer = make_tail_consumer(kafka, **{"group.id": group})
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            try:
                found = consumer.committed(parts, timeout=timeout_s)
                return {part.partition for part in found if part.offset >= 0}
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise BrokerUnavailable(
                        f"The broker did not tell the offsets of the consumer group {group!r} within {timeout_s:.0f} s "
                        f"({error.args[0].str()}): see whether all brokers are up."
                    ) from None
                time.sleep(_AGAIN_S)
    finally:
        consumer.close()


def check_broker(admin: AdminClient, kafka: Kafka, timeout_s: float = 10.0) -> None:
    """`BrokerUnavailable` if no broker answers a metadata request in time."""
    try:
        admin.list_topics(timeout=timeout_s)
    except Exception as error:
        raise BrokerUnavailable(
            f"No Kafka broker answered at {kafka.bootstrap_servers} within {timeout_s:.0f} s: start it "
            "(`prefstream stack up` for a local one) or check kafka.bootstrap_servers and the TLS and SASL settings "
            f"({error})."
        ) from None
