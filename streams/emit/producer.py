"""Produces all records of a worker: recommendations, dead letters, rerouted records, trending counts, item vectors."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.errors import MAX_DETAIL_CHARS
from streams.decode.dead_letter import Refused
from streams.decode.decoder import Misplaced
from streams.emit.deliveries import Deliveries, DeliveryFailed, Receipt, refusal_text
from streams.emit.gapless import GaplessProducer
from streams.kafka.clients import OWN_COMPRESSION, make_producer
from streams.kafka.topics import DEAD_LETTERS, RECOMMENDATIONS, REROUTED, TRENDING, TopicNames
from streams.settings import Compression, Kafka

log = structlog.get_logger(__name__)

MAX_BATCH_BYTES = 1_000_000
"""The most bytes that librdkafka puts into one batch, by its default."""
REPORTS_EVERY_S = 0.05
"""How often delivery reports are collected; only a checkpoint needs them."""
# a thread that waited for reports would wake up for each partition that a small batch is sent to, which costs a sixth
# of sending the batch


class TopicRecord(Protocol):
    """A record of a feature, for a topic of the namespace."""

    @property
    def topic(self) -> str:
        """The topic's name without the namespace."""
        ...

    @property
    def key(self) -> str:
        """The record's key."""
        ...

    @property
    def value(self) -> bytes | None:
        """The record's value; None is a tombstone."""
        ...


