"""The rules of the top-k, on arrays: what the head is given, what is left out, and what unknown users get."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from encoders.ranking.ranking_io import EXCLUDED_SCORE, HeadInputs
from schemas.ids import id_hashes
from schemas.recommendation import REASON_KINDS, Reason, RecommendedItem
from streams.arrays import Float32Array, Float64Array, Int64Array, IntpArray
from streams.state.decayed_sums import NO_TIME
from streams.state.profile_table import ProfileTable

TRENDING_CODE = REASON_KINDS.index("trending") + 1
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Exclusions:
    """What may not be recommended."""

    exclude_purchased_days: float = 30.0
    exclude_seen_events: int = 20
    """How many of the latest events' items are left out; 0 keeps them."""


def head_inputs(
    table: ProfileTable, slots: IntpArray, index: ItemIndex, history: int, half_life_s: Float64Array | None = None
) -> HeadInputs:
    """What a head reads of B users; recents beyond ``history`` are cut, missing ones are padded.

    ``half_life_s`` (T,) adds what the users carry of other encoder versions' sums; without it, nothing is mapped_sums.
    """
    refresh_rows(table, slots, index)
    sums, mass = table.sums[slots], table.total_weight[slots]
    if half_life_s is not None:
        sums, mass, _ = table.older(slots, half_life_s)
    times = _widen(table.times[slots], history, NO_TIME)  # (B, h)
    present = times != NO_TIME
    rows = _widen(table.rows[slots], history, -1)
    ages = np.where(present, times[:, :1] - times, 0) / 1000.0
    return HeadInputs(
        sums=sums.astype(np.float32),
        mass=mass.astype(np.float32),
        recent_vectors=index.gather(np.where(present, rows, -1)),
        recent_types=np.where(present, _widen(table.types[slots], history, 0).astype(np.int64), -1),
        recent_ages=ages.astype(np.float32),
        recent_rows=np.where(present, rows, -1),
    )


def refresh_rows(table: ProfileTable, slots: IntpArray, index: ItemIndex) -> None:
    """Look up the recents whose item was not in the index when they arrived."""
    rows = table.rows[slots]
    unknown = (rows < 0) & (table.times[slots] != NO_TIME)
    if unknown.any():
        rows[unknown] = index.rows(table.items[slots][unknown])
        table.rows[slots] = rows


def _widen(values: NDArray[Any], width: int, blank: int) -> NDArray[Any]:
    short = width - values.shape[1]
    if short <= 0:
        return values[:, :width]
    return np.pad(values, ((0, 0), (0, short)), constant_values=blank)


def excluded_rows(table: ProfileTable, slots: IntpArray, index: ItemIndex, rules: Exclusions) -> Int64Array:
    """Rows of the index that B users may not be given: int64 array of shape (B, A), -1 in unused places."""
    parts = []
    if rules.exclude_seen_events:
        parts.append(table.rows[slots, : rules.exclude_seen_events])
    if rules.exclude_purchased_days:
        bought = table.purchased_times[slots]  # (B, M)
        now = np.maximum(table.times[slots, :1], bought.max(axis=1, keepdims=True))
        recent = (bought != NO_TIME) & (now - bought <= rules.exclude_purchased_days * DAY_MS)
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
    """The score adjustment that leaves rows out; 0 in unused places."""
    return np.where(rows >= 0, EXCLUDED_SCORE, np.float32(0)).astype(np.float32)


@dataclass(frozen=True)
class Popular:
    """What is trending and may be recommended, the most popular first."""

    rows: Int64Array  # (P,), rows of the index
    scores: NDArray[np.float64]  # (P,)


def popular(top: Sequence[tuple[str, float]], index: ItemIndex) -> Popular:
    """Of ``Trending.top``, what may be recommended."""
    rows = index.rows(id_hashes(item for item, _ in top))
    available = index.available(rows) if len(rows) else np.zeros(0, np.bool_)
    return Popular(rows[available], np.array([score for _, score in top], np.float64)[available])


def trending_places(rows: Int64Array, excluded_rows: Int64Array, k: int) -> Int64Array:
    """Which k of the most popular items each of B users is given.

    Parameters
    ----------
    rows : int64 array of shape (P,), rows of the index, the most popular first; all available
    excluded_rows : int64 array of shape (B, A), -1 in unused places

    Returns
    -------
    int64 array of shape (B, k): places in ``rows``, best first, -1 behind the last.
    """
    places = np.full((len(excluded_rows), k), -1, np.int64)
    rows = rows[: k + excluded_rows.shape[1]]  # more than that can't be needed
    if len(rows) == 0:
        return places
    free = np.ones((len(excluded_rows), len(rows)), np.bool_)
    order = np.argsort(rows)
    place = np.minimum(np.searchsorted(rows[order], excluded_rows), len(rows) - 1)  # (B, A)
    user, column = np.nonzero(rows[order][place] == excluded_rows)
    free[user, order[place[user, column]]] = False
    rank = free.cumsum(axis=1) - 1
    user, place = np.nonzero(free & (rank < k))
    places[user, rank[user, place]] = place
    return places


def trending_items(popular: Popular, places: Int64Array, index: ItemIndex) -> list[RecommendedItem]:
    """The popular items of one user, of ``trending_places``."""
    return [
        RecommendedItem(
            item_id=index.item_ids[row],
            score=score,
            reason=Reason(kind="trending", exact=True, bonus=score),
        )
        for row, score in zip(popular.rows[places].tolist(), popular.scores[places].tolist(), strict=True)
    ]
