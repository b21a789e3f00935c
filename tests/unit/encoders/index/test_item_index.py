import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.index.hashtable import HashTable
from encoders.index.item_index import NO_OFFER, OFFERED, CatalogPosition, ItemIndex
from schemas.ids import id_hash, id_hashes
from tests.unit.encoders.reference import random_unit

D = 3


class Model:
    """What the index should hold, one item at a time, in dicts."""

    def __init__(self) -> None:
        self.items: dict[str, tuple[list[float], float, bool]] = {}
        self.offers: dict[str, int] = {}
        self.seen: dict[str, tuple[str, int, int]] = {}

    def put(self, item_id: str, vector: list[float], bias: float, shown: bool, source: CatalogPosition | None) -> bool:
        if not np.isfinite(vector).all():
            return False
        if source is not None and source.topic_id:
            last = self.seen.get(item_id)
            if last is not None and last[:2] == source[:2] and source.offset < last[2]:
                return False
            self.seen[item_id] = source
        self.items[item_id] = (vector, bias, shown)
        return True

    def bias(self, item_id: str) -> float:
        """Of an item that is known: -inf if it must not be recommended."""
        _, bias, shown = self.items[item_id]
        return bias if self.offers.get(item_id, shown) else -np.inf


ids = st.sampled_from([f"item-{i}" for i in range(6)])
numbers = st.floats(-5, 5, width=32)
vectors = st.lists(numbers | st.just(float("nan")), min_size=D, max_size=D)
sources = st.none() | st.builds(
    CatalogPosition, st.sampled_from(["", "t1", "t2"]), st.integers(0, 1), st.integers(0, 5)
)
put = st.tuples(st.just("put"), st.lists(st.tuples(ids, vectors, numbers, st.booleans(), sources), max_size=8))
offers = st.tuples(st.just("offer"), st.lists(st.tuples(ids, st.sampled_from([NO_OFFER, 0, OFFERED])), max_size=4))
others = st.tuples(st.sampled_from(["withdraw", "remove"]), st.lists(ids, max_size=3))


@settings(max_examples=150, deadline=None)
@given(st.lists(put | offers | others, max_size=12))
def test_any_batches_leave_what_single_steps_leave(steps: list[tuple[str, list[Any]]]) -> None:
    index, model = ItemIndex(D, capacity=1), Model()
    for what, batch in steps:
        if what == "put":
            columns = list(zip(*batch, strict=True)) or [[]] * 5
            applied = index.put(columns[0], np.array(columns[1], np.float32), columns[2], columns[3], columns[4])
            assert applied.tolist() == [model.put(*entry) for entry in batch]
        elif what == "offer":
            index.offer([item_id for item_id, _ in batch], [state for _, state in batch])
            model.offers |= dict(batch)
            model.offers = {item_id: state for item_id, state in model.offers.items() if state != NO_OFFER}
        elif what == "withdraw":
            known = {item_id for item_id in batch if item_id in model.items}
            model.items |= {item_id: (*model.items[item_id][:2], False) for item_id in known}
            assert index.withdraw(batch) == len(known)
        else:
            known = {item_id for item_id in batch if model.items.pop(item_id, None)}
            assert index.remove(batch) == len(known)
    assert len(index) == len(model.items)
    every = [f"item-{i}" for i in range(6)]
    rows = index.rows(id_hashes(every))
    snapshot = index.snapshot()
    for item_id, row, vector, shown in zip(every, rows, index.gather(rows), index.available(rows), strict=True):
        expected_vector = model.items[item_id][0] if item_id in model.items else [0.0] * D
        expected_bias = model.bias(item_id) if item_id in model.items else -np.inf
        np.testing.assert_array_equal(vector, expected_vector)
        assert shown == (expected_bias > -np.inf)
        assert (row >= 0) == (item_id in model.items)
        if row >= 0:
            assert index.item_ids[row] == item_id
            np.testing.assert_array_equal(snapshot.items[row], expected_vector)
            assert snapshot.bias[row] == np.float32(expected_bias)
    found = index.known_vectors(every)
    assert found.keys() == model.items.keys()
    for item_id, (vector, bias) in found.items():
        np.testing.assert_array_equal(vector, model.items[item_id][0])
        assert bias == np.float32(model.items[item_id][1])
    hidden = np.delete(snapshot.bias, rows[rows >= 0])
    assert (hidden == -np.inf).all()  # removed rows never come out of a ranking


