"""The loop that counts events in the profiles' arrays, one after the other; `profile_update` says what it does."""

import numpy as np
from numpy.typing import NDArray

from encoders.compiled import compiled

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Flags = NDArray[np.bool_]

APPLIED, FORGOTTEN, REPLAYED, DUPLICATE = range(4)


@compiled()
def _place(times: Ints, ties: Hashes, time: int, tie: int, empty: int) -> int:
    """Where something belongs in a row that is sorted by (time, tie), largest first; its length if behind all."""
    for place in range(len(times)):
        if times[place] == empty or time > times[place] or (time == times[place] and tie > ties[place]):
            return place
    return len(times)


@compiled(
    "int64(int64, uint8, "
    "int64[::1], int64[::1], boolean[::1], int64[::1], uint64[::1], uint64[::1], int64[::1], uint8[::1], int64[::1], "
    "int64[::1], int64[:, ::1], uint64[:, ::1], int64[::1], int64[::1], int64[:, ::1], int64[::1], boolean[::1], "
    "boolean[::1], uint64[:, ::1], int64[:, ::1], uint8[:, ::1], int64[:, ::1], uint64[:, ::1], uint64[:, ::1], "
    "int64[:, ::1], uint8[::1], int64[::1], uint64[::1], int64[::1], uint8[::1], int64[::1], uint64[::1])"
)
def count_events(
    empty: int,
    purchase: int,
    slots: Ints,
    columns: Ints,
    fresh: Flags,
    offsets: Ints,
    ids: Hashes,
    items: Hashes,
    rows: Ints,
    types: Bytes,
    times: Ints,
    written: Ints,
    applied_offsets: Ints,
    seen: Hashes,
    seen_count: Ints,
    duplicates: Ints,
    applied: Ints,
    forgotten_ms: Ints,
    forgotten: Flags,
    dirty: Flags,
    held_items: Hashes,
    held_rows: Ints,
    held_types: Bytes,
    held_times: Ints,
    held_ids: Hashes,
    purchased_items: Hashes,
    purchased_times: Ints,
    outcome: Bytes,
    gone_slots: Ints,
    gone_items: Hashes,
    gone_rows: Ints,
    gone_types: Bytes,
    gone_times: Ints,
    gone_ids: Hashes,
) -> int:
    """Count B events; returns how many events left the recents, whose columns are in ``gone_...``.

    Parameters
    ----------
    empty : the time that says that a place holds nothing
    purchase : the event type that is remembered as bought
    slots, offsets, ids, items, rows, types, times, written : arrays of shape (B,), the events in order of arrival
    columns : of ``applied_offsets``, of the log of each event; -1 where ``fresh`` says whether it is above its fence
    applied_offsets, ..., purchased_times : arrays of the table, by slot
    outcome : uint8 array of shape (B,), written to
    gone_... : arrays of shape (B,), written to
    """
    window, length, kept = seen.shape[1], held_times.shape[1], purchased_times.shape[1]
    gone = 0
    for event in range(len(slots)):
        slot, column = slots[event], columns[event]
        if column >= 0:
            passes = offsets[event] >= applied_offsets[slot, column]
            if passes:
                applied_offsets[slot, column] = offsets[event] + 1
        else:
            passes = fresh[event]
        if not passes:
            outcome[event] = REPLAYED
            continue
        dirty[slot] = True
        id_, count = ids[event], seen_count[slot]
        repeated = False
        # a blank place of the ring is 0, which is also a possible (if unlikely) id
        for place in range(min(count, window)):
            repeated |= seen[slot, place] == id_
        if repeated:
            duplicates[slot] += 1
            outcome[event] = DUPLICATE
            continue
        seen[slot, count % window] = id_
        seen_count[slot] = count + 1
        kind, time = types[event], times[event]
        applied[slot, kind] += 1
        # an event without a time counts as written after the command
        if written[event] != 0 and written[event] <= forgotten_ms[slot]:
            outcome[event] = FORGOTTEN
            continue
        outcome[event] = APPLIED
        forgotten[slot] = False
        if kind == purchase:
            item = items[event]
            place = _place(purchased_times[slot], purchased_items[slot], time, item, empty)
            if place < kept:
                for later in range(kept - 1, place, -1):
                    purchased_items[slot, later] = purchased_items[slot, later - 1]
                    purchased_times[slot, later] = purchased_times[slot, later - 1]
                purchased_items[slot, place] = item
                purchased_times[slot, place] = time
        place = _place(held_times[slot], held_ids[slot], time, id_, empty)
        last = length - 1
        if place == length:
            leaves = (items[event], rows[event], kind, time, id_)
        else:
            leaves = (
                held_items[slot, last],
                held_rows[slot, last],
                held_types[slot, last],
                held_times[slot, last],
                held_ids[slot, last],
            )
            for later in range(last, place, -1):
                held_items[slot, later] = held_items[slot, later - 1]
                held_rows[slot, later] = held_rows[slot, later - 1]
                held_types[slot, later] = held_types[slot, later - 1]
                held_times[slot, later] = held_times[slot, later - 1]
                held_ids[slot, later] = held_ids[slot, later - 1]
            held_items[slot, place] = items[event]
            held_rows[slot, place] = rows[event]
            held_types[slot, place] = kind
            held_times[slot, place] = time
            held_ids[slot, place] = id_
        if leaves[3] != empty:
            gone_slots[gone] = slot
            gone_items[gone], gone_rows[gone], gone_types[gone], gone_times[gone], gone_ids[gone] = leaves
            gone += 1
    return gone
