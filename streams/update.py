"""A batch of events into the profiles: fences, duplicates, recents, sums; one vectorised pass for all users."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.index import ItemIndex
from schemas.events import EVENT_TYPES
from streams.batch import EventBatch
from streams.preference import (
    NO_TIME,
    Float32Array,
    Int64Array,
    IntpArray,
    Sums,
    UInt64Array,
    fold,
    latest_first,
    rank_in_group,
)
from streams.profiles import PendingEvent, ProfileTable, Source

PURCHASE = EVENT_TYPES.index("purchase")
_BLANK = {"times": NO_TIME, "rows": -1}
_ROUNDS = np.cumsum([4, 8, 16, *[32] * 4096])
"""Where the rounds end in which a user's events of a batch are handled: the padding of a vectorised step stays small
where all users are in it, and the steps few where one user has hundreds of events."""


@dataclass(frozen=True)
class SumsConfig:
    """What the encoder's manifest says of the sums."""

    half_life_s: NDArray[np.float64]  # (T,)
    type_weights: Float32Array  # (3, T) weight of an event type in each sum


OUTCOMES = ("applied", "forgotten", "replayed", "duplicate")
"""What may become of an event: counted in the state; written before its user was forgotten, so in the counters and
nowhere else; below a fence, so counted before; an event id seen before."""
_NO_COLUMN = -1
_FORGOTTEN, _REPLAYED, _DUPLICATE = range(1, 4)


@dataclass(frozen=True)
class Applied:
    """What became of a batch."""

    outcome: NDArray[np.uint8]
    """Of each of its B events, a place in OUTCOMES."""

    @property
    def events(self) -> IntpArray:
        """Places of those that were applied, in order of arrival."""
        return np.flatnonzero(self.outcome == 0)


def apply_batch(
    table: ProfileTable, batch: EventBatch, slots: IntpArray, index: ItemIndex, config: SumsConfig
) -> Applied:
    """Count every event that is neither fenced nor a duplicate exactly once.

    Parameters
    ----------
    table : ProfileTable that holds all users of the batch
    batch : EventBatch of B events
    slots : intp array of shape (B,), the slot of each event's user
    index : ItemIndex, for the vectors of what leaves the recents
    config : SumsConfig
    """
    fresh = _pass_fences(table, batch, slots)
    events = np.flatnonzero(fresh)
    # a replayed event changes nothing, but its slot's fence may have moved on
    table.dirty[slots[events]] = True
    rounds = np.searchsorted(_ROUNDS, rank_in_group(slots[events]), side="right")
    counted = [
        _apply_round(table, batch, events[rounds == number], slots, index, config)
        for number in range(int(rounds.max()) + 1 if len(rounds) else 0)
    ]
    counted_events = np.sort(np.concatenate(counted)) if counted else np.empty(0, np.intp)
    outcome = np.full(len(batch), _REPLAYED, np.uint8)
    outcome[events] = _DUPLICATE
    outcome[counted_events] = np.where(_is_after_forgetting(table, batch, counted_events, slots), 0, _FORGOTTEN)
    applied = Applied(outcome)
    table.forgotten[slots[applied.events]] = False
    return applied


def _is_after_forgetting(
    table: ProfileTable, batch: EventBatch, events: IntpArray, slots: IntpArray
) -> NDArray[np.bool_]:
    """Which events were written after the last command to forget their user; one without a time counts as such."""
    written = batch.written[events]
    after: NDArray[np.bool_] = (written > table.forgotten_ms[slots[events]]) | (written == 0)
    return after


def _pass_fences(table: ProfileTable, batch: EventBatch, slots: IntpArray) -> NDArray[np.bool_]:
    of_source = [np.flatnonzero(batch.source == number) for number in range(len(batch.sources))]
    columns = [
        _own_column(table, source, slots[places], batch.offsets[places])
        for source, places in zip(batch.sources, of_source, strict=True)
    ]
    fresh: NDArray[np.bool_] = np.empty(len(batch), np.bool_)
    if _NO_COLUMN not in columns:
        for column, places in zip(columns, of_source, strict=True):
            fences, offsets = table.fences[:, column], batch.offsets[places]
            fresh[places] = offsets >= fences[slots[places]]
            np.maximum.at(fences, slots[places], offsets + 1)
        return fresh
    # re-routed events come from other logs, and may repeat within the batch: those go one by one
    for i, (slot, place, offset) in enumerate(
        zip(slots.tolist(), batch.source.tolist(), batch.offsets.tolist(), strict=True)
    ):
        fresh[i] = table.pass_fence(slot, batch.sources[place], offset)
    return fresh


