"""Orders through the pipeline: an order is one record, whatever its number of lines."""

from typing import Any

import pytest

from streams.checkpoint.stored_profile import hashes
from streams.decode.event_batch import EventBatch
from tests.unit.streams.in_memory.worker import SimWorker
from tests.unit.streams.in_memory.world import ITEMS, World
from tests.unit.streams.pipeline.test_profile_loader import ROWS, owner_of, store_row, work_through

pytestmark = pytest.mark.usefixtures("no_time")

ANNA = "anna"
PURCHASE = 2


def count(worker: SimWorker, outcome: str, topic: str = "purchases") -> float:
    labels = {"namespace": "", "topic": topic, "outcome": outcome}
    return worker.metrics.registry.get_sample_value("prefstream_events_total", labels) or 0.0


async def test_an_order_counts_line_by_line_in_the_profile_and_as_one_record_in_the_metrics(world: World) -> None:
    name = world.produce(ANNA, PURCHASE, 1_000, lines=ITEMS)
    world.produce(ANNA, PURCHASE, 1_000, event_id=name, lines=ITEMS[::-1])
    worker = await owner_of(world)
    await work_through(worker)
    state = world.states()[ANNA]
    assert (state.counters.applied, state.counters.duplicates) == ([0, 0, len(ITEMS)], 1)
    assert (count(worker, "applied"), count(worker, "duplicate")) == (1, 1)
    assert len(hashes(state.seen_ids)) == 1
    worker.kill()
    world.committed.clear()
    successor = await owner_of(world)
    await work_through(successor)
    assert (count(successor, "replayed"), world.states()[ANNA]) == (2, state)


async def test_a_misplaced_order_is_rerouted_once_and_counts_once(world: World) -> None:
    world.produce(ANNA, PURCHASE, 1_000, misplaced=True, lines=ITEMS)
    worker = await owner_of(world)
    for _ in range(2):
        await work_through(worker)
    assert [len(log) for tp, log in world.logs.items() if tp.topic == "rerouted" and log] == [1]
    assert world.states()[ANNA].counters.applied == [0, 0, len(ITEMS)]
    assert (count(worker, "rerouted"), count(worker, "applied", "rerouted")) == (1, 1)


async def test_an_order_of_a_user_whose_row_cannot_be_read_becomes_one_dead_letter(world: World) -> None:
    store_row(world, ANNA, ROWS["damaged"][1])
    world.produce(ANNA, PURCHASE, 1_000, lines=ITEMS)
    worker = await owner_of(world)
    await work_through(worker)
    assert [refused.record.offset for refused in worker.emitter.refused] == [0]


async def test_the_cause_of_a_list_is_the_first_line_of_the_order(world: World) -> None:
    causes: list[tuple[str, str]] = []

    def refresh(events: EventBatch, _slots: Any, indices: Any, _term: int) -> None:
        causes.extend((events.event_ids[index], events.item_ids[index]) for index in indices.tolist())

    worker = await owner_of(world)
    worker.recommender.refresh = refresh
    world.produce(ANNA, 0, 1_000)
    order = world.produce(ANNA, PURCHASE, 2_000, lines=[ITEMS[2], ITEMS[0]])
    await work_through(worker)
    assert causes == [(order, ITEMS[2])]


async def test_trending_counts_each_line_of_an_order(world: World) -> None:
    worker = await owner_of(world)
    world.produce(ANNA, PURCHASE, 1_000, lines=ITEMS[:2])
    await work_through(worker)
    assert {item for item, _ in worker.trending.ranked()} == set(ITEMS[:2])


async def test_purchases_that_a_profile_has_no_room_for_are_counted(world: World) -> None:
    worker = await owner_of(world)
    world.produce(ANNA, PURCHASE, 1_000, lines=ITEMS)  # profiles of this world remember two items
    await work_through(worker)
    dropped = worker.metrics.registry.get_sample_value("prefstream_purchases_dropped_total", {"namespace": ""})
    assert dropped == len(ITEMS) - 2
