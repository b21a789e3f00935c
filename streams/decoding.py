"""Records to arrays: what is broken goes to the dead letters, what came to the wrong partition is sent on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.codec import decode, decode_event, decoder
from schemas.command import ProfileCommand
from schemas.dead_letter import DeadLetter
from schemas.errors import DecodeError, DecodeReason
from schemas.events import EVENT_CLASSES, EVENT_TYPES
from schemas.headers import content_type
from schemas.ids import id_hash, id_hashes
from schemas.rerouted import Rerouted
from streams.batch import CommandBatch, EventBatch
from streams.partitioning import Partitioner, partitions_of
from streams.preference import Int64Array
from streams.profiles import Source
from streams.topics import COMMANDS, EVENT_TOPICS, REROUTED, TopicNames
from streams.transport import RecordBatch

_DECADE_MS = 10 * 365 * 86_400_000

TopicIds = Callable[[str], str]


@dataclass(frozen=True)
class Refused:
    """A record and why it is a dead letter."""

    record: Any
    letter: DeadLetter


@dataclass(frozen=True)
class Misplaced:
    """A record and the partition of `rerouted` that its user belongs to."""

    record: Any
    user_id: str
    partition: int
    origin: Rerouted


@dataclass
class Decoded:
    """What a batch of records holds."""

    topic: str
    partition: int
    records: int
    events: EventBatch | None = None
    event_records: list[Any] = field(default_factory=list)
    """The record of each event."""
    commands: CommandBatch | None = None
    refused: list[Refused] = field(default_factory=list)
    misplaced: list[Misplaced] = field(default_factory=list)


@dataclass
class _Columns:
    """Valid records of a batch, a list a column."""

    values: list[Any] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)


class Decoder:
    """Decodes batches of the five inputs. A verdict depends on the record alone, so it is the same on replay."""

    def __init__(
        self, names: TopicNames, topic_id: TopicIds, partitioner: Partitioner, max_future_s: float = 300.0
    ) -> None:
        self._names = names
        self._topic_id = topic_id
        self._partitioner: Partitioner = partitioner
        self._max_future_ms = int(max_future_s * 1000)
        self._types = {names.full(topic): EVENT_TYPES.index(kind) for topic, kind in EVENT_TOPICS.items()}
        self._commands = names.full(COMMANDS)
        self._rerouted = names.full(REROUTED)

    def decode(self, batch: RecordBatch, partitions: int) -> Decoded:
        """Decode a batch, given the inputs' partition count."""
        decoded = Decoded(batch.topic, batch.partition, len(batch))
        columns, commands = _Columns(), _Columns()
        sources: dict[Source, int] = {}
        own = Source(batch.topic, self._topic_id(batch.topic), batch.partition)
        rerouted = batch.topic == self._rerouted
        together = self._read_all(batch)
        if together is not None:
            columns, sources = together, {own: 0}
        for record in batch.records if together is None else ():
            try:
                source, offset = self._origin(record) if rerouted else (own, record.offset)
                if source.topic == self._commands:
                    value: Any = decode(ProfileCommand, record.value, content_type(record.headers))
                    target, kind = commands, -1
                else:
                    kind = self._kind(source.topic)
                    value = decode_event(kind, record.value, content_type(record.headers))
                    self._check_time(value.event_time_ms, record.timestamp)
                    target = columns
            except DecodeError as error:
                decoded.refused.append(Refused(record, dead_letter(record, error)))
                continue
            target.values.append(value)
            target.types.append(kind)
            target.records.append(record)
            target.source.append(sources.setdefault(source, len(sources)))
            target.offsets.append(offset)
        logs = list(sources)
        for found in (columns, commands):
            self._separate_misplaced(found, logs, batch.partition, partitions, rerouted, decoded.misplaced)
        if columns.values:
            decoded.events = _event_batch(columns, logs)
            decoded.event_records = columns.records
        if commands.values:
            decoded.commands = CommandBatch(
                user_ids=[command.user_id for command in commands.values],
                commands=[command.command for command in commands.values],
                sources=[logs[place] for place in commands.source],
                offsets=commands.offsets,
                received=[max(0, record.timestamp or 0) for record in commands.records],
            )
        return decoded

    def _read_all(self, batch: RecordBatch) -> _Columns | None:
        """Events without a fault, a third of the cost of one by one; None where a record needs a look of its own."""
        kind, records = self._types.get(batch.topic), batch.records
        types = {content_type(record.headers) if record.headers else None for record in records}
        if kind is None or len(types) > 1:
            return None
        try:
            read = decoder(EVENT_CLASSES[kind], types.pop())
            values = [read(record.value) for record in records]
        except (DecodeError, ValueError, RecursionError, TypeError):
            return None
        written = np.array([-1 if record.timestamp is None else record.timestamp for record in records], np.int64)
        times = np.array([value.event_time_ms for value in values], np.int64)
        if self._has_wrong_time(times, written):
            return None
        columns = _Columns(values, [kind] * len(values), list(records), [0] * len(values))
        columns.offsets = [record.offset for record in records]
        return columns

    def _has_wrong_time(self, event_time_ms: Int64Array, record_ms: Int64Array) -> bool:
        """Whether ``_check_time`` would refuse any."""
        early = (record_ms >= 0) & (event_time_ms > record_ms + self._max_future_ms)
        seconds = (record_ms > 2 * _DECADE_MS) & (np.abs(event_time_ms * 1000 - record_ms) < _DECADE_MS)
        return bool((early | seconds).any())

    def _kind(self, topic: str) -> int:
        kind = self._types.get(topic)
        if kind is None:
            detail = f"the record says that it was first written to {topic!r}, which is no topic of events"
            raise DecodeError(DecodeReason.MALFORMED, None, detail)
        return kind

    def _origin(self, record: Any) -> tuple[Source, int]:
        origin = Rerouted.from_headers(record.headers)
        return Source(origin.topic, origin.topic_id, origin.partition), origin.offset

    def _check_time(self, event_time_ms: int, record_ms: int | None) -> None:
        # judged by the record's own timestamp, never by a clock: a replay must come to the same verdict
        if record_ms is not None and record_ms >= 0 and event_time_ms > record_ms + self._max_future_ms:
            detail = (
                f"event_time_ms {event_time_ms} is {(event_time_ms - record_ms) / 1000:.0f} s after the record was "
                f"written; at most {self._max_future_ms / 1000:.0f} s are allowed (profiles.max_future_s)"
            )
            raise DecodeError(DecodeReason.TIME_IN_FUTURE, "event_time_ms", detail)
        if record_ms is not None and record_ms > 2 * _DECADE_MS and abs(event_time_ms * 1000 - record_ms) < _DECADE_MS:
            detail = f"event_time_ms {event_time_ms} looks like seconds since 1970: multiply it by 1000"
            raise DecodeError(DecodeReason.OUT_OF_RANGE, "event_time_ms", detail)

    def _separate_misplaced(
        self,
        columns: _Columns,
        logs: list[Source],
        partition: int,
        partitions: int,
        again: bool,
        misplaced: list[Misplaced],
    ) -> None:
        if not columns.values:
            return
        right = partitions_of([value.user_id for value in columns.values], partitions, self._partitioner)
        wrong = np.flatnonzero(right != partition)
        for i in wrong.tolist():
            source = logs[columns.source[i]]
            if again:
                # topics grew while it was under way. Later records of its log may overtake it on the direct path, so
                # this path gets fences of its own
                source = source.by(partition)
            origin = Rerouted(
                topic=source.topic, topic_id=source.topic_id, partition=source.partition, offset=columns.offsets[i]
            )
            misplaced.append(Misplaced(columns.records[i], columns.values[i].user_id, int(right[i]), origin))
        if len(wrong):
            gone = set(wrong.tolist())
            for name in ("values", "types", "records", "source", "offsets"):
                column = getattr(columns, name)
                column[:] = [value for i, value in enumerate(column) if i not in gone]


def _event_batch(columns: _Columns, logs: list[Source]) -> EventBatch:
    events: Sequence[Any] = columns.values
    item_ids = [event.item_id for event in events]
    event_ids = [event.event_id for event in events]
    return EventBatch(
        user_ids=[event.user_id for event in events],
        item_ids=item_ids,
        event_ids=event_ids,
        items=id_hashes(item_ids),
        ids=id_hashes(event_ids),
        types=np.array(columns.types, np.uint8),
        times=np.array([event.event_time_ms for event in events], np.int64),
        received=np.array([max(0, record.timestamp or 0) for record in columns.records], np.int64),
        sources=logs,
        source=np.array(columns.source, np.intp),
        offsets=np.array(columns.offsets, np.int64),
        recommendations=np.array(
            [id_hash(event.recommendation_id) if event.recommendation_id else 0 for event in events], np.uint64
        ),
    )


def dead_letter(record: Any, error: DecodeError) -> DeadLetter:
    """The letter that goes with a refused record."""
    return DeadLetter(
        reason=str(error.reason),
        field=error.field,
        detail=error.detail,
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        source_timestamp_ms=-1 if record.timestamp is None else record.timestamp,
    )
