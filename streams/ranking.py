"""The rules of the top-k, on arrays: what the head is given, what is left out, and which reason an item carries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.graph import LEAST_SCORE, LEAVE_OUT, HeadInputs, Ranked
from encoders.index import ItemIndex
from schemas.events import EVENT_TYPES
from schemas.recommendation import Reason, ReasonKind, RecommendedItem, Share
from streams.preference import NO_TIME, Float32Array, Int64Array, IntpArray
from streams.profiles import ProfileTable

NAMED_RECENTS = 3
"""Recent events that a reason names; the others' shares are added up."""

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Rules:
    """What may not be recommended."""

    exclude_purchased_days: float = 30.0
    exclude_seen_events: int = 20
    """How many of the latest events' items are left out; 0 keeps them."""


def head_inputs(table: ProfileTable, slots: IntpArray, index: ItemIndex, history: int) -> HeadInputs:
    """What a head reads of B users; recents beyond ``history`` are cut, missing ones are padded."""
    refresh_rows(table, slots, index)
    times = _widen(table.times[slots], history, NO_TIME)  # (B, h)
    present = times != NO_TIME
    rows = _widen(table.rows[slots], history, -1)
    ages = np.where(present, times[:, :1] - times, 0) / 1000.0
    return HeadInputs(
        sums=table.sums[slots].astype(np.float32),
        mass=table.mass[slots].astype(np.float32),
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


def left_out(table: ProfileTable, slots: IntpArray, index: ItemIndex, rules: Rules) -> Int64Array:
    """Rows of the index that B users may not be given: int64 array of shape (B, A), -1 in unused places."""
    parts = []
    if rules.exclude_seen_events:
        parts.append(table.rows[slots, : rules.exclude_seen_events])
    if rules.exclude_purchased_days:
        bought = table.bought_times[slots]  # (B, M)
        now = np.maximum(table.times[slots, :1], bought.max(axis=1, keepdims=True))
        recent = (bought != NO_TIME) & (now - bought <= rules.exclude_purchased_days * _DAY_MS)
        width = int(recent.sum(axis=1).max(initial=0))
        if width:
            # purchases are newest first, so those within the time stand to the left
            items = table.bought_items[slots, :width]
            rows = np.full(items.shape, -1, np.int64)
            rows[recent[:, :width]] = index.rows(items[recent[:, :width]])
            parts.append(rows)
    if not parts:
        return np.empty((len(slots), 0), np.int64)
    return np.concatenate(parts, axis=1)


def adjustments(rows: Int64Array) -> Float32Array:
    """The score adjustment that leaves rows out; 0 in unused places."""
    return np.where(rows >= 0, LEAVE_OUT, np.float32(0)).astype(np.float32)


_KINDS: tuple[ReasonKind, ...] = ("recent", "older", "bonus", "bias")
_DIGITS = 6
"""Decimals of scores and shares as sent: what lies beyond is rounding of float32."""


class ReasonWriter:
    """Turns shares of scores into the items of a recommendation, for users of one batch.

    All that can be done on arrays is done here, once for the batch; `items` only puts one user's parts together.
    """

    def __init__(self, table: ProfileTable, slots: IntpArray, index: ItemIndex, ranked: Ranked) -> None:
        shares = ranked.recent_shares.astype(np.float64).round(_DIGITS)  # (B, k, h)
        count = min(NAMED_RECENTS, shares.shape[2], table.shape.history)
        places = (
            np.argpartition(-shares, count - 1, axis=2)[:, :, :count] if count else shares[:, :, :0].astype(np.intp)
        )
        named = np.take_along_axis(shares, places, axis=2)
        order = np.argsort(-named, axis=2, kind="stable")
        places = np.take_along_axis(places, order, axis=2)
        named = np.take_along_axis(named, order, axis=2)  # (B, k, 3), largest first
        events = np.minimum(places, table.shape.history - 1)  # a head may take more recents than are kept: those are 0
        recents = shares.sum(axis=2)
        older, bonus, bias = (
            part.astype(np.float64).round(_DIGITS)
            for part in (ranked.older_shares, ranked.adjust_shares, ranked.bias_shares)
        )
        scores = ranked.scores.astype(np.float64)
        self._exact = ranked.exact
        self._item_ids = index.item_ids
        self._usable = (ranked.scores > LEAST_SCORE).sum(axis=1).tolist()  # sorted: what may not be given stands last
        self._columns = [
            column.tolist()
            for column in (
                ranked.rows,
                scores.round(_DIGITS),
                np.stack([recents, older, bonus, bias], axis=2).argmax(axis=2),
                np.take_along_axis(table.rows[slots][:, None, :], events, axis=2),
                np.take_along_axis(table.types[slots][:, None, :], events, axis=2),
                named,
                (recents - named.sum(axis=2)).round(_DIGITS),
                older,
                bonus,
                bias,
            )
        ]

    def items(self, user: int) -> list[RecommendedItem]:
        """The recommended items of the ``user``-th of the batch, best first."""
        ids, exact, usable = self._item_ids, self._exact, self._usable[user]
        return [
            RecommendedItem(
                item_id=ids[row],
                score=score,
                reason=Reason(
                    kind=_KINDS[kind],
                    exact=exact,
                    recents=[
                        Share(item_id=ids[event], event_type=EVENT_TYPES[kind_of_event], share=share)
                        for event, kind_of_event, share in zip(event_rows, types, shares, strict=True)
                        if share and event >= 0
                    ],
                    other_recents=rest,
                    older=older,
                    bonus=bonus,
                    bias=bias,
                ),
            )
            for row, score, kind, event_rows, types, shares, rest, older, bonus, bias in zip(
                *(column[user][:usable] for column in self._columns), strict=True
            )
        ]


def trending_items(
    top: Sequence[tuple[int, float]], left_out_rows: Int64Array, index: ItemIndex, k: int
) -> list[RecommendedItem]:
    """The k most popular items that one user may be given.

    Parameters
    ----------
    top : rows of the index and scores, best first; all available
    left_out_rows : int64 array of shape (A,)
    """
    barred = set(left_out_rows.tolist())
    found = []
    for row, score in top:
        if row not in barred:
            reason = Reason(kind="trending", exact=True, bonus=score)
            found.append(RecommendedItem(item_id=index.item_ids[row], score=score, reason=reason))
            if len(found) == k:
                break
    return found
