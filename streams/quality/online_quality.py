"""How good the recommendations are, by what users do next: each event is scored before it changes the state.

Prequential evaluation ("test, then train"; Gama, Sebastiao, Rodrigues: On evaluating stream learning algorithms, 2013):
an event's item is looked for in the list that its user was last given. The same events are scored against what is
trending at that moment under the same rules, which is what the user would have been given without personalisation.
An event is left out where its user had no list yet, or where the rules kept its item out of any list.
What is looked up in the table is one vectorised pass a group; counting waits for `publish`, once a second. Nothing here
changes what is recommended.
"""

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
from streams.quality.online_quality_kernel import LAST, NONE, check_events
from streams.rank.exclusions import DAY_MS, Exclusions, popular
from streams.rank.loaded_encoder import ActiveEncoder
from streams.state.decayed_sums import NO_TIME, rank_in_group
from streams.state.state import State

VISITED = 8
"""Recommended items that the user went to, remembered."""

NEW_USER_EVENTS = 5
"""A user with fewer events than this counts as new."""

USERS = ("known", "new")
VIAS = ("list", "visit", "id")
"""How a purchase followed from a recommendation: its item is in the user's last list; the user went to that item from
an earlier list; or the event names a recommendation."""

_REASONS = ("", *REASON_KINDS)
_MOST_WAITING = 1_000
"""Groups of events that wait to be counted."""
_PURCHASE = EVENT_TYPES.index("purchase")


@dataclass(frozen=True)
class Checked:
    """What B events say of the lists that their users had; arrays of shape (B,)."""

    has_list: NDArray[np.bool_]
    allowed: NDArray[np.bool_]  # the rules would have let the item be recommended
    rank: Int64Array  # of the item in the user's list, 0 = first, -1 = not in it
    reason: NDArray[np.uint8]  # why it was recommended, as a code; 0 where it was not
    trending_rank: Int64Array  # of the item in what the user would have been given of what is trending, -1 = not in it
    new: NDArray[np.bool_]
    model: NDArray[np.uint16]  # that made the list: places in the table's ``models``
    rows: Int64Array  # of the items in the index, -1 = unknown
    types: NDArray[np.uint8]  # of the events
    visited: NDArray[np.uint8]  # of purchases: why the item was recommended in an earlier list that led to it, 0 = none
    names: NDArray[np.uint8]  # the recommendation that the event names: NONE, or the user's LAST or an EARLIER one

    @staticmethod
    def join(parts: Sequence["Checked"]) -> "Checked":
        """One behind the other."""
        return Checked(*(np.concatenate(columns) for columns in zip(*map(_columns, parts), strict=True)))

    def take(self, places: IntpArray) -> "Checked":
        """Those at these places."""
        return Checked(*(column[places] for column in _columns(self)))


def _columns(checked: Checked) -> list[NDArray[Any]]:
    return [getattr(checked, column.name) for column in fields(Checked)]


