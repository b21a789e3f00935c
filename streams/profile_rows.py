"""Between slots of the table and rows of the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from encoders.index import ItemIndex
from schemas.recommendation import REASON_KINDS
from streams.moving import fits, set_sums
from streams.preference import NO_TIME, IntpArray
from streams.profile_state import (
    Counters,
    EncoderSums,
    EventLog,
    Fence,
    Offered,
    ProfileState,
    SentOn,
    StateError,
    decode_state,
    encode_state,
    floats,
    hashes,
    times,
    types,
)
from streams.profiles import TAKEN, OtherSums, PendingEvent, ProfileTable, Source
from streams.stores.base import StoredProfile, version


def fill_slot(table: ProfileTable, slot: int, row: StoredProfile, encoder: str, index: ItemIndex) -> list[PendingEvent]:
    """Put a stored profile into its blank slot.

    Sums of other encoder versions wait in ``other_sums`` for `streams.moving.carry`. Returns the events that the row
    keeps one by one and for which the slot, of a shorter history, has no place: they belong into the sums.
    `StateError` if the row can't be read; the slot is in no state to be used then.
    """
    state = decode_state(row.state, row.user_id)
    try:
        return _fill(table, slot, row, state, encoder, index)
    except (ValueError, TypeError, OverflowError, IndexError) as error:
        raise StateError(
            f"The stored profile of user {row.user_id!r} is broken ({error}): restore the row from a backup, or have "
            "the user forgotten."
        ) from error


def _fill(
    table: ProfileTable, slot: int, row: StoredProfile, state: ProfileState, encoder: str, index: ItemIndex
) -> list[PendingEvent]:
    L, M, D = table.shape.history, table.shape.purchases, table.shape.duplicate_window
    items = hashes(state.recents.items)
    n = min(len(items), L)
    table.items[slot, :n] = items[:n]
    table.rows[slot, :n] = index.rows(items[:n])
    table.types[slot, :n] = types(state.recents.types)[:n]
    table.times[slot, :n] = times(state.recents.times)[:n]
    table.ids[slot, :n] = hashes(state.recents.ids)[:n]
    table.applied[slot] = state.counters.applied
    table.duplicates[slot] = state.counters.duplicates
    table.pending_dropped[slot] = state.counters.pending_dropped
    for event in _pending_events(state.pending, 0):
        table.add_pending(slot, event)
    bought = hashes(state.purchased_items)[:M]
    table.bought_items[slot, : len(bought)] = bought
    table.bought_times[slot, : len(bought)] = times(state.purchased_times)[:M]
    seen = hashes(state.seen_ids)[-D:]
    table.seen[slot, : len(seen)] = seen
    table.seen_count[slot] = len(seen)
    for fence in state.fences:
        table.set_fence(slot, Source(fence.topic, fence.topic_id, fence.partition), fence.next_offset)
    if state.sent_on:
        table.sent_on[slot] = {Source(*one[:3]): list(one[3]) for one in map(msgspec.structs.astuple, state.sent_on)}
    # until the user comes back, a forgotten user's row goes on expiring
    table.forgotten[slot] = row.expires_s > 0
    table.forgotten_ms[slot] = state.forgotten_ms
    _fill_sums(table, slot, state, encoder)
    _fill_offers(table, slot, state)
    preferences = [floats(part) for part in (row.short_term, row.long_term, row.mixed)]
    if row.encoder == encoder and all(len(part) == table.shape.dimension for part in preferences):
        table.preferences[slot] = preferences
    return _pending_events(state.recents, n)


def _fill_sums(table: ProfileTable, slot: int, state: ProfileState, encoder: str) -> None:
    for sums in state.sums:
        part = OtherSums(sums.encoder, sums.sums, sums.mass, sums.time_ms)
        if part.encoder == encoder and fits(part, table.shape):
            set_sums(table, slot, part)
        else:
            table.other_sums.setdefault(slot, []).append(part)


def _fill_offers(table: ProfileTable, slot: int, state: ProfileState) -> None:
    """The last recommendation and what was taken of earlier ones; reasons of a newer release count as none."""
    if state.offered is not None:
        items, reasons = hashes(state.offered.items), types(state.offered.reasons)
        k = min(len(items), table.shape.offered)
        table.offered_items[slot, :k] = items[:k]
        table.offered_reasons[slot, :k] = np.where(reasons[:k] <= len(REASON_KINDS), reasons[:k], 0)
        table.offered_id[slot] = state.offered.id
        table.offered_model[slot] = table.model(state.offered.encoder)
    taken, why = hashes(state.taken_items)[-TAKEN:], types(state.taken_reasons)[-TAKEN:]
    table.taken_items[slot, : len(taken)] = taken
    table.taken_reasons[slot, : len(taken)] = np.where(why <= len(REASON_KINDS), why, 0)
    table.taken_count[slot] = len(taken)


def _pending_events(log: EventLog, start: int) -> list[PendingEvent]:
    columns = (hashes(log.items), types(log.types), times(log.times), hashes(log.ids))
    return [PendingEvent(*event) for event in zip(*(column[start:].tolist() for column in columns), strict=True)]


@dataclass(frozen=True)
class Snapshot:
    """Copies of dirty slots at a batch boundary: processing goes on while they are encoded and written."""

    slots: IntpArray
    user_ids: list[str]
    arrays: dict[str, Any]
    pending: dict[int, list[PendingEvent]]
    other_sums: dict[int, list[OtherSums]]
    other_fences: dict[int, dict[Source, int]]
    sent_on: dict[int, dict[Source, list[int]]]
    columns: list[tuple[str, str]]
    models: list[str]
    encoder: str

    def __len__(self) -> int:
        return len(self.slots)


_COPIED = [
    *("items", "types", "times", "ids", "sums", "mass", "sums_time", "seen", "seen_count"),
    *("bought_items", "bought_times", "preferences", "applied", "duplicates", "pending_dropped"),
    *("partition", "term", "forgotten", "forgotten_ms", "fences"),
    *("offered_items", "offered_reasons", "offered_id", "offered_model", "taken_items", "taken_reasons", "taken_count"),
]


def take_snapshot(table: ProfileTable, slots: IntpArray, encoder: str) -> Snapshot:
    """Copy slots and mark them clean, but being saved."""
    chosen = slots.tolist()
    snapshot = Snapshot(
        slots=slots,
        user_ids=[table.user_ids[slot] or "" for slot in chosen],
        arrays={name: getattr(table, name)[slots] for name in _COPIED},
        pending={slot: list(table.pending[slot]) for slot in chosen if slot in table.pending},
        other_sums={slot: list(table.other_sums[slot]) for slot in chosen if slot in table.other_sums},
        other_fences={slot: dict(table.other_fences[slot]) for slot in chosen if slot in table.other_fences},
        sent_on={
            slot: {source: list(offsets) for source, offsets in table.sent_on[slot].items()}
            for slot in chosen
            if slot in table.sent_on
        },
        columns=list(table.columns),
        models=list(table.models),
        encoder=encoder,
    )
    table.dirty[slots] = False
    table.saving[slots] = True
    return snapshot


def end_save(table: ProfileTable, snapshot: Snapshot, saved: bool) -> None:
    """Let go of a snapshot's slots; if its rows were not saved, they are dirty again."""
    for slot, user, term in zip(
        snapshot.slots.tolist(), snapshot.user_ids, snapshot.arrays["term"].tolist(), strict=True
    ):
        # the slot may have been given to somebody else by a rebalance meanwhile
        if table.user_ids[slot] == user and table.term[slot] == term:
            table.saving[slot] = False
            table.dirty[slot] |= not saved


