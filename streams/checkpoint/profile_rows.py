"""Converts slots of the table to rows of the store, and back."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from schemas.recommendation import REASON_KINDS
from streams.arrays import Float64Array, Int64Array, floats
from streams.checkpoint.msgpack_rows import RowWriter, array_head, map_head
from streams.checkpoint.snapshot import ProfileSnapshot
from streams.checkpoint.stored_profile import (
    FORMAT,
    AppliedOffset,
    ClosedSpans,
    EncoderSums,
    EventLog,
    ProfileState,
    StateError,
    decode_state,
    hashes,
    is_erased,
    times,
    types,
)
from streams.kafka.log_id import LogId
from streams.state.applied_offsets import NO_SPAN, OtherLog, Span
from streams.state.decayed_sums import NO_TIME
from streams.state.pending_events import PendingEvent
from streams.state.profile_columns import ProfileColumn
from streams.state.profile_table import OtherSums, ProfileTable
from streams.state.version_sums import add_sums, fits, set_sums
from streams.stores.base import StoredProfile, version


def fill_slot(
    table: ProfileTable, slot: int, row: StoredProfile, encoder: str, index: ItemIndex, half_life_s: Float64Array
) -> list[PendingEvent]:
    """Fill a blank slot from a stored profile. ``half_life_s`` (T,) are those of the active encoder.

    Sums of other encoder versions wait in ``other_sums`` for `version_sums.map_into`. Returns the recents of the row
    for which the slot's history is too short: the caller has to fold them into the sums. Raises `StateError` if the row
    is broken, `NewerState` if a newer release wrote it. The slot must not be used then.
    """
    state = decode_state(row.state, row.user_id, table.fields)
    try:
        return _fill(table, slot, row, state, encoder, index, half_life_s)
    except (ValueError, TypeError, OverflowError, IndexError) as error:
        raise StateError(
            f"The stored profile of user {row.user_id!r} is broken ({error}): restore the row from a backup, or have "
            "the user forgotten."
        ) from error


def _fill(
    table: ProfileTable,
    slot: int,
    row: StoredProfile,
    state: ProfileState,
    encoder: str,
    index: ItemIndex,
    half_life_s: Float64Array,
) -> list[PendingEvent]:
    L, D = table.shape.history, table.shape.duplicate_window
    items = hashes(state.recents.items)
    n = min(len(items), L)
    table.items[slot, :n] = items[:n]
    table.rows[slot, :n] = index.rows(items[:n])
    table.types[slot, :n] = types(state.recents.types)[:n]
    table.times[slot, :n] = times(state.recents.times)[:n]
    table.ids[slot, :n] = hashes(state.recents.ids)[:n]
    # events of a row that does not say when they were written count as written before every command
    table.written[slot, :n] = times(state.recents.written)[:n] if state.recents.written else 0
    table.applied[slot] = state.counters.applied
    table.duplicates[slot] = state.counters.duplicates
    table.pending_dropped[slot] = state.counters.pending_dropped
    for event in _pending_events(state.pending, 0):
        table.pending.add(slot, event)
    if state.purchased_items:
        # rows of former releases may hold an item several times
        table.set_purchases(slot, hashes(state.purchased_items), times(state.purchased_times))
    seen = hashes(state.seen_ids)[-D:]
    table.seen[slot, : len(seen)] = seen
    table.seen_count[slot] = len(seen)
    _fill_offsets(table, slot, row, state)
    # the row of a forgotten user keeps its expiry until the user comes back; it has none if an input lives for ever
    table.forgotten[slot] = row.expires_s > 0 or is_erased(state)
    table.forgotten_ms[slot] = state.forgotten_ms
    if state.actions is not None:
        table.actions[slot] = state.actions
        for entry in state.actions.pending:
            table.pending_taken_back.add(slot, PendingEvent(*entry))
        state.actions.pending = []
    _fill_sums(table, slot, state, encoder, half_life_s)
    _fill_recommended(table, slot, state)
    _fill_columns(table, slot, state)
    preferences = [floats(part) for part in (row.short_term, row.long_term, row.mixed)]
    if row.encoder == encoder and all(len(part) == table.shape.dimension for part in preferences):
        table.preferences[slot] = preferences
    return _pending_events(state.recents, n)


def _fill_offsets(table: ProfileTable, slot: int, row: StoredProfile, state: ProfileState) -> None:
    """Fill in the applied offsets. Rows of release 0.1.0 know no spans, and the last offsets of rerouted events."""
    offsets, count = table.offsets, len(state.fences)
    # for release 0.1.0, all that lies below the applied offset of a log was applied
    firsts = state.firsts if len(state.firsts) == count else [0] * count
    days = [0] * (count - len(state.days)) + state.days
    paths = [""] * (count - len(state.paths)) + state.paths
    for applied, first, path, day in zip(state.fences, firsts, paths, days, strict=True):
        log = LogId(applied.topic, applied.topic_id, applied.partition, path)
        known = OtherLog(applied.next_offset, NO_SPAN if log.is_detour and not path else first, day)
        offsets.set(slot, log, known)
    for closed in state.spans:
        bounds = iter(closed.spans)
        spans = [Span(*pair) for pair in zip(bounds, bounds, strict=True)]
        offsets.closed[slot][LogId(closed.topic, closed.topic_id, closed.partition)] = spans
    if any(LogId(applied.topic, applied.topic_id, 0).is_detour for applied in state.fences):
        for former in state.sent_on:
            log = LogId(former.topic, former.topic_id, former.partition)
            offsets.closed[slot].setdefault(log, []).extend(Span(offset, offset + 1) for offset in former.offsets)
    if state.partition_count != offsets.partition_count:
        offsets.close_spans(slot)


def _fill_sums(table: ProfileTable, slot: int, state: ProfileState, encoder: str, half_life_s: Float64Array) -> None:
    own = []
    for sums in state.sums:
        part = OtherSums(sums.encoder, sums.sums, sums.mass, sums.time_ms)
        if part.encoder == encoder and fits(part, table.shape):
            own.append(part)
        else:
            table.other_sums.setdefault(slot, []).append(part)
    if own:
        set_sums(table, slot, own[0])
    if len(own) > 1:
        add_sums(table, [slot] * (len(own) - 1), own[1:], half_life_s)


def _fill_recommended(table: ProfileTable, slot: int, state: ProfileState) -> None:
    """Fill in the list that was recommended last. Reasons that only a newer release knows count as none."""
    if state.offered is not None:
        items, reasons = hashes(state.offered.items), types(state.offered.reasons)
        k = min(len(items), table.shape.recommended)
        table.recommended_items[slot, :k] = items[:k]
        table.recommended_reasons[slot, :k] = np.where(reasons[:k] <= len(REASON_KINDS), reasons[:k], 0)
        table.recommendation_id_hash[slot] = state.offered.id
        table.recommended_by[slot] = table.version_number(state.offered.encoder)


def _fill_columns(table: ProfileTable, slot: int, state: ProfileState) -> None:
    """Fill in the columns that have their own field in the row."""
    for column in table.field_columns:
        array = table.arrays[column.name]
        entry = array[slot]
        stored = np.frombuffer(getattr(state, str(column.field)), np.dtype(column.dtype).newbyteorder("<"))
        if column.largest is not None:
            stored = np.where(stored <= column.largest, stored, column.blank)
        if column.ring_count is not None:
            stored = stored[-entry.size :]
            table.arrays[column.ring_count][slot] = len(stored)
        flat = np.full(entry.size, column.blank, column.dtype)
        kept = stored[: entry.size]
        flat[: len(kept)] = kept
        array[slot] = flat.reshape(entry.shape)


def _pending_events(log: EventLog, start: int) -> list[PendingEvent]:
    columns = (hashes(log.items), types(log.types), times(log.times), hashes(log.ids))
    return [PendingEvent(*event) for event in zip(*(column[start:].tolist() for column in columns), strict=True)]


def encode_rows(snapshot: ProfileSnapshot, save_number: int, forget_after_s: int) -> list[StoredProfile]:
    """Encode the rows to store. The version of each is its slot's term and this save's number."""
    if not len(snapshot):
        return []
    a = snapshot.arrays
    expires_s = np.where(a["forgotten"], forget_after_s, 0)
    columns = zip(
        *(snapshot.user_ids, a["partition"].tolist(), a["term"].tolist(), _encode_states(snapshot)),
        *(_bytes_of_rows(a["preferences"][:, part]) for part in range(3)),
        expires_s.tolist(),
        strict=True,
    )
    return [
        StoredProfile(user, partition, version(term, save_number), state, short, long, mixed, snapshot.encoder, expires)
        for user, partition, term, state, short, long, mixed, expires in columns
    ]


def _bytes_of_rows(array: NDArray[Any]) -> list[bytes]:
    """Return each row of an (N, W) array as bytes."""
    # cut from the bytes of the whole array, because N small arrays would cost more
    data, width = array.tobytes(), array.shape[1] * array.itemsize
    return [data[start : start + width] for start in range(0, len(data), width)]


def _encode_states(snapshot: ProfileSnapshot) -> list[bytes]:
    """Encode the state of each row, column by column: the bytes that `encode_state` gives for its `ProfileState`."""
    a = snapshot.arrays
    rows = RowWriter(len(snapshot))
    columns = [column for column in snapshot.columns if column.field is not None]
    rows.constant(map_head(_CORE_FIELDS + len(columns)), _bytes("format"), _bytes(FORMAT), _bytes("recents"))
    _write_log(rows, [a[name] for name in ("items", "types", "times", "ids", "written")], _known(a["times"]))
    rows.constant(_bytes("pending"))
    _write_each(rows, snapshot, snapshot.pending, _event_log, EventLog())
    _write_sums(rows, snapshot)
    purchases = _known(a["purchased_times"])
    for name in ("purchased_items", "purchased_times"):
        rows.constant(_bytes(name))
        rows.binary(a[name], purchases)
    rows.constant(_bytes("seen_ids"))
    rows.binary(_in_order(a["seen"], a["seen_count"]), np.minimum(a["seen_count"], a["seen"].shape[1]))
    _write_applied_offsets(rows, snapshot)
    rows.constant(_bytes("counters"), map_head(3), _bytes("applied"), array_head(a["applied"].shape[1]))
    for kind in a["applied"].T:
        rows.integers(kind)
    for name in ("duplicates", "pending_dropped"):
        rows.constant(_bytes(name))
        rows.integers(a[name])
    rows.constant(_bytes("sent_on"), _bytes([]), _bytes("spans"))
    _write_each(rows, snapshot, snapshot.closed_spans, _closed_spans, [])
    rows.constant(_bytes("partition_count"), _bytes(snapshot.partition_count), _bytes("forgotten_ms"))
    rows.integers(a["forgotten_ms"])
    rows.constant(_bytes("actions"))
    _write_each(rows, snapshot, snapshot.actions, lambda actions: actions, None)
    _write_recommended(rows, snapshot)
    _write_columns(rows, snapshot, columns)
    return rows.done()


_bytes = msgspec.msgpack.encode
_CORE_FIELDS = 18
"""Fields of `ProfileState` that `_encode_states` writes. Columns with their own field add the others."""


def _known(times_ms: Int64Array) -> Int64Array:
    """Count the entries of each row that are not empty."""
    known: Int64Array = (times_ms != NO_TIME).sum(axis=1)
    return known


def _write_log(rows: RowWriter, columns: Sequence[NDArray[Any]], counts: Int64Array) -> None:
    rows.constant(map_head(len(columns)))
    for name, column in zip(EventLog.__struct_fields__, columns, strict=True):
        rows.constant(_bytes(name))
        rows.binary(column, counts)


def _write_each(
    rows: RowWriter, snapshot: ProfileSnapshot, of_slot: dict[int, Any], stored: Callable[[Any], Any], without: Any
) -> None:
    """Write a value that few rows have: ``stored(value)`` for these rows, and ``without`` for all others."""
    if not of_slot:
        rows.constant(_bytes(without))
        return
    values = [of_slot.get(slot) for slot in snapshot.slots.tolist()]
    rows.ragged([_bytes(stored(value) if value else without) for value in values])


def _closed_spans(of_logs: dict[LogId, list[Span]]) -> list[ClosedSpans]:
    return [
        ClosedSpans(log.topic, log.topic_id, log.partition, [bound for span in spans for bound in span])
        for log, spans in of_logs.items()
    ]


def _write_sums(rows: RowWriter, snapshot: ProfileSnapshot) -> None:
    """Write the sums of the active encoder, where there are any, then those of other versions."""
    a, slots = snapshot.arrays, snapshot.slots.tolist()
    own = a["sums_time"] != NO_TIME
    others = [snapshot.other_sums.get(slot, ()) for slot in slots] if snapshot.other_sums else []
    rows.constant(_bytes("sums"))
    rows.array_heads(own + np.array([len(parts) for parts in others]) if others else own)
    rows.constant(map_head(4), _bytes("encoder"), _bytes(snapshot.encoder), _bytes("sums"), where=own)
    rows.binary(a["sums"].astype("<f4").reshape(len(own), -1), where=own)
    rows.constant(_bytes("mass"), where=own)
    rows.binary(a["total_weight"].astype("<f4"), where=own)
    rows.constant(_bytes("time_ms"), where=own)
    rows.integers(a["sums_time"], where=own)
    if others:
        rows.ragged(
            [
                b"".join(
                    _bytes(EncoderSums(encoder=s.encoder, sums=s.sums, mass=s.total_weight, time_ms=s.time_ms))
                    for s in parts
                )
                for parts in others
            ]
        )


def _write_applied_offsets(rows: RowWriter, snapshot: ProfileSnapshot) -> None:
    """Write the applied offsets of the slots' own partitions, where there are any, then those of other logs."""
    applied_offsets, partitions = snapshot.arrays["applied_offsets"], snapshot.arrays["partition"]
    given = applied_offsets != 0
    others = [_in_reading_order(snapshot, slot) for slot in snapshot.slots.tolist()] if snapshot.other_logs else []
    rows.constant(_bytes("fences"))
    counts = given.sum(axis=1)
    if others:
        counts = counts + np.array([len(logs) for logs in others])
    rows.array_heads(counts)
    for column, (topic, topic_id) in enumerate(snapshot.logs):
        where = np.ascontiguousarray(given[:, column])
        if where.any():
            rows.constant(array_head(4), _bytes(topic), _bytes(topic_id), where=where)
            rows.integers(partitions, where=where)
            rows.integers(applied_offsets[:, column], where=where)
    if others:
        rows.ragged(
            [
                b"".join(
                    _bytes(AppliedOffset(log.topic, log.topic_id, log.partition, known.next_offset))
                    for log, known in logs
                )
                for logs in others
            ]
        )
    rows.constant(_bytes("firsts"))
    rows.array_heads(counts)
    for column in range(len(snapshot.logs)):
        rows.integers(snapshot.arrays["first_offsets"][:, column], where=np.ascontiguousarray(given[:, column]))
    if others:
        rows.ragged([b"".join(_bytes(known.first) for _, known in logs) for logs in others])
    rows.constant(_bytes("paths"))
    _write_lists(rows, [[log.counts for log, _ in logs] for logs in others])
    rows.constant(_bytes("days"))
    _write_lists(rows, [[known.day for _, known in logs] for logs in others])


