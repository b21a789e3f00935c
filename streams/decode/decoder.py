"""Turns records into arrays; broken records become dead letters, records on the wrong partition are rerouted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np

from schemas.actions import ACTION_TYPES, CAUSE_TYPES, Impression, thing_of
from schemas.codec import Decoder as ReadEvent
from schemas.codec import decode, decode_action, decode_event, decoder
from schemas.command import ProfileCommand
from schemas.dead_letter import NO_TIMESTAMP_MS
from schemas.errors import DecodeError, DecodeReason
from schemas.events import EVENT_CLASSES, EVENT_TYPES
from schemas.headers import content_type
from schemas.ids import id_hash, id_hashes, line_identities
from schemas.rerouted import Rerouted
from schemas.times import NO_TIME, times_ms
from streams.arrays import Int64Array, IntpArray
from streams.decode.dead_letter import Fault, Refused, dead_letter
from streams.decode.event_batch import ActionBatch, CommandBatch, EventBatch
from streams.decode.event_times import wrong_times
from streams.decode.order_lines import spread_orders
from streams.decode.partitioner import partitions_of
from streams.decode.rerouted_size import rerouted_bytes
from streams.fetch.record_batch import RecordBatch
from streams.kafka.log_id import LogId
from streams.kafka.topics import ACTIONS, COMMANDS, EVENT_TOPICS, LARGEST_INPUT_BYTES, REROUTED, TopicNames
from streams.settings import Partitioner

_UNREADABLE = (ValueError, RecursionError, TypeError)
"""Errors of msgspec for a value that is no such message; TypeError for a record without a value."""
_FIRST_ACTION = CAUSE_TYPES.index(ACTION_TYPES[0])
_VALUE = attrgetter("value")
TopicIdOf = Callable[[str], str]
"""Returns the id of a topic, given its full name."""


@dataclass(frozen=True)
class Misplaced:
    """A record on the wrong partition, and the partition of `rerouted` that its user belongs to."""

    record: Any
    user_id: str
    partition: int
    origin: Rerouted


@dataclass
class Decoded:
    """The decoded contents of a micro-batch."""

    batches: Sequence[RecordBatch]
    events: EventBatch | None = None
    event_records: list[Any] = field(default_factory=list)
    """The record of each event; the lines of an order have one record."""
    event_batch: IntpArray = field(default_factory=lambda: np.empty(0, np.intp))
    """For each event, the index in ``batches`` of the batch that it came in."""
    actions: ActionBatch | None = None
    action_records: list[Any] = field(default_factory=list)
    action_batch: IntpArray = field(default_factory=lambda: np.empty(0, np.intp))
    """The same for each action."""
    impressions: list[str] = field(default_factory=list)
    """The topic that each record of an impression was read from. Impressions change no profile."""
    commands: CommandBatch | None = None
    command_batch: list[int] = field(default_factory=list)
    """The same for each command."""
    refused: list[Refused] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    """Fields that are wrong, of records that are used without them."""
    misplaced: list[Misplaced] = field(default_factory=list)


@dataclass
class _Columns:
    """The valid records of a micro-batch, one list a column."""

    values: list[Any] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    batch: list[int] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    origin_times: dict[int, int] = field(default_factory=dict)
    """For the index of each record that has one, the Kafka timestamp of the record that was rerouted; it counts instead
    of the record's own."""
    written: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    """When the events were first written to Kafka, UTC ms, below 0 = unknown; empty until `note_times` is called."""
    times: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    """The events' times, UTC ms, below 0 = no time of any unit; empty until `note_times` is called."""

    def note_times(self) -> None:
        """Fill ``written`` and, for events, ``times``, once all records are there. The values tell their units."""
        written = [record.timestamp for record in self.records]
        for index, time_ms in self.origin_times.items():
            written[index] = time_ms
        known = [NO_TIME if time is None else time for time in written] if None in written else written
        self.written = times_ms(np.array(known, np.int64))
        if self.types and self.types[0] >= 0:
            self.times = times_ms(np.array([value.event_time_ms for value in self.values], np.int64))

    def keep(self, indices: IntpArray) -> None:
        """Keep the records at these indices and drop the others."""
        self.written = self.written[indices]
        if len(self.times):  # commands have none
            self.times = self.times[indices]
        chosen = indices.tolist()
        for name in ("values", "types", "records", "batch", "source", "offsets"):
            column = getattr(self, name)
            column[:] = [column[index] for index in chosen]


