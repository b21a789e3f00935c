"""The compiled loop that applies events to the profiles' arrays, one event after the other.

`profile_update.OUTCOMES` defines the outcomes.
"""

from typing import Any, NamedTuple

from numba import types

from encoders.compiled import compiled, tuple_types
from streams.arrays import BoolArray, Int64Array, UInt8Array, UInt64Array

APPLIED, FORGOTTEN, REPLAYED, DUPLICATE = range(4)


class Events(NamedTuple):
    """B events in order of arrival. Each array has shape (B,)."""

    slots: Int64Array
    columns: Int64Array
    """Which column of ``Profiles.applied_offsets`` belongs to the event's log; -1 if none does."""
    fresh: BoolArray
    """Whether the event is new to the profile. It is read only where the column is -1."""
    offsets: Int64Array
    ids: UInt64Array
    items: UInt64Array
    rows: Int64Array
    types: UInt8Array
    times: Int64Array
    written: Int64Array


class Profiles(NamedTuple):
    """Columns of the `ProfileTable`, by slot. The loop writes to all but ``forgotten_ms``."""

    applied_offsets: Int64Array
    first_offsets: Int64Array
    seen: UInt64Array
    seen_count: Int64Array
    duplicates: Int64Array
    applied: Int64Array
    forgotten_ms: Int64Array
    forgotten: BoolArray
    dirty: BoolArray
    items: UInt64Array
    rows: Int64Array
    types: UInt8Array
    times: Int64Array
    ids: UInt64Array
    written: Int64Array
    purchased_items: UInt64Array
    purchased_times: Int64Array


class Gone(NamedTuple):
    """Events that left the recents, in the order in which they left. Each array has room for B of them."""

    slots: Int64Array
    items: UInt64Array
    rows: Int64Array
    types: UInt8Array
    times: Int64Array
    ids: UInt64Array


def _signature() -> Any:
    flags, bytes_, ints, hashes = types.boolean[::1], types.uint8[::1], types.int64[::1], types.uint64[::1]
    int_rows, hash_rows = types.int64[:, ::1], types.uint64[:, ::1]
    events = Events(
        slots=ints,
        columns=ints,
        fresh=flags,
        offsets=ints,
        ids=hashes,
        items=hashes,
        rows=ints,
        types=bytes_,
        times=ints,
        written=ints,
    )
    profiles = Profiles(
        applied_offsets=int_rows,
        first_offsets=int_rows,
        seen=hash_rows,
        seen_count=ints,
        duplicates=ints,
        applied=int_rows,
        forgotten_ms=ints,
        forgotten=flags,
        dirty=flags,
        items=hash_rows,
        rows=int_rows,
        types=types.uint8[:, ::1],
        times=int_rows,
        ids=hash_rows,
        written=int_rows,
        purchased_items=hash_rows,
        purchased_times=int_rows,
    )
    gone = Gone(slots=ints, items=hashes, rows=ints, types=bytes_, times=ints, ids=hashes)
    return types.int64(types.int64, types.uint8, *tuple_types(events, profiles, gone), bytes_)


@compiled()
def _place(times: Int64Array, ties: UInt64Array, time: int, tie: int, empty: int) -> int:
    """Return the index at which (time, tie) belongs in a row sorted largest first; its length if behind all."""
    for place in range(len(times)):
        if times[place] == empty or time > times[place] or (time == times[place] and tie > ties[place]):
            return place
    return len(times)


@compiled(_signature)
def count_events(empty: int, purchase: int, events: Events, profiles: Profiles, gone: Gone, outcome: UInt8Array) -> int:
    """Count B events in the profiles. Returns how many events left the recents.

    Parameters
    ----------
    empty : the time of an entry without an event
    purchase : the event type of purchases
    events : the events
    profiles : the profiles of their users, written to
    gone : written to; entries behind the last event that left stay as they are
    outcome : uint8 array of shape (B,), filled with codes of this module
    """
    window, length, kept = profiles.seen.shape[1], profiles.times.shape[1], profiles.purchased_times.shape[1]
    left = 0
    for event in range(len(events.slots)):
        slot, column = events.slots[event], events.columns[event]
        if column >= 0:
            passes = events.offsets[event] >= profiles.applied_offsets[slot, column]
            if passes:
                profiles.applied_offsets[slot, column] = events.offsets[event] + 1
                if profiles.first_offsets[slot, column] < 0:
                    profiles.first_offsets[slot, column] = events.offsets[event]
        else:
            passes = events.fresh[event]
        if not passes:
            outcome[event] = REPLAYED
            continue
        profiles.dirty[slot] = True
        id_, count = events.ids[event], profiles.seen_count[slot]
        repeated = False
        # a blank entry of the ring is 0, which is also a possible (if unlikely) id
        for place in range(min(count, window)):
            repeated |= profiles.seen[slot, place] == id_
        if repeated:
            profiles.duplicates[slot] += 1
            outcome[event] = DUPLICATE
            continue
        profiles.seen[slot, count % window] = id_
        profiles.seen_count[slot] = count + 1
        kind, time = events.types[event], events.times[event]
        profiles.applied[slot, kind] += 1
        if events.written[event] <= profiles.forgotten_ms[slot]:
            outcome[event] = FORGOTTEN
            continue
        outcome[event] = APPLIED
        profiles.forgotten[slot] = False
        if kind == purchase:
            item = events.items[event]
            place = _place(profiles.purchased_times[slot], profiles.purchased_items[slot], time, item, empty)
            if place < kept:
                for later in range(kept - 1, place, -1):
                    profiles.purchased_items[slot, later] = profiles.purchased_items[slot, later - 1]
                    profiles.purchased_times[slot, later] = profiles.purchased_times[slot, later - 1]
                profiles.purchased_items[slot, place] = item
                profiles.purchased_times[slot, place] = time
        place = _place(profiles.times[slot], profiles.ids[slot], time, id_, empty)
        last = length - 1
        if place == length:
            leaves = (events.items[event], events.rows[event], kind, time, id_)
        else:
            leaves = (
                profiles.items[slot, last],
                profiles.rows[slot, last],
                profiles.types[slot, last],
                profiles.times[slot, last],
                profiles.ids[slot, last],
            )
            for later in range(last, place, -1):
                profiles.items[slot, later] = profiles.items[slot, later - 1]
                profiles.rows[slot, later] = profiles.rows[slot, later - 1]
                profiles.types[slot, later] = profiles.types[slot, later - 1]
                profiles.times[slot, later] = profiles.times[slot, later - 1]
                profiles.ids[slot, later] = profiles.ids[slot, later - 1]
                profiles.written[slot, later] = profiles.written[slot, later - 1]
            profiles.items[slot, place] = events.items[event]
            profiles.rows[slot, place] = events.rows[event]
            profiles.types[slot, place] = kind
            profiles.times[slot, place] = time
            profiles.ids[slot, place] = id_
            profiles.written[slot, place] = events.written[event]
        if leaves[3] != empty:
            gone.slots[left] = slot
            gone.items[left], gone.rows[left], gone.types[left], gone.times[left], gone.ids[left] = leaves
            left += 1
    return left
