"""Counts produced records, and those of them that Kafka has confirmed or refused."""

import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from streams.errors import PrefstreamError


class DeliveryFailed(PrefstreamError):
    """Raised when Kafka will never take a record; nothing that depends on the record may be acked."""


def refusal_text(topic: str, why: str) -> str:
    """Return the message of a `DeliveryFailed`: why Kafka refused a record for ``topic``, and what to do."""
    return (
        f"Kafka refused a record for {topic}: {why}. The worker stops, and no event is lost: repair the topic "
        "(max.message.bytes of dead-letters must exceed that of the inputs; that of rerouted must be at least "
        "kafka.max_rerouted_bytes) and start the worker again."
    )


class Deliveries:
    """Counts the records produced between two checkpoints, and those that Kafka has confirmed or refused."""

    def __init__(self) -> None:
        self.produced = 0
        self.reported = 0
        self._lock = threading.Lock()  # several threads produce, one collects reports
        self.error: str | None = None
        self._closed = False  # no more records will be produced under this count
        self._done = threading.Event()

    def fail(self, topic: str, why: str) -> None:
        """Note that Kafka will never take one of the records. Nobody waits for the others from now on."""
        # a producer that has met a fatal error never reports some of the records that were under way
        self.error = self.error or refusal_text(topic, why)
        self._done.set()

    def settle(self, records: int) -> None:
        """Note that ``records`` more records are confirmed or refused."""
        with self._lock:
            self.reported += records
            if self._closed and self.reported >= self.produced:
                self._done.set()

    def close(self) -> None:
        """Close the count: no more records will be produced under it."""
        with self._lock:
            self._closed = True
            if self.reported >= self.produced:
                self._done.set()

    def add(self, records: int = 1, late: bool = False) -> bool:
        """Count records that are about to be produced; return False if the count is closed and ``late`` is not set."""
        with self._lock:
            counts = late or not self._closed
            self.produced += records * counts
            return counts

    @property
    def confirmed(self) -> bool:
        """Whether Kafka has every record."""
        return self._done.is_set() and self.error is None

    def wait(self, timeout_s: float) -> bool:
        """Block until every record is confirmed; return False if that takes longer than ``timeout_s``.

        Raises `DeliveryFailed` if Kafka refused a record.
        """
        if not self._done.wait(timeout_s):
            return False
        if self.error is not None:
            raise DeliveryFailed(self.error)
        return True


class Receipt:
    """The delivery report of one or more records: called for each record that fails, freed when all are settled.

    confluent-kafka holds a reference to this object for each record that is under way, because any of them may still
    fail. So when the last reference is gone, no record is under way: then `__del__` counts them as settled.
    """

    # A call for each record that Kafka takes would cost half as much as sending the record: confluent-kafka makes a
    # message object for it, with the value.

    __slots__ = ("_deliveries", "_on_refusal", "_records", "taken")

    def __init__(
        self, deliveries: Deliveries, records: int = 1, on_refusal: Callable[[Deliveries], None] | None = None
    ) -> None:
        """``on_refusal`` is called for a record that is too large for its topic; without it the delivery fails."""
        self._deliveries, self._records, self._on_refusal = deliveries, records, on_refusal
        self.taken = False
        """Whether the producer has taken all records; if not, they are never confirmed."""

    def fail(self, topic: str, why: str) -> None:
        """Note that the producer does not take a record."""
        self._deliveries.fail(topic, why)

    def __call__(self, error: KafkaError | None, message: Any) -> None:
        """Take librdkafka's report of a record; ``error`` is None for a success, which not every producer reports."""
        if error is None:
            return
        if self._on_refusal is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._on_refusal(self._deliveries)
        else:
            self._deliveries.fail(message.topic(), error.str())

    def __del__(self) -> None:
        if self.taken:
            self._deliveries.settle(self._records)