class Decoder:
    """Decodes batches of the six inputs. A verdict depends on the record alone, so a replay gives the same one."""

    def __init__(
        self,
        names: TopicNames,
        topic_id: TopicIdOf,
        partitioner: Partitioner,
        max_future_s: float = 300.0,
        max_rerouted_bytes: int = LARGEST_INPUT_BYTES,
    ) -> None:
        """Make a decoder of the inputs of a namespace.

        Parameters
        ----------
        topic_id : returns the id of a topic
        max_future_s : how many seconds an event's time may lie after its record's Kafka timestamp
        max_rerouted_bytes : size of the largest record that can be rerouted
        """
        self._topic_id = topic_id
        self._partitioner = partitioner
        self._max_future_ms = int(max_future_s * 1000)
        self._max_rerouted_bytes = max_rerouted_bytes
        self._types = {names.full(topic): EVENT_TYPES.index(kind) for topic, kind in EVENT_TOPICS.items()}
        self._commands, self._actions = names.full(COMMANDS), names.full(ACTIONS)
        self._rerouted = names.full(REROUTED)

    def decode(self, batches: Sequence[RecordBatch], partitions: int) -> Decoded:
        """Decode the batches in their order; ``partitions`` is the number of partitions of each input."""
        decoded = Decoded(batches)
        events, actions, commands = _Columns(), _Columns(), _Columns()
        sources: dict[LogId, int] = {}
        for index, batch in enumerate(batches):
            if not self._read_all(index, batch, events, sources, decoded):
                self._read_each(index, batch, (events, actions, commands), sources, decoded)
        for columns in (events, actions, commands):
            columns.note_times()
        for columns in (events, actions):
            self._refuse_wrong_times(columns, decoded.refused)
        logs = list(sources)
        for columns in (events, actions, commands):
            self._separate_misplaced(columns, logs, batches, partitions, decoded)
        if events.values:
            decoded.event_batch = np.array(events.batch, np.intp)
            decoded.events = _event_batch(events, logs, batches, decoded.event_batch)
            decoded.event_records = events.records
            decoded.events, record = spread_orders(decoded.events, events.values)
            if record is not None:
                decoded.event_batch = decoded.event_batch[record]
                decoded.event_records = [events.records[index] for index in record.tolist()]
        self._count_impressions(actions, decoded)
        if actions.values:
            decoded.action_batch = np.array(actions.batch, np.intp)
            decoded.actions = ActionBatch(
                actions=actions.values, events=_event_batch(actions, logs, batches, decoded.action_batch)
            )
            decoded.action_records = actions.records
        if commands.values:
            decoded.commands = CommandBatch(
                user_ids=[command.user_id for command in commands.values],
                commands=[command.command for command in commands.values],
                sources=[logs[index] for index in commands.source],
                offsets=commands.offsets,
                # the time that the command names, if its record has none
                written=[
                    command.requested_ms if written_ms < 0 else written_ms
                    for command, written_ms in zip(commands.values, commands.written.tolist(), strict=True)
                ],
            )
            decoded.command_batch = commands.batch
        return decoded

    def _read_all(
        self, index: int, batch: RecordBatch, columns: _Columns, sources: dict[LogId, int], decoded: Decoded
    ) -> bool:
        """Decode a batch of events in one go; return False, and add nothing, if they must be decoded one by one."""
        # a third of the cost of decoding one by one
        kind, records = self._types.get(batch.topic), batch.records
        types = {content_type(record.headers) if record.headers else None for record in records}
        if kind is None or len(types) > 1:
            return False
        type_ = types.pop()
        try:
            read = decoder(EVENT_CLASSES[kind], type_)
        except DecodeError:
            return False
        try:
            values = [read(record.value) for record in records]  # type: ignore[arg-type]  # None: a TypeError
        except _UNREADABLE:
            values, records = _read_and_mend(read, kind, type_, records, decoded)
        columns.values += values
        columns.types += [kind] * len(values)
        columns.records += records
        columns.batch += [index] * len(values)
        columns.source += [sources.setdefault(self._own(batch), len(sources))] * len(values)
        columns.offsets += [record.offset for record in records]
        return True

    def _read_each(
        self,
        index: int,
        batch: RecordBatch,
        targets: tuple[_Columns, _Columns, _Columns],
        sources: dict[LogId, int],
        decoded: Decoded,
    ) -> None:
        """Decode a batch record by record; broken records and broken fields are added to ``decoded``.

        ``targets`` are the columns of events, actions and commands.
        """
        events, actions, commands = targets
        own = self._own(batch)
        for record in batch.records:
            try:
                source, offset, origin_time = own, record.offset, None
                faults: list[DecodeError] = []
                if batch.topic == self._rerouted:
                    source, offset, origin_time = self._origin(record)
                if source.topic == self._commands:
                    value: Any = decode(ProfileCommand, record.value, content_type(record.headers))
                    target, kind = commands, -1
                elif source.topic == self._actions:
                    value, faults = decode_action(record.value, content_type(record.headers))
                    target, kind = actions, _FIRST_ACTION + ACTION_TYPES.index(value.action)
                else:
                    kind = self._kind(source.topic)
                    value, faults = decode_event(kind, record.value, content_type(record.headers))
                    target = events
            except DecodeError as error:
                decoded.refused.append(Refused(record, dead_letter(record, error)))
                continue
            decoded.faults += [Fault(record, fault) for fault in faults]
            if origin_time is not None:
                target.origin_times[len(target.records)] = origin_time
            target.values.append(value)
            target.types.append(kind)
            target.records.append(record)
            target.batch.append(index)
            target.source.append(sources.setdefault(source, len(sources)))
            target.offsets.append(offset)

    def _own(self, batch: RecordBatch) -> LogId:
        return LogId(batch.topic, self._topic_id(batch.topic), batch.partition)

    def _refuse_wrong_times(self, columns: _Columns, refused: list[Refused]) -> None:
        if not columns.values:
            return
        wrong = wrong_times(columns.times, columns.written, self._max_future_ms)
        if wrong:
            records = columns.records
            refused += [Refused(records[index], dead_letter(records[index], error)) for index, error in wrong.items()]
            columns.keep(np.setdiff1d(np.arange(len(columns.times)), list(wrong)))

    def _count_impressions(self, actions: _Columns, decoded: Decoded) -> None:
        shown = [isinstance(action, Impression) for action in actions.values]
        if any(shown):
            decoded.impressions = [actions.records[index].topic for index in np.flatnonzero(shown).tolist()]
            actions.keep(np.flatnonzero(~np.array(shown)))

    def _kind(self, topic: str) -> int:
        kind = self._types.get(topic)
        if kind is None:
            detail = f"the record says that it was first written to {topic!r}, which is no input that events come from"
            raise DecodeError(DecodeReason.MALFORMED, None, detail)
        return kind

    def _origin(self, record: Any) -> tuple[LogId, int, int | None]:
        origin = Rerouted.from_headers(record.headers)
        return LogId(origin.topic, origin.topic_id, origin.partition, origin.counts), origin.offset, origin.timestamp_ms

    def _separate_misplaced(
        self,
        columns: _Columns,
        logs: list[LogId],
        batches: Sequence[RecordBatch],
        partitions: int,
        decoded: Decoded,
    ) -> None:
        if not columns.values:
            return
        right = partitions_of([value.user_id for value in columns.values], partitions, self._partitioner)
        wrong = right != np.array([batch.partition for batch in batches])[columns.batch]
        if not wrong.any():
            return
        for i in np.flatnonzero(wrong).tolist():
            source, batch = logs[columns.source[i]], batches[columns.batch[i]]
            record, user_id = columns.records[i], columns.values[i].user_id
            size = rerouted_bytes(record, user_id)
            if size > self._max_rerouted_bytes:
                decoded.refused.append(Refused(record, dead_letter(record, self._too_large(size, int(right[i])))))
                continue
            if batch.topic == self._rerouted:
                # The topics grew while this record was being rerouted. Later records of its log may overtake it on
                # the direct path, so records on this path get applied offsets of their own.
                source = source.detour(batch.partition)
            source = source.rerouted(partitions)
            origin = Rerouted(
                topic=source.topic,
                topic_id=source.topic_id,
                partition=source.partition,
                offset=columns.offsets[i],
                timestamp_ms=max(int(columns.written[i]), NO_TIMESTAMP_MS),
                counts=source.counts,
            )
            decoded.misplaced.append(Misplaced(record, user_id, int(right[i]), origin))
        columns.keep(np.flatnonzero(~wrong))

    def _too_large(self, size: int, partition: int) -> DecodeError:
        # judged before it is sent, and not by the broker's answer: a replay must give the same verdict
        detail = (
            f"the record is on another partition than its user's, which is {partition}, and takes {size} bytes on "
            f"rerouted; at most {self._max_rerouted_bytes} are allowed (kafka.max_rerouted_bytes). "
            "`prefstream dlq replay` sends it to its user's partition"
        )
        return DecodeError(DecodeReason.TOO_LARGE, None, detail)


