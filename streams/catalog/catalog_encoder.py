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
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from encoders.arrays import Float32Array
from encoders.items.item_encoder import ItemEncoder
from schemas.catalog import CatalogItem, ItemVector
from schemas.codec import decode_catalog_item, encode
from schemas.errors import DecodeError
from schemas.headers import content_type
from schemas.record_keys import id_of_key
from streams.catalog.catalog_record import CatalogRecord, check_key
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

KnownVectors = dict[str, tuple[Float32Array, float]]
"""By item id: the vector (d,) and the bias."""


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
        known_vectors: Callable[[list[str]], KnownVectors],
        fail: Callable[[BaseException], None],
    ) -> None:
        """Make an encoder; `start` starts it.

        Parameters
        ----------
        catalog_id : Kafka's id of the catalog topic
        known_vectors : returns the vectors that the topic of item vectors has now, of those given ids that it has
        fail : called in the thread, which then ends
        """
        self._encoder, self._emitter, self._metrics = encoder, emitter, metrics
        self._bad_input = BadInput(metrics)
        self._make_consumer, self._known_vectors, self._fail = make_consumer, known_vectors, fail
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
        changes = [change for change in map(self._change_of, batch) if change is not None]
        items = [change.item for change in changes if change.item is not None]
        with self._metrics.stage("encode_items"):
            vectors, known, biases = self._encoder.encode_with_bias(items)
        encoded = zip(vectors, known, biases, strict=True)
        # the vectors that the topic will have before the change in hand
        latest: KnownVectors = self._known_vectors([change.item_id for change in changes if change.is_withdrawal])
        outcomes: Counter[str] = Counter()
        for change in changes:
            if change.item is None:
                outcomes["removed"] += 1
                latest.pop(change.item_id, None)
                self._emitter.item_vector(self._topic, change.item_id, None)
                continue
            vector, has_vector, bias = next(encoded)
            outcomes["withdrawn"] += not change.item.available
            if change.is_withdrawal and change.item_id in latest:
                vector, bias = latest[change.item_id]
                has_vector = True
            outcomes["encoded" if has_vector else "no-vector"] += 1
            if has_vector:
                latest[change.item_id] = vector, float(bias)
                self._emitter.item_vector(self._topic, change.item_id, self._message(change, vector, bias))
            else:  # the tombstone deletes a vector that an earlier record of the item had
                latest.pop(change.item_id, None)
                self._emitter.item_vector(self._topic, change.item_id, None)
        for outcome, count in outcomes.items():
            self._metrics.encoded(outcome, count)

    def _change_of(self, record: CatalogRecord) -> "_Change | None":
        try:
            if record.value is None and record.key:
                return _Change(id_of_key(record.key, "item_id"), None, record)
            item, faults = decode_catalog_item(record.value, content_type(record.headers))
            check_key(record.key, item.item_id)
        except DecodeError as error:
            self._emitter.refuse([Refused(record, dead_letter(record, error))])
            self._bad_input.refused(record, error.reason, error.field, error.detail)
            return None
        for fault in faults:
            self._bad_input.fault(record, fault.reason, fault.field, fault.detail)
        return _Change(item.item_id, item, record)

    def _message(self, change: "_Change", vector: Float32Array, bias: float) -> bytes:
        assert change.item is not None
        return encode(
            ItemVector(
                item_id=change.item_id,
                vector=vector.tobytes(),
                encoder_version=self._encoder.encoder.manifest.version,
                available=change.item.available,
                brand=change.item.brand,
                category=change.item.category,
                bias=float(bias),
                source_topic_id=self._catalog_id,
                source_partition=change.record.partition,
                source_offset=change.record.offset,
            )
        )


class _Change(NamedTuple):
    """What a record says of an item; without an item, it is removed."""

    item_id: str
    item: CatalogItem | None
    record: CatalogRecord

    @property
    def is_withdrawal(self) -> bool:
        """Whether the record only says that the item is not available: its texts are not sent again."""
        return self.item is not None and not self.item.available and not self.item.title
