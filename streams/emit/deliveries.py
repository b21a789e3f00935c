"""What was produced, and what of it Kafka has confirmed or refused."""

import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from streams.errors import PrefstreamError


class DeliveryFailed(PrefstreamError):
    """A record that Kafka will never take; nothing that depends on it may be acked."""


def _refused(topic: str, why: str) -> str:
    return (
        f"Kafka refused a record for {topic}: {why}. The worker stops with nothing lost: mend the topic (for "
        "dead-letters, max.message.bytes must exceed that of the inputs) and start it again."
    )


class Deliveries:
    """Counts what was produced since the last checkpoint and what of it Kafka has confirmed or refused."""

    def __init__(self) -> None:
        self.produced = 0
        self.reported = 0
        self._lock = threading.Lock()  # several threads produce, one collects reports
        self.error: str | None = None
        self._closed = False  # nothing more will be produced
        self._done = threading.Event()

    def fail(self, topic: str, why: str) -> None:
        """Kafka will never take one of the records."""
        self.error = _refused(topic, why)

    def settle(self, records: int) -> None:
        """So many more are confirmed or refused."""
        with self._lock:
            self.reported += records
            if self._closed and self.reported >= self.produced:
                self._done.set()

    def close(self) -> None:
        """Nothing more will be produced under this count."""
        with self._lock:
            self._closed = True
            if self.reported >= self.produced:
                self._done.set()

    def add(self, records: int = 1, late: bool = False) -> bool:
        """Count records that are about to be produced; False if this count is closed, to all but ``late`` ones."""
        with self._lock:
            counts = late or not self._closed
            self.produced += records * counts
            return counts

    @property
    def confirmed(self) -> bool:
        """Whether Kafka has every record."""
        return self._done.is_set() and self.error is None

    def wait(self, timeout_s: float) -> bool:
        """Block until every record is confirmed, or the time is over (False); `DeliveryFailed` if Kafka refused one."""
        if not self._done.wait(timeout_s):
            return False
        if self.error is not None:
            raise DeliveryFailed(self.error)
        return True


class Receipt:
    """The delivery report of some records: called for each that fails, let go of when the fate of all is known.

    A call for each record that Kafka takes would cost as much as half of what sending it does: confluent-kafka makes a
    message of it, value and all. But it holds the function that it would call once for each record that is under way,
    and so it must, as any of them may still fail. So when nobody holds it any more, none is under way.
    """

    __slots__ = ("_deliveries", "_on_refusal", "_records", "taken")

    def __init__(
        self, deliveries: Deliveries, records: int = 1, on_refusal: Callable[[Deliveries], None] | None = None
    ) -> None:
        """``on_refusal`` is called, instead of failing, for a record that is too large for its topic."""
        self._deliveries, self._records, self._on_refusal = deliveries, records, on_refusal
        self.taken = False
        """Whether the producer has taken all records: what it did not take is never confirmed."""

    def fail(self, topic: str, why: str) -> None:
        """The producer does not take a record."""
        self._deliveries.fail(topic, why)

    def __call__(self, error: KafkaError | None, message: Any) -> None:
        """librdkafka's delivery report; ``error`` is None where it reports successes too."""
        if error is None:
            return
        if self._on_refusal is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._on_refusal(self._deliveries)
        else:
            self._deliveries.fail(message.topic(), error.str())

    def __del__(self) -> None:
        if self.taken:
            self._deliveries.settle(self._records)
