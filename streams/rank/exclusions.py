"""Exclusions: items that must not be recommended to a user, and the score adjustments that exclude them.

The rankers add an adjustment to the score of a user for an item. Recommended lists show it as `bonus`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from encoders.index.item_index import ItemIndex
from encoders.ranking.ranking_io import EXCLUDED_SCORE
from streams.arrays import BoolArray, Float32Array, Int64Array, IntpArray, UInt64Array
from streams.state.decayed_sums import NO_TIME
from streams.state.profile_table import ProfileTable

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Exclusions:
    """The settings of exclusions."""

    exclude_purchased_days: float = 30.0
    """Days for which a purchased item is excluded; 0 excludes no purchase."""
    exclude_seen_events: int = 20
    """Number of latest events whose items are excluded; 0 excludes none."""


def excluded_rows(table: ProfileTable, slots: IntpArray, index: ItemIndex, exclusions: Exclusions) -> Int64Array:
    """Find the rows of the index that are excluded for B users.

    A purchase's age is counted up to the time of the user's latest event or purchase, so the result depends on the
    events alone, not on a clock.

    Parameters
    ----------
    slots : intp array of shape (B,)

    Returns
    -------
    int64 array of shape (B, A), -1 in unused entries.
    """
    parts = []
    if exclusions.exclude_seen_events:
        parts.append(table.rows[slots, : exclusions.exclude_seen_events])
    if exclusions.exclude_purchased_days:
        times = table.purchased_times[slots]  # (B, M)
        now = np.maximum(table.times[slots, :1], times.max(axis=1, keepdims=True))
        recent = (times != NO_TIME) & (now - times <= exclusions.exclude_purchased_days * DAY_MS)
        width = int(recent.sum(axis=1).max(initial=0))
        if width:
            # purchases are sorted newest first, so the recent ones are in the first columns
            items = table.purchased_items[slots, :width]
            rows = np.full(items.shape, -1, np.int64)
            rows[recent[:, :width]] = index.rows(items[recent[:, :width]])
            _leave_out_refunded(table, slots, items, times, rows)
            parts.append(rows)
    parts += _hidden_rows(table, slots, index)
    if not parts:
        return np.empty((len(slots), 0), np.int64)
    return np.concatenate(parts, axis=1)


def _leave_out_refunded(
    table: ProfileTable, slots: IntpArray, items: UInt64Array, times: Int64Array, rows: Int64Array
) -> None:
    """Set the row of each purchase (B, W) to -1 that was refunded at its time or later."""
    if not table.actions:
        return
    for user, slot in enumerate(slots.tolist()):
        actions = table.actions.get(slot)
        if actions is None or not actions.refunds:
            continue
        for column, item in enumerate(items[user].tolist()):
            refund = actions.refunds.get(item)
            if refund is not None and refund[0] >= times[user, column]:
                rows[user, column] = -1


def _hidden_rows(table: ProfileTable, slots: IntpArray, index: ItemIndex) -> list[Int64Array]:
    """Find the rows of items that users have hidden: an array (B, H), -1 in unused entries; none if nobody did.

    The time of the user's latest event or action decides whether an item is still hidden, so no clock does.
    """
    if not table.actions:
        return []
    parts = []
    for slot, now in zip(slots.tolist(), table.newest_ms(slots).tolist(), strict=True):
        actions = table.actions.get(slot)
        rows = index.rows(_still_hidden(actions.hidden_items, now)) if actions is not None else _NO_ROWS
        if actions is not None and actions.hidden_labels:
            rows = np.concatenate([rows, index.rows_with(_still_hidden(actions.hidden_labels, now))])
        parts.append(rows)
    width = max(map(len, parts), default=0)
    if width == 0:
        return []
    hidden = np.full((len(slots), width), -1, np.int64)
    for user, rows in enumerate(parts):
        hidden[user, : len(rows)] = rows
    return [hidden]


_NO_ROWS: Int64Array = np.empty(0, np.int64)


def _still_hidden(entries: Mapping[int, tuple[int, int, int]], now: int) -> UInt64Array:
    return np.array([thing for thing, (_, _, until_ms) in entries.items() if until_ms > now], np.uint64)


def hide_labels(table: ProfileTable, slots: IntpArray) -> BoolArray:
    """Tell which of B users have hidden brands or categories, and so thousands of items: bool array of shape (B,)."""
    users = [known is not None and bool(known.hidden_labels) for known in map(table.actions.get, slots.tolist())]
    return np.array(users, np.bool_)


def adjustments(rows: Int64Array) -> Float32Array:
    """Compute the score adjustments, float32 array of shape (B, A), that exclude rows (B, A); 0 where the row is -1."""
    return np.where(rows >= 0, EXCLUDED_SCORE, np.float32(0)).astype(np.float32)