def _in_reading_order(snapshot: ProfileSnapshot, slot: int) -> list[tuple[LogId, OtherLog]]:
    """Return the logs without a column. Release 0.1.0 knows no paths: of one log, it takes the last offset."""
    return sorted(snapshot.other_logs.get(slot, {}).items(), key=lambda entry: entry[1].next_offset)


def _write_lists(rows: RowWriter, lists: Sequence[list[Any]]) -> None:
    """Write a list to each row; an empty one to each if there are no ``lists``."""
    if lists:
        rows.ragged([_bytes(values) for values in lists])
    else:
        rows.constant(_bytes([]))


def _write_recommended(rows: RowWriter, snapshot: ProfileSnapshot) -> None:
    a = snapshot.arrays
    rows.constant(_bytes("offered"))
    models, counts = a["recommended_by"], (a["recommended_reasons"] != 0).sum(axis=1)
    given = models != 0
    rows.constant(_bytes(None), where=~given)
    if given.any():
        rows.constant(map_head(4), _bytes("items"), where=given)
        rows.binary(a["recommended_items"], counts, where=given)
        rows.constant(_bytes("reasons"), where=given)
        rows.binary(a["recommended_reasons"], counts, where=given)
        rows.constant(_bytes("id"), where=given)
        rows.integers(a["recommendation_id_hash"], where=given)
        rows.constant(_bytes("encoder"), where=given)
        for model in np.unique(models[given]).tolist():
            rows.constant(_bytes(snapshot.encoder_versions[model]), where=models == model)


