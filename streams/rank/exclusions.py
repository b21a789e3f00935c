"""Exclusions: items that must not be recommended to a user, and the score adjustments that exclude them.

The rankers add an adjustment to the score of a user for an item. Recommended lists show it as `bonus`.
"""

from dataclasses import dataclass

import numpy as np

from encoders.index.item_index import ItemIndex
from encoders.ranking.ranking_io import EXCLUDED_SCORE
from streams.arrays import Float32Array, Int64Array, IntpArray, UInt64Array
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

    The user's largest event time decides whether an item is still hidden, so the result depends on the events alone.
    """
    if not table.actions:
        return []
    hidden: list[list[int]] = []
    for slot in slots.tolist():
        actions, now = table.actions.get(slot), int(table.times[slot, 0])
        entries = {} if actions is None else actions.hidden_items
        hidden.append([item for item, (_, _, until_ms) in entries.items() if until_ms > now])
    width = max(map(len, hidden), default=0)
    if width == 0:
        return []
    rows = np.full((len(slots), width), -1, np.int64)
    for user, items in enumerate(hidden):
        if items:
            rows[user, : len(items)] = index.rows(np.array(items, np.uint64))
    return [rows]


def adjustments(rows: Int64Array) -> Float32Array:
    """Compute the score adjustments, float32 array of shape (B, A), that exclude rows (B, A); 0 where the row is -1."""
    return np.where(rows >= 0, EXCLUDED_SCORE, np.float32(0)).astype(np.float32)
