"""Events that have left the recents and wait for the vector of their item."""

from collections import defaultdict
from typing import NamedTuple

from streams.arrays import Int64Array


class PendingEvent(NamedTuple):
    """An event that left the recents before its item's vector was known."""

    item: int
    type: int
    time_ms: int
    id: int


class PendingEvents:
    """The pending events of all slots. Few users have pending events, so a dictionary holds them, not a column."""

    def __init__(self, limit: int, dropped: Int64Array) -> None:
        """A slot holds up to ``limit`` events; ``dropped`` (capacity,) counts the dropped events of each slot."""
        self._limit = limit
        self._dropped = dropped
        self.by_slot: dict[int, list[PendingEvent]] = {}
        self.slots_by_item: defaultdict[int, set[int]] = defaultdict(set)
        """For each item hash, the slots with an event that waits for this item's vector."""

    def add(self, slot: int, event: PendingEvent) -> None:
        """Add an event. If the slot then holds more than the limit, its oldest event is dropped and counted."""
        events = self.by_slot.setdefault(slot, [])
        events.append(event)
        self.slots_by_item[event.item].add(slot)
        if len(events) > self._limit:
            oldest = min(events, key=lambda pending: (pending.time_ms, pending.id))
            events.remove(oldest)
            self._dropped[slot] += 1
            if all(pending.item != oldest.item for pending in events):
                self._forget(oldest.item, slot)

    def take(self, slot: int, item: int) -> list[PendingEvent]:
        """Remove and return the events of a slot that waited for ``item``."""
        events = self.by_slot.get(slot, [])
        removed = [event for event in events if event.item == item]
        remaining = [event for event in events if event.item != item]
        if remaining:
            self.by_slot[slot] = remaining
        else:
            self.by_slot.pop(slot, None)
        self._forget(item, slot)
        return removed

    def drop(self, slot: int) -> None:
        """Remove all pending events of a slot."""
        for event in self.by_slot.pop(slot, ()):
            self._forget(event.item, slot)

    def _forget(self, item: int, slot: int) -> None:
        slots = self.slots_by_item.get(item)
        if slots is not None:
            slots.discard(slot)
            if not slots:
                del self.slots_by_item[item]
