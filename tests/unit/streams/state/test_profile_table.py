"""The table of hot profiles: slots, eviction, and the way to the store and back."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hash
from streams.checkpoint.profile_rows import encode_rows, fill_slot
from streams.checkpoint.snapshot import end_save, take_snapshot
from streams.checkpoint.stored_profile import EncoderSums, EventLog, ProfileState, decode_state, encode_state
from streams.kafka.log_id import LogId
from streams.quality.observer import COLUMNS as QUALITY_COLUMNS
from streams.state.applied_offsets import OtherLog
from streams.state.decayed_sums import NO_TIME
from streams.state.pending_events import PendingEvent
from streams.state.profile_columns import bytes_per_user
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import NO_TIMESTAMP, ProfileTable, TableFull
from streams.state.profile_update import apply_batch, fold_pending, fold_spilled
from streams.stores.base import StoredProfile
from tests.unit.streams.profile_model import (
    COLUMNS,
    CONFIG,
    DIMENSION,
    OWN,
    PARTITION,
    SHAPE,
    Ev,
    Models,
    applied_offsets_of,
    assert_profile,
    batch_of,
    know,
    make_table,
)

ITEMS = ("red", "green", "blue", "grey", "pink")
ENCODER = "v1"


def fill(table: ProfileTable, index: ItemIndex, events: list[Ev]) -> None:
    users = list(dict.fromkeys(event.user for event in events))
    table.find([])
    table.allocate([user for user in users if user not in table.slot_of], PARTITION, 1)
    apply_batch(table, batch_of(events), table.find([event.user for event in events]), index, CONFIG)


def rows_of(table: ProfileTable, number: int = 1) -> dict[str, StoredProfile]:
    snapshot = take_snapshot(table, table.all_slots(), ENCODER)
    rows = encode_rows(snapshot, number, 60)
    end_save(table, snapshot, saved=True)
    for row in rows:
        assert row.state == encode_state(decode_state(row.state, row.user_id))  # every field, each as msgspec has it
    return {row.user_id: row for row in rows}


def load(rows: dict[str, StoredProfile], table: ProfileTable, index: ItemIndex, encoder: str = ENCODER) -> None:
    slots = table.allocate(list(rows), PARTITION, 2)
    for slot, row in zip(slots.tolist(), rows.values(), strict=True):
        fill_slot(table, slot, row, encoder, index, CONFIG.half_life_s)


EVERYWHERE = (
    OWN,
    LogId("browses", "id-1", PARTITION),
    LogId("clicks", "id-0", PARTITION),
    LogId("clicks", "id-1", 9),
)
drawn_events = st.lists(
    st.tuples(
        st.sampled_from(["anna", "ben"]),
        st.sampled_from(ITEMS),
        st.integers(0, 2),
        st.integers(0, 30_000),
        st.sampled_from(EVERYWHERE),
        st.integers(0, 30),  # names an id: repeats happen
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(drawn_events, st.integers(0, 40))
def test_saved_evicted_and_loaded_a_profile_is_the_same_and_goes_on_the_same(drawn: list[tuple], cut: int) -> None:
    events = [
        Ev(user, item, f"e{name}", kind, time_ms, n, source)
        for n, (user, item, kind, time_ms, source, name) in enumerate(drawn)
    ]
    # a repeat well inside the window or none: what lies between depends on how the log is cut
    models, kept = Models(), []
    for event in events:
        seen = models[event.user].seen
        if id_hash(event.id) not in seen[: -SHAPE.duplicate_window]:
            models.take([event], {"red", "green"})
            kept.append(event)
    table, index = make_table(), ItemIndex(DIMENSION)
    know(index, ["red", "green"])
    for event in kept[:cut]:
        fill(table, index, [event])
    rows = rows_of(table)
    again = make_table()
    load(rows, again, index)
    for user, row in rows_of(again).items():
        assert row == msgspec.structs.replace(rows[user], version=row.version)  # its term is another
    for event in kept[cut:]:
        fill(again, index, [event])
    for user, model in models.items():
        if user in again.slot_of:
            assert_profile(again, again.slot_of[user], model)


def clicks(count: int, user: str = "anna", first: int = 0) -> list[Ev]:
    return [Ev(user, ITEMS[n % 5], f"e{n}", n % 3, n * 1_000, n) for n in range(first, first + count)]


def test_a_row_carries_its_slots_term_and_the_number_of_the_save() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    fill(table, index, clicks(2))
    row = rows_of(table, number=9)["anna"]
    assert (row.version, row.partition, row.encoder, row.expires_s) == (1 << 32 | 9, PARTITION, ENCODER, 0)


def test_preferences_of_another_encoder_are_not_shown_as_ours() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    fill(table, index, clicks(1))
    table.preferences[table.slot_of["anna"]] = 0.5
    rows = rows_of(table)
    same, other = make_table(), make_table()
    load(rows, same, index)
    load(rows, other, index, encoder="v2")
    assert (same.preferences[same.slot_of["anna"]] == 0.5).all()
    assert not other.preferences[other.slot_of["anna"]].any()


def test_sums_of_another_encoder_are_carried_along_untouched() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    know(index, ITEMS)
    fill(table, index, clicks(9))
    first = rows_of(table)["anna"]
    newer = make_table()
    load({"anna": first}, newer, index, encoder="v2")
    slot = newer.slot_of["anna"]
    assert (newer.sums_time[slot], newer.total_weight[slot].tolist()) == (NO_TIME, [0.0, 0.0])
    snapshot = take_snapshot(newer, np.array([slot]), "v2")
    second = encode_rows(snapshot, 1, 60)[0]
    back = make_table()
    load({"anna": second}, back, index)
    assert np.array_equal(back.sums[0], table.sums[table.slot_of["anna"]].astype(np.float32))
    assert back.other_sums == {}


def test_a_shorter_history_than_the_rows_folds_what_no_longer_fits() -> None:
    table, index, models = make_table(), ItemIndex(DIMENSION), Models()
    know(index, ITEMS)
    events = clicks(3)
    fill(table, index, events)
    shape = ProfileShape(history=1, dimension=DIMENSION, half_lives=2, duplicate_window=10, purchases=2, pending=1_000)
    small = make_table(shape=shape)
    for row in rows_of(table).values():
        slot = int(small.allocate(["anna"], PARTITION, 2)[0])
        fold_spilled(small, slot, fill_slot(small, slot, row, ENCODER, index, CONFIG.half_life_s), index, CONFIG)
    assert small.dirty[slot]
    models = Models(shape)
    models.take(events, {*ITEMS})
    assert_profile(small, small.slot_of["anna"], models["anna"])


def test_what_a_smaller_pending_drops_at_loading_is_counted() -> None:
    """Regression: the stored counter was put over the count."""
    table, index = make_table(), ItemIndex(DIMENSION)
    fill(table, index, clicks(8))
    assert len(table.pending.by_slot[0]) == 5
    shape = ProfileShape(history=3, dimension=DIMENSION, half_lives=2, duplicate_window=10, purchases=2, pending=2)
    small = make_table(shape=shape)
    load(rows_of(table), small, index)
    slot = small.slot_of["anna"]
    assert (len(small.pending.by_slot[slot]), small.pending_dropped[slot]) == (2, 3)


def test_an_empty_row_of_the_store_is_an_empty_profile() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    row = StoredProfile("anna", PARTITION, 1, encode_state(ProfileState()), b"", b"", b"", ENCODER)
    load({"anna": row}, table, index)
    assert_profile(table, table.slot_of["anna"], Models()["anna"])


def test_sums_of_another_shape_are_carried_along_like_another_encoders() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    odd = EncoderSums(encoder=ENCODER, sums=b"\0" * 12, mass=b"\0" * 4, time_ms=5)
    row = StoredProfile("anna", PARTITION, 1, encode_state(ProfileState(sums=[odd])), b"", b"", b"", ENCODER)
    load({"anna": row}, table, index)
    slot = table.slot_of["anna"]
    assert table.sums_time[slot] == NO_TIME
    assert [one.sums for one in table.other_sums[slot]] == [odd.sums]


def test_recents_of_a_row_know_their_items_in_the_index_of_now() -> None:
    index = ItemIndex(DIMENSION)
    know(index, ["pink", "red"])
    recents = EventLog(
        items=np.array([id_hash("red"), id_hash("new")], "<u8").tobytes(),
        types=b"\0\1",
        times=np.array([9, 8], "<i8").tobytes(),
        ids=np.array([1, 2], "<u8").tobytes(),
    )
    row = StoredProfile("anna", PARTITION, 1, encode_state(ProfileState(recents=recents)), b"", b"", b"", ENCODER)
    table = make_table()
    load({"anna": row}, table, index)
    assert table.rows[table.slot_of["anna"]].tolist() == [index.row("red"), -1, -1]


def test_a_snapshot_is_what_was_there_whatever_happens_later() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    fill(table, index, clicks(5))
    snapshot = take_snapshot(table, table.all_slots(), ENCODER)
    expected = encode_rows(snapshot, 1, 60)
    fill(table, index, clicks(5, first=5))
    table.set_logs([("clicks", "id-2")])
    fold_pending(table, [], index, CONFIG)
    table.wipe(0, 0)
    assert encode_rows(snapshot, 1, 60) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_parts_of_a_snapshot_are_all_of_it(size: int) -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    for user in ("anna", "bert", "cleo"):
        fill(table, index, clicks(5, user))
    snapshot = take_snapshot(table, table.all_slots(), ENCODER)
    assert len(snapshot) == 3
    parts = list(snapshot.parts(size))
    assert max(map(len, parts)) <= size
    assert [row for part in parts for row in encode_rows(part, 1, 60)] == encode_rows(snapshot, 1, 60)


@pytest.mark.parametrize("saved", [True, False])
def test_a_save_marks_what_it_must(saved: bool) -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    fill(table, index, clicks(1))
    assert (table.dirty[0], table.saving[0], table.dirty_count) == (True, False, 1)
    snapshot = take_snapshot(table, np.array([0]), ENCODER)
    assert (table.dirty[0], table.saving[0], table.dirty_count) == (False, True, 1)
    end_save(table, snapshot, saved)
    assert (table.dirty[0], table.saving[0], table.dirty_count) == (not saved, False, int(not saved))


def test_the_end_of_a_save_does_not_touch_the_slots_next_user() -> None:
    table, index = make_table(capacity=1), ItemIndex(DIMENSION)
    fill(table, index, clicks(1))
    snapshot = take_snapshot(table, np.array([0]), ENCODER)
    table.evict(np.array([0]))
    table.find([])
    table.allocate(["ben"], PARTITION, 1)
    end_save(table, snapshot, saved=False)
    assert not table.dirty[0]
    table.saving[0] = True  # as if ben were being saved
    end_save(table, snapshot, saved=True)
    assert table.saving[0]


def test_wiping_keeps_fences_and_counters_alone() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    know(index, ITEMS[:3])
    fill(table, index, [*clicks(9), Ev("anna", "red", "x", 2, 5, 50, LogId("clicks", "id-0", 7))])
    slot = table.slot_of["anna"]
    applied_offsets, applied = applied_offsets_of(table, slot), table.applied[slot].tolist()
    table.wipe(slot, NO_TIMESTAMP)
    row = rows_of(table)["anna"]
    blank = make_table()
    blank.allocate(["anna"], PARTITION, 1)
    for name in ("items", "rows", "types", "times", "ids", "sums", "total_weight", "sums_time", "seen", "seen_count"):
        assert np.array_equal(getattr(table, name)[slot], getattr(blank, name)[0]), name
    for name in ("purchased_items", "purchased_times", "preferences"):
        assert np.array_equal(getattr(table, name)[slot], getattr(blank, name)[0]), name
    assert (table.pending.by_slot, dict(table.pending.slots_by_item), table.other_sums) == ({}, {}, {})
    assert (applied_offsets_of(table, slot), table.applied[slot].tolist()) == (applied_offsets, applied)
    assert row.expires_s == 60


def names(count: int, first: int = 0) -> list[str]:
    return [f"u{n}" for n in range(first, first + count)]


def test_the_least_recently_used_leave_first() -> None:
    table = make_table(capacity=4)
    for user in names(4):
        table.find([])
        table.allocate([user], PARTITION, 1)
    table.find(["u0"])
    table.find(["u2"])
    table.find([])
    table.allocate(names(2, first=4), PARTITION, 1)
    assert table.slot_of.keys() == {"u0", "u2", "u4", "u5"}


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_eviction_never_takes_what_is_dirty_being_saved_or_in_use(data: st.DataObject) -> None:
    table = make_table(capacity=12)
    table.allocate(names(12), PARTITION, 1)
    some = st.sets(st.sampled_from(names(12)))
    dirty, saving, used = data.draw(some), data.draw(some), data.draw(some)
    table.dirty[[table.slot_of[user] for user in dirty]] = True
    table.saving[[table.slot_of[user] for user in saving]] = True
    table.find(sorted(used))
    safe = dirty | saving | used
    wanted = data.draw(st.integers(0, 13))
    if wanted > 12 - len(safe):
        with pytest.raises(TableFull, match="not saved yet"):
            table.allocate(names(wanted, first=100), PARTITION, 1)
        assert table.slot_of.keys() == set(names(12))
    else:
        slots = table.allocate(names(wanted, first=100), PARTITION, 1)
        assert len(set(slots.tolist())) == wanted
        assert table.slot_of.keys() >= safe | set(names(wanted, first=100))
        assert all(table.user_ids[slot] == user for user, slot in table.slot_of.items())
        assert len(table) == len(table.all_slots()) <= 12


def test_a_new_user_of_a_slot_inherits_nothing() -> None:
    """Regression: what was written to an evicted slot, as a batch in hand may, leaked into its next user."""
    table, index = make_table(capacity=1), ItemIndex(DIMENSION)
    know(index, ITEMS[:2])
    foreign = LogId("clicks", "id-0", 7)
    fill(table, index, [*clicks(20), Ev("anna", "red", "x", 2, 5, 50, foreign)])
    table.forgotten[0] = True
    table.preferences[0] = 1.0
    table.duplicates[0] = table.pending_dropped[0] = 3
    table.evict(np.array([0]))
    table.offsets.set(0, foreign, OtherLog(90))
    table.pending.add(0, PendingEvent(id_hash("grey"), 0, 1, 1))
    table.find([])
    slot = int(table.allocate(["ben"], PARTITION, 1)[0])
    assert_profile(table, slot, Models()["ben"])
    assert applied_offsets_of(table, slot) == {}
    assert not table.forgotten[slot]
    assert not table.preferences[slot].any()
    assert not any(table.pending.slots_by_item.values())


def test_slots_of_a_partition_are_those_in_use() -> None:
    table = make_table()
    table.allocate(["a", "b"], 0, 1)
    table.allocate(["c"], 1, 1)
    table.evict(np.array([table.slot_of["a"]]))
    assert [table.user_ids[slot] for slot in table.slots_of_partition(0)] == ["b"]
    assert [table.user_ids[slot] for slot in table.slots_of_partition(1)] == ["c"]
    assert table.slots_of_partition(2).tolist() == []


def test_fences_move_between_columns_and_the_others() -> None:
    table = make_table()
    table.allocate(["anna"], PARTITION, 1)
    table.offsets.set(0, OWN, OtherLog(5, 2))
    table.offsets.set(0, LogId("clicks", "id-1", 9), OtherLog(6))
    assert (table.applied_offsets[0].tolist(), dict(table.offsets.others[0])) == (
        [5, 0],
        {LogId("clicks", "id-1", 9): OtherLog(6)},
    )
    table.set_logs([("clicks", "id-2")])
    assert table.applied_offsets[0].tolist() == [0]
    assert table.offsets.look(0, OWN) == OtherLog(5, 2)
    table.set_logs(COLUMNS)
    assert table.applied_offsets[0].tolist() == [5, 0]
    assert OWN not in table.offsets.others[0]


def test_a_profiles_size_is_what_its_arrays_hold() -> None:
    shape = ProfileShape(history=20, dimension=64, half_lives=2, duplicate_window=64, purchases=32)
    table = ProfileTable(10, shape, QUALITY_COLUMNS)
    held = sum(array.nbytes for array in table.arrays.values()) / 10
    assert held <= bytes_per_user(shape, QUALITY_COLUMNS) <= held + 500


def test_a_record_that_was_rerouted_over_two_paths_passes_once() -> None:
    """Regression: after topics grew, a crash rerouted events again by a new path, whose applied offset was lower."""
    table = ProfileTable(2, SHAPE, QUALITY_COLUMNS)
    table.set_logs(COLUMNS)
    slot = int(table.allocate(["anna"], OWN.partition, 1)[0])
    direct = LogId("clicks", "id-1", 9)
    detour = direct.detour(3)
    assert detour.origin == direct
    assert table.offsets.apply_once(slot, direct, 5)
    assert not table.offsets.apply_once(slot, detour, 5)
    # events of the detour alone are older than those that came directly, and new all the same
    assert table.offsets.apply_once(slot, detour.origin.detour(4), 2)
    assert not table.offsets.apply_once(slot, detour, 2)
    assert not table.offsets.apply_once(slot, direct, 2)
    assert table.offsets.apply_once(slot, OWN, 0)