def _own_column(table: ProfileTable, source: Source, slots: IntpArray, offsets: Int64Array) -> int:
    """The fences' column of a source of which each user's partition is that of the source, and the offsets rise."""
    log = (source.topic, source.topic_id)
    if log not in table.columns or (table.partition[slots] != source.partition).any():
        return _NO_COLUMN
    return table.columns.index(log) if (offsets[1:] > offsets[:-1]).all() else _NO_COLUMN


def _apply_round(
    table: ProfileTable,
    batch: EventBatch,
    events: IntpArray,
    slots: IntpArray,
    index: ItemIndex,
    config: SumsConfig,
) -> IntpArray:
    repeated = _duplicates(table, slots[events], batch.ids[events])
    np.add.at(table.duplicates, slots[events[repeated]], 1)
    events = events[~repeated]
    owner_slots = slots[events]
    ids, types = batch.ids[events], batch.types[events]
    place = (table.seen_count[owner_slots] + rank_in_group(owner_slots)) % table.shape.duplicate_window
    table.seen[owner_slots, place] = ids
    np.add.at(table.seen_count, owner_slots, 1)
    np.add.at(table.applied, (owner_slots, types), 1)
    counted = events
    events = events[_is_after_forgetting(table, batch, events, slots)]
    owner_slots, types = slots[events], batch.types[events]
    bought = types == PURCHASE
    if bought.any():
        _remember_purchases(table, owner_slots[bought], batch.items[events[bought]], batch.times[events[bought]])
    _append_recents(table, batch, events, owner_slots, index, config)
    return counted


def _duplicates(table: ProfileTable, slots: IntpArray, ids: UInt64Array) -> NDArray[np.bool_]:
    """Which events repeat one of their user's last D ids, or an earlier one of this round.

    A repeat within D events is always found; one up to a round farther back may be, by how the log was cut.
    """
    seen_before = (table.seen[slots] == ids[:, None]).any(axis=1)
    # a blank place of the ring is 0, which is also a possible (if unlikely) id: only filled rings may match it
    seen_before &= (ids != 0) | (table.seen_count[slots] >= table.shape.duplicate_window)
    order = np.lexsort((ids, slots))  # stable: the first to arrive stays first
    again = np.zeros(len(slots), np.bool_)
    if len(slots) > 1:
        same = (slots[order][1:] == slots[order][:-1]) & (ids[order][1:] == ids[order][:-1])
        again[order[1:]] = same
    result: NDArray[np.bool_] = seen_before | again
    return result


def _remember_purchases(table: ProfileTable, slots: IntpArray, items: UInt64Array, times: Int64Array) -> None:
    users, owner = np.unique(slots, return_inverse=True)
    width = table.shape.purchases
    rank = rank_in_group(owner)
    extra = int(rank.max()) + 1
    all_items = np.concatenate([table.bought_items[users], np.zeros((len(users), extra), np.uint64)], axis=1)
    all_times = np.concatenate([table.bought_times[users], np.full((len(users), extra), NO_TIME, np.int64)], axis=1)
    all_items[owner, width + rank] = items
    all_times[owner, width + rank] = times
    order = latest_first(all_times, all_items)[:, :width]
    table.bought_items[users] = np.take_along_axis(all_items, order, axis=1)
    table.bought_times[users] = np.take_along_axis(all_times, order, axis=1)