class Emitter:
    """Produces records by librdkafka; a thread of its own collects the delivery reports."""

    @classmethod
    def connect(cls, kafka: Kafka, names: TopicNames, compression: Compression = "none", **extra: Any) -> "Emitter":
        """Make an emitter with producers of its own; ``extra`` are settings of librdkafka.

        ``compression`` is that of all topics but `rerouted`, which only workers read.
        """

        def make_gapless() -> Producer:
            # a broker judges the size of a whole batch
            size = min(MAX_BATCH_BYTES, kafka.max_rerouted_bytes)
            config = {"batch.size": size} | extra | {"enable.gapless.guarantee": True}
            return make_producer(kafka, OWN_COMPRESSION, **config)

        producer = make_producer(kafka, compression, **{"delivery.report.only.error": True}, **extra)
        return cls(producer, names, make_gapless=make_gapless)

    def __init__(
        self,
        producer: Producer,
        names: TopicNames,
        reports_every_s: float = REPORTS_EVERY_S,
        make_gapless: Callable[[], Producer] | None = None,
    ) -> None:
        """Start the thread that collects reports.

        Parameters
        ----------
        reports_every_s : seconds between two calls of `collect_reports` by the thread
        make_gapless : makes the producer of rerouted records; without it ``producer`` sends them too
        """
        self._producer = producer
        self._names = names
        self._recommendations = names.full(RECOMMENDATIONS)
        self._deliveries = Deliveries()
        self._shortened: deque[tuple[str, bytes | None, Any, Receipt]] = deque()
        self._stopping = threading.Event()
        self._rerouted = GaplessProducer(names.full(REROUTED), make_gapless or (lambda: producer), self._stopping)
        self._poller = threading.Thread(
            target=self._poll, args=(reports_every_s,), name="delivery-reports", daemon=True
        )
        self._poller.start()

    def _poll(self, every_s: float) -> None:
        while not self._stopping.wait(every_s):
            self.collect_reports()

    def collect_reports(self) -> None:
        """Take the delivery reports that have arrived, and do what follows from them. Only one thread may call it."""
        self._producer.poll(0)
        self._rerouted.poll()
        self._send_shortened()

    def _send_shortened(self) -> None:
        """Send dead letters that were too large again, without their values.

        Not called from a delivery report: the queue may be full there.
        """
        while self._shortened:
            topic, key, headers, receipt = self._shortened[0]
            try:
                self._producer.produce(topic, None, key, headers=headers, on_delivery=receipt)
            except BufferError:
                return  # the next turn tries again
            except KafkaException as error:
                receipt.fail(topic, error.args[0].str())
            receipt.taken = True
            self._shortened.popleft()
            del receipt

    def swap(self) -> Deliveries:
        """Close and return the count of the records produced so far; later records are counted anew."""
        done, self._deliveries = self._deliveries, Deliveries()
        done.close()
        return done

    def recommend(self, user_id: str, value: bytes | None) -> None:
        """Send a user's refreshed list, or a tombstone."""
        self._send(self._recommendations, user_id, value)

    def recommend_all(self, lists: Sequence[tuple[str, bytes]]) -> None:
        """Send the refreshed lists of many users in one call; each user occurs once."""
        if not lists:
            return
        receipt = Receipt(self._open_count(len(lists)), len(lists))
        messages: list[dict[str, Any]] = [{"key": user_id, "value": value} for user_id, value in lists]
        while messages:
            try:
                self._producer.produce_batch(self._recommendations, messages, on_delivery=receipt)
            except KafkaException as error:
                raise DeliveryFailed(refusal_text(self._recommendations, error.args[0].str())) from None
            messages = [message for message in messages if "_error" in message]
            for message in messages:
                refusal = message.pop("_error")
                if refusal.code() != KafkaError._QUEUE_FULL:
                    raise DeliveryFailed(refusal_text(self._recommendations, refusal.str()))
            if messages:
                self._wait_for_room(self._recommendations)
        receipt.taken = True

    def _open_count(self, records: int) -> Deliveries:
        """Count the records, and return the open count that they were added to."""
        deliveries = self._deliveries
        while not deliveries.add(records):  # a checkpoint swapped the count meanwhile
            deliveries = self._deliveries
        return deliveries

    def _wait_for_room(self, topic: str) -> None:
        """Wait a moment for room in the queue, which is full because Kafka is slow or away."""
        if self._stopping.is_set():
            raise DeliveryFailed(f"The worker ended before Kafka took a record for {topic}.")
        time.sleep(0.01)  # the polling thread makes room

    def refuse(self, refused: Sequence[Refused]) -> None:
        """Send records to the dead letters, byte for byte."""
        topic = self._names.full(DEAD_LETTERS)
        for entry in refused:
            record = entry.record
            headers = entry.letter.to_headers(record.headers or ())
            self._send(topic, record.key, record.value, headers, on_refusal=partial(self._shorten, topic, entry))

    def _shorten(self, topic: str, refused: Refused, deliveries: Deliveries) -> None:
        """Send a record that is too large for the dead letters there without its value.

        So it holds up no other record. Its value stays in its own topic as long as that keeps it.
        """
        deliveries.add(late=True)  # comes first: if the rest fails, the count stays open
        size = len(refused.record.value or b"")
        log.error("a dead letter is too large for its topic and is sent without its value", topic=topic, bytes=size)
        detail = f"the value of {size} bytes is left out: {topic} takes no record of that size; {refused.letter.detail}"
        letter = msgspec.structs.replace(refused.letter, detail=detail[:MAX_DETAIL_CHARS])
        self._shortened.append((topic, refused.record.key, letter.to_headers(), Receipt(deliveries)))

    def reroute(self, misplaced: Sequence[Misplaced]) -> None:
        """Reroute records to the partition of their user. Each partition gets its records in order, without gaps.

        The records get the time of writing as Kafka timestamp, so that retention keeps them until they are read; the
        time of the first writing is in a header.
        """
        first_of: dict[int, Misplaced] = {}
        for entry in misplaced:
            if not self._rerouted.is_known(entry.partition):
                first_of.setdefault(entry.partition, entry)
        if first_of:
            firsts = Deliveries()
            for entry in first_of.values():
                firsts.add()
                self._reroute_one(entry, firsts)
            self._rerouted.introduce(first_of, firsts)
        for entry in misplaced:
            if first_of.get(entry.partition) is not entry:
                self._reroute_one(entry)

    def _reroute_one(self, entry: Misplaced, *also: Deliveries) -> None:
        headers = entry.origin.to_headers(entry.record.headers or ())
        counts = (self._open_count(1), *also)
        self._rerouted.send(entry.partition, entry.user_id, entry.record.value, headers, counts)

    def trending(self, counts: Mapping[int, bytes]) -> None:
        """Publish the trending counts of partitions."""
        for partition, value in counts.items():
            self._send(self._names.full(TRENDING), str(partition), value)

    def write(self, records: Sequence[TopicRecord]) -> None:
        """Send the records of features to their topics."""
        for record in records:
            self._send(self._names.full(record.topic), record.key, record.value)

    def item_vector(self, topic: str, item_id: str, value: bytes | None) -> None:
        """Publish an item's vector, or its tombstone."""
        self._send(topic, item_id, value)

    def _send(
        self,
        topic: str,
        key: str | bytes | None,
        value: bytes | None,
        headers: Any = None,
        on_refusal: Callable[[Deliveries], None] | None = None,
        **extra: Any,
    ) -> None:
        receipt = Receipt(self._open_count(1), on_refusal=on_refusal)
        while True:
            try:
                self._producer.produce(topic, value, key, headers=headers or [], on_delivery=receipt, **extra)
            except BufferError:
                self._wait_for_room(topic)
            except KafkaException as error:
                raise DeliveryFailed(refusal_text(topic, error.args[0].str())) from None
            else:
                receipt.taken = True
                return

    def close(self, timeout_s: float = 10.0) -> None:
        """Send the records that are still queued, and stop the polling thread."""
        deadline = time.monotonic() + timeout_s
        left = self._producer.flush(timeout_s)
        left_rerouted = self._rerouted.close(max(0.0, deadline - time.monotonic()))
        self._stopping.set()
        self._poller.join(1.0)
        if self._shortened and not left:
            self._send_shortened()
            left = self._producer.flush(timeout_s)
        if left + left_rerouted:
            log.warning(
                "records were not delivered before the end: a replay produces them again", records=left + left_rerouted
            )
