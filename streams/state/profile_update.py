"""Applies a batch of events to the profiles: applied offsets, duplicates, recents and sums.

One compiled pass applies the events of all users.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from streams.arrays import Float32Array, Int64Array, IntpArray
from streams.decode.event_batch import EventBatch
from streams.state.decayed_sums import NO_TIME, Sums, fold
from streams.state.pending_events import PendingEvent
from streams.state.profile_table import NO_TIMESTAMP, PURCHASE, ProfileTable
from streams.state.profile_update_kernel import APPLIED, Events, Gone, Profiles, count_events


@dataclass(frozen=True)
class SumsConfig:
    """Parameters of the sums, from the encoder's manifest."""

    half_life_s: NDArray[np.float64]  # (T,) seconds after which half the weight is left
    type_weights: Float32Array  # (3, T) weight of an event type in each sum


OUTCOMES = ("applied", "forgotten", "replayed", "duplicate")
"""The fate of an event, by the codes of `streams.state.profile_update_kernel`:

- applied: it counts in the profile
- forgotten: it was written before its user was forgotten, so only the counters count it
- replayed: its offset is below the applied offset of its log, so it counted before
- duplicate: its id, type and items are those of one of the user's last D records
"""
_NO_COLUMN = -1


@dataclass(frozen=True)
class Applied:
    """The result of applying a batch of B events."""

    outcome: NDArray[np.uint8]
    """(B,), for each event an index in OUTCOMES."""
    purchases_dropped: int = 0
    """Purchases that their users' profiles had no room for, although their items are excluded still."""

    @property
    def events(self) -> IntpArray:
        """Indexes of the applied events, in order of arrival."""
        return np.flatnonzero(self.outcome == APPLIED)


def apply_batch(
    table: ProfileTable,
    batch: EventBatch,
    slots: IntpArray,
    index: ItemIndex,
    config: SumsConfig,
    excluded_ms: float = 0.0,
) -> Applied:
    """Count every event that is neither replayed nor a duplicate exactly once. The lines of an order share a verdict.

    Parameters
    ----------
    table : ProfileTable that holds all users of the batch
    batch : EventBatch of B events
    slots : intp array of shape (B,), the slot of each event's user
    index : ItemIndex, for the vectors of events that leave the recents
    config : SumsConfig
    excluded_ms : milliseconds for which purchased items are excluded
    """
    count = len(batch)
    columns, fresh = _applied_offsets(table, batch, slots)
    outcome = np.empty(count, np.uint8)
    gone = Gone(
        slots=np.empty(count, np.int64),
        items=np.empty(count, np.uint64),
        rows=np.empty(count, np.int64),
        types=np.empty(count, np.uint8),
        times=np.empty(count, np.int64),
        ids=np.empty(count, np.uint64),
    )
    events = Events(
        slots=slots,
        columns=columns,
        fresh=fresh,
        offsets=batch.offsets,
        id_hashes=batch.id_hashes,
        ids=batch.ids,
        record_ids=batch.record_ids,
        continues=batch.continues,
        items=batch.items,
        rows=index.rows(batch.items),
        types=batch.types,
        times=batch.times,
        written=np.where(batch.written == 0, NO_TIMESTAMP, batch.written),
    )
    profiles = Profiles(
        applied_offsets=table.applied_offsets,
        first_offsets=table.first_offsets,
        seen=table.seen,
        seen_count=table.seen_count,
        duplicates=table.duplicates,
        applied=table.applied,
        forgotten_ms=table.forgotten_ms,
        forgotten=table.forgotten,
        dirty=table.dirty,
        items=table.items,
        rows=table.rows,
        types=table.types,
        times=table.times,
        ids=table.ids,
        written=table.written,
        purchased_items=table.purchased_items,
        purchased_times=table.purchased_times,
    )
    left, dropped = count_events(NO_TIME, PURCHASE, excluded_ms, events, profiles, gone, outcome)
    if left:
        leaving = {name: values[:left] for name, values in gone._asdict().items()}
        _fold_or_wait(table, leaving.pop("slots"), leaving, index, config)
    return Applied(outcome, dropped)


