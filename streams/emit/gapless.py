"""Produces records so that each partition of a topic has a record only if it has all records before it.

Applied offsets need this of `rerouted`: once a later event of a user is applied, an earlier one of the same log never
counts again. So if Kafka refuses a record, it must not take the records behind it.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from streams.emit.deliveries import Deliveries, DeliveryFailed, refusal_text

log = structlog.get_logger(__name__)

KNOWN_S = 60.0
"""Seconds for which a broker surely knows a producer whose record it has confirmed; by default it does for a day."""
_WAIT_S = 0.05
_ASK_TIMEOUT_S = 5.0


class GaplessProducer:
    """An idempotent producer with ``enable.gapless.guarantee``, for one topic. It ends at the first refused record.

    librdkafka sends up to five requests to a broker at once. The broker refuses a request whose sequence number does
    not follow the last one that it took from this producer: so nothing comes in behind a refused request. But a broker
    that has no record of a producer yet takes any sequence number. Therefore the first record of each partition goes
    alone, and the others wait until Kafka has confirmed it.
    """

    def __init__(
        self,
        topic: str,
        make: Callable[[], Producer],
        stopping: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create without a connection.

        Parameters
        ----------
        topic : full name of the topic
        make : makes the producer; called for the first record, because most workers never send one
        stopping : set when the worker ends: then nobody waits for Kafka any more
        """
        self._topic, self._make, self._stopping, self._clock = topic, make, stopping, clock
        self._producer: Producer | None = None
        self._known_until: dict[int, float] = {}  # by partition
        self._unconfirmed: list[Deliveries] = []
        self._fatal: str | None = None

    def is_known(self, partition: int) -> bool:
        """Return whether the broker knows this producer on a partition, so that records may follow each other."""
        return self._known_until.get(partition, 0.0) > self._clock()

    def send(self, partition: int, key: str, value: bytes | None, headers: Any, counts: tuple[Deliveries, ...]) -> None:
        """Send a record; ``counts`` have counted it, and hear of its end.

        Raises `DeliveryFailed` if the producer has ended, or the worker ends.
        """
        self._note(counts)
        report = RecordReceipt(counts)
        if self._producer is None:
            self._producer = self._make()
        while True:
            if self._fatal is not None:
                raise DeliveryFailed(self._fatal)
            try:
                self._producer.produce(
                    self._topic, value, key, partition=partition, headers=headers, on_delivery=report
                )
            except BufferError:
                self._check_stopping()
                self.poll(_WAIT_S)
            except KafkaException as error:
                if error.args[0].code() == KafkaError._UNKNOWN_PARTITION:
                    self._check_stopping()
                    self._ask_partitions(self._producer)
                else:
                    self._end(error.args[0].str())
            else:
                return

    def introduce(self, partitions: Iterable[int], firsts: Deliveries) -> None:
        """Wait until Kafka has confirmed ``firsts``, the first records of these partitions.

        Raises `DeliveryFailed` if Kafka refuses one of them, or the worker ends.
        """
        firsts.close()
        while not firsts.wait(0):
            self._check_stopping()
            self.poll(_WAIT_S)
        until = self._clock() + KNOWN_S
        self._known_until.update(dict.fromkeys(partitions, until))

    def poll(self, timeout_s: float = 0.0) -> None:
        """Take the delivery reports that have arrived. Several threads may call it."""
        if self._producer is None:
            return
        try:
            self._producer.poll(timeout_s)
        except KafkaException as error:
            self._end(error.args[0].str())
        except SystemError as error:
            # The client raises a fatal error inside of poll, and goes on to call reports while that error is set:
            # such a report ends with this error, and has counted nothing.
            self._end(str(error.__cause__ or error))

    def close(self, timeout_s: float) -> int:
        """Send the records that are still queued; returns how many are left."""
        if self._producer is None:
            return 0
        if self._fatal is None:
            try:
                return int(self._producer.flush(timeout_s))
            except (KafkaException, SystemError) as error:
                self._end(str(error))
        return len(self._producer)

    def _note(self, counts: tuple[Deliveries, ...]) -> None:
        for count in counts:
            if not any(count is noted for noted in self._unconfirmed):
                self._unconfirmed = [noted for noted in self._unconfirmed if not noted.confirmed]
                self._unconfirmed.append(count)

    def _end(self, why: str) -> None:
        """End the producer: no count that has a record of it is ever confirmed."""
        # some records that are under way now are never reported
        if self._fatal is None:
            self._fatal = refusal_text(self._topic, why)
        for count in self._unconfirmed:
            count.fail(self._topic, why)

    def _ask_partitions(self, producer: Producer) -> None:
        """Have the producer learn that the topic has grown, which it would do only after `metadata_max_age_s`."""
        try:
            known = producer.list_topics(self._topic, timeout=_ASK_TIMEOUT_S).topics[self._topic].partitions
            log.info("the topic has more partitions now", topic=self._topic, partitions=len(known))
        except KafkaException as error:
            log.warning("waiting for the broker to tell the partitions", topic=self._topic, problem=str(error))
        self.poll(_WAIT_S)

    def _check_stopping(self) -> None:
        if self._stopping.is_set():
            raise DeliveryFailed(f"The worker ended before Kafka took a record for {self._topic}.")


class RecordReceipt:
    """The delivery report of one record. Unlike a `Receipt`, it counts only once Kafka has said that it has the record.

    A report that is lost therefore never counts as a success.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: tuple[Deliveries, ...]) -> None:
        self._counts = counts

    def __call__(self, error: KafkaError | None, message: Any) -> None:
        """Take librdkafka's report of the record."""
        for count in self._counts:
            if error is None:
                count.settle(1)
            else:
                count.fail(message.topic(), error.str())
