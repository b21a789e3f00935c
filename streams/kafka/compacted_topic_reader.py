"""Reads a compacted topic, from its beginning or only its latest records, and then follows it.

Used for item vectors, trending counts and the like.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import Consumer, Message, TopicPartition

from streams.kafka.unread import unread

log = structlog.get_logger(__name__)

_POLL_S = 0.05
_MAX_RECORDS = 2_000
_RETRY_AFTER_S = 1.0
_LAG_EVERY_S = 1.0


class CompactedTopicReader:
    """Reads all partitions of a topic in a thread of its own.

    There is no consumer group: every worker reads every record. A record may be delivered more than once: after an
    error the reader starts again where it started first.
    """

    def __init__(
        self,
        topic: str,
        make_consumer: Callable[[], Consumer],
        on_records: Callable[[list[Message]], None],
        last: int | None = None,
    ) -> None:
        """``on_records`` is called in the reader's thread with the records of a poll; it may block, to slow the reader.

        ``last``: start this many offsets before the end of each partition; None: start at the beginning.
        """
        self.topic = topic
        self._make_consumer = make_consumer
        self._on_records = on_records
        self._last = last
        self._stopping = threading.Event()
        self.caught_up = threading.Event()
        """Set once all records that were in the topic at the start have been read."""
        self.lag = 0
        """Number of records in the topic that are not read yet and can be read; renewed every second."""
        self._asked: list[threading.Event] = []
        self._starts: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, name=f"tail-{topic}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait up to 5 s for the thread to end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def wait_for_end(self, timeout_s: float) -> bool:
        """Wait, in another thread, until all records that are in the topic now were handed over; False if late."""
        reached = threading.Event()
        self._asked.append(reached)
        return reached.wait(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except Exception as error:
                # start over: a record that is read twice changes nothing
                log.warning("reading a topic failed and starts again", topic=self.topic, problem=str(error))
                self._stopping.wait(_RETRY_AFTER_S)

    def _read(self) -> None:
        consumer = self._make_consumer()
        try:
            ends = self._assign(consumer)
            waiting = [] if ends is None else [(ends, self.caught_up)]
            next_lag_at = 0.0
            while not self._stopping.is_set():
                # `poll` returns as soon as a record comes; `consume` with a timeout would wait the whole time for more
                first = consumer.poll(_POLL_S)
                messages = [] if first is None else [first, *consumer.consume(_MAX_RECORDS, timeout=0)]
                records = [message for message in messages if message.error() is None]
                for message in messages:
                    if message.error() is not None and not message.error().retriable():
                        log.warning("error while reading a topic", topic=self.topic, problem=message.error().str())
                if records:
                    self._on_records(records)
                asked, self._asked = self._asked, []
                if asked:
                    parts = consumer.assignment()
                    ends = {part.partition: consumer.get_watermark_offsets(part, timeout=5.0)[1] for part in parts}
                    waiting += [(ends, event) for event in asked]
                if waiting:
                    waiting = [
                        (ends, event) for ends, event in waiting if not self._tell_if_reached(consumer, ends, event)
                    ]
                if time.monotonic() >= next_lag_at:
                    next_lag_at = time.monotonic() + _LAG_EVERY_S
                    # before the first record the position is a negative number
                    positions = consumer.position(consumer.assignment())
                    self.lag = sum(unread(consumer, {part.partition: part.offset for part in positions}).values())
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> dict[int, int] | None:
        """Assign every partition at its start offset; return the end offsets at which the reader is caught up.

        Waits until the topic exists. Returns None if the reader is stopped meanwhile.
        """
        while not self._stopping.is_set():
            try:
                metadata = consumer.list_topics(self.topic, timeout=5.0).topics[self.topic]
                if metadata.error is None and metadata.partitions:
                    parts = [TopicPartition(self.topic, number) for number in metadata.partitions]
                    spans = {part.partition: consumer.get_watermark_offsets(part, timeout=5.0) for part in parts}
                    starts = self._starts = {number: self._start(*span) for number, span in spans.items()}
                    consumer.assign([TopicPartition(self.topic, number, start) for number, start in starts.items()])
                    return {number: high for number, (_, high) in spans.items()}
                problem: Any = metadata.error or "it does not exist: create it with `prefstream topics create`"
            except Exception as error:
                problem = error
            log.warning("waiting for a topic", topic=self.topic, problem=str(problem))
            self._stopping.wait(1.0)
        return None

    def _start(self, low: int, high: int) -> int:
        return low if self._last is None else max(low, high - self._last)

    def _tell_if_reached(self, consumer: Consumer, ends: dict[int, int], event: threading.Event) -> bool:
        positions = consumer.position([TopicPartition(self.topic, number) for number in ends])
        # before the first record the position is a negative number
        reached = all(max(part.offset, self._starts[part.partition]) >= ends[part.partition] for part in positions)
        if reached:
            event.set()
        return reached