def test_an_older_update_of_the_same_source_is_ignored_and_another_source_is_not() -> None:
    index = ItemIndex(2)

    def update(value: float, *source: Any) -> bool:
        return bool(index.put(["a"], [[value, 0.0]], sources=[CatalogPosition(*source)])[0])

    assert update(1.0, "topic", 0, 10)
    assert not update(2.0, "topic", 0, 7)
    assert not update(2.5, "topic", 0, 9)  # an update that was ignored does not lower the bar
    assert update(3.0, "topic", 0, 10)  # the same record once more
    index.remove(["a"])
    assert not update(4.0, "topic", 0, 9)  # nor does it come back by an update from before
    assert index.row("a") == -1
    assert update(5.0, "recreated", 0, 0)
    assert update(6.0, "recreated", 1, 0)
    assert index.gather(index.rows(id_hashes(["a"])))[0, 0] == 6.0


def test_a_removed_item_returns_to_its_row() -> None:
    index = ItemIndex(2)
    index.put(["a", "b"], np.eye(2))
    row = index.row("a")
    index.remove(["a", "unknown"])
    assert (index.row("a"), len(index)) == (-1, 1)
    index.put(["c", "a"], np.ones((2, 2)))
    assert (index.row("a"), len(index)) == (row, 3)
    assert index.item_ids == ["a", "b", "c"]


def test_a_withdrawn_item_keeps_its_vector_and_comes_back() -> None:
    index = ItemIndex(2)
    index.put(["a"], [[3.0, 4.0]], [0.5])
    index.withdraw(["a"])
    rows = index.rows(id_hashes(["a"]))
    np.testing.assert_array_equal(index.gather(rows), [[3.0, 4.0]])
    assert not index.available(rows)[0]
    index.put(["a"], [[3.0, 4.0]], [0.5], [False])
    assert not index.available(rows)[0]
    index.put(["a"], [[3.0, 4.0]], [0.5], [True])
    assert index.available(rows)[0]


def test_an_offer_goes_before_the_catalog_whichever_comes_first() -> None:
    index = ItemIndex(2)
    index.put(["a", "b"], np.eye(2), [0.5, 0.25], [True, False])
    index.offer(["a", "b", "later"], [0, OFFERED, 0])
    index.put(["later", "a"], np.ones((2, 2)), [1.0, 0.75])
    rows = index.rows(id_hashes(["a", "b", "later"]))
    assert index.snapshot().bias[rows].tolist() == [-np.inf, 0.25, -np.inf]
    index.offer(["a", "b", "later"], [NO_OFFER] * 3)
    assert index.snapshot().bias[rows].tolist() == [0.75, -np.inf, 1.0]


def test_an_offer_that_changes_nothing_leaves_the_version() -> None:
    index = ItemIndex(2)
    index.put(["a"], np.ones((1, 2)))
    index.offer(["a"], [0])
    version = index.snapshot().version
    index.offer(["a", "a", "unknown"], [OFFERED, 0, 0])
    assert index.snapshot().version == version


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf, 0.0], [3e30, 0.0]])
def test_a_vector_that_would_spoil_every_score_is_left_out_and_costs_its_batch_nothing(bad: list[float]) -> None:
    index = ItemIndex(2)
    assert index.put(["a", "b"], [bad, [1.0, 0.0]]).tolist() == [False, True]
    assert index.row("a") == -1
    assert index.put(["b", "c", "d"], np.ones((3, 2)), [np.nan, np.inf, -np.inf]).tolist() == [False, False, True]
    assert np.isfinite(index.snapshot().items).all()


