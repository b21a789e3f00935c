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
    id_hashes: UInt64Array
    """Hashes of the event ids: rows of the first release hold them as the ids that were seen."""
    ids: UInt64Array
    record_ids: UInt64Array
    continues: BoolArray
    """Whether the event belongs to the record of the event before it, and so shares its verdict."""
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
        id_hashes=hashes,
        ids=hashes,
        record_ids=hashes,
        continues=flags,
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
    arguments = (types.int64, types.uint8, types.float64, *tuple_types(events, profiles, gone), bytes_)
    return types.UniTuple(types.int64, 2)(*arguments)


@compiled()
def _place(times: Int64Array, ties: UInt64Array, time: int, tie: int, empty: int) -> int:
    """Return the index at which (time, tie) belongs in a row sorted largest first; its length if behind all."""
    for place in range(len(times)):
        if times[place] == empty or time > times[place] or (time == times[place] and tie > ties[place]):
            return place
    return len(times)


@compiled()
def _is_among(seen: UInt64Array, count: int, id_: int, id_hash: int) -> bool:
    """Tell whether the first ``count`` entries of a ring hold one of two numbers."""
    found = False
    # a blank entry of the ring is 0, which is also a possible (if unlikely) id
    for place in range(min(count, len(seen))):
        found |= (seen[place] == id_) | (seen[place] == id_hash)
    return found


@compiled()
def _remember_purchase(items: UInt64Array, times: Int64Array, item: int, time: int, empty: int) -> int:
    """Note a purchase in a row of items and their latest purchases, which is sorted by (time, item), largest first.

    Returns the time of the purchase that the row has no room for; ``empty`` if there is none.
    """
    last = 0  # the index of the entry that gives way: the item's earlier purchase, a free entry, or the oldest one
    while last < len(times) - 1 and times[last] != empty and items[last] != item:
        last += 1
    is_known = times[last] != empty and items[last] == item
    place = _place(times, items, time, item, empty)
    if place > last:
        return empty if is_known else time
    lost = empty if is_known else times[last]
    for later in range(last, place, -1):
        items[later], times[later] = items[later - 1], times[later - 1]
    items[place], times[place] = item, time
    return lost


@compiled(_signature)
def count_events(
    empty: int,
    purchase: int,
    excluded_ms: float,
    events: Events,
    profiles: Profiles,
    gone: Gone,
    outcome: UInt8Array,
) -> tuple[int, int]:
    """Count B events in the profiles.

    Parameters
    ----------
    empty : the time of an entry without an event
    purchase : the event type of purchases
    excluded_ms : milliseconds for which purchased items are excluded
    events : the events
    profiles : the profiles of their users, written to
    gone : written to; entries behind the last event that left stay as they are
    outcome : uint8 array of shape (B,), filled with codes of this module

    Returns
    -------
    how many events left the recents; how many purchases were dropped that are excluded still
    """
    window, length = profiles.seen.shape[1], profiles.times.shape[1]
    left = dropped = 0
    verdict = REPLAYED
    for event in range(len(events.slots)):
        slot, column = events.slots[event], events.columns[event]
        if not events.continues[event]:
            if column >= 0:
                passes = events.offsets[event] >= profiles.applied_offsets[slot, column]
                if passes:
                    profiles.applied_offsets[slot, column] = events.offsets[event] + 1
                    if profiles.first_offsets[slot, column] < 0:
                        profiles.first_offsets[slot, column] = events.offsets[event]
            else:
                passes = events.fresh[event]
            count = profiles.seen_count[slot]
            if not passes:
                verdict = REPLAYED
            elif _is_among(profiles.seen[slot], count, events.record_ids[event], events.id_hashes[event]):
                verdict = DUPLICATE
                profiles.dirty[slot] = True
                profiles.duplicates[slot] += 1
            else:
                verdict = FORGOTTEN if events.written[event] <= profiles.forgotten_ms[slot] else APPLIED
                profiles.dirty[slot] = True
                profiles.seen[slot, count % window] = events.record_ids[event]
                profiles.seen_count[slot] = count + 1
        outcome[event] = verdict
        if verdict in (REPLAYED, DUPLICATE):
            continue
        id_, kind, time = events.ids[event], events.types[event], events.times[event]
        profiles.applied[slot, kind] += 1
        if verdict == FORGOTTEN:
            continue
        profiles.forgotten[slot] = False
        if kind == purchase:
            bought_items, bought_times = profiles.purchased_items[slot], profiles.purchased_times[slot]
            lost = _remember_purchase(bought_items, bought_times, events.items[event], time, empty)
            if lost != empty and excluded_ms > 0:
                dropped += max(profiles.times[slot, 0], bought_times[0]) - lost <= excluded_ms
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
    return left, dropped
