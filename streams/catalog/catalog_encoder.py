"""Encodes new and changed items in batches, and writes their vectors to the item-vectors topic of one encoder version.

Each version has a consumer group of its own on the catalog, ``<group>.catalog-<version>``. Therefore:

- Kafka shares the catalog out over only the workers that have the version's folder.
- A new version begins at the start of the catalog.
- If a worker dies, another worker takes over its share at the committed offset.
- A version that is activated again encodes the records that it missed.

The group's committed offsets tell whether the whole catalog is encoded, so every worker gets the same answer.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from encoders.items.item_encoder import ItemEncoder
from schemas.catalog import CatalogItem, ItemVector
from schemas.codec import decode_catalog_item, encode
from schemas.errors import DecodeError, DecodeReason
from schemas.headers import content_type
from schemas.record_keys import id_of_key
from streams.decode.dead_letter import Refused, dead_letter
from streams.emit.producer import Emitter
from streams.kafka.unread import unread
from streams.monitoring.bad_input import BadInput
from streams.monitoring.metrics import Metrics

log = structlog.get_logger(__name__)

_AT_ONCE = 1_000
_POLL_S = 0.1
_AGAIN_S = 1.0
_LAGS_EVERY_S = 1.0


class CatalogRecord(NamedTuple):
    """A record of the catalog, with the attribute names that `dead_letter` reads."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @classmethod
    def of(cls, message: Message) -> "CatalogRecord":
        """Convert librdkafka's message."""
        kind, timestamp = message.timestamp()
        return cls(
            str(message.topic()),
            int(message.partition() or 0),
            int(message.offset() or 0),
            timestamp if kind else None,
            message.key(),
            message.value(),
            list(message.headers() or []),
        )


class CatalogEncoder:
    """Encodes this worker's share of the catalog, in a thread.

    It keeps no state: a record that is read again gives the same vector again. It has an emitter of its own, and
    commits offsets only after Kafka has confirmed the vectors.
    """

    def __init__(
        self,
        *,
        encoder: ItemEncoder,
        make_consumer: Callable[[], Consumer],
        emitter: Emitter,
        metrics: Metrics,
        catalog: str,
        catalog_id: str,
        vectors_topic: str,
        fail: Callable[[BaseException], None],
    ) -> None:
        """``catalog_id`` is Kafka's id of the catalog topic; ``fail`` is called in the thread, which then ends."""
        self._encoder, self._emitter, self._metrics = encoder, emitter, metrics
        self._bad_input = BadInput(metrics)
        self._make_consumer, self._fail = make_consumer, fail
        self._catalog, self._catalog_id, self._topic = catalog, catalog_id, vectors_topic
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="catalog", daemon=True)
        self.lags: dict[int, int] = {}
        """For each partition of this worker's share, the number of records that are not encoded yet."""

    def start(self) -> None:
        """Start the thread, which joins the consumer group."""
        self._thread.start()

    def stop(self) -> None:
        """Leave the group and close the emitter; waits for the batch in hand."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10.0)
        self._emitter.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except KafkaException as error:
                log.warning("reading the catalog failed and will be tried again", problem=str(error))
                self._stopping.wait(_AGAIN_S)
            except Exception as error:
                self._fail(error)
                return

    def _read(self) -> None:
        consumer = self._make_consumer()
        try:
            consumer.subscribe([self._catalog])
            looked = 0.0
            reached: dict[int, int] = {}
            while not self._stopping.is_set():
                messages = consumer.consume(_AT_ONCE, timeout=_POLL_S)
                records = [message for message in messages if message.error() is None]
                if records and not self._encode([CatalogRecord.of(message) for message in records]):
                    return
                reached |= self._commit(consumer, messages)
                if time.monotonic() > looked + _LAGS_EVERY_S:
                    looked = time.monotonic()
                    # from `reached`: after an assignment, a consumer's own position is unknown until a record comes,
                    # and no record comes if all are encoded
                    self.lags = unread(consumer, reached)
        finally:
            self.lags = {}
            consumer.close()

    def _commit(self, consumer: Consumer, messages: list[Message]) -> dict[int, int]:
        """Commit the offsets that these messages reached; returns the offsets by partition."""
        offsets: dict[int, int] = {}
        for message in messages:
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is None:
                offsets[int(partition or 0)] = int(offset or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                # the end may lie beyond the last record: later ones were compacted away or are transaction markers
                offsets[int(partition or 0)] = int(offset or 0)
            elif not error.retriable():
                log.warning("Kafka reports an error on the catalog", problem=error.str())
        if not offsets:
            return offsets
        try:
            consumer.commit(
                offsets=[TopicPartition(self._catalog, *pair) for pair in offsets.items()], asynchronous=False
            )
        except KafkaException as error:  # as when the partition has a new owner, which encodes these records again
            log.info("the catalog's offsets were not committed", problem=error.args[0].str())
        return offsets

    def _encode(self, records: list[CatalogRecord]) -> bool:
        """Publish the vectors of a batch and wait until Kafka confirms them; False if the worker stops before that."""
        self._metrics.batch(self._catalog, len(records))
        self._publish(records)
        deliveries = self._emitter.swap()
        while not deliveries.wait(_AGAIN_S):
            if self._stopping.is_set():
                return False
            log.warning("waiting for Kafka to confirm item vectors", records=deliveries.produced)
        return True

    def _publish(self, batch: list[CatalogRecord]) -> None:
        items: list[CatalogItem] = []
        records: list[CatalogRecord] = []
        removed = 0
        for record in batch:
            try:
                if record.value is None and record.key:
                    self._emitter.item_vector(self._topic, id_of_key(record.key, "item_id"), None)
                    removed += 1
                    continue
                item, faults = decode_catalog_item(record.value, content_type(record.headers))
                _check_key(record.key, item.item_id)
                for fault in faults:
                    self._bad_input.fault(record, fault.reason, fault.field, fault.detail)
                items.append(item)
                records.append(record)
            except DecodeError as error:
                self._emitter.refuse([Refused(record, dead_letter(record, error))])
                self._bad_input.refused(record, error.reason, error.field, error.detail)
        with self._metrics.stage("encode_items"):
            vectors, known, biases = self._encoder.encode_with_bias(items)
        version = self._encoder.encoder.manifest.version
        for item, record, vector, bias, has_vector in zip(items, records, vectors, biases, known, strict=True):
            if not has_vector:  # the tombstone deletes a vector that an earlier record of the item had
                self._emitter.item_vector(self._topic, item.item_id, None)
                continue
            message = ItemVector(
                item_id=item.item_id,
                vector=vector.tobytes(),
                encoder_version=version,
                available=item.available,
                bias=float(bias),
                source_topic_id=self._catalog_id,
                source_partition=record.partition,
                source_offset=record.offset,
            )
            self._emitter.item_vector(self._topic, item.item_id, encode(message))
        self._metrics.encoded("encoded", int(known.sum()))
        self._metrics.encoded("no-vector", int((~known).sum()))
        self._metrics.encoded("withdrawn", sum(not item.available for item in items))
        self._metrics.encoded("removed", removed)


def _check_key(key: bytes | None, item_id: str) -> None:
    """Check that the key names the item: compaction goes by key, and a tombstone has nothing else."""
    if not key or id_of_key(key, "item_id") != item_id:
        shown = f"the key {key[:80]!r}" if key else "no key"
        detail = f"the record of item {item_id[:80]!r} has {shown}: the key must be the item's id"
        raise DecodeError(DecodeReason.MALFORMED, "item_id", detail)
