"""Which records are in a profile already: for each log the next offset, below which nothing counts again."""

from collections import defaultdict
from typing import Any, Protocol

from numpy.typing import NDArray

from streams.arrays import Int64Array
from streams.kafka.log_id import LogId

REROUTED_OFFSETS = 64
"""Offsets remembered one by one of a user's events that were rerouted, for each log that they were first written to."""


class _Slots(Protocol):
    """The columns of the table that applied offsets live in."""

    applied_offsets: Int64Array  # (capacity, logs)
    partition: NDArray[Any]  # (capacity,)


class AppliedOffsets:
    """The applied offsets of all slots.

    Those of the logs that a slot's own partition reads now are a column of the table. All others (of grown or recreated
    topics, of rerouted events) are few and live in dictionaries.
    """

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots
        self.logs: list[tuple[str, str]] = []
        """(topic, topic id) of each column."""
        self.others: defaultdict[int, dict[LogId, int]] = defaultdict(dict)
        """By slot, the next offset of logs that have no column."""
        self.rerouted: dict[int, dict[LogId, list[int]]] = {}
        """By slot and original log, the offsets counted lately of events that were rerouted: an event that is rerouted
        again after a crash may take another path than before, if topics have grown in between."""

    def column(self, slot: int, log: LogId) -> int | None:
        """The column that ``log`` has for a slot, if it is one of the slot's own logs."""
        if log.partition != self._slots.partition[slot]:
            return None
        name = (log.topic, log.topic_id)
        return self.logs.index(name) if name in self.logs else None

    def get(self, slot: int, log: LogId) -> int:
        """The next offset of ``log``: events below it are in the profile already; 0 if none is."""
        column = self.column(slot, log)
        if column is not None:
            return int(self._slots.applied_offsets[slot, column])
        return self.others.get(slot, {}).get(log, 0)

    def set(self, slot: int, log: LogId, next_offset: int) -> None:
        """Note that events of ``log`` below ``next_offset`` are in the profile."""
        column = self.column(slot, log)
        if column is not None:
            self._slots.applied_offsets[slot, column] = next_offset
        else:
            self.others[slot][log] = next_offset

    def apply_once(self, slot: int, log: LogId, offset: int) -> bool:
        """Return whether a record is new to a slot, and note that it is not from now on."""
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
        """Forget all that has no column."""
        self.others.pop(slot, None)
        self.rerouted.pop(slot, None)
