"""The profiles in memory: arrays with a slot for each user.

A full table evicts the least recently used users first. It never evicts dirty users to make room.

A slot belongs to the partition that its user's id hashes to. The slot carries the term (a fencing token, as in Raft)
under which it was loaded. State of another term is never saved.

The sums of a user's older events have parts, one for each encoder version that folded events of the user. Each part is
in the vector space of its version, and no other version changes it. `sums` is the part of the active encoder.
`other_sums` holds the other parts as they are stored. `mapped_sums` holds these parts in the vector space of the active
encoder, as mapped by `streams.state.version_sums.map_into`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.events import EVENT_TYPES
from schemas.ids import possible_records
from streams.arrays import Float32Array, Float64Array, Int64Array, IntpArray, UInt64Array
from streams.errors import PrefstreamError
from streams.kafka.log_id import LogId
from streams.state.applied_offsets import AppliedOffsets
from streams.state.decayed_sums import NO_TIME, Sums, merge
from streams.state.pending_events import PendingEvents
from streams.state.profile_columns import CORE_COLUMNS, ProfileColumn
from streams.state.profile_shape import ProfileShape
from streams.state.purchases import latest_purchases
from streams.state.user_actions import UserActions

NO_TIMESTAMP = np.iinfo(np.int64).max
"""Kafka's time of an event whose record has none: an event that is read after a command counts as written after it."""

PURCHASE = EVENT_TYPES.index("purchase")

_RECENTS = ("items", "rows", "types", "times", "ids", "written")


class OtherSums(NamedTuple):
    """Sums in the vector space of another encoder version, as they are stored."""

    encoder: str
    sums: bytes  # float32 (T, d)
    total_weight: bytes  # float32 (T,)
    time_ms: int


class TableFull(PrefstreamError):
    """Too few clean slots are left to evict: a checkpoint must save dirty slots first."""