def _write_columns(rows: RowWriter, snapshot: ProfileSnapshot, columns: Sequence[ProfileColumn]) -> None:
    """Write the columns that have their own field in the row."""
    for column in columns:
        values = snapshot.arrays[column.name]
        flat = values.reshape(len(values), -1)
        rows.constant(_bytes(column.field))
        if column.ring_count is None:
            rows.binary(np.ascontiguousarray(flat))
        else:
            counts = snapshot.arrays[column.ring_count].astype(np.int64)
            rows.binary(_in_order(flat, counts), np.minimum(counts, flat.shape[1]))


def _event_log(events: Sequence[PendingEvent]) -> EventLog:
    return EventLog(
        items=np.array([event.item for event in events], np.uint64).tobytes(),
        types=np.array([event.type for event in events], np.uint8).tobytes(),
        times=np.array([event.time_ms for event in events], np.int64).tobytes(),
        ids=np.array([event.id for event in events], np.uint64).tobytes(),
    )


def _in_order(rings: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """Sort rings (N, W) from the oldest entry to the newest; ``counts`` (N,) is how many entries each ring ever got."""
    width = rings.shape[1]
    start = np.where(counts > width, counts % width, 0).astype(np.intp)
    return np.take_along_axis(rings, (start[:, None] + np.arange(width)) % width, axis=1)
