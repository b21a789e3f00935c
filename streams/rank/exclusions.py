"""Exclusions: items that must not be recommended to a user, and the score adjustments that exclude them.

The rankers add an adjustment to the score of a user for an item. Recommended lists show it as `bonus`.
"""

from dataclasses import dataclass

import numpy as np

from encoders.index.item_index import ItemIndex
from encoders.ranking.ranking_io import EXCLUDED_SCORE
from streams.arrays import Float32Array, Int64Array, IntpArray
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
            parts.append(rows)
    if not parts:
        return np.empty((len(slots), 0), np.int64)
    return np.concatenate(parts, axis=1)


def adjustments(rows: Int64Array) -> Float32Array:
    """Compute the score adjustments, float32 array of shape (B, A), that exclude rows (B, A); 0 where the row is -1."""
    return np.where(rows >= 0, EXCLUDED_SCORE, np.float32(0)).astype(np.float32)