def _applied_offsets(table: ProfileTable, batch: EventBatch, slots: IntpArray) -> tuple[Int64Array, NDArray[np.bool_]]:
    """Find the column of each event's applied offset; for events without one (-1), whether they are new."""
    offsets = table.offsets
    own = [
        offsets.logs.index(log)
        if (log := (source.topic, source.topic_id)) in offsets.logs and not source.counts
        else _NO_COLUMN
        for source in batch.sources
    ]
    partitions = np.array([source.partition for source in batch.sources], np.int32)
    read_directly = table.partition[slots] == partitions[batch.source]
    columns = np.where(read_directly, np.array(own, np.int64)[batch.source], _NO_COLUMN)
    fresh = np.empty(len(batch), np.bool_)
    without_column = columns == _NO_COLUMN
    if not offsets.two_paths and not without_column.any():
        return columns, fresh
    # Users of rerouted events are few. All their events are looked at one by one, in order, because an event that came
    # over one path may have come over another path before.
    one_by_one = np.isin(slots, np.union1d(slots[without_column], np.fromiter(offsets.two_paths, np.intp)))
    for index in np.flatnonzero(one_by_one & ~batch.continues).tolist():
        source, received_ms = batch.sources[batch.source[index]], int(batch.received[index])
        fresh[index] = offsets.apply_once(int(slots[index]), source, int(batch.offsets[index]), received_ms)
    columns[one_by_one] = _NO_COLUMN
    return columns, fresh


def _fold_or_wait(
    table: ProfileTable,
    slots: IntpArray,
    gone: dict[str, NDArray[Any]],
    index: ItemIndex,
    config: SumsConfig,
    taken_back: bool = False,
) -> None:
    """Fold events that have left the recents; those without a vector of their item wait.

    Events that are taken back are added with the negative vector. Their weight is added like that of others, so the
    mean stays within the unit ball.
    """
    unknown = gone["rows"] < 0
    if unknown.any():
        gone["rows"][unknown] = index.rows(gone["items"][unknown])
    vectors = index.gather(gone["rows"])
    # an item whose vector was withdrawn counts as unknown
    known = (gone["rows"] >= 0) & vectors.any(axis=1)
    signed = -vectors[known] if taken_back else vectors[known]
    _fold(table, slots[known], gone["times"][known], gone["types"][known], signed, config)
    pending = table.pending_taken_back if taken_back else table.pending
    waiting = np.flatnonzero(~known)
    for slot, item, kind, time_ms, id_ in zip(
        slots[waiting].tolist(),
        *(gone[name][waiting].tolist() for name in ("items", "types", "times", "ids")),
        strict=True,
    ):
        pending.add(slot, PendingEvent(item, kind, time_ms, id_))


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
    before = Sums(table.sums[users], table.total_weight[users], table.sums_time[users])
    after = fold(before, owner, times, config.type_weights[types], vectors, config.half_life_s)
    table.sums[users], table.total_weight[users], table.sums_time[users] = after


def fold_spilled(
    table: ProfileTable, slot: int, events: list[PendingEvent], index: ItemIndex, config: SumsConfig
) -> None:
    """Fold events for which a slot's history is too short. Without a vector of their item they become pending."""
    if not events:
        return
    _fold_or_wait(table, np.full(len(events), slot, np.intp), _columns(events), index, config)
    table.dirty[slot] = True


def fold_pending(table: ProfileTable, items: Set[int], index: ItemIndex, config: SumsConfig) -> int:
    """Fold the pending events of these items (hashes) whose vectors are known now. Returns the number of events."""
    count = 0
    for waiting, taken_back in ((table.pending, False), (table.pending_taken_back, True)):
        slots: list[int] = []
        events: list[PendingEvent] = []
        for item in [item for item in items & waiting.slots_by_item.keys() if _has_vector(index, item)]:
            for slot in list(waiting.slots_by_item[item]):
                pending = waiting.take(slot, item)
                slots += [slot] * len(pending)
                events += pending
        if events:
            _fold_or_wait(table, np.array(slots, np.intp), _columns(events), index, config, taken_back)
            table.dirty[slots] = True
        count += len(events)
    return count


def fold_taken_back(
    table: ProfileTable, events: list[tuple[int, PendingEvent]], index: ItemIndex, config: SumsConfig
) -> None:
    """Add events that were taken back, each with the slot of its user, with negative vectors."""
    slots = np.array([slot for slot, _ in events], np.intp)
    _fold_or_wait(table, slots, _columns([event for _, event in events]), index, config, taken_back=True)


def _columns(events: list[PendingEvent]) -> dict[str, NDArray[Any]]:
    """Return events as arrays, with the dtypes of the table's columns. Their rows (-1) have to be looked up."""
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
