"""Reads a compacted topic, all of it or what is latest, and goes on reading it: item vectors, trending counts."""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import Consumer, Message, TopicPartition

log = structlog.get_logger(__name__)

_POLL_S = 0.05
_MAX_RECORDS = 2_000
_AGAIN_S = 1.0
_LAG_EVERY_S = 1.0


class CompactedTopicReader:
    """A thread with a plain consumer, no group: every worker reads everything, from the beginning."""

    def __init__(
        self,
        topic: str,
        make_consumer: Callable[[], Consumer],
        on_records: Callable[[list[Message]], None],
        last: int | None = None,
    ) -> None:
        """``on_records`` is called in this thread with what a poll brought; it may block to slow the reading down.

        ``last``: begin so many offsets before the end of each partition; None: at the beginning.
        """
        self.topic = topic
        self._make_consumer = make_consumer
        self._on_records = on_records
        self._last = last
        self._stopping = threading.Event()
        self.caught_up = threading.Event()
        """Set once everything that was in the topic at the start has been read."""
        self.lag = 0
        """Records that are in the topic and not read yet, as of the last second."""
        self._thread = threading.Thread(target=self._run, name=f"tail-{topic}", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait for the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except Exception as error:
                # read again from the beginning: what is read twice changes nothing
                log.warning("reading a topic broke off and begins again", topic=self.topic, problem=str(error))
                self._stopping.wait(_AGAIN_S)

    def _read(self) -> None:
        consumer = self._make_consumer()
        try:
            ends = self._assign(consumer)
            look_again = 0.0
            while not self._stopping.is_set():
                # the first as soon as it comes: `consume` with a timeout would wait it out for more
                first = consumer.poll(_POLL_S)
                messages = [] if first is None else [first, *consumer.consume(_MAX_RECORDS, timeout=0)]
                records = [message for message in messages if message.error() is None]
                for message in messages:
                    if message.error() is not None and not message.error().retriable():
                        log.warning("tail", topic=self.topic, problem=message.error().str())
                if records:
                    self._on_records(records)
                if ends is not None and self._reached(consumer, ends):
                    self.caught_up.set()
                    ends = None
                if time.monotonic() >= look_again:
                    look_again = time.monotonic() + _LAG_EVERY_S
                    self.lag = _lag(consumer)
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> dict[int, int] | None:
        """Assign every partition from where reading begins; returns the ends to reach before we are caught up."""
        while not self._stopping.is_set():
            try:
                found = consumer.list_topics(self.topic, timeout=5.0).topics[self.topic]
                if found.error is None and found.partitions:
                    parts = [TopicPartition(self.topic, number) for number in found.partitions]
                    marks = {part.partition: consumer.get_watermark_offsets(part, timeout=5.0) for part in parts}
                    starts = {number: self._start(*span) for number, span in marks.items()}
                    consumer.assign([TopicPartition(self.topic, number, start) for number, start in starts.items()])
                    return {number: high for number, (_, high) in marks.items() if high > starts[number]}
                problem: Any = found.error or "it does not exist: create it with `prefstream topics create`"
            except Exception as error:
                problem = error
            log.warning("waiting for a topic", topic=self.topic, problem=str(problem))
            self._stopping.wait(1.0)
        return None

    def _start(self, low: int, high: int) -> int:
        return low if self._last is None else max(low, high - self._last)

    def _reached(self, consumer: Consumer, ends: dict[int, int]) -> bool:
        positions = consumer.position([TopicPartition(self.topic, number) for number in ends])
        return all(part.offset >= ends[part.partition] for part in positions)


def _lag(consumer: Consumer) -> int:
    lag = 0
    for part in consumer.position(consumer.assignment()):
        low, high = consumer.get_watermark_offsets(part, cached=True)  # of the last fetch: asks nobody
        # before the first record there is no position
        lag += max(0, high - max(part.offset, low)) if high >= 0 else 0
    return lag
