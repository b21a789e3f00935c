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
    """The pending events of all slots. Few users have any, so they live in a dictionary."""

    def __init__(self, limit: int, dropped: Int64Array) -> None:
        """``limit`` is the most events that a slot holds; ``dropped`` counts, by slot, those beyond it."""
        self._limit = limit
        self._dropped = dropped
        self.by_slot: dict[int, list[PendingEvent]] = {}
        self.slots_by_item: defaultdict[int, set[int]] = defaultdict(set)
        """Item hash to the slots with an event that waits for it."""

    def add(self, slot: int, event: PendingEvent) -> None:
        """Let an event wait; of more than the limit the oldest is dropped and counted."""
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
        taken = [event for event in events if event.item == item]
        left = [event for event in events if event.item != item]
        if left:
            self.by_slot[slot] = left
        else:
            self.by_slot.pop(slot, None)
        self._forget(item, slot)
        return taken

    def drop(self, slot: int) -> None:
        """Let no event of a slot wait any longer."""
        for event in self.by_slot.pop(slot, ()):
            self._forget(event.item, slot)

    def _forget(self, item: int, slot: int) -> None:
        slots = self.slots_by_item.get(item)
        if slots is not None:
            slots.discard(slot)
            if not slots:
                del self.slots_by_item[item]