class OnlineQuality:
    """Scores events and remembers what was given; the state is the table's."""

    def __init__(self, state: State, active: ActiveEncoder, exclusions: Exclusions, metrics: QualityMetrics) -> None:
        self._table, self._trending, self._active = state.table, state.trending, active
        self._exclusions, self._metrics = exclusions, metrics
        self._top_index: ItemIndex | None = None  # whose rows these are
        self._top_rows: Int64Array = np.empty(0, np.int64)
        self._top_items: UInt64Array = np.empty(0, np.uint64)
        self._top_place: Int64Array = np.empty(0, np.int64)  # by row, -1 = not among them
        self._waiting: list[Checked] = []  # applied events that are not counted yet

    @property
    def _index(self) -> ItemIndex:
        return self._active.encoder.index

    def look_at_trending(self) -> None:
        """Note what is trending now, which events are scored against until the next call; call each second or so."""
        # not Trending.top: what that keeps for a second has to hold the events of the batch that asks for it
        self._top_index = self._index
        self._top_rows = popular(self._trending.ranked(), self._index).rows
        self._top_items = self._index.hashes(self._top_rows)
        self._top_place = np.full(len(self._index.item_ids), -1, np.int64)
        self._top_place[self._top_rows] = np.arange(len(self._top_rows))

    def check(self, batch: EventBatch, slots: IntpArray) -> Checked:
        """Score B events against the table; call before they change it.

        Parameters
        ----------
        batch : EventBatch of B events
        slots : intp array of shape (B,), the slot of each event's user
        """
        if self._top_index is not self._index:  # another encoder version serves since
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
        arrays: list[Any] = [
            *(NO_TIME, _PURCHASE, NEW_USER_EVENTS),
            *(exclusions.exclude_seen_events, exclusions.exclude_purchased_days * DAY_MS, table.shape.recommended),
            *(slots, batch.items, rows, batch.types, batch.recommendations),
            *(
                table.recommended_items,
                table.recommended_reasons,
                table.recommendation_id_hash,
                table.arrays["visited_items"],
                table.arrays["visited_reasons"],
            ),
            *(table.applied, table.times, table.rows, table.purchased_items, table.purchased_times),
            *(self._top_rows, self._top_items, self._top_place),
            *(checked.has_list, checked.allowed, checked.rank, checked.reason, checked.trending_rank, checked.new),
            *(checked.visited, checked.names),
        ]
        check_events(*arrays)
        return checked

    def record(self, checked: Checked, batch: EventBatch, slots: IntpArray, applied: IntpArray) -> None:
        """Take note of what was applied: a replayed event or a duplicate says nothing new.

        Parameters
        ----------
        checked : of ``check``, B events
        slots : intp array of shape (B,)
        applied : intp array of shape (n,), places of the applied events in the batch
        """
        if len(applied) == 0:
            return
        hit = applied[(checked.rank[applied] >= 0) & checked.allowed[applied]]
        self._remember_visited(slots[hit], batch.items[hit], checked.reason[hit])
        self._waiting.append(checked if len(applied) == len(batch) else checked.take(applied))
        if len(self._waiting) > _MOST_WAITING:
            self.publish()

    def publish(self) -> None:
        """Count what was recorded since the last call; call each second or so."""
        if not self._waiting:
            return
        checked, models, metrics = Checked.join(self._waiting), self._table.encoder_versions, self._metrics
        self._waiting.clear()
        scored = np.flatnonzero(checked.has_list & checked.allowed)
        metrics.unscored("no-list", int((~checked.has_list).sum()))
        metrics.unscored("left-out", int((checked.has_list & ~checked.allowed).sum()))
        metrics.unknown_items(int((checked.rows < 0).sum()))
        cohort = 2 * checked.model.astype(np.intp) + checked.new  # of each event: model and kind of user
        by_trend = checked.trending_rank[scored]
        for code, events, hits, ranks in _sums(cohort[scored], by_trend >= 0, _reciprocal(by_trend)):
            labels = (models[code // 2], USERS[code % 2])
            metrics.scored(*labels, events)
            metrics.trending_hits(*labels, int(hits), ranks)
        hit = scored[checked.rank[scored] >= 0]
        hit_codes = len(_REASONS) * cohort[hit] + checked.reason[hit]
        for code, hits, ranks in _sums(hit_codes, _reciprocal(checked.rank[hit])):
            group, reason = divmod(code, len(_REASONS))
            metrics.hits(models[group // 2], USERS[group % 2], _REASONS[reason], int(hits), ranks)
        self._convert(checked.take(np.flatnonzero(checked.types == _PURCHASE)))
        named = np.flatnonzero(checked.names != NONE)
        for code, events in _sums(2 * checked.types[named].astype(np.intp) + (checked.names[named] == LAST)):
            metrics.attributed(EVENT_TYPES[code // 2], "last" if code % 2 else "earlier", int(events))

    def _convert(self, bought: Checked) -> None:
        """Count purchases, and those that followed from a recommendation, each once."""
        self._metrics.purchases(len(bought.rows))
        via = np.select([bought.reason > 0, bought.visited > 0, bought.names != NONE], [0, 1, 2], -1)
        reason = np.where(bought.reason > 0, bought.reason, bought.visited).astype(np.intp)
        for code, purchases in _sums((len(_REASONS) * via + reason)[via >= 0]):
            how, why = divmod(code, len(_REASONS))
            self._metrics.conversions(VIAS[how], _REASONS[why] or "unknown", int(purchases))

    def _remember_visited(self, slots: IntpArray, items: UInt64Array, reasons: NDArray[np.uint8]) -> None:
        if len(slots) == 0:
            return
        arrays = self._table.arrays
        counts = arrays["visited_count"]
        place = (counts[slots] + rank_in_group(slots)) % VISITED
        arrays["visited_items"][slots, place] = items
        arrays["visited_reasons"][slots, place] = reasons
        users, count = np.unique(slots, return_counts=True)
        total = counts[users] + count
        counts[users] = np.where(total < VISITED, total, VISITED + total % VISITED)


def _reciprocal(ranks: Int64Array) -> Float64Array:
    """1 for the first place, 1/2 for the second; 0 where there is none (-1)."""
    return np.where(ranks >= 0, 1.0 / np.maximum(1 + ranks, 1), 0.0)


def _sums(codes: IntpArray, *values: NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    """Each code that occurs, how often, and the sum of each of the values over it."""
    count = np.bincount(codes)
    sums = [np.bincount(codes, weights=value) for value in values]
    for code in np.flatnonzero(count).tolist():
        yield code, int(count[code]), *(float(one[code]) for one in sums)
