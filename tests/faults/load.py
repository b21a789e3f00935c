"""A steady load on a thread of its own, and the log of what Kafka really took: from the delivery reports."""

import threading
import time
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Producer

from tests.e2e.oracle import Sent
from tests.faults.content import Content, Record, event_record

_TICK_S = 0.02


class Delivered(NamedTuple):
    """A record of the log."""

    record: Record
    topic: str
    partition: int
    offset: int


class Load:
    """Produces ``content`` at ``rate`` records a second between ``start`` and ``stop``; may be started again."""

    def __init__(self, bootstrap: str, namespace: str, content: Content, rate: float) -> None:
        self._namespace = namespace
        self.content = content
        self.rate = rate
        self.log: list[Delivered] = []
        self.handed_over = 0
        """Records given to the producer so far."""
        self.failed: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 5,
                # an outage delays the load, it doesn't thin it
                "message.timeout.ms": 0,
                "queue.buffering.max.messages": 1_000_000,
                "topic.metadata.refresh.interval.ms": 1_000,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": 2,
            }
        )
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, or go on."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what was handed over may still be on its way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def flush(self, timeout_s: float = 60.0) -> None:
        """Wait until Kafka has taken everything that was handed over."""
        left = self._producer.flush(timeout_s)
        if left or self.failed:
            raise AssertionError(f"{left} records of the load were not taken by Kafka in time; {self.failed[:3]}")

    def _run(self) -> None:
        try:
            self._produce()
        except Exception as error:
            self.failed.append(repr(error))

    def _produce(self) -> None:
        began = time.monotonic()
        made = 0
        while not self._stopping.wait(_TICK_S):
            due = int((time.monotonic() - began) * self.rate)
            while made < due:
                made += 1
                for record in self.content.next(int(time.time() * 1000)):
                    self.send(record)
            self._producer.poll(0)

    def send(self, record: Record) -> None:
        """Produce one record beside the steady ones."""
        extra: dict[str, Any] = {} if record.partition is None else {"partition": record.partition}

        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                self.failed.append(error.str())
            else:
                self.log.append(Delivered(record, message.topic(), message.partition(), message.offset()))

        with self._lock:
            topic = f"{self._namespace}.{record.topic}"
            self._producer.produce(
                topic, record.value, record.key, headers=list(record.headers), on_delivery=delivered, **extra
            )
            self.handed_over += 1

    def send_event(self, sent: Sent) -> None:
        """Produce one event beside the steady ones."""
        self.send(event_record(sent))

    def events(self) -> list[Sent]:
        """Every event that Kafka took; those of one partition in the order of its log."""
        return [one.record.sent for one in self.log if one.record.sent is not None]

    def broken(self) -> list[Delivered]:
        """Every record that Kafka took and nobody can read."""
        return [one for one in self.log if one.record.sent is None]
