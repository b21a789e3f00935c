"""Micro-batches: batches that wait together go together, in order, and only where they may."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.fetch.record_batch import RecordBatch
from streams.pipeline.batch_queue import BatchQueue

TOGETHER = {"clicks", "browses"}


def batch_of(topic: str, records: int, epoch: int = 0) -> RecordBatch:
    return RecordBatch(TP(topic, 0), [None] * records, epoch)


arrivals = st.lists(
    st.tuples(st.sampled_from(["clicks", "browses", "rerouted"]), st.integers(1, 12), st.integers(0, 1)), max_size=20
)


@given(arrivals)
def test_every_batch_comes_once_in_order_and_micro_batches_keep_their_rules(drawn: list[tuple[str, int, int]]) -> None:
    queue, batches = BatchQueue(10, TOGETHER), [batch_of(*arrival) for arrival in drawn]
    for batch in batches:
        queue.add(batch)
    micro_batches = []
    while len(queue):
        micro_batches.append(queue.take())
    assert queue.take() == []
    assert [batch for micro_batch in micro_batches for batch in micro_batch] == batches
    for micro_batch in micro_batches:
        assert len({batch.epoch for batch in micro_batch}) == 1
        assert len(micro_batch) == 1 or {batch.topic for batch in micro_batch} <= TOGETHER
        assert len(micro_batch) == 1 or sum(map(len, micro_batch)) <= 10
    # no two neighbours would have fitted together
    for first, second in pairwise(micro_batches):
        fits = sum(map(len, first)) + len(second[0]) <= 10 and first[0].epoch == second[0].epoch
        assert not (fits and {first[0].topic, second[0].topic} <= TOGETHER)


def test_it_holds_back_who_brings_more_than_a_micro_batch_and_goes_on_when_it_is_taken() -> None:
    async def story() -> None:
        queue, micro_batches, gate = BatchQueue(10, TOGETHER), [], asyncio.Event()

        async def step(micro_batch: list[RecordBatch], entered: Callable[[], None]) -> None:
            micro_batches.append(sum(map(len, micro_batch)))
            await gate.wait()

        async def bring() -> None:
            for _ in range(6):
                await queue.put(batch_of("clicks", 4))

        working, bringing = asyncio.create_task(queue.run_forever(step)), asyncio.create_task(bring())
        for _ in range(20):
            await asyncio.sleep(0)
        assert micro_batches == [8]
        assert not bringing.done()
        assert len(queue) == 3  # 12 records: enough
        gate.set()
        await asyncio.wait_for(bringing, 5)
        async with asyncio.timeout(5):
            while sum(micro_batches) < 24:
                await asyncio.sleep(0)
        assert max(micro_batches) == micro_batches[1] == 8
        working.cancel()

    asyncio.run(story())


def test_a_step_that_fails_ends_the_work() -> None:
    async def story() -> None:
        queue = BatchQueue(10, TOGETHER)
        queue.add(batch_of("clicks", 1))

        async def step(micro_batch: list[RecordBatch], entered: Callable[[], None]) -> None:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await queue.run_forever(step)

    asyncio.run(story())


def test_the_next_micro_batch_starts_once_the_last_lets_it_and_a_failure_ends_all() -> None:
    async def story() -> None:
        queue, begun, gates = BatchQueue(10, TOGETHER), [], [asyncio.Event() for _ in range(3)]
        ended = []

        async def step(micro_batch: list[RecordBatch], entered: Callable[[], None]) -> None:
            number = len(begun)
            begun.append(entered)
            try:
                await gates[number].wait()
                if number == 0:
                    raise ValueError("broken")
            finally:
                ended.append(number)

        for _ in range(3):
            queue.add(batch_of("clicks", 8))
        working = asyncio.create_task(queue.run_forever(step))
        await turns()
        assert len(begun) == 1
        begun[0]()
        await turns()
        assert len(begun) == 2
        await turns()
        assert len(begun) == 2  # the second has not let it
        gates[0].set()
        with pytest.raises(ValueError, match="broken"):
            await asyncio.wait_for(working, 5)
        await turns()
        assert ended == [0, 1]  # and the second was cut off
        assert len(begun) == 2

    asyncio.run(story())


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
