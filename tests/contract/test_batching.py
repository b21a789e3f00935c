"""Packing rows into requests, and keeping several of those in flight."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.stores.batching import batches, in_lanes

sized = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)))


@given(sized, st.integers(1, 5), st.integers(1, 60))
def test_every_item_is_in_one_batch_of_its_key_within_the_limits(items, max_items, max_bytes):
    keyed = [(key, size, (number, key, size)) for number, (key, size) in enumerate(items)]
    packed = list(batches(keyed, max_items, max_bytes))
    assert sorted(item for batch in packed for item in batch) == [item for _, _, item in keyed]
    for batch in packed:
        assert 1 <= len(batch) <= max_items
        assert len({key for _, key, _ in batch}) == 1
        assert len(batch) == 1 or sum(size for _, _, size in batch) <= max_bytes
        assert batch == sorted(batch)


@given(st.lists(st.sampled_from("ab"), max_size=60))
def test_no_more_batches_than_needed_when_all_sizes_are_equal(keys):
    packed = list(batches(((key, 10, key) for key in keys), max_items=20, max_bytes=70))
    assert len(packed) == sum(-(-keys.count(key) // 7) for key in "ab")


async def test_lanes_do_every_item_and_no_more_at_a_time_than_allowed():
    running, most, done = 0, 0, []

    async def work(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done.append(item)

    await in_lanes(work, iter(range(50)), 4)
    assert sorted(done) == list(range(50))
    assert most == 4


async def test_the_first_error_ends_the_lanes():
    started = []

    async def work(item: int) -> None:
        started.append(item)
        if item == 1:
            raise ValueError("one")
        await asyncio.Event().wait()

    with pytest.raises(ValueError, match="one"):
        await in_lanes(work, range(50), 3)
    await asyncio.sleep(0)
    assert started == [0, 1, 2]
    assert len(asyncio.all_tasks()) == 1


async def test_no_items_are_no_work():
    async def work(item: int) -> None:
        raise AssertionError(item)

    await in_lanes(work, [], 3)