def _append_recents(
    table: ProfileTable,
    batch: EventBatch,
    events: IntpArray,
    slots: IntpArray,
    index: ItemIndex,
    config: SumsConfig,
) -> None:
    """Keep the L largest events of each user by (time, id); fold what leaves into the sums, or let it wait."""
    if len(events) == 0:
        return
    users, owner = np.unique(slots, return_inverse=True)
    L = table.shape.history
    rank = rank_in_group(owner)
    extra = int(rank.max()) + 1
    items = batch.items[events]
    arrived = {
        "items": items,
        "rows": index.rows(items),
        "types": batch.types[events],
        "times": batch.times[events],
        "ids": batch.ids[events],
    }
    merged = {}
    for name, values in arrived.items():
        held = getattr(table, name)[users]  # (U, L)
        blank = np.full((len(users), extra), _BLANK.get(name, 0), held.dtype)
        merged[name] = np.concatenate([held, blank], axis=1)  # (U, L + extra)
        merged[name][owner, L + rank] = values
    order = latest_first(merged["times"], merged["ids"])
    leaving = order[:, L:]
    for name, values in merged.items():
        getattr(table, name)[users] = np.take_along_axis(values, order[:, :L], axis=1)
    left = {name: np.take_along_axis(values, leaving, axis=1) for name, values in merged.items()}
    row, column = np.nonzero(left["times"] != NO_TIME)
    if len(row):
        gone = {name: values[row, column] for name, values in left.items()}
        _fold_or_wait(table, users[row], gone, index, config)


def _fold_or_wait(
    table: ProfileTable, slots: IntpArray, gone: dict[str, NDArray[Any]], index: ItemIndex, config: SumsConfig
) -> None:
    unknown = gone["rows"] < 0
    if unknown.any():
        gone["rows"][unknown] = index.rows(gone["items"][unknown])
    vectors = index.gather(gone["rows"])
    # an item whose vector was taken back is as unknown as one that never had any
    known = (gone["rows"] >= 0) & vectors.any(axis=1)
    _fold(table, slots[known], gone["times"][known], gone["types"][known], vectors[known], config)
    waiting = np.flatnonzero(~known)
    for slot, item, kind, time_ms, id_ in zip(
        slots[waiting].tolist(),
        *(gone[name][waiting].tolist() for name in ("items", "types", "times", "ids")),
        strict=True,
    ):
        table.add_pending(slot, PendingEvent(item, kind, time_ms, id_))


def _fold(
    table: ProfileTable,
    slots: IntpArray,
    times: Int64Array,
    types: NDArray[np.uint8],
    vectors: Float32Array,
    config: SumsConfig,
) -> None:
    if len(slots) == 0:
        return
    users, owner = np.unique(slots, return_inverse=True)
    before = Sums(table.sums[users], table.mass[users], table.sums_time[users])
    after = fold(before, owner, times, config.type_weights[types], vectors, config.half_life_s)
    table.sums[users], table.mass[users], table.sums_time[users] = after


def fold_spilled(
    table: ProfileTable, slot: int, events: list[PendingEvent], index: ItemIndex, config: SumsConfig
) -> None:
    """Fold events that a slot has no place for any more, or let them wait for their item's vector."""
    if not events:
        return
    _fold_or_wait(table, np.full(len(events), slot, np.intp), _columns(events), index, config)
    table.dirty[slot] = True


def fold_pending(table: ProfileTable, items: Iterable[int], index: ItemIndex, config: SumsConfig) -> int:
    """Fold the events that waited for these items (hashes), where the vector is known now; returns how many."""
    slots: list[int] = []
    events: list[PendingEvent] = []
    for item in items:
        if item not in table.waiting_for or not _has_vector(index, item):
            continue
        for slot in list(table.waiting_for[item]):
            taken = table.take_pending(slot, item)
            slots += [slot] * len(taken)
            events += taken
    if events:
        _fold_or_wait(table, np.array(slots, np.intp), _columns(events), index, config)
        table.dirty[slots] = True
    return len(events)


def _columns(events: list[PendingEvent]) -> dict[str, NDArray[Any]]:
    """Events as the arrays of a slot hold them, their items' rows to be looked up."""
    return {
        "items": np.array([event.item for event in events], np.uint64),
        "rows": np.full(len(events), -1, np.int64),
        "types": np.array([event.type for event in events], np.uint8),
        "times": np.array([event.time_ms for event in events], np.int64),
        "ids": np.array([event.id for event in events], np.uint64),
    }


def _has_vector(index: ItemIndex, item: int) -> bool:
    row = index.rows(np.array([item], np.uint64))
    return bool(row[0] >= 0 and index.gather(row).any())
