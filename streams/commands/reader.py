"""Reads a topic without a consumer group: all of it, one record, or the records that arrive from now on."""

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.commands.broker import QUIET, TIMEOUT_S, Broker
from streams.commands.errors import CommandError
from streams.kafka.clients import BrokerUnavailable, make_tail_consumer

_POLL_S = 0.05
_MAX_RECORDS = 1_000
_STALL_S = 30.0


class TopicReader:
    """A plain consumer of one topic; a context manager."""

    def __init__(self, broker: Broker, topic: str) -> None:
        """Open a consumer; raises `TopicsError` if the broker doesn't have the topic."""
        self.topic = topic
        self._count = broker.need(topic)
        self._servers = broker.kafka.bootstrap_servers
        self._consumer: Consumer = make_tail_consumer(broker.kafka, **QUIET)

    def __enter__(self) -> "TopicReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def spans(self) -> dict[int, tuple[int, int]]:
        """Return the first offset and the end offset of each partition."""
        return {number: self._span(number) for number in range(self._count)}

    def _span(self, partition: int) -> tuple[int, int]:
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(self.topic, partition), timeout=TIMEOUT_S)
        except KafkaException as error:
            raise BrokerUnavailable(
                f"The broker at {self._servers} did not say where {self.topic}-{partition} ends: {error.args[0].str()}."
            ) from None
        return int(low), int(high)

    def follow(self, *, from_beginning: bool = False) -> Iterator[list[Message]]:
        """Yield records as they arrive, without end; an empty list when none arrived for a moment.

        The reading starts at the end (or the beginning) that the topic has when ``follow`` is called, not at the first
        ``next``.
        """
        spans = self.spans()
        self._assign({number: low if from_beginning else high for number, (low, high) in spans.items()})
        return self._for_ever()

    def _for_ever(self) -> Iterator[list[Message]]:
        while True:
            yield self._consume()

    def until_end(self, last: int | None = None) -> Iterator[Message]:
        """Yield every record that the topic holds at the time of the first ``next``.

        ``last``: begin this many offsets before the end of each partition; None: at the beginning.
        """
        spans = self.spans()
        ends = {number: high for number, (low, high) in spans.items() if high > low}
        starts = {number: low if last is None else max(low, high - last) for number, (low, high) in spans.items()}
        self._assign({number: starts[number] for number in ends})
        deadline = time.monotonic() + _STALL_S
        while ends:
            messages = self._consume()
            for message in messages:
                if message.offset() < ends.get(message.partition(), 0):
                    yield message
            # positions, not records: the last offsets may have been compacted away
            for part in self._consumer.position([TopicPartition(self.topic, number) for number in ends]):
                if part.offset >= ends[part.partition]:
                    del ends[part.partition]
            if messages:
                deadline = time.monotonic() + _STALL_S
            elif time.monotonic() > deadline:
                raise BrokerUnavailable(
                    f"The broker at {self._servers} sent no record of {self.topic} for {_STALL_S:.0f} s, although the "
                    "topic has more: check the broker's health."
                )

    def read_record(self, partition: int, offset: int) -> Message:
        """Read the record at an offset; raises `CommandError` if there is none (any more)."""
        if partition >= self._count:
            numbers = "1 partition, 0" if self._count == 1 else f"{self._count} partitions, 0 to {self._count - 1}"
            raise CommandError(f"There is no record {partition}:{offset} in {self.topic}: the topic has {numbers}.")
        low, high = self._span(partition)
        record = None
        if low <= offset < high:
            self._assign({partition: offset})
            deadline = time.monotonic() + _STALL_S
            while record is None and time.monotonic() < deadline:
                record = next(iter(self._consume()), None)
        if record is None or record.offset() != offset:
            held = f"that partition holds {low} to {high - 1}" if high > low else "that partition holds nothing"
            raise CommandError(f"There is no record {partition}:{offset} in {self.topic}: {held}.")
        return record

    def _assign(self, offsets: dict[int, int]) -> None:
        self._consumer.assign([TopicPartition(self.topic, number, offset) for number, offset in offsets.items()])

    def _consume(self) -> list[Message]:
        records = []
        for message in self._consumer.consume(_MAX_RECORDS, timeout=_POLL_S):
            error = message.error()
            if error is None:
                records.append(message)
            elif not error.retriable():
                raise CommandError(f"Reading {self.topic} from {self._servers} failed: {error.str()}.")
        return records