class ProfileTable:
    """Slots for ``capacity`` users. Not thread-safe: one micro-batch or checkpoint uses it at a time.

    ``arrays`` holds the columns by name. The columns of the core are attributes too.
    """

    items: UInt64Array  # newest first, hashes of item ids
    rows: Int64Array  # rows of the items in the index, -1 = not known yet
    types: NDArray[np.uint8]
    times: Int64Array
    ids: UInt64Array  # identities of the events
    written: Int64Array  # Kafka's time of the events (UTC ms); NO_TIMESTAMP where it had none
    sums: Float64Array
    total_weight: Float64Array
    sums_time: Int64Array
    mapped_sums: Float32Array
    mapped_total_weight: Float32Array
    mapped_time: Int64Array
    preferences: Float32Array  # short-term, long-term, mixed
    seen: UInt64Array  # a ring of identities of records; of older rows also hashes of event ids
    seen_count: Int64Array
    purchased_items: UInt64Array  # newest first, each item once
    purchased_times: Int64Array
    recommended_items: UInt64Array  # best first, 0 = none
    recommended_reasons: NDArray[np.uint8]  # codes, 0 = no item
    recommendation_id_hash: UInt64Array
    recommended_by: NDArray[np.uint16]  # index in encoder_versions
    applied: Int64Array  # events by type
    duplicates: Int64Array
    pending_dropped: Int64Array
    applied_offsets: Int64Array
    first_offsets: Int64Array  # where the span of offsets begins that ends at applied_offsets
    partition: NDArray[np.int32]
    term: Int64Array
    dirty: NDArray[np.bool_]
    saving: NDArray[np.bool_]  # being written: not to be evicted, because a reload could read the older row
    forgotten: NDArray[np.bool_]
    forgotten_ms: Int64Array  # events written up to this time are only counted

    def __init__(self, capacity: int, shape: ProfileShape, feature_columns: Iterable[ProfileColumn] = ()) -> None:
        self.capacity = capacity
        self.columns = (*CORE_COLUMNS, *feature_columns)
        self.field_columns = tuple(column for column in self.columns if column.field is not None)
        """Columns that have their own field in the row."""
        self.fields = frozenset(str(column.field) for column in self.field_columns)
        self.arrays: dict[str, NDArray[Any]] = {}
        self._blanks = {column.name: column.blank for column in self.columns}
        self._mapped_columns = [column for column in self.columns if "mapped_time" in (column.marker, column.name)]
        self.shape = shape
        for column in self.columns:
            self._lay_out(column)
        self.encoder_versions: list[str] = [""]
        """Encoder versions that ranked recommendations; `recommended_by` holds an index of this list."""
        self.user_ids: list[str | None] = [None] * capacity
        self.slot_of: dict[str, int] = {}
        self.pending = PendingEvents(shape.pending, self.pending_dropped)
        self.pending_taken_back = PendingEvents(shape.pending, self.pending_dropped)
        """Events that were taken back, by a refund or a removal from the cart, and wait for their item's vector."""
        self.actions: dict[int, UserActions] = {}
        """The actions of the few users who have any, by slot."""
        self.other_sums: dict[int, list[OtherSums]] = {}
        self.offsets = AppliedOffsets(self)
        self._used: Int64Array = np.zeros(capacity, np.int64)  # tick of last use, 0 = free
        self._tick = 1
        self._free = list(range(capacity - 1, -1, -1))

    def _lay_out(self, column: ProfileColumn) -> None:
        """Allocate a column's array. A marker is blank in all slots; another column is blank only in cleared slots."""
        size = (self.capacity, *column.shape(self.shape))
        # untouched pages of zeros cost no memory, so the whole budget is allocated at once; slots are cleared when
        # they are given to users, but a marker is read before that
        is_marker = any(other.marker == column.name for other in self.columns)
        array = np.full(size, column.blank, column.dtype) if is_marker else np.zeros(size, column.dtype)
        self.arrays[column.name] = array
        if column in CORE_COLUMNS:
            setattr(self, column.name, array)

    def resize_vectors(self, shape: ProfileShape) -> None:
        """Make sums and preferences blank, in the sizes of another encoder: its dimension and number of half-lives."""
        self.shape = replace(shape, logs=self.shape.logs)
        for column in self.columns:
            if column.of_encoder:
                self._lay_out(column)
                self._clear(self.all_slots(), (column,))

    def older(self, slots: IntpArray, half_life_s: Float64Array) -> Sums:
        """Add own and mapped sums of B users: all events that have left the recents, for the active encoder.

        Parameters
        ----------
        slots : intp array of shape (B,)
        half_life_s : float64 array of shape (T,), the active encoder's half-lives
        """
        own = Sums(self.sums[slots], self.total_weight[slots], self.sums_time[slots])
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
        """Number of users whose state is newer than their stored row."""
        return int(np.count_nonzero(self.dirty | self.saving))

    def find(self, user_ids: Sequence[str]) -> IntpArray:
        """Return the slots of n users, intp array of shape (n,), -1 for users not in the table. Marks slots as used."""
        get = self.slot_of.get
        slots = np.fromiter((get(user, -1) for user in user_ids), np.intp, len(user_ids))
        self._tick += 1
        self._used[slots[slots >= 0]] = self._tick
        return slots

    def allocate(self, user_ids: Sequence[str], partition: int | NDArray[np.int32], term: int) -> IntpArray:
        """Give blank slots to n users that are not in the table.

        ``partition`` is the partition of all users, or an int32 array of shape (n,) with the partition of each user.
        Returns an intp array of shape (n,). Raises `TableFull` if too few slots can be evicted.
        """
        self._make_room(len(user_ids))
        slots = np.fromiter((self._free.pop() for _ in user_ids), np.intp, len(user_ids))
        self._clear(slots, self.columns)
        for slot, user in zip(slots.tolist(), user_ids, strict=True):
            # the former user of the slot may have been written to after the eviction in the middle of a batch
            self._drop_entries(slot)
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
                f"no room for {wanted} more users: {self.dirty_count} of {self.capacity} slots are not saved yet, "
                f"{len(clean)} can be evicted"
            )
        # evicting a sixteenth at once spreads the cost of the selection
        count = min(len(clean), max(lacking, self.capacity // 16))
        oldest = np.argpartition(self._used[clean], count - 1)[:count]
        self.evict(clean[oldest])

    def _drop_entries(self, slot: int) -> None:
        """Remove what dictionaries hold of a slot's user."""
        for pending in (self.pending, self.pending_taken_back):
            pending.drop(slot)
        self.other_sums.pop(slot, None)
        self.actions.pop(slot, None)
        self.offsets.drop(slot)

    def newest_ms(self, slots: IntpArray) -> Int64Array:
        """Return the largest time of an event or action of B users, UTC ms: int64 array of shape (B,).

        It is "now" for what depends on time, so that no clock decides. `NO_TIME` for users without any.
        """
        newest = self.times[slots, 0]
        if self.actions:
            of_actions = [
                NO_TIME if (known := self.actions.get(slot)) is None else known.time_ms for slot in slots.tolist()
            ]
            newest = np.maximum(newest, np.array(of_actions, np.int64))
        return np.asarray(newest, np.int64)

    def waited_for(self) -> set[int]:
        """Return the items (hashes) whose vector an event waits for."""
        return self.pending.slots_by_item.keys() | self.pending_taken_back.slots_by_item.keys()

    def remember(self, slot: int, identity: int) -> bool:
        """Note the identity of a record; False if it is among those that the user's profile remembers."""
        ring, count = self.seen[slot], int(self.seen_count[slot])
        if (ring[:count] == np.uint64(identity)).any():
            return False
        ring[count % len(ring)] = identity
        self.seen_count[slot] += 1
        return True

    def _clear(self, slots: IntpArray, columns: Iterable[ProfileColumn]) -> None:
        """Make columns blank in these slots."""
        for column in columns:
            cleared = slots
            if column.marker is not None:
                cleared = slots[self.arrays[column.marker][slots] != self._blanks[column.marker]]
            self.arrays[column.name][cleared] = column.blank

    def drop_mapped(self, slots: IntpArray) -> None:
        """Clear the mapped sums of these slots."""
        self._clear(slots, self._mapped_columns)

    def evict(self, slots: IntpArray) -> None:
        """Free slots, saved or not. Unsaved state is lost here; the owner of its partition replays it from Kafka."""
        for slot in slots.tolist():
            user = self.user_ids[slot]
            if user is None:
                continue
            del self.slot_of[user]
            self.user_ids[slot] = None
            self._drop_entries(slot)
            self._free.append(slot)
        self._used[slots] = 0
        self.dirty[slots] = self.saving[slots] = False

    def wipe(self, slot: int, written_ms: int) -> None:
        """Forget what was written about a user up to ``written_ms``, Kafka's time of the command (UTC milliseconds).

        Topics have no common order: an event that was written before the command may be read after it, and an event
        that was written after the command may be read before it. Such events stay if they are still in the recents.
        Applied offsets and counters stay too, so that no replay brings the user back. All else goes: sums can't tell
        their events apart, and an event without a time may have been written before. The identity of an order goes if
        some of its lines have left the recents.
        """
        self.forgotten_ms[slot] = max(int(self.forgotten_ms[slot]), written_ms)
        written = self.written[slot]
        later = (self.times[slot] != NO_TIME) & (written > self.forgotten_ms[slot]) & (written != NO_TIMESTAMP)
        count = int(later.sum())
        kept = {name: self.arrays[name][slot, later] for name in _RECENTS}
        self._clear(np.array([slot], np.intp), (column for column in self.columns if not column.kept_when_forgotten))
        for name, values in kept.items():
            self.arrays[name][slot, :count] = values
        bought = kept["types"] == PURCHASE
        self.set_purchases(slot, kept["items"][bought], kept["times"][bought])
        ids = possible_records(kept["ids"], kept["items"])[: self.shape.duplicate_window]
        self.seen[slot, : len(ids)] = ids[::-1]
        self.seen_count[slot] = len(ids)
        for pending in (self.pending, self.pending_taken_back):
            pending.drop(slot)
        self.other_sums.pop(slot, None)
        if slot in self.actions:
            self.actions[slot].forget(int(self.forgotten_ms[slot]))
            if self.actions[slot].is_empty:
                del self.actions[slot]
        self.dirty[slot] = True
        self.forgotten[slot] = count == 0 and slot not in self.actions

    def set_purchases(self, slot: int, items: UInt64Array, times: Int64Array) -> None:
        """Fill a slot without purchases: with the latest purchase of each of these items."""
        items, times = latest_purchases(items, times, self.shape.purchases)
        self.purchased_items[slot, : len(items)] = items
        self.purchased_times[slot, : len(times)] = times

    def version_number(self, version: str) -> int:
        """Return the index of an encoder version in ``encoder_versions``; a new version is appended."""
        if version not in self.encoder_versions:
            self.encoder_versions.append(version)
        return self.encoder_versions.index(version)

    def note_recommended(
        self, slots: IntpArray, items: UInt64Array, reasons: NDArray[np.uint8], ids: UInt64Array, version: str
    ) -> None:
        """Record the lists that are recommended to B users now.

        Parameters
        ----------
        slots : intp array of shape (B,), each user once
        items : uint64 array of shape (B, k), hashes of item ids, best first, 0 behind the last item
        reasons : uint8 array of shape (B, k), codes, 0 behind the last item
        ids : uint64 array of shape (B,), hashes of the recommendation ids
        version : the encoder version that ranked
        """
        k = items.shape[1]  # shorter than the table's columns while the catalog is small
        self.recommended_items[slots, :k] = items
        self.recommended_items[slots, k:] = 0
        self.recommended_reasons[slots, :k] = reasons
        self.recommended_reasons[slots, k:] = 0
        self.recommendation_id_hash[slots] = ids
        self.recommended_by[slots] = self.version_number(version)

    def set_logs(self, logs: list[tuple[str, str]]) -> None:
        """Set the (topic, topic id) logs that users' own partitions read now. Offsets of former logs are kept."""
        offsets = self.offsets
        if logs == offsets.logs:
            return
        held = np.flatnonzero(self._used > 0)
        for index, (topic, topic_id) in enumerate(offsets.logs):
            for slot in held[self.applied_offsets[held, index] > 0].tolist():
                log = LogId(topic, topic_id, int(self.partition[slot]))
                offsets.others[slot][log] = offsets.look(slot, log)
        offsets.logs = list(logs)
        self.shape = replace(self.shape, logs=len(logs))
        by_log = [column for column in self.columns if column.name in ("applied_offsets", "first_offsets")]
        for column in by_log:
            self._lay_out(column)
        self._clear(held, by_log)
        for slot in list(offsets.others):
            for log, known in list(offsets.others[slot].items()):
                if offsets.column(slot, log) is not None:
                    del offsets.others[slot][log]
                    offsets.set(slot, log, known)

    def slots_of_partition(self, partition: int) -> IntpArray:
        """Return the slots of a partition's users."""
        return np.flatnonzero((self._used > 0) & (self.partition == partition))

    def all_slots(self) -> IntpArray:
        """Return the slots in use."""
        return np.flatnonzero(self._used > 0)
