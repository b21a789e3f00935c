"""Applied offsets: which records a profile contains already.

The applied offset of a log is the next offset to apply. Records below it are in the profile and never count again.

A rerouted event keeps the log and offset where it was written first. After a crash it may be rerouted again, and if the
topics have grown in between, it takes another path (`LogId.counts`), whose applied offset does not know it. So a
profile also knows which offsets each path has brought without a gap: a span. A path brings all of a user's events in
their order, beginning with the first offset that it brought, so an offset in the span of another path was applied.
Reading a log directly is a path too. All spans end when the topics grow: the user may belong to another partition for a
while, and then come back.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from streams.arrays import Int64Array
from streams.kafka.log_id import LogId

NO_SPAN = -1
"""The first offset of a log whose span is not known. Such a span holds no offset."""
_DAY_MS = 86_400_000


class _Slots(Protocol):
    """The columns of the table that `AppliedOffsets` reads and writes."""

    applied_offsets: Int64Array  # (capacity, logs)
    first_offsets: Int64Array  # (capacity, logs)
    partition: NDArray[Any]  # (capacity,)


class Span(NamedTuple):
    """The offsets from ``first`` up to but without ``end``."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class OtherLog:
    """What a profile has of a log that has no column."""

    next_offset: int
    first: int = NO_SPAN
    """First offset of the span that ends at ``next_offset``."""
    day: int = 0
    """Days since 1970 when the last record of the log was received; 0 if unknown."""


class AppliedOffsets:
    """The applied offsets of all slots.

    Each log that a slot's own partition reads now has a column of the table. All other logs (of grown or recreated
    topics, of rerouted events) are few, so dictionaries hold their offsets.
    """

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots
        self.logs: list[tuple[str, str]] = []
        """(topic, topic id) of each column."""
        self.partition_count = 0
        """Partitions of each input now. A span holds only offsets that were applied under one count."""
        self.others: defaultdict[int, dict[LogId, OtherLog]] = defaultdict(dict)
        """For each slot, the logs that have no column."""
        self.closed: defaultdict[int, dict[LogId, list[Span]]] = defaultdict(dict)
        """For each slot and log where events were written, the spans of former partition counts."""
        self.two_paths: set[int] = set()
        """Slots with rerouted events of a log that has a column now: an event of theirs may come by two paths."""
        self.records_live_s: Callable[[], float | None] = lambda: None
        """Returns the seconds after which a record of the inputs can't be read any more; None: never. The offsets of
        logs without a column are dropped then."""

    def column(self, slot: int, log: LogId) -> int | None:
        """Return the column of ``log`` for a slot; None if the slot's own partition does not read this log."""
        if log.partition != self._slots.partition[slot] or log.counts:
            return None
        name = (log.topic, log.topic_id)
        return self.logs.index(name) if name in self.logs else None

    def get(self, slot: int, log: LogId) -> int:
        """Return the applied offset of ``log``: events below it are in the profile. 0 if no event is."""
        return self.look(slot, log).next_offset

    def look(self, slot: int, log: LogId) -> OtherLog:
        """Return what a slot has of ``log``, whether or not the log has a column."""
        column = self.column(slot, log)
        if column is None:
            return self.others[slot].get(log, _NOTHING) if slot in self.others else _NOTHING
        row = int(self._slots.applied_offsets[slot, column]), int(self._slots.first_offsets[slot, column])
        return OtherLog(*row)

    def set(self, slot: int, log: LogId, known: OtherLog) -> None:
        """Record what a slot has of ``log``: all events below ``next_offset`` are in the profile."""
        column = self.column(slot, log)
        if column is not None:
            self._slots.applied_offsets[slot, column] = known.next_offset
            self._slots.first_offsets[slot, column] = known.first
            return
        self.others[slot][log] = known
        if self.column(slot, log.origin) is not None:
            self.two_paths.add(slot)

    def apply_once(self, slot: int, log: LogId, offset: int, received_ms: int = 0) -> bool:
        """Return whether a record is new to a slot, and record that it is applied now.

        ``received_ms`` is when the worker received the record (UTC ms), 0 if unknown: the record's own time may be
        years old, although it was written today.
        """
        known = self.look(slot, log)
        # release 0.1.0 rerouted without counts: what it brought over this partition of `rerouted` was applied
        former = self.get(slot, log._replace(counts="")) if log.is_detour and log.counts else 0
        if offset < max(known.next_offset, former):
            return False
        first = offset if known.first == NO_SPAN else known.first
        day = max(known.day, received_ms // _DAY_MS)
        is_new = not any(span.first <= offset < span.end for span in self._spans_beside(slot, log))
        self.set(slot, log, OtherLog(offset + 1, first, day))
        self._drop_old(slot, day)
        return is_new

    def close_spans(self, slot: int) -> None:
        """End all spans of a slot, because its row was saved under another partition count."""
        logs = [LogId(*log, int(self._slots.partition[slot])) for log in self.logs]
        for log in [*logs, *self.others.get(slot, ())]:
            known = self.look(slot, log)
            if known.first != NO_SPAN:
                self.closed[slot].setdefault(log.origin, []).append(Span(known.first, known.next_offset))
                self.set(slot, log, replace(known, first=NO_SPAN))

    def _spans_beside(self, slot: int, log: LogId) -> list[Span]:
        """Return the spans that other paths than ``log`` have brought from the log where its events were written."""
        if slot not in self.two_paths and self.column(slot, log) is not None:
            return []
        origin, spans = log.origin, []
        paths = {other for other in self.others.get(slot, ()) if other.origin == origin} | {origin}
        for path in paths - {log}:
            known = self.look(slot, path)
            if known.first != NO_SPAN:
                spans.append(Span(known.first, known.next_offset))
        return spans + self.closed.get(slot, {}).get(origin, [])

    def _drop_old(self, slot: int, today: int) -> None:
        live_s, logs = self.records_live_s(), self.others.get(slot)
        if live_s is None or logs is None:
            return
        oldest = today - (1000 * live_s // _DAY_MS + 1)
        for log in [log for log, known in logs.items() if 0 < known.day < oldest]:
            del logs[log]
            if slot in self.closed and self.get(slot, log.origin) == 0:
                self.closed[slot].pop(log.origin, None)

    def drop(self, slot: int) -> None:
        """Forget the offsets of a slot that have no column."""
        self.others.pop(slot, None)
        self.closed.pop(slot, None)
        self.two_paths.discard(slot)


_NOTHING = OtherLog(0)
