"""Items that a user may not be given, as rows of the index, and the score adjustments that take them out.

The rankers add an adjustment to the score of any (user, item): a bonus would raise it, and lists name it `bonus`.
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
    """The settings of the exclusions."""

    exclude_purchased_days: float = 30.0
    """Days for which a purchased item is excluded; 0 excludes no purchase."""
    exclude_seen_events: int = 20
    """The items of this many latest events are excluded; 0 excludes none."""


def excluded_rows(table: ProfileTable, slots: IntpArray, index: ItemIndex, exclusions: Exclusions) -> Int64Array:
    """Rows of the index that B users may not be given: int64 array of shape (B, A), -1 where there is none.

    "Now" is the time of the user's latest event or purchase, so the result depends on the events alone.
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
            # purchases are newest first, so those within the time stand to the left
            items = table.purchased_items[slots, :width]
            rows = np.full(items.shape, -1, np.int64)
            rows[recent[:, :width]] = index.rows(items[recent[:, :width]])
            parts.append(rows)
    if not parts:
        return np.empty((len(slots), 0), np.int64)
    return np.concatenate(parts, axis=1)


def adjustments(rows: Int64Array) -> Float32Array:
    """The score adjustments that take excluded rows out of a list; 0 where the row is -1."""
    return np.where(rows >= 0, EXCLUDED_SCORE, np.float32(0)).astype(np.float32)