def encode_rows(snapshot: Snapshot, save_number: int, forget_after_s: int) -> list[StoredProfile]:
    """Rows to store, each with its slot's term and this save's number."""
    if not len(snapshot):
        return []
    rows = _Rows(snapshot)
    return [rows.encode(place, save_number, forget_after_s) for place in range(len(snapshot))]


class _Column:
    """An array of N rows as bytes, from which rows are cut: N small arrays would cost more than all their bytes."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._data = np.ascontiguousarray(array).tobytes()
        self._width = len(self._data) // len(array)
        self._entry = array.itemsize

    def row(self, i: int) -> bytes:
        return self._data[i * self._width : (i + 1) * self._width]

    def first(self, i: int, entries: int) -> bytes:
        start = i * self._width
        return self._data[start : start + entries * self._entry]


class _Rows:
    """The rows of a snapshot; all that can be done on arrays is done once."""

    def __init__(self, snapshot: Snapshot) -> None:
        a = snapshot.arrays
        self._snapshot = snapshot
        self._recents = [_Column(a[name]) for name in ("items", "types", "times", "ids")]
        self._recent_count = (a["times"] != NO_TIME).sum(axis=1).tolist()
        self._bought = [_Column(a["bought_items"]), _Column(a["bought_times"])]
        self._bought_count = (a["bought_times"] != NO_TIME).sum(axis=1).tolist()
        self._sums, self._mass = _Column(a["sums"].astype("<f4")), _Column(a["mass"].astype("<f4"))
        self._seen = _Column(_in_order(a["seen"], a["seen_count"]))
        self._seen_count = np.minimum(a["seen_count"], a["seen"].shape[1]).tolist()
        self._taken = [_Column(_in_order(a[name], a["taken_count"])) for name in ("taken_items", "taken_reasons")]
        self._taken_count = np.minimum(a["taken_count"], a["taken_items"].shape[1]).tolist()
        self._offered = [_Column(a["offered_items"]), _Column(a["offered_reasons"])]
        self._offered_count = (a["offered_reasons"] != 0).sum(axis=1).tolist()
        self._preferences = [_Column(a["preferences"][:, part]) for part in range(3)]
        plain = ("partition", "term", "sums_time", "fences", "applied", "duplicates", "pending_dropped")
        more = ("forgotten", "forgotten_ms", "offered_id", "offered_model")
        self._plain = {name: a[name].tolist() for name in (*plain, *more)} | {"slots": snapshot.slots.tolist()}

    def encode(self, i: int, save_number: int, forget_after_s: int) -> StoredProfile:
        """The ``i``-th row."""
        snapshot, plain = self._snapshot, self._plain
        slot, bought, taken = plain["slots"][i], self._bought_count[i], self._taken_count[i]
        pending = snapshot.pending.get(slot)
        state = ProfileState(
            recents=self._recents_of(i),
            pending=_event_log(pending) if pending else EventLog(),
            sums=self._sums_of(i, slot),
            purchased_items=self._bought[0].first(i, bought),
            purchased_times=self._bought[1].first(i, bought),
            seen_ids=self._seen.first(i, self._seen_count[i]),
            fences=self._fences(i, slot),
            sent_on=[SentOn(*source, offsets) for source, offsets in snapshot.sent_on.get(slot, {}).items()],
            counters=Counters(
                applied=plain["applied"][i],
                duplicates=plain["duplicates"][i],
                pending_dropped=plain["pending_dropped"][i],
            ),
            forgotten_ms=plain["forgotten_ms"][i],
            offered=self._offered_of(i),
            taken_items=self._taken[0].first(i, taken),
            taken_reasons=self._taken[1].first(i, taken),
        )
        short_term, long_term, mixed = (column.row(i) for column in self._preferences)
        return StoredProfile(
            user_id=snapshot.user_ids[i],
            partition=plain["partition"][i],
            version=version(plain["term"][i], save_number),
            state=encode_state(state),
            short_term=short_term,
            long_term=long_term,
            mixed=mixed,
            encoder=snapshot.encoder,
            expires_s=forget_after_s if plain["forgotten"][i] else 0,
        )

    def _recents_of(self, i: int) -> EventLog:
        items, types_, times_, ids = (column.first(i, self._recent_count[i]) for column in self._recents)
        return EventLog(items=items, types=types_, times=times_, ids=ids)

    def _fences(self, i: int, slot: int) -> list[Fence]:
        partition = self._plain["partition"][i]
        fences = [
            Fence(topic, topic_id, partition, offset)
            for (topic, topic_id), offset in zip(self._snapshot.columns, self._plain["fences"][i], strict=True)
            if offset
        ]
        others = self._snapshot.other_fences.get(slot)
        if others:
            fences += [Fence(*source, offset) for source, offset in others.items()]
        return fences

    def _sums_of(self, i: int, slot: int) -> list[EncoderSums]:
        sums = [
            EncoderSums(encoder=s.encoder, sums=s.sums, mass=s.mass, time_ms=s.time_ms)
            for s in self._snapshot.other_sums.get(slot, ())
        ]
        time_ms = self._plain["sums_time"][i]
        if time_ms != NO_TIME:
            own = EncoderSums(
                encoder=self._snapshot.encoder, sums=self._sums.row(i), mass=self._mass.row(i), time_ms=time_ms
            )
            sums.insert(0, own)
        return sums

    def _offered_of(self, i: int) -> Offered | None:
        model = self._snapshot.models[self._plain["offered_model"][i]]
        if not model:
            return None
        items, reasons = (column.first(i, self._offered_count[i]) for column in self._offered)
        return Offered(items=items, reasons=reasons, id=self._plain["offered_id"][i], encoder=model)


def _event_log(events: Sequence[PendingEvent]) -> EventLog:
    return EventLog(
        items=np.array([event.item for event in events], np.uint64).tobytes(),
        types=np.array([event.type for event in events], np.uint8).tobytes(),
        times=np.array([event.time_ms for event in events], np.int64).tobytes(),
        ids=np.array([event.id for event in events], np.uint64).tobytes(),
    )


def _in_order(rings: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """Rings of shape (N, W) from the oldest entry to the newest, by how many entries each ever got."""
    width = rings.shape[1]
    start = np.where(counts > width, counts % width, 0).astype(np.intp)
    return np.take_along_axis(rings, (start[:, None] + np.arange(width)) % width, axis=1)
