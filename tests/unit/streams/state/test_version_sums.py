"""Users between encoder versions: nothing of the sums is lost on the way, and two spaces never meet."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hash
from streams.arrays import Float64Array
from streams.checkpoint.profile_rows import encode_rows, fill_slot
from streams.checkpoint.snapshot import end_save, take_snapshot
from streams.checkpoint.stored_profile import decode_state, encode_state
from streams.rank.head_inputs import head_inputs
from streams.state.decayed_sums import NO_TIME, Sums, fold
from streams.state.embedding_map import EmbeddingMap, fit, nearest_half_lives
from streams.state.pending_events import PendingEvent
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import OtherSums, ProfileTable
from streams.state.profile_update import apply_batch, fold_pending
from streams.state.version_sums import KEPT, change_encoder, map_into
from streams.stores.base import StoredProfile
from tests.unit.streams.profile_model import (
    COLUMNS,
    CONFIG,
    DIMENSION,
    HALF_LIVES_S,
    PARTITION,
    SHAPE,
    Ev,
    ProfileModel,
    batch_of,
    vector_of,
)

ITEMS = tuple(f"item-{n}" for n in range(12))
SIZES = {"v1": DIMENSION, "v2": 6, "v3": 5, "v4": DIMENSION, "v5": 7}


def turned(version: str) -> Float64Array:
    """The items' vectors times this are a version's: rows are orthonormal, so no length or angle changes."""
    if version == "v1":
        return np.eye(DIMENSION)
    size = SIZES[version]
    square = np.random.default_rng(size * 10 + int(version[1])).standard_normal((size, size))
    return np.linalg.qr(square)[0][:DIMENSION]


def index_of(version: str, items: tuple[str, ...] = ITEMS) -> ItemIndex:
    index = ItemIndex(SIZES[version])
    index.put(items, np.array([vector_of(item) for item in items]) @ turned(version))
    return index


INDEXES = {version: index_of(version) for version in SIZES}
MAPS: dict[str, dict[str, EmbeddingMap]] = {to: {} for to in SIZES}
for to in SIZES:
    for other in SIZES.keys() - {to}:
        found = fit(INDEXES[other], INDEXES[to], HALF_LIVES_S, HALF_LIVES_S)
        assert found is not None
        MAPS[to][other] = found


def shape_of(version: str) -> ProfileShape:
    return ProfileShape(history=3, dimension=SIZES[version], half_lives=2, duplicate_window=500, pending=SHAPE.pending)


class Worker:
    """A table and the version that it serves."""

    def __init__(self, version: str = "v1", maps: dict[str, dict[str, EmbeddingMap]] | None = None) -> None:
        self.maps = MAPS if maps is None else maps
        self.version = version
        self.table = ProfileTable(4, shape_of(version))
        self.table.set_logs(COLUMNS)

    def take(self, event: Ev) -> None:
        if event.user not in self.table.slot_of:
            self.table.allocate([event.user], PARTITION, 1)
        apply_batch(self.table, batch_of([event]), self.table.find([event.user]), INDEXES[self.version], CONFIG)

    def switch(self, version: str) -> set[str]:
        former, self.version = self.version, version
        return change_encoder(self.table, former, version, shape_of(version), self.maps[version], CONFIG.half_life_s)

    def save(self) -> dict[str, StoredProfile]:
        snapshot = take_snapshot(self.table, self.table.all_slots(), self.version)
        rows = encode_rows(snapshot, 1, 60)
        end_save(self.table, snapshot, saved=True)
        return {row.user_id: row for row in rows}

    def load(self, rows: dict[str, StoredProfile]) -> set[str]:
        slots = self.table.allocate(list(rows), PARTITION, 2)
        for slot, row in zip(slots.tolist(), rows.values(), strict=True):
            fill_slot(self.table, slot, row, self.version, INDEXES[self.version], CONFIG.half_life_s)
        return map_into(self.table, slots.tolist(), self.maps[self.version], CONFIG.half_life_s)

    def older(self, user: str = "anna") -> Sums:
        return self.table.older(np.array([self.table.slot_of[user]]), CONFIG.half_life_s)


def click(number: int, time_s: int | None = None, item: str | None = None) -> Ev:
    time_ms = 1_000 * (number if time_s is None else time_s)
    return Ev("anna", item or ITEMS[number % len(ITEMS)], f"e{number}", number % 3, time_ms, number)


def assert_knows_all(worker: Worker, model: ProfileModel) -> None:
    sums, total_weight, newest = model.sums()
    found = worker.older()
    assert found.time_ms[0] == newest
    assert np.abs(found.total_weight[0] - total_weight).max() <= 1e-4 * total_weight.max(initial=0.0) + 1e-30
    limit = 1e-4 * 5 * total_weight.max(initial=0.0) + 1e-30
    assert np.abs(found.sums[0] - sums @ turned(worker.version)).max() <= limit


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("event"), st.integers(0, 60), st.sampled_from(ITEMS)),
            st.tuples(st.sampled_from(["switch", "hand over"]), st.sampled_from(sorted(SIZES)), st.none()),
        ),
        max_size=60,
    )
)
def test_however_users_move_between_versions_and_workers_nothing_is_lost(steps: list[tuple[str, object, str]]) -> None:
    worker, model = Worker(), ProfileModel(shape_of("v1"))
    for number, (what, value, item) in enumerate([("event", 1, ITEMS[0]), *steps]):
        if what == "event":
            event = click(number, int(str(value)), item)
            worker.take(event)
            model.take([event], {*ITEMS})
        elif what == "switch" and value != worker.version:
            worker.switch(str(value))
        elif what == "hand over":
            rows = worker.save()
            worker = Worker(str(value))
            worker.load(rows)
    assert_knows_all(worker, model)
    assert len(worker.table.other_sums.get(0, [])) <= KEPT
    [row] = worker.save().values()
    state = decode_state(row.state, "anna")
    assert len({part.encoder for part in state.sums}) == len(state.sums)
    assert state.counters.applied == model.applied


def test_a_sum_moves_exactly_as_its_parts_do() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((50, DIMENSION)).astype(np.float32)
    times, owner = rng.integers(0, 100_000, 50), np.zeros(50, np.intp)
    weights = rng.random((50, 2)).astype(np.float32)

    def folded(parts: Float64Array) -> Sums:
        blank = Sums(np.zeros((1, 2, parts.shape[1])), np.zeros((1, 2)), np.array([NO_TIME]))
        return fold(blank, owner, times, weights, parts.astype(np.float32), CONFIG.half_life_s)

    to = MAPS["v2"]["v1"]
    one, moved = folded(vectors.astype(np.float64)), folded(vectors @ to.matrix)
    after = to.apply(one.sums, one.total_weight, one.time_ms)
    assert np.allclose(after.sums, moved.sums, atol=1e-4)
    assert np.array_equal(after.total_weight, moved.total_weight)
    assert np.allclose(to.matrix, turned("v2"), atol=1e-4)
    assert to.explained > 1 - 1e-6


def test_going_back_finds_what_the_former_version_knew_byte_for_byte() -> None:
    """Also where the second version was worth nothing: all its vectors are one."""
    blind = ItemIndex(SIZES["v2"])
    blind.put(ITEMS, np.tile(np.eye(SIZES["v2"])[0], (len(ITEMS), 1)))
    there = fit(INDEXES["v1"], blind, HALF_LIVES_S, HALF_LIVES_S)
    back = fit(blind, INDEXES["v1"], HALF_LIVES_S, HALF_LIVES_S)
    assert there is not None
    assert back is not None
    worker = Worker(maps={"v1": {"v2": back}, "v2": {"v1": there}})
    for number in range(9):
        worker.take(click(number))
    [before] = decode_state(worker.save()["anna"].state, "anna").sums
    worker.switch("v2")
    worker.save()
    worker.switch("v1")
    [after] = decode_state(worker.save()["anna"].state, "anna").sums
    assert after == before


def test_without_a_map_two_spaces_do_not_meet() -> None:
    worker = Worker(maps={version: {} for version in SIZES})
    for number in range(9):
        worker.take(click(number))
    before = decode_state(worker.save()["anna"].state, "anna").sums
    assert worker.switch("v4") == {"v1"}  # of the same dimension: only the version tells them apart
    assert not worker.older().sums.any()
    for number in range(9, 15):
        worker.take(click(number))
    state = decode_state(worker.save()["anna"].state, "anna")
    assert [part.encoder for part in state.sums] == ["v4", "v1"]
    assert state.sums[1] == before[0]
    # the map comes: all is there
    model = ProfileModel(shape_of("v4"))
    for number in range(15):
        model.take([click(number)], {*ITEMS})
    assert map_into(worker.table, worker.table.all_slots().tolist(), MAPS["v4"], CONFIG.half_life_s) == set()
    assert_knows_all(worker, model)


def test_a_head_sees_recents_and_sums_of_one_space() -> None:
    worker = Worker()
    for number in range(9):
        worker.take(click(number))
    slots = worker.table.find(["anna"])
    before = head_inputs(worker.table, slots, INDEXES["v1"], 3, CONFIG.half_life_s)
    worker.switch("v2")
    after = head_inputs(worker.table, slots, INDEXES["v2"], 3, CONFIG.half_life_s)
    for name in ("sums", "recent_vectors"):
        was, now = getattr(before, name), getattr(after, name)
        assert np.allclose(was @ turned("v2"), now, atol=1e-4), name
    assert np.array_equal(before.mass, after.mass)
    assert np.array_equal(before.recent_types, after.recent_types)


def test_events_that_waited_for_a_vector_are_folded_where_the_new_version_knows_it() -> None:
    worker = Worker()
    worker.take(click(1))
    slot = worker.table.slot_of["anna"]
    worker.table.pending.add(slot, PendingEvent(id_hash("new"), 0, 500, 77))
    worker.switch("v2")
    index = index_of("v2", (*ITEMS, "new"))
    assert fold_pending(worker.table, list(worker.table.pending.slots_by_item), index, CONFIG) == 1
    assert worker.table.pending.by_slot == {}
    expected = np.array(vector_of("new")) @ turned("v2")
    assert np.allclose(worker.older().sums[0] / worker.older().total_weight[0][:, None], expected, atol=1e-6)


def test_a_forgotten_user_carries_nothing() -> None:
    worker = Worker()
    for number in range(9):
        worker.take(click(number))
    worker.switch("v2")
    worker.table.wipe(worker.table.slot_of["anna"], 5)
    assert worker.older().time_ms[0] == NO_TIME
    assert not worker.older().sums.any()
    assert worker.table.other_sums == {}


def test_the_next_user_of_a_slot_carries_nothing() -> None:
    worker = Worker()
    for number in range(9):
        worker.take(click(number))
    worker.switch("v2")
    worker.table.evict(worker.table.all_slots())
    worker.table.allocate(["ben", "cleo", "dora", "emil"], PARTITION, 1)
    assert (worker.table.mapped_time == NO_TIME).all()
    assert not worker.table.mapped_sums.any()


def test_sums_go_on_under_the_nearest_half_life() -> None:
    to = EmbeddingMap(np.eye(2), 2, nearest_half_lives([10.0, 1_000.0], [900.0, 12.0, 1e7]), 1.0, 1)
    sums = np.array([[[1.0, 0.0], [0.0, 2.0]]])
    moved = to.apply(sums, np.array([[1.0, 2.0]]), np.array([5]))
    assert moved.sums.tolist() == [[[0.0, 2.0], [1.0, 0.0], [0.0, 2.0]]]
    assert moved.total_weight.tolist() == [[2.0, 1.0, 2.0]]


def test_a_part_of_another_size_is_left_as_it_is() -> None:
    worker = Worker("v2")
    odd = OtherSums("v1", b"\0" * 4 * DIMENSION, b"\0" * 4, 5)
    worker.table.allocate(["anna"], PARTITION, 1)
    worker.table.other_sums[worker.table.slot_of["anna"]] = [odd] * 4
    assert map_into(worker.table, [worker.table.slot_of["anna"]], MAPS["v2"], CONFIG.half_life_s) == set()
    assert worker.older().time_ms[0] == NO_TIME
    assert worker.table.other_sums == {worker.table.slot_of["anna"]: [odd] * 4}


def test_a_map_needs_items_that_both_know() -> None:
    assert fit(ItemIndex(3), INDEXES["v1"], HALF_LIVES_S, HALF_LIVES_S) is None
    apart = index_of("v2", ("other-1", "other-2"))
    assert fit(INDEXES["v1"], apart, HALF_LIVES_S, HALF_LIVES_S) is None
    few = index_of("v2", (*ITEMS[:2], "other-3"))
    few.remove([ITEMS[1]])
    only = fit(INDEXES["v1"], few, HALF_LIVES_S, HALF_LIVES_S)
    assert only is not None
    assert only.common == 1


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_map_says_how_much_it_explains(noise: float) -> None:
    rng = np.random.default_rng(3)
    items = tuple(f"i{n}" for n in range(500))
    vectors = rng.standard_normal((500, 8))
    a, b = ItemIndex(8), ItemIndex(8)
    a.put(items, vectors)
    b.put(items, vectors @ rng.standard_normal((8, 8)) / 8**0.5 + noise * rng.standard_normal((500, 8)))
    found = fit(a, b, [1.0], [1.0])
    assert found is not None
    snapshot = b.snapshot().items
    missed = np.square(vectors.astype(np.float32) @ found.matrix - snapshot).sum() / np.square(snapshot).sum()
    assert found.explained == pytest.approx(1 - missed, abs=1e-5)
    assert (found.explained > 1 - 1e-5) == (noise == 0.0)


@pytest.mark.parametrize("served_by", ["v1", "v2"])
def test_two_parts_of_one_version_are_added(served_by: str) -> None:
    """Regression: only the last part was kept, so that the events of the other were lost."""
    model, rows = ProfileModel(shape_of("v1")), []
    for first in (0, 20):
        worker = Worker()
        for number in range(first, first + 9):
            worker.take(click(number))
        rows.append(worker.save()["anna"])
    for number in (*range(6), *range(20, 26)):
        time_ms, item = 1_000 * number, ITEMS[number % len(ITEMS)]
        model.folded.append((time_ms, item, number % 3))
    states = [decode_state(row.state, row.user_id) for row in rows]
    states[0].sums += states[1].sums
    both = msgspec.structs.replace(rows[0], state=encode_state(states[0]))
    worker = Worker(served_by)
    worker.load({"anna": both})
    worker.switch("v1")
    assert_knows_all(worker, model)


def test_parts_of_one_version_in_memory_are_added_when_it_serves_again() -> None:
    worker = Worker("v2")
    parts = [
        OtherSums("v1", np.full((2, DIMENSION), n, "<f4").tobytes(), np.full(2, n, "<f4").tobytes(), 7) for n in (1, 2)
    ]
    worker.table.allocate(["anna"], PARTITION, 1)
    worker.table.other_sums[worker.table.slot_of["anna"]] = parts
    worker.switch("v1")
    assert worker.older().total_weight.tolist() == [[3.0, 3.0]]
