"""Measures recommendations by the users' next events: each event is scored before it changes the state.

Prequential evaluation ("test, then train"; Gama, Sebastiao, Rodrigues: On evaluating stream learning algorithms, 2013):
an event's item is looked for in the list that its user was last given. The same event is scored against the items that
are trending at that moment, under the same exclusions: the user would have been given these without personalisation.
An event is not scored if its user had no list yet, or if its item was excluded from the user's lists.
Nothing here changes a recommendation.
"""
# cost: one compiled pass over the events of a micro-batch; counting waits for `publish`, about once a second

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from schemas.events import EVENT_TYPES
from schemas.recommendation import REASON_KINDS
from streams.arrays import Float64Array, Int64Array, IntpArray, UInt64Array
from streams.decode.event_batch import EventBatch
from streams.monitoring.quality_metrics import QualityMetrics
from streams.quality.online_quality_kernel import (
    LAST,
    NONE,
    Events,
    Limits,
    Profiles,
    Scores,
    TrendingItems,
    check_events,
)
from streams.rank.exclusions import DAY_MS, Exclusions
from streams.rank.loaded_encoder import ActiveEncoder
from streams.rank.popular_items import popular
from streams.state.decayed_sums import NO_TIME, rank_in_group
from streams.state.state import State

VISITED = 8
"""Number of visited recommended items that are remembered of a user."""

NEW_USER_EVENTS = 5
"""A user with fewer events than this counts as new."""

USERS = ("known", "new")
VIAS = ("list", "visit", "id")
"""How a purchase followed from a recommendation. ``list``: its item is in the user's last list. ``visit``: the user
visited the item from an earlier list. ``id``: the event names a recommendation."""

_REASONS = ("", *REASON_KINDS)
_MOST_WAITING = 1_000
"""Micro-batches whose scores may wait to be counted."""
_PURCHASE = EVENT_TYPES.index("purchase")


@dataclass(frozen=True)
class Checked:
    """Scores of B events against the lists that their users had; arrays of shape (B,)."""

    has_list: NDArray[np.bool_]
    allowed: NDArray[np.bool_]  # the item was not excluded from the user's list
    rank: Int64Array  # of the item in the user's list, 0 = first, -1 = not in it
    reason: NDArray[np.uint8]  # why it was recommended, as a code; 0 where it was not
    trending_rank: Int64Array  # of the item in the list of trending items that the user would get, -1 = not in it
    new: NDArray[np.bool_]
    model: NDArray[np.uint16]  # encoder version of the list, an index of the table's ``encoder_versions``
    rows: Int64Array  # of the items in the index, -1 = unknown
    types: NDArray[np.uint8]  # of the events
    visited: NDArray[np.uint8]  # of purchases: reason code in the earlier list that the item was visited from; 0 = none
    names: NDArray[np.uint8]  # which recommendation the event names: NONE, the user's LAST one or an EARLIER one

    @staticmethod
    def join(parts: Sequence["Checked"]) -> "Checked":
        """Concatenate scores, in order."""
        return Checked(*(np.concatenate(columns) for columns in zip(*map(_columns, parts), strict=True)))

    def take(self, indexes: IntpArray) -> "Checked":
        """Select the scores of the events at ``indexes``."""
        return Checked(*(column[indexes] for column in _columns(self)))


def _columns(checked: Checked) -> list[NDArray[Any]]:
    return [getattr(checked, column.name) for column in fields(Checked)]


