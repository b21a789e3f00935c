"""Groups: batches that wait together go together, in order, and only where they may."""

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
def test_every_batch_comes_once_in_order_and_groups_keep_their_rules(drawn: list[tuple[str, int, int]]) -> None:
    intake, batches = BatchQueue(10, TOGETHER), [batch_of(*one) for one in drawn]
    for one in batches:
        intake.add(one)
    groups = []
    while len(intake):
        groups.append(intake.take())
    assert intake.take() == []
    assert [batch for group in groups for batch in group] == batches
    for group in groups:
        assert len({batch.epoch for batch in group}) == 1
        assert len(group) == 1 or {batch.topic for batch in group} <= TOGETHER
        assert len(group) == 1 or sum(map(len, group)) <= 10
    # no two neighbours would have fitted together
    for first, second in pairwise(groups):
        fits = sum(map(len, first)) + len(second[0]) <= 10 and first[0].epoch == second[0].epoch
        assert not (fits and {first[0].topic, second[0].topic} <= TOGETHER)


def test_it_holds_back_who_brings_more_than_a_group_and_goes_on_when_it_is_taken() -> None:
    async def story() -> None:
        intake, groups, gate = BatchQueue(10, TOGETHER), [], asyncio.Event()

        async def step(group: list[RecordBatch], entered: Callable[[], None]) -> None:
            groups.append(sum(map(len, group)))
            await gate.wait()

        async def bring() -> None:
            for _ in range(6):
                await intake.put(batch_of("clicks", 4))

        working, bringing = asyncio.create_task(intake.run_forever(step)), asyncio.create_task(bring())
        for _ in range(20):
            await asyncio.sleep(0)
        assert groups == [8]
        assert not bringing.done()
        assert len(intake) == 3  # 12 records: enough
        gate.set()
        await asyncio.wait_for(bringing, 5)
        async with asyncio.timeout(5):
            while sum(groups) < 24:
                await asyncio.sleep(0)
        assert max(groups) == groups[1] == 8
        working.cancel()

    asyncio.run(story())


def test_a_step_that_fails_ends_the_work() -> None:
    async def story() -> None:
        intake = BatchQueue(10, TOGETHER)
        intake.add(batch_of("clicks", 1))

        async def step(group: list[RecordBatch], entered: Callable[[], None]) -> None:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await intake.run_forever(step)

    asyncio.run(story())


def test_the_next_group_is_begun_once_the_last_lets_it_and_a_failure_ends_all() -> None:
    async def story() -> None:
        intake, begun, gates = BatchQueue(10, TOGETHER), [], [asyncio.Event() for _ in range(3)]
        ended = []

        async def step(group: list[RecordBatch], entered: Callable[[], None]) -> None:
            number = len(begun)
            begun.append(entered)
            try:
                await gates[number].wait()
                if number == 0:
                    raise ValueError("broken")
            finally:
                ended.append(number)

        for _ in range(3):
            intake.add(batch_of("clicks", 8))
        working = asyncio.create_task(intake.run_forever(step))
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
