"""Applied offsets: which records a profile contains already.

The applied offset of a log is the next offset to apply. Records below it are in the profile and never count again.
"""

from collections import defaultdict
from typing import Any, Protocol

from numpy.typing import NDArray

from streams.arrays import Int64Array
from streams.kafka.log_id import LogId

REROUTED_OFFSETS = 64
"""Offsets of rerouted events that are remembered for each user and each log to which the events were first written."""


class _Slots(Protocol):
    """The columns of the table that `AppliedOffsets` reads and writes."""

    applied_offsets: Int64Array  # (capacity, logs)
    partition: NDArray[Any]  # (capacity,)


class AppliedOffsets:
    """The applied offsets of all slots.

    Each log that a slot's own partition reads now has a column of the table. All other logs (of grown or recreated
    topics, of rerouted events) are few, so dictionaries hold their offsets.
    """

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots
        self.logs: list[tuple[str, str]] = []
        """(topic, topic id) of each column."""
        self.others: defaultdict[int, dict[LogId, int]] = defaultdict(dict)
        """For each slot, the applied offsets of logs that have no column."""
        self.rerouted: dict[int, dict[LogId, list[int]]] = {}
        """For each slot and original log, the offsets of the rerouted events that were applied last.

        After a crash an event may be rerouted again. If topics have grown in between, it takes another path, whose
        applied offset does not know the event: only its original offset tells that it was applied before.
        """

    def column(self, slot: int, log: LogId) -> int | None:
        """Return the column of ``log`` for a slot; None if the slot's own partition does not read this log."""
        if log.partition != self._slots.partition[slot]:
            return None
        name = (log.topic, log.topic_id)
        return self.logs.index(name) if name in self.logs else None

    def get(self, slot: int, log: LogId) -> int:
        """Return the applied offset of ``log``: events below it are in the profile. 0 if no event is."""
        column = self.column(slot, log)
        if column is not None:
            return int(self._slots.applied_offsets[slot, column])
        return self.others.get(slot, {}).get(log, 0)

    def set(self, slot: int, log: LogId, next_offset: int) -> None:
        """Record that all events of ``log`` below ``next_offset`` are in the profile."""
        column = self.column(slot, log)
        if column is not None:
            self._slots.applied_offsets[slot, column] = next_offset
        else:
            self.others[slot][log] = next_offset

    def apply_once(self, slot: int, log: LogId, offset: int) -> bool:
        """Return whether a record is new to a slot, and record that it is applied now."""
        if offset < self.get(slot, log):
            return False
        self.set(slot, log, offset + 1)
        if self.column(slot, log) is not None:
            return True
        offsets = self.rerouted.setdefault(slot, {}).setdefault(log.origin, [])
        if offset in offsets:
            return False
        offsets.append(offset)
        del offsets[:-REROUTED_OFFSETS]
        return True

    def drop(self, slot: int) -> None:
        """Forget the offsets of a slot that have no column."""
        self.others.pop(slot, None)
        self.rerouted.pop(slot, None)