class OnlineQuality:
    """Scores events and remembers visited recommended items, which it keeps in the profile table."""

    def __init__(self, state: State, active: ActiveEncoder, exclusions: Exclusions, metrics: QualityMetrics) -> None:
        self._table, self._trending, self._active = state.table, state.trending, active
        self._exclusions, self._metrics = exclusions, metrics
        self._top_index: ItemIndex | None = None  # the index whose rows ``_top_rows`` holds
        self._top_rows: Int64Array = np.empty(0, np.int64)
        self._top_items: UInt64Array = np.empty(0, np.uint64)
        self._top_rank: Int64Array = np.empty(0, np.int64)  # by row of the index, -1 = not trending
        self._waiting: list[Checked] = []  # applied events that are not counted yet

    @property
    def _index(self) -> ItemIndex:
        return self._active.encoder.index

    def look_at_trending(self) -> None:
        """Store which items are trending now. Events are scored against them until the next call, in about a second."""
        # not `Trending.top`: it keeps its result for a second, which must hold the events of the micro-batch that asks
        self._top_index = self._index
        self._top_rows = popular(self._trending.ranked(), self._index).rows
        self._top_items = self._index.hashes(self._top_rows)
        self._top_rank = np.full(len(self._index.item_ids), -1, np.int64)
        self._top_rank[self._top_rows] = np.arange(len(self._top_rows))

    def check(self, batch: EventBatch, slots: IntpArray) -> Checked:
        """Score B events against the table. Call it before the events change the table.

        Parameters
        ----------
        batch : EventBatch of B events
        slots : intp array of shape (B,), the slot of each event's user
        """
        if self._top_index is not self._index:  # another encoder has become active
            self.look_at_trending()
        table, exclusions, n = self._table, self._exclusions, len(slots)
        rows = self._index.rows(batch.items)
        checked = Checked(
            has_list=np.empty(n, np.bool_),
            allowed=np.empty(n, np.bool_),
            rank=np.empty(n, np.int64),
            reason=np.empty(n, np.uint8),
            trending_rank=np.empty(n, np.int64),
            new=np.empty(n, np.bool_),
            model=table.recommended_by[slots],
            rows=rows,
            types=batch.types,
            visited=np.empty(n, np.uint8),
            names=np.empty(n, np.uint8),
        )
        check_events(
            Limits(
                no_time=NO_TIME,
                purchase=_PURCHASE,
                new_user_events=NEW_USER_EVENTS,
                seen_events=exclusions.exclude_seen_events,
                purchased_ms=float(exclusions.exclude_purchased_days * DAY_MS),
                k=table.shape.recommended,
            ),
            Events(slots=slots, items=batch.items, rows=rows, types=batch.types, recommendations=batch.recommendations),
            Profiles(
                recommended_items=table.recommended_items,
                recommended_reasons=table.recommended_reasons,
                recommendation_id_hash=table.recommendation_id_hash,
                visited_items=table.arrays["visited_items"],
                visited_reasons=table.arrays["visited_reasons"],
                applied=table.applied,
                times=table.times,
                rows=table.rows,
                purchased_items=table.purchased_items,
                purchased_times=table.purchased_times,
            ),
            TrendingItems(rows=self._top_rows, items=self._top_items, ranks=self._top_rank),
            Scores(
                has_list=checked.has_list,
                allowed=checked.allowed,
                rank=checked.rank,
                reason=checked.reason,
                trending_rank=checked.trending_rank,
                new=checked.new,
                visited=checked.visited,
                names=checked.names,
            ),
        )
        return checked

    def record(self, checked: Checked, batch: EventBatch, slots: IntpArray, applied: IntpArray) -> None:
        """Keep the scores of the applied events; replayed and duplicate events are not counted again.

        Parameters
        ----------
        checked : the result of ``check`` for the B events
        slots : intp array of shape (B,), the slot of each event's user
        applied : intp array of shape (n,), indexes of the applied events in the batch
        """
        if len(applied) == 0:
            return
        hit = applied[(checked.rank[applied] >= 0) & checked.allowed[applied]]
        self._remember_visited(slots[hit], batch.items[hit], checked.reason[hit])
        self._waiting.append(checked if len(applied) == len(batch) else checked.take(applied))
        if len(self._waiting) > _MOST_WAITING:
            self.publish()

    def publish(self) -> None:
        """Count the scores that were recorded since the last call; call about once a second."""
        if not self._waiting:
            return
        checked, models, metrics = Checked.join(self._waiting), self._table.encoder_versions, self._metrics
        self._waiting.clear()
        scored = np.flatnonzero(checked.has_list & checked.allowed)
        metrics.unscored("no-list", int((~checked.has_list).sum()))
        metrics.unscored("left-out", int((checked.has_list & ~checked.allowed).sum()))
        metrics.unknown_items(int((checked.rows < 0).sum()))
        cohort = 2 * checked.model.astype(np.intp) + checked.new  # of each event: encoder version and kind of user
        trending_rank = checked.trending_rank[scored]
        for code, events, hits, ranks in _sums(cohort[scored], trending_rank >= 0, _reciprocal(trending_rank)):
            labels = (models[code // 2], USERS[code % 2])
            metrics.scored(*labels, events)
            metrics.trending_hits(*labels, int(hits), ranks)
        hit = scored[checked.rank[scored] >= 0]
        hit_codes = len(_REASONS) * cohort[hit] + checked.reason[hit]
        for code, hits, ranks in _sums(hit_codes, _reciprocal(checked.rank[hit])):
            user_cohort, reason = divmod(code, len(_REASONS))
            metrics.hits(models[user_cohort // 2], USERS[user_cohort % 2], _REASONS[reason], int(hits), ranks)
        self._convert(checked.take(np.flatnonzero(checked.types == _PURCHASE)))
        named = np.flatnonzero(checked.names != NONE)
        for code, events in _sums(2 * checked.types[named].astype(np.intp) + (checked.names[named] == LAST)):
            metrics.attributed(EVENT_TYPES[code // 2], "last" if code % 2 else "earlier", int(events))

    def _convert(self, purchased: Checked) -> None:
        """Count purchases, and as conversions, once each, those that followed from a recommendation."""
        self._metrics.purchases(len(purchased.rows))
        via = np.select([purchased.reason > 0, purchased.visited > 0, purchased.names != NONE], [0, 1, 2], -1)
        reason = np.where(purchased.reason > 0, purchased.reason, purchased.visited).astype(np.intp)
        for code, purchases in _sums((len(_REASONS) * via + reason)[via >= 0]):
            via_code, reason_code = divmod(code, len(_REASONS))
            self._metrics.conversions(VIAS[via_code], _REASONS[reason_code] or "unknown", int(purchases))

    def _remember_visited(self, slots: IntpArray, items: UInt64Array, reasons: NDArray[np.uint8]) -> None:
        if len(slots) == 0:
            return
        arrays = self._table.arrays
        counts = arrays["visited_count"]
        column = (counts[slots] + rank_in_group(slots)) % VISITED
        arrays["visited_items"][slots, column] = items
        arrays["visited_reasons"][slots, column] = reasons
        users, count = np.unique(slots, return_counts=True)
        total = counts[users] + count
        counts[users] = np.where(total < VISITED, total, VISITED + total % VISITED)


def _reciprocal(ranks: Int64Array) -> Float64Array:
    """Reciprocal ranks: 1 for rank 0, 1/2 for rank 1; 0 for rank -1, which is no hit."""
    return np.where(ranks >= 0, 1.0 / np.maximum(1 + ranks, 1), 0.0)


def _sums(codes: IntpArray, *values: NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield each code that occurs, how often it occurs, and the sum of each of ``values`` where it occurs."""
    count = np.bincount(codes)
    sums = [np.bincount(codes, weights=value) for value in values]
    for code in np.flatnonzero(count).tolist():
        yield code, int(count[code]), *(float(total[code]) for total in sums)
