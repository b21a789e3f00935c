"""Actions through the pipeline: they count once, whatever dies, and give their user a new list."""

import json
from typing import Any

import pytest
from faust.types import TP

from schemas.actions import CAUSE_TYPES
from schemas.ids import id_hash
from streams.decode.event_batch import EventBatch
from tests.unit.streams.actions import action
from tests.unit.streams.in_memory.worker import SimWorker
from tests.unit.streams.in_memory.world import BASE_MS, ITEMS, PARTITIONS, World, right_partition
from tests.unit.streams.pipeline.test_profile_loader import ROWS, forget, owner_of, store_row, work_through

pytestmark = pytest.mark.usefixtures("no_time")

ANNA = "anna"


def send(world: World, kind: str, event_id: str, misplaced: bool = False, **more: Any) -> None:
    partition = right_partition(ANNA)
    value = action(kind, event_id, BASE_MS + 1_000, ANNA, **more)
    world.append(TP("actions", (partition + misplaced) % PARTITIONS), json.dumps(value).encode())


def count(worker: SimWorker, outcome: str, topic: str = "actions") -> float:
    labels = {"namespace": "", "topic": topic, "outcome": outcome}
    return worker.metrics.registry.get_sample_value("prefstream_events_total", labels) or 0.0


async def test_actions_count_once_in_a_profile_that_a_killed_worker_saved(world: World) -> None:
    world.produce(ANNA, 2, 1_000)
    send(world, "refund", "r1", item_id=ITEMS[0])
    send(world, "refund", "r1", item_id=ITEMS[0])  # sent twice
    send(world, "hide", "h1", misplaced=True, item_id=ITEMS[1])
    worker = await owner_of(world)
    for _ in range(2):
        await work_through(worker)
    state = world.states()[ANNA]
    assert state.actions is not None
    assert (set(state.actions.refunds), set(state.actions.hidden_items)) == ({id_hash(ITEMS[0])}, {id_hash(ITEMS[1])})
    assert (count(worker, "applied"), count(worker, "duplicate"), count(worker, "rerouted")) == (1, 1, 1)
    worker.kill()
    world.committed.clear()
    successor = await owner_of(world)
    for _ in range(2):
        await work_through(successor)
    assert world.states()[ANNA] == state
    assert count(successor, "replayed") == 2


async def test_the_cause_of_a_list_is_the_action(world: World) -> None:
    causes: list[tuple[str, str, str]] = []

    def refresh(events: EventBatch, _: Any, of: Any, __: int) -> None:
        causes.extend((CAUSE_TYPES[events.types[at]], events.event_ids[at], events.item_ids[at]) for at in of.tolist())

    send(world, "hide", "h1", brand="Leaf")
    worker = await owner_of(world)
    worker.pipeline._recommender.refresh = refresh  # type: ignore[method-assign]
    await work_through(worker)
    send(world, "refund", "r1", item_id="red")
    send(world, "consent", "c1", given=True)
    await work_through(worker)
    assert causes == [("hide", "h1", ""), ("refund", "r1", "red")]


async def test_a_list_after_a_first_action_has_its_time(world: World) -> None:
    """Regression: after a removal from the cart by a user without events, the list was of the time -1."""
    send(world, "cart_removal", "r1", item_id="red")
    worker = await owner_of(world)
    await work_through(worker)
    assert worker.table.newest_ms(worker.table.find([ANNA])).tolist() == [BASE_MS + 1_000]
    worker.kill()
    successor = await owner_of(world)
    send(world, "consent", "c1", given=True)
    await work_through(successor)
    actions = world.states()[ANNA].actions
    assert actions is not None
    assert actions.time_ms == BASE_MS + 1_000


async def test_impressions_are_counted_and_load_no_profile(world: World) -> None:
    send(world, "impression", "i1", items=["red", "blue"], placement="home")
    send(world, "impression", "i2", misplaced=True, items=["red", {}, "blue"])
    worker = await owner_of(world)
    for _ in range(2):
        await work_through(worker)
    assert world.states() == {}
    counted = worker.metrics.registry.get_sample_value(
        "prefstream_actions_total", {"namespace": "", "action": "impression"}
    )
    assert (counted, count(worker, "applied"), count(worker, "applied", "rerouted")) == (2, 1, 1)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"no json", "malformed"),
        (b'{"command": "forget", "user_id": "anna", "requested_ms": 1}', "missing-field"),
        (json.dumps(action("forget", "x")).encode(), "out-of-range"),
        (json.dumps(action("refund", "x")).encode(), "missing-field"),
        (json.dumps(action("hide", "x")).encode(), "missing-field"),
        (json.dumps(action("consent", "x")).encode(), "missing-field"),
        (json.dumps(action("impression", "x", items=[])).encode(), "out-of-range"),
        (json.dumps(action("refund", "x", 5, item_id="red")).encode(), "out-of-range"),
        (json.dumps(action("refund", "x", BASE_MS + 10**12, item_id="red")).encode(), "time-in-future"),
        (None, "null-value"),
    ],
)
async def test_a_record_that_is_no_action_is_a_dead_letter(world: World, value: bytes | None, reason: str) -> None:
    world.append(TP("actions", 0), value)
    worker = await owner_of(world)
    await work_through(worker)
    assert [refused.letter.reason for refused in worker.emitter.refused] == [reason]
    assert world.states() == {}


async def test_an_action_is_no_command(world: World) -> None:
    world.append(TP("profile-commands", 0), json.dumps(action("refund", "x", item_id="red")).encode())
    worker = await owner_of(world)
    await work_through(worker)
    assert [refused.letter.reason for refused in worker.emitter.refused] == ["missing-field"]


async def test_actions_of_a_user_whose_row_cannot_be_read_become_dead_letters(world: World) -> None:
    store_row(world, ANNA, ROWS["damaged"][1])
    send(world, "refund", "r1", item_id="red")
    worker = await owner_of(world)
    await work_through(worker)
    assert [refused.letter.reason for refused in worker.emitter.refused] == ["profile-unreadable"]


async def test_a_forgotten_user_leaves_no_action(world: World) -> None:
    send(world, "hide", "h1", item_id="red")
    forget(world, ANNA)
    worker = await owner_of(world)
    await work_through(worker)
    assert not world.states()[ANNA].actions
