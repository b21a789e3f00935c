"""The loop that scores events against the lists that their users had; `online_quality` says what it means."""

import numpy as np
from numpy.typing import NDArray

from encoders.compiled import compiled

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Flags = NDArray[np.bool_]

NONE, EARLIER, LAST = range(3)


@compiled()
def _is_bought(
    item: int, purchased_items: Hashes, purchased_times: Ints, latest_time: int, within_ms: float, empty: int
) -> bool:
    """Whether a user bought an item within the time before what the user did last; purchases are newest first."""
    now = max(latest_time, purchased_times[0]) if len(purchased_times) else latest_time
    for place in range(len(purchased_times)):
        if purchased_times[place] == empty or now - purchased_times[place] > within_ms:
            return False
        if purchased_items[place] == item:
            return True
    return False


@compiled(
    "void(int64, uint8, int64, int64, float64, int64, "
    "int64[::1], uint64[::1], int64[::1], uint8[::1], uint64[::1], "
    "uint64[:, ::1], uint8[:, ::1], uint64[::1], uint64[:, ::1], uint8[:, ::1], int64[:, ::1], int64[:, ::1], "
    "int64[:, ::1], uint64[:, ::1], int64[:, ::1], int64[::1], uint64[::1], int64[::1], "
    "boolean[::1], boolean[::1], int64[::1], uint8[::1], int64[::1], boolean[::1], uint8[::1], uint8[::1])"
)
def check_events(
    empty: int,
    purchase: int,
    new_user_events: int,
    seen_events: int,
    bought_ms: float,
    k: int,
    slots: Ints,
    items: Hashes,
    rows: Ints,
    types: Bytes,
    recommendations: Hashes,
    recommended_items: Hashes,
    recommended_reasons: Bytes,
    recommendation_id_hash: Hashes,
    visited_items: Hashes,
    visited_reasons: Bytes,
    applied: Ints,
    times: Ints,
    recent_rows: Ints,
    purchased_items: Hashes,
    purchased_times: Ints,
    top_rows: Ints,
    top_items: Hashes,
    top_place: Ints,
    has_list: Flags,
    allowed: Flags,
    rank: Ints,
    reason: Bytes,
    trending_rank: Ints,
    new: Flags,
    visited: Bytes,
    names: Bytes,
) -> None:
    """Score B events.

    Parameters
    ----------
    empty : NO_TIME
    purchase : code of that event type
    new_user_events : a user with fewer is new
    seen_events, bought_ms : of `streams.rank.exclusions.Exclusions`; 0 where the rule is off
    k : items of a list
    slots, items, rows, types, recommendations : (B,), of the events; rows of the index, -1 = unknown
    recommended_items to purchased_times : of the table, by slot
    top_rows, top_items : (P,), what is trending, best first: rows of the index and hashes of the ids
    top_place : (N,), each row's place among those, -1 = not there; what is behind the last is not there either
    has_list to names : (B,), are filled; see `streams.quality.online_quality.Checked`
    """
    for event in range(len(slots)):
        slot, item, row = slots[event], items[event], rows[event]
        reasons = recommended_reasons[slot]
        has_list[event] = reasons[0] > 0
        rank[event], reason[event] = -1, 0
        for place in range(len(reasons)):
            if recommended_items[slot, place] == item:
                # a blank place has the hash 0 and no reason
                if reasons[place] > 0:
                    rank[event], reason[event] = place, reasons[place]
                break

        excluded = False
        for place in range(min(seen_events, recent_rows.shape[1])):
            excluded |= recent_rows[slot, place] == row
        if bought_ms > 0 and not excluded:
            excluded = _is_bought(item, purchased_items[slot], purchased_times[slot], times[slot, 0], bought_ms, empty)
        allowed[event] = row < 0 or not excluded

        visited[event] = 0
        if types[event] == purchase:
            for place in range(visited_items.shape[1]):
                if visited_items[slot, place] == item:
                    visited[event] = max(visited[event], visited_reasons[slot, place])
        names[event] = NONE
        if recommendations[event] != 0:
            names[event] = LAST if recommendations[event] == recommendation_id_hash[slot] else EARLIER
        done = 0
        for kind in range(applied.shape[1]):
            done += applied[slot, kind]
        new[event] = done < new_user_events

        # the user would have been given what is trending without what is excluded: how far up would the item have been?
        trending_rank[event] = -1
        if has_list[event] and allowed[event] and 0 <= row < len(top_place) and top_place[row] >= 0:
            above = 0
            for place in range(top_place[row]):
                out = False
                for recent in range(min(seen_events, recent_rows.shape[1])):
                    out |= recent_rows[slot, recent] == top_rows[place]
                if bought_ms > 0 and not out:
                    out = _is_bought(
                        top_items[place], purchased_items[slot], purchased_times[slot], times[slot, 0], bought_ms, empty
                    )
                above += not out
                if above >= k:
                    break
            if above < k:
                trending_rank[event] = above
