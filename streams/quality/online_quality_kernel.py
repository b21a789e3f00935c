"""Compiled loop that scores events against their users' lists; `online_quality` explains the scores."""

from typing import Any, NamedTuple

from numba import types

from encoders.compiled import compiled, tuple_types
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


class Limits(NamedTuple):
    """Numbers that are the same for all events."""

    no_time: int
    """The time of an unused place."""
    purchase: int
    """Code of that event type."""
    new_user_events: int
    """A user with fewer applied events is new."""
    seen_events: int
    """Latest events whose items are excluded; 0 = none."""
    purchased_ms: float
    """Milliseconds for which a purchased item is excluded; 0 = none."""
    k: int
    """Items of a list."""


class Events(NamedTuple):
    """B events. Each array has shape (B,)."""

    slots: Int64Array
    items: UInt64Array
    rows: Int64Array
    """Of the items in the index, -1 = unknown."""
    types: UInt8Array
    recommendations: UInt64Array


class Profiles(NamedTuple):
    """Columns of the `ProfileTable`, by slot."""

    recommended_items: UInt64Array
    recommended_reasons: UInt8Array
    recommendation_id_hash: UInt64Array
    visited_items: UInt64Array
    visited_reasons: UInt8Array
    applied: Int64Array
    times: Int64Array
    rows: Int64Array
    purchased_items: UInt64Array
    purchased_times: Int64Array


class TrendingItems(NamedTuple):
    """The P trending items, best first."""

    rows: Int64Array
    """(P,), rows of the index."""
    items: UInt64Array
    """(P,), hashes of the item ids."""
    ranks: Int64Array
    """(N,), the rank of each row of the index among them, -1 = not trending; rows from N on are not trending."""


class Scores(NamedTuple):
    """The output, by event; see `streams.quality.online_quality.Checked`. Each array has shape (B,)."""

    has_list: BoolArray
    allowed: BoolArray
    rank: Int64Array
    reason: UInt8Array
    trending_rank: Int64Array
    new: BoolArray
    visited: UInt8Array
    names: UInt8Array


def _signature() -> Any:
    integer, flags, bytes_ = types.int64, types.boolean[::1], types.uint8[::1]
    ints, hashes = types.int64[::1], types.uint64[::1]
    int_rows, hash_rows, byte_rows = types.int64[:, ::1], types.uint64[:, ::1], types.uint8[:, ::1]
    limits = Limits(
        no_time=integer,
        purchase=integer,
        new_user_events=integer,
        seen_events=integer,
        purchased_ms=types.float64,
        k=integer,
    )
    events = Events(slots=ints, items=hashes, rows=ints, types=bytes_, recommendations=hashes)
    profiles = Profiles(
        recommended_items=hash_rows,
        recommended_reasons=byte_rows,
        recommendation_id_hash=hashes,
        visited_items=hash_rows,
        visited_reasons=byte_rows,
        applied=int_rows,
        times=int_rows,
        rows=int_rows,
        purchased_items=hash_rows,
        purchased_times=int_rows,
    )
    trending = TrendingItems(rows=ints, items=hashes, ranks=ints)
    scores = Scores(
        has_list=flags,
        allowed=flags,
        rank=ints,
        reason=bytes_,
        trending_rank=ints,
        new=flags,
        visited=bytes_,
        names=bytes_,
    )
    return types.void(*tuple_types(limits, events, profiles, trending, scores))


@compiled(_signature)
def check_events(limits: Limits, events: Events, profiles: Profiles, trending: TrendingItems, scores: Scores) -> None:
    """Score B events against the lists that their users had, and fill ``scores``."""
    for event in range(len(events.slots)):
        slot, item, row = events.slots[event], events.items[event], events.rows[event]
        reasons = profiles.recommended_reasons[slot]
        scores.has_list[event] = reasons[0] > 0
        scores.rank[event], scores.reason[event] = -1, 0
        for list_rank in range(len(reasons)):
            if profiles.recommended_items[slot, list_rank] == item:
                # an unused place of a list has hash 0 and reason 0
                if reasons[list_rank] > 0:
                    scores.rank[event], scores.reason[event] = list_rank, reasons[list_rank]
                break

        excluded = False
        for recent in range(min(limits.seen_events, profiles.rows.shape[1])):
            excluded |= profiles.rows[slot, recent] == row
        if limits.purchased_ms > 0 and not excluded:
            excluded = _is_purchased(
                item,
                profiles.purchased_items[slot],
                profiles.purchased_times[slot],
                profiles.times[slot, 0],
                limits.purchased_ms,
                limits.no_time,
            )
        scores.allowed[event] = row < 0 or not excluded

        scores.visited[event] = 0
        if events.types[event] == limits.purchase:
            for visit in range(profiles.visited_items.shape[1]):
                if profiles.visited_items[slot, visit] == item:
                    scores.visited[event] = max(scores.visited[event], profiles.visited_reasons[slot, visit])
        scores.names[event] = NONE
        if events.recommendations[event] != 0:
            scores.names[event] = (
                LAST if events.recommendations[event] == profiles.recommendation_id_hash[slot] else EARLIER
            )
        applied_events = 0
        for kind in range(profiles.applied.shape[1]):
            applied_events += profiles.applied[slot, kind]
        scores.new[event] = applied_events < limits.new_user_events

        # rank of the item in a list of trending items, without those that are excluded for the user
        scores.trending_rank[event] = -1
        if (
            scores.has_list[event]
            and scores.allowed[event]
            and 0 <= row < len(trending.ranks)
            and trending.ranks[row] >= 0
        ):
            above = 0
            for better in range(trending.ranks[row]):
                is_excluded = False
                for recent in range(min(limits.seen_events, profiles.rows.shape[1])):
                    is_excluded |= profiles.rows[slot, recent] == trending.rows[better]
                if limits.purchased_ms > 0 and not is_excluded:
                    is_excluded = _is_purchased(
                        trending.items[better],
                        profiles.purchased_items[slot],
                        profiles.purchased_times[slot],
                        profiles.times[slot, 0],
                        limits.purchased_ms,
                        limits.no_time,
                    )
                above += not is_excluded
                if above >= limits.k:
                    break
            if above < limits.k:
                scores.trending_rank[event] = above
