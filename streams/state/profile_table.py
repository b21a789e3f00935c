"""The hot profiles: arrays with a slot per user, least recently used out first, dirty ones never.

A slot belongs to the partition its user hashes to and carries the term under which it was loaded; state of another
term is never saved.

The older events of a user are parts, one for each encoder version that folded events of the user, each in its own space
and never changed by another version. `sums` is the part of the version that serves; `other_sums` holds the others as
they are stored, and `carried` what a `streams.state.version_sums.Mover` makes of those in the space that serves.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.arrays import Float32Array, Float64Array, Int64Array, IntpArray, UInt64Array
from streams.errors import PrefstreamError
from streams.kafka.log_id import LogId
from streams.state.decayed_sums import NO_TIME, Sums, merge
from streams.state.pending_events import PendingEvent
from streams.state.profile_shape import VISITED, ProfileShape

REROUTED_OFFSETS = 64
"""Of a user's events of one log that were sent on: how many are remembered one by one."""


class OtherSums(NamedTuple):
    """Sums in another encoder version's space, as they are stored."""

    encoder: str
    sums: bytes
    mass: bytes
    time_ms: int


class TableFull(PrefstreamError):
    """No clean slot is left to evict: a checkpoint has to come first."""


class ProfileTable:
    """Slots for ``capacity`` users. Not thread-safe: one batch or checkpoint at a time."""

    def __init__(self, capacity: int, shape: ProfileShape) -> None:
        self.capacity = capacity
        self.shape = shape
        L = shape.history
        # untouched pages of zeros cost nothing, so the whole budget is laid out at once
        self.items: UInt64Array = np.zeros((capacity, L), np.uint64)  # newest first, hashes of item ids
        self.rows: Int64Array = np.zeros((capacity, L), np.int64)  # of the items in the index, -1 = not known yet
        self.types: NDArray[np.uint8] = np.zeros((capacity, L), np.uint8)
        self.times: Int64Array = np.zeros((capacity, L), np.int64)
        self.ids: UInt64Array = np.zeros((capacity, L), np.uint64)
        self.resize_vectors(shape)
        self.seen: UInt64Array = np.zeros((capacity, shape.duplicate_window), np.uint64)  # a ring
        self.seen_count: Int64Array = np.zeros(capacity, np.int64)
        self.purchased_items: UInt64Array = np.zeros((capacity, shape.purchases), np.uint64)
        self.purchased_times: Int64Array = np.zeros((capacity, shape.purchases), np.int64)
        # the last recommendation, for scoring it by what the user does next
        self.recommended_items: UInt64Array = np.zeros((capacity, shape.recommended), np.uint64)  # best first, 0 = none
        self.recommended_reasons: NDArray[np.uint8] = np.zeros(
            (capacity, shape.recommended), np.uint8
        )  # codes, 0 = no item
        self.recommendation_id_hash: UInt64Array = np.zeros(capacity, np.uint64)  # hash of the recommendation_id
        self.recommended_by: NDArray[np.uint16] = np.zeros(capacity, np.uint16)  # place in models
        self.models: list[str] = [""]  # encoder versions that recommended
        self.visited_items: UInt64Array = np.zeros((capacity, VISITED), np.uint64)  # a ring
        self.visited_reasons: NDArray[np.uint8] = np.zeros((capacity, VISITED), np.uint8)
        self.visited_count: NDArray[np.uint8] = np.zeros(capacity, np.uint8)  # below 2 * VISITED; full from VISITED on
        self.applied: Int64Array = np.zeros((capacity, 3), np.int64)
        self.duplicates: Int64Array = np.zeros(capacity, np.int64)
        self.pending_dropped: Int64Array = np.zeros(capacity, np.int64)
        self.partition: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.term: Int64Array = np.zeros(capacity, np.int64)
        self.dirty: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.saving: NDArray[np.bool_] = np.zeros(capacity, np.bool_)  # a row is on its way: not to be evicted, as a
        # reload could read the row before it
        self.forgotten: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.forgotten_ms: Int64Array = np.zeros(capacity, np.int64)  # events written up to then only count
        self.user_ids: list[str | None] = [None] * capacity
        self.slot_of: dict[str, int] = {}
        self.pending: dict[int, list[PendingEvent]] = {}
        self.waiting_for: defaultdict[int, set[int]] = defaultdict(set)  # item hash -> slots with it in pending
        self.other_sums: dict[int, list[OtherSums]] = {}
        # Fences of the logs that a slot's own partition reads now are columns; all others (grown or recreated topics,
        # re-keyed events) are few and live in a dict.
        self.columns: list[tuple[str, str]] = []
        self.applied_offsets: Int64Array = np.zeros((capacity, 0), np.int64)
        self.other_applied_offsets: defaultdict[int, dict[LogId, int]] = defaultdict(dict)
        # Offsets counted lately of events that were sent on, by their origin: one that is sent on again after a crash
        # may take another path than it took first, if topics have grown in between.
        self.sent_on: dict[int, dict[LogId, list[int]]] = {}
        self._used: Int64Array = np.zeros(capacity, np.int64)  # tick of last use, 0 = free
        self._tick = 1
        self._free = list(range(capacity - 1, -1, -1))

    def resize_vectors(self, shape: ProfileShape) -> None:
        """Blank sums and preferences for another encoder's dimension and number of half-lives."""
        self.shape = shape
        capacity, T, d = self.capacity, shape.half_lives, shape.dimension
        # float64, though stored as float32: a busy user's sums decay thousands of times, and roundings would add up
        self.sums: Float64Array = np.zeros((capacity, T, d), np.float64)
        self.mass: Float64Array = np.zeros((capacity, T), np.float64)
        self.sums_time: Int64Array = np.full(capacity, NO_TIME, np.int64)
        self.mapped_sums: Float32Array = np.zeros((capacity, T, d), np.float32)
        self.mapped_total_weight: Float32Array = np.zeros((capacity, T), np.float32)
        self.mapped_time: Int64Array = np.full(capacity, NO_TIME, np.int64)
        self.preferences: Float32Array = np.zeros((capacity, 3, d), np.float32)  # short-term, long-term, mixed

    def older(self, slots: IntpArray, half_life_s: Float64Array) -> Sums:
        """All that has left the recents of B users, in the space that serves: their own sums and the carried ones."""
        own = Sums(self.sums[slots], self.mass[slots], self.sums_time[slots])
        if (self.mapped_time[slots] == NO_TIME).all():
            return own
        mapped_sums = Sums(
            self.mapped_sums[slots].astype(np.float64),
            self.mapped_total_weight[slots].astype(np.float64),
            self.mapped_time[slots],
        )
        return merge(own, mapped_sums, half_life_s)

    def __len__(self) -> int:
        return len(self.slot_of)

    @property
    def dirty_count(self) -> int:
        """Users whose state is newer than their stored row."""
        return int(np.count_nonzero(self.dirty | self.saving))

    def find(self, user_ids: Sequence[str]) -> IntpArray:
        """Slots of users, -1 for those not in the table; marks the found ones as used."""
        get = self.slot_of.get
        slots = np.fromiter((get(user, -1) for user in user_ids), np.intp, len(user_ids))
        self._tick += 1
        self._used[slots[slots >= 0]] = self._tick
        return slots

    def allocate(self, user_ids: Sequence[str], partition: int | NDArray[np.int32], term: int) -> IntpArray:
        """Blank slots for users that are not in the table; `TableFull` if too few can be evicted.

        ``partition`` is theirs, or an int32 array of shape (n,) of each one's.
        """
        self._make_room(len(user_ids))
        slots = np.fromiter((self._free.pop() for _ in user_ids), np.intp, len(user_ids))
        self._clear(slots)
        for slot, user in zip(slots.tolist(), user_ids, strict=True):
            # whoever had the slot may have been written to after it was evicted in mid-batch
            self.drop_pending(slot)
            self.other_sums.pop(slot, None)
            self.other_applied_offsets.pop(slot, None)
            self.sent_on.pop(slot, None)
            self.user_ids[slot] = user
            self.slot_of[user] = slot
        self.partition[slots] = partition
        self.term[slots] = term
        self._used[slots] = self._tick
        return slots

    def _make_room(self, wanted: int) -> None:
        lacking = wanted - len(self._free)
        if lacking <= 0:
            return
        clean = np.flatnonzero((self._used > 0) & (self._used < self._tick) & ~self.dirty & ~self.saving)
        if len(clean) < lacking:
            raise TableFull(
                f"{wanted} users more than fit: {self.dirty_count} of {self.capacity} slots are not saved yet, "
                f"{len(clean)} can be evicted"
            )
        # evicting a sixteenth at once spreads the cost of the selection
        count = min(len(clean), max(lacking, self.capacity // 16))
        oldest = np.argpartition(self._used[clean], count - 1)[:count]
        self.evict(clean[oldest])

    def _clear(self, slots: IntpArray) -> None:
        self.rows[slots] = -1
        self.times[slots] = NO_TIME
        self.sums_time[slots] = NO_TIME
        self.purchased_times[slots] = NO_TIME
        self.drop_mapped(slots)
        zeroed = (
            self.items,
            self.types,
            self.ids,
            self.sums,
            self.mass,
            self.seen,
            self.seen_count,
            self.purchased_items,
        )
        offers = (self.recommended_items, self.recommended_reasons, self.recommendation_id_hash, self.recommended_by)
        taken = (self.visited_items, self.visited_reasons, self.visited_count)
        counters = (
            self.preferences,
            self.applied,
            self.duplicates,
            self.pending_dropped,
            self.applied_offsets,
            self.forgotten_ms,
        )
        for array in zeroed + offers + taken + counters:
            array[slots] = 0
        self.dirty[slots] = self.saving[slots] = self.forgotten[slots] = False

    def drop_mapped(self, slots: IntpArray) -> None:
        """Nothing of other versions' sums is seen in the space that serves."""
        slots = slots[self.mapped_time[slots] != NO_TIME]
        self.mapped_sums[slots] = self.mapped_total_weight[slots] = 0
        self.mapped_time[slots] = NO_TIME

    def evict(self, slots: IntpArray) -> None:
        """Free slots, saved or not: what is not saved is lost here, and replayed from Kafka by whoever owns it."""
        for slot in slots.tolist():
            user = self.user_ids[slot]
            if user is None:
                continue
            del self.slot_of[user]
            self.user_ids[slot] = None
            self.drop_pending(slot)
            self.other_sums.pop(slot, None)
            self.other_applied_offsets.pop(slot, None)
            self.sent_on.pop(slot, None)
            self._free.append(slot)
        self._used[slots] = 0
        self.dirty[slots] = self.saving[slots] = False

    def wipe(self, slot: int, written_ms: int) -> None:
        """Forget a user: only applied offsets and counters stay, so that no replay brings the user back.

        ``written_ms`` is Kafka's time of the command. Between topics there is no order, so an event that was written
        before it may be read after it.
        """
        self.forgotten_ms[slot] = max(int(self.forgotten_ms[slot]), written_ms)
        self.items[slot] = self.types[slot] = self.ids[slot] = 0
        self.sums[slot] = self.mass[slot] = self.seen[slot] = self.seen_count[slot] = self.purchased_items[slot] = 0
        self.rows[slot] = -1
        self.times[slot] = self.sums_time[slot] = self.purchased_times[slot] = NO_TIME
        self.preferences[slot] = 0
        self.recommended_items[slot] = self.recommended_reasons[slot] = self.recommendation_id_hash[
            slot
        ] = self.recommended_by[slot] = 0
        self.visited_items[slot] = self.visited_reasons[slot] = self.visited_count[slot] = 0
        self.drop_pending(slot)
        self.drop_mapped(np.array([slot], np.intp))
        self.other_sums.pop(slot, None)
        self.dirty[slot] = self.forgotten[slot] = True

    def model(self, version: str) -> int:
        """Place of an encoder version in ``models``."""
        if version not in self.models:
            self.models.append(version)
        return self.models.index(version)

    def add_pending(self, slot: int, event: PendingEvent) -> None:
        """Let an event wait for its item's vector; of more than P the oldest is dropped and counted."""
        events = self.pending.setdefault(slot, [])
        events.append(event)
        self.waiting_for[event.item].add(slot)
        if len(events) > self.shape.pending:
            oldest = min(events, key=lambda one: (one.time_ms, one.id))
            events.remove(oldest)
            self.pending_dropped[slot] += 1
            if all(one.item != oldest.item for one in events):
                self._stop_waiting(oldest.item, slot)

    def take_pending(self, slot: int, item: int) -> list[PendingEvent]:
        """Remove and return the events of a slot that waited for ``item``."""
        events = self.pending.get(slot, [])
        taken = [event for event in events if event.item == item]
        left = [event for event in events if event.item != item]
        if left:
            self.pending[slot] = left
        else:
            self.pending.pop(slot, None)
        self._stop_waiting(item, slot)
        return taken

    def drop_pending(self, slot: int) -> None:
        """Let no event of a slot wait any longer."""
        for event in self.pending.pop(slot, ()):
            self._stop_waiting(event.item, slot)

    def _stop_waiting(self, item: int, slot: int) -> None:
        waiting = self.waiting_for.get(item)
        if waiting is not None:
            waiting.discard(slot)
            if not waiting:
                del self.waiting_for[item]

    def set_columns(self, columns: list[tuple[str, str]]) -> None:
        """Name the (topic, topic id) logs that users' own partitions read now; former offsets are kept."""
        if columns == self.columns:
            return
        held = np.flatnonzero(self._used > 0)
        for index, (topic, topic_id) in enumerate(self.columns):
            for slot in held[self.applied_offsets[held, index] > 0].tolist():
                source = LogId(topic, topic_id, int(self.partition[slot]))
                self.other_applied_offsets[slot][source] = int(self.applied_offsets[slot, index])
        self.columns = list(columns)
        self.applied_offsets = np.zeros((self.capacity, len(columns)), np.int64)
        for slot in list(self.other_applied_offsets):
            for source, offset in list(self.other_applied_offsets[slot].items()):
                if self.column(source, slot) is not None:
                    del self.other_applied_offsets[slot][source]
                    self.set_applied_offset(slot, source, offset)

    def column(self, source: LogId, slot: int) -> int | None:
        """The fence column that ``source`` has for a slot, if it is one of the slot's own logs."""
        if source.partition != self.partition[slot]:
            return None
        log = (source.topic, source.topic_id)
        return self.columns.index(log) if log in self.columns else None

    def applied_offset(self, slot: int, source: LogId) -> int:
        """Events of ``source`` below this offset are in the profile already."""
        column = self.column(source, slot)
        return (
            int(self.applied_offsets[slot, column])
            if column is not None
            else self.other_applied_offsets.get(slot, {}).get(source, 0)
        )

    def set_applied_offset(self, slot: int, source: LogId, next_offset: int) -> None:
        """Record that events of ``source`` below ``next_offset`` are in the profile."""
        column = self.column(source, slot)
        if column is not None:
            self.applied_offsets[slot, column] = next_offset
        else:
            self.other_applied_offsets[slot][source] = next_offset

    def apply_once(self, slot: int, source: LogId, offset: int) -> bool:
        """Whether a record is new to a slot; from now on it is not."""
        if offset < self.applied_offset(slot, source):
            return False
        self.set_applied_offset(slot, source, offset + 1)
        if self.column(source, slot) is not None:
            return True
        offsets = self.sent_on.setdefault(slot, {}).setdefault(source.origin, [])
        if offset in offsets:
            return False
        offsets.append(offset)
        del offsets[:-REROUTED_OFFSETS]
        return True

    def slots_of_partition(self, partition: int) -> IntpArray:
        """Slots of the users of a partition."""
        return np.flatnonzero((self._used > 0) & (self.partition == partition))

    def all_slots(self) -> IntpArray:
        """Slots in use."""
        return np.flatnonzero(self._used > 0)