def _read_and_mend(
    read: ReadEvent, kind: int, type_: str | None, records: Sequence[Any], decoded: Decoded
) -> tuple[list[Any], list[Any]]:
    """Read records of events, and mend those that can't be read as they are; return the events and their records."""
    values: list[Any] = []
    refused: list[int] = []
    rest = iter(records)
    while True:
        try:
            # what was read before an error stays in the list
            values.extend(map(read, map(_VALUE, rest)))
            break
        except _UNREADABLE:
            index = len(values) + len(refused)
            try:
                value, faults = decode_event(kind, records[index].value, type_)
            except DecodeError as error:
                decoded.refused.append(Refused(records[index], dead_letter(records[index], error)))
                refused.append(index)
                continue
            decoded.faults += [Fault(records[index], fault) for fault in faults]
            values.append(value)
    if not refused:
        return values, list(records)
    left_out = set(refused)
    return values, [record for index, record in enumerate(records) if index not in left_out]


def _event_batch(
    columns: _Columns, logs: list[LogId], batches: Sequence[RecordBatch], batch_of: IntpArray
) -> EventBatch:
    """Turn events, or actions as events, into arrays."""
    events: Sequence[Any] = columns.values
    of_actions = columns.types[0] >= _FIRST_ACTION
    item_ids = [getattr(event, "item_id", None) or "" if of_actions else event.item_id for event in events]
    things = [thing_of(action) for action in events] if of_actions else item_ids
    event_ids = [event.event_id for event in events]
    items, hashes, types = id_hashes(things), id_hashes(event_ids), np.array(columns.types, np.uint8)
    identities = line_identities(hashes, types, items)
    return EventBatch(
        user_ids=[event.user_id for event in events],
        item_ids=item_ids,
        event_ids=event_ids,
        items=items,
        id_hashes=hashes,
        ids=identities,
        record_ids=identities,
        continues=np.zeros(len(events), np.bool_),
        types=types,
        times=columns.times,
        written=np.maximum(columns.written, 0),
        received=np.array([batch.received_ms for batch in batches], np.int64)[batch_of],
        sources=logs,
        source=np.array(columns.source, np.intp),
        offsets=np.array(columns.offsets, np.int64),
        recommendations=np.array(
            [0 if of_actions or not event.recommendation_id else id_hash(event.recommendation_id) for event in events],
            np.uint64,
        ),
    )