def test_shapes_that_disagree_are_refused() -> None:
    index = ItemIndex(2)
    with pytest.raises(ValueError, match=r"vectors of shape \(1, 3\) for 1 items of dimension 2"):
        index.put(["a"], [[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="one entry for each of the 2 items"):
        index.put(["a", "b"], np.eye(2), bias=[1.0])
    with pytest.raises(ValueError, match="one entry for each of the 2 items"):
        index.put(["a", "b"], np.eye(2), sources=[None])


def test_lookups_keep_any_shape_and_unknown_is_minus_one_and_zeros() -> None:
    index = ItemIndex(2)
    index.put(["a", "b"], np.eye(2))
    hashes = id_hashes(["a", "x", "b", "b", "y", "a"]).reshape(1, 3, 2)
    rows = index.rows(hashes)
    np.testing.assert_array_equal(rows, [[[0, -1], [1, 1], [-1, 0]]])
    gathered = index.gather(rows)
    assert gathered.shape == (1, 3, 2, 2)
    assert not gathered[rows < 0].any()
    np.testing.assert_array_equal(gathered[0, 1], [[0, 1], [0, 1]])
    assert index.rows(np.zeros((0, 4), np.uint64)).shape == (0, 4)
    assert index.gather(np.zeros((0, 4), np.int64)).shape == (0, 4, 2)


def test_an_empty_index_answers() -> None:
    index = ItemIndex(2, capacity=1)
    snapshot = index.snapshot()
    assert (snapshot.items.shape, snapshot.bias.shape, len(index)) == ((0, 2), (0,), 0)
    assert index.rows(id_hashes(["a"])).tolist() == [-1]
    assert index.gather(np.array([-1])).tolist() == [[0.0, 0.0]]
    assert index.available(np.array([-1])).tolist() == [False]
    assert index.put([], np.zeros((0, 2))).shape == (0,)


def test_a_snapshot_is_untouched_by_growth_and_names_its_version() -> None:
    index, other = ItemIndex(2, capacity=2), ItemIndex(2)
    index.put(["a", "b"], np.eye(2))
    before = index.snapshot()
    assert index.snapshot().version == before.version
    assert np.shares_memory(before.items, index.snapshot().items)
    index.put([f"new-{i}" for i in range(1000)], np.ones((1000, 2)))
    index.put(["a"], [[9.0, 9.0]])
    np.testing.assert_array_equal(before.items, np.eye(2))
    after = index.snapshot()
    assert len({before.version, after.version, other.snapshot().version}) == 3
    index.withdraw(["a"])
    assert index.snapshot().version != after.version


def test_a_hundred_thousand_items_are_an_array_operation(rng: np.random.Generator) -> None:
    index = ItemIndex(64)
    names = [f"item-{i}" for i in range(100_000)]
    values = random_unit(rng, 100_000, 64)
    for start in range(0, 100_000, 5_000):
        index.put(names[start : start + 5_000], values[start : start + 5_000])
    order = rng.permutation(100_000)
    rows = index.rows(id_hashes([names[i] for i in order]))
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_array_equal(index.gather(rows[:1000]), values[order[:1000]])
    assert index.nbytes / len(index) < 500  # 256 of them the vector


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sets(st.integers(0, 40) | st.integers(0, 3).map(lambda i: i << 60), max_size=20), max_size=6))
def test_hashes_that_meet_in_a_slot_are_kept_apart(batches: list[set[int]]) -> None:
    """Small numbers and high bits alone: slots are shared and runs of taken slots are long; 0 is a hash like others."""
    table, model = HashTable(1), dict[int, int]()
    for batch in batches:
        new = [h for h in batch if h not in model]
        rows = range(len(model), len(model) + len(new))
        table.insert(np.array(new, np.uint64), np.array(rows, np.int64))
        model |= dict(zip(new, rows, strict=True))
    asked = [*range(50), *(i << 60 for i in range(5)), 2**64 - 1]
    found = table.lookup(np.array(asked, np.uint64))
    assert found.tolist() == [model.get(h, -1) for h in asked]
    assert len(table) == len(model)


def test_one_id_and_many_find_the_same_row() -> None:
    index = ItemIndex(2)
    index.put(["a", "b"], np.eye(2))
    assert index.row("b") == index.rows(np.array([id_hash("b")], np.uint64))[0] == 1


def test_what_is_looked_up_while_the_table_grows_is_found() -> None:
    """Regression: a thread could see the keys of a grown table with the rows of the former one, beyond their end."""
    hashes = np.random.default_rng(0).permutation(
        np.arange(1, 400_001, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    )
    rows = np.arange(len(hashes))
    table, first = HashTable(16), 64
    table.insert(hashes[:first], rows[:first])

    def grow() -> None:
        for start in range(first, len(hashes), 1_000):
            table.insert(hashes[start : start + 1_000], rows[start : start + 1_000])

    thread = threading.Thread(target=grow)
    thread.start()
    while thread.is_alive():
        assert np.array_equal(table.lookup(hashes[:first]), rows[:first])
    thread.join()
    assert np.array_equal(table.lookup(hashes), rows)
