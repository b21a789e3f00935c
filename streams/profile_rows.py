"""Between slots of the table and rows of the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from encoders.index import ItemIndex
from streams.moving import fits, set_sums
from streams.preference import NO_TIME, IntpArray
from streams.profile_state import (
    Counters,
    EncoderSums,
    EventLog,
    Fence,
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
from streams.profiles import OtherSums, PendingEvent, ProfileTable, Source
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
    encoder: str

    def __len__(self) -> int:
        return len(self.slots)


_COPIED = [
    *("items", "types", "times", "ids", "sums", "mass", "sums_time", "seen", "seen_count"),
    *("bought_items", "bought_times", "preferences", "applied", "duplicates", "pending_dropped"),
    *("partition", "term", "forgotten", "forgotten_ms", "fences"),
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
    return [_encode_row(snapshot, place, save_number, forget_after_s) for place in range(len(snapshot))]


def _encode_row(snapshot: Snapshot, i: int, save_number: int, forget_after_s: int) -> StoredProfile:
    a = snapshot.arrays
    slot = int(snapshot.slots[i])
    n = int(np.count_nonzero(a["times"][i] != NO_TIME))
    bought = int(np.count_nonzero(a["bought_times"][i] != NO_TIME))
    partition = int(a["partition"][i])
    fences = [
        Fence(topic, topic_id, partition, int(offset))
        for (topic, topic_id), offset in zip(snapshot.columns, a["fences"][i], strict=True)
        if offset
    ]
    fences += [Fence(*source, offset) for source, offset in snapshot.other_fences.get(slot, {}).items()]
    sums = [
        EncoderSums(encoder=s.encoder, sums=s.sums, mass=s.mass, time_ms=s.time_ms)
        for s in snapshot.other_sums.get(slot, ())
    ]
    if a["sums_time"][i] != NO_TIME:
        folded = EncoderSums(
            encoder=snapshot.encoder,
            sums=a["sums"][i].astype("<f4").tobytes(),
            mass=a["mass"][i].astype("<f4").tobytes(),
            time_ms=int(a["sums_time"][i]),
        )
        sums.insert(0, folded)
    state = ProfileState(
        recents=EventLog(
            items=a["items"][i, :n].tobytes(),
            types=a["types"][i, :n].tobytes(),
            times=a["times"][i, :n].tobytes(),
            ids=a["ids"][i, :n].tobytes(),
        ),
        pending=_event_log(snapshot.pending.get(slot, ())),
        sums=sums,
        purchased_items=a["bought_items"][i, :bought].tobytes(),
        purchased_times=a["bought_times"][i, :bought].tobytes(),
        seen_ids=_in_order(a["seen"][i], int(a["seen_count"][i])),
        fences=fences,
        sent_on=[SentOn(*source, offsets) for source, offsets in snapshot.sent_on.get(slot, {}).items()],
        counters=Counters(
            applied=a["applied"][i].tolist(),
            duplicates=int(a["duplicates"][i]),
            pending_dropped=int(a["pending_dropped"][i]),
        ),
        forgotten_ms=int(a["forgotten_ms"][i]),
    )
    short_term, long_term, mixed = a["preferences"][i]
    return StoredProfile(
        user_id=snapshot.user_ids[i],
        partition=partition,
        version=version(int(a["term"][i]), save_number),
        state=encode_state(state),
        short_term=short_term.tobytes(),
        long_term=long_term.tobytes(),
        mixed=mixed.tobytes(),
        encoder=snapshot.encoder,
        expires_s=forget_after_s if a["forgotten"][i] else 0,
    )


def _event_log(events: Sequence[PendingEvent]) -> EventLog:
    return EventLog(
        items=np.array([event.item for event in events], np.uint64).tobytes(),
        types=np.array([event.type for event in events], np.uint8).tobytes(),
        times=np.array([event.time_ms for event in events], np.int64).tobytes(),
        ids=np.array([event.id for event in events], np.uint64).tobytes(),
    )


def _in_order(ring: Any, count: int) -> bytes:
    """Ids of the ring from the oldest to the newest."""
    if count <= len(ring):
        return bytes(ring[:count].tobytes())
    return bytes(np.roll(ring, -(count % len(ring))).tobytes())
