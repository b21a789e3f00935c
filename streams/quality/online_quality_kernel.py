"""Compiled loop that scores events against their users' lists; `online_quality` explains the scores."""

from encoders.compiled import compiled
from streams.arrays import BoolArray, Int64Array, UInt8Array, UInt64Array

NONE, EARLIER, LAST = range(3)


@compiled()
def _is_purchased(
    item: int, purchased_items: UInt64Array, purchased_times: Int64Array, latest_time: int, within_ms: float, empty: int
) -> bool:
    """Tell whether a user purchased an item at most ``within_ms`` before the user's latest event.

    Purchases are newest first.
    """
    now = max(latest_time, purchased_times[0]) if len(purchased_times) else latest_time
    for index in range(len(purchased_times)):
        if purchased_times[index] == empty or now - purchased_times[index] > within_ms:
            return False
        if purchased_items[index] == item:
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
    slots: Int64Array,
    items: UInt64Array,
    rows: Int64Array,
    types: UInt8Array,
    recommendations: UInt64Array,
    recommended_items: UInt64Array,
    recommended_reasons: UInt8Array,
    recommendation_id_hash: UInt64Array,
    visited_items: UInt64Array,
    visited_reasons: UInt8Array,
    applied: Int64Array,
    times: Int64Array,
    recent_rows: Int64Array,
    purchased_items: UInt64Array,
    purchased_times: Int64Array,
    top_rows: Int64Array,
    top_items: UInt64Array,
    top_place: Int64Array,
    has_list: BoolArray,
    allowed: BoolArray,
    rank: Int64Array,
    reason: UInt8Array,
    trending_rank: Int64Array,
    new: BoolArray,
    visited: UInt8Array,
    names: UInt8Array,
) -> None:
    """Score B events.

    Parameters
    ----------
    empty : NO_TIME
    purchase : code of that event type
    new_user_events : a user with fewer applied events is new
    seen_events, bought_ms : limits of `streams.rank.exclusions.Exclusions`, in events and ms; 0 = no exclusion
    k : number of items in a list
    slots, items, rows, types, recommendations : (B,), of the events; rows of the index, -1 = unknown
    recommended_items to purchased_times : columns of the table, by slot
    top_rows, top_items : (P,), the trending items, best first: rows of the index and hashes of the ids
    top_place : (N,), the rank of each row of the index among them, -1 = not trending; rows from N on are not trending
    has_list to names : (B,), output; see `streams.quality.online_quality.Checked`
    """
    for event in range(len(slots)):
        slot, item, row = slots[event], items[event], rows[event]
        reasons = recommended_reasons[slot]
        has_list[event] = reasons[0] > 0
        rank[event], reason[event] = -1, 0
        for list_rank in range(len(reasons)):
            if recommended_items[slot, list_rank] == item:
                # an unused place of a list has hash 0 and reason 0
                if reasons[list_rank] > 0:
                    rank[event], reason[event] = list_rank, reasons[list_rank]
                break

        excluded = False
        for recent in range(min(seen_events, recent_rows.shape[1])):
            excluded |= recent_rows[slot, recent] == row
        if bought_ms > 0 and not excluded:
            excluded = _is_purchased(
                item, purchased_items[slot], purchased_times[slot], times[slot, 0], bought_ms, empty
            )
        allowed[event] = row < 0 or not excluded

        visited[event] = 0
        if types[event] == purchase:
            for visit in range(visited_items.shape[1]):
                if visited_items[slot, visit] == item:
                    visited[event] = max(visited[event], visited_reasons[slot, visit])
        names[event] = NONE
        if recommendations[event] != 0:
            names[event] = LAST if recommendations[event] == recommendation_id_hash[slot] else EARLIER
        applied_events = 0
        for kind in range(applied.shape[1]):
            applied_events += applied[slot, kind]
        new[event] = applied_events < new_user_events

        # rank of the item in a list of trending items, without those that are excluded for the user
        trending_rank[event] = -1
        if has_list[event] and allowed[event] and 0 <= row < len(top_place) and top_place[row] >= 0:
            above = 0
            for better in range(top_place[row]):
                is_excluded = False
                for recent in range(min(seen_events, recent_rows.shape[1])):
                    is_excluded |= recent_rows[slot, recent] == top_rows[better]
                if bought_ms > 0 and not is_excluded:
                    is_excluded = _is_purchased(
                        top_items[better],
                        purchased_items[slot],
                        purchased_times[slot],
                        times[slot, 0],
                        bought_ms,
                        empty,
                    )
                above += not is_excluded
                if above >= k:
                    break
            if above < k:
                trending_rank[event] = above
