"""What must hold at the edges of an assignment, a story a test."""

import asyncio
from typing import Any

import pytest
from faust.types import TP

from streams.checkpoint.stored_profile import hashes
from streams.kafka.topic_ids import BrokerSilent
from streams.pipeline.batch_queue import BatchQueue
from streams.stores.base import StoreMisconfigured
from tests.unit.streams.in_memory.worker import SimWorker
from tests.unit.streams.in_memory.world import NAMES, TOMBSTONES_AFTER_S, World, right_partition, turns

pytestmark = pytest.mark.usefixtures("no_time")

EVERYTHING = frozenset({0, 1})
ANNA = "anna"
HOME = right_partition(ANNA)


async def assign(worker: SimWorker, partitions: frozenset[int] = EVERYTHING) -> None:
    for partition in partitions:
        worker.world.owner[partition] = worker
    worker.take_assignment(partitions)
    await turns()


async def owner_of(world: World, **options: Any) -> SimWorker:
    """A worker that owns all partitions."""
    worker = SimWorker(world, **options)
    await assign(worker)
    return worker


def fetch_all(worker: SimWorker, most: int = 100) -> None:
    """Fetch what is new in each log; nothing works on it yet."""
    for tp in worker.partitions():
        worker.fetch(tp, most)


async def work_through(worker: SimWorker) -> None:
    fetch_all(worker)
    await drain(worker)


async def click(worker: SimWorker, *times_ms: int) -> None:
    """Let Anna click at these times, and the worker work through it."""
    for time_ms in times_ms:
        worker.world.produce(ANNA, 0, time_ms)
    await work_through(worker)


def forget_anna(worker: SimWorker) -> None:
    """Write the command to forget Anna; nobody has read it yet."""
    worker.world.append(TP("profile-commands", HOME), b'{"command":"forget","user_id":"anna","requested_ms":1}')


def committed(world: World) -> int:
    """The committed offset of Anna's clicks."""
    return world.committed[TP("clicks", HOME)]


async def count_an_event_each(worker: SimWorker, users: int) -> list[str]:
    """Let so many users have an event; returns their ids."""
    names = [f"user-{number}" for number in range(users)]
    for number, user in enumerate(names):
        worker.world.produce(user, 0, 1_000 + number)
    await work_through(worker)
    return names


async def hold_a_save(world: World) -> SimWorker:
    """Count an event of Anna's, and begin a checkpoint whose save does not end yet."""
    worker = await owner_of(world)
    await click(worker, 1_000)
    world.store.holding = True
    worker.start(worker.checkpoint.run())
    await turns()
    return worker


async def drain(worker: SimWorker) -> None:
    """Work on what was fetched."""
    for _ in range(len(worker.queue)):
        worker.work()
        await turns()
    assert not len(worker.queue)


async def checkpoint(worker: SimWorker) -> bool:
    saving = worker.start(worker.checkpoint.run())
    await turns()
    worker.commit()
    return bool(saving.result())


def applied(world: World, user: str = ANNA) -> int:
    state = world.states().get(user)
    return sum(state.counters.applied) if state is not None else 0


async def test_a_checkpoint_saves_what_was_processed_and_only_then_are_offsets_committed(world: World) -> None:
    worker = await owner_of(world)
    await click(worker, 1_000)
    worker.commit()
    assert committed(world) == 0
    assert await checkpoint(worker)
    assert (applied(world), committed(world)) == (1, 1)
    assert worker.table.dirty_count == 0


@pytest.mark.parametrize("mishap", ["store away", "not confirmed"])
async def test_a_checkpoint_that_fails_acks_nothing_and_the_next_one_makes_up_for_it(world: World, mishap: str) -> None:
    worker = await owner_of(world)
    await click(worker, 1_000)
    world.store.broken = mishap == "store away"
    worker.emitter.confirming = mishap != "not confirmed"
    assert not await checkpoint(worker)
    assert committed(world) == 0
    assert worker.table.dirty_count == 1
    assert not worker.table.saving.any()
    world.store.broken, worker.emitter.confirming = False, True
    assert await checkpoint(worker)
    assert (applied(world), committed(world)) == (1, 1)


async def test_a_setting_that_no_retry_mends_ends_the_checkpoint_and_leaves_users_dirty(world: World) -> None:
    worker = await owner_of(world)
    await click(worker, 1_000)
    world.store.refusal = StoreMisconfigured("the keyspace is another one's")
    with pytest.raises(StoreMisconfigured):
        await checkpoint(worker)
    assert worker.table.dirty_count == 1
    assert not worker.table.saving.any()


async def test_an_event_that_comes_while_its_user_is_being_saved_is_in_the_next_save(world: World) -> None:
    worker = await owner_of(world)
    await click(worker, 1_000)
    world.store.holding = True
    saving = worker.start(worker.checkpoint.run())
    await turns()
    await click(worker, 2_000)
    world.store.holding = False
    world.store.release(True)
    await turns()
    worker.commit()
    assert saving.result()
    assert (applied(world), committed(world)) == (1, 1)
    assert worker.table.dirty_count == 1
    await checkpoint(worker)
    assert (applied(world), committed(world)) == (2, world.logs[TP("clicks", HOME)][-1].offset + 1)


@pytest.mark.parametrize("who", ["asked for", "handing over", "cancelled", "much is dirty", "a backlog"])
async def test_a_save_takes_its_time_until_somebody_waits_for_it(world: World, who: str) -> None:
    worker = await owner_of(world, count_every_s=0.0, many_records=2)
    await click(worker, 1_000)
    world.store.holding = True
    saving = worker.start(worker.checkpoint.run(over_s=60.0))
    await turns()
    pace = world.store.pace
    assert pace is not None
    assert not pace.hurried
    if who == "asked for":
        worker.checkpoint.request()
    elif who == "handing over":
        worker.start(worker.checkpoint.run())
    elif who == "cancelled":
        saving.cancel()
    elif who == "a backlog":
        await click(worker, 2_000)
        assert not pace.hurried
        for number in range(2):
            world.produce(ANNA, 0, 3_000 + number)
        await work_through(worker)
    else:
        worker.table.dirty[: worker.table.capacity // 4] = True  # half of what may be
        await click(worker, 2_000)
    await turns()
    assert pace.hurried


async def test_a_save_of_many_users_takes_several_calls_of_the_store_and_misses_nobody(world: World) -> None:
    worker = await owner_of(world)
    users = await count_an_event_each(worker, 5)
    assert await checkpoint(worker)
    assert world.store.saves == [2, 2, 1]
    assert world.store.pace is not None
    assert world.store.pace.parts == 5
    assert [applied(world, user) for user in users] == [1] * 5


async def test_a_save_that_fails_halfway_acks_nothing(world: World) -> None:
    worker = await owner_of(world)
    users = await count_an_event_each(worker, 5)
    world.store.holding = True
    saving = worker.start(worker.checkpoint.run())
    for succeeds in (True, False):
        await turns()
        world.store.release(succeeds)
    await turns()
    assert saving.result() is False
    assert len(world.store.saves) == 2
    worker.commit()
    assert set(world.committed.values()) <= {0}
    assert worker.table.dirty_count == 5
    world.store.holding = False
    assert await checkpoint(worker)
    assert [applied(world, user) for user in users] == [1] * 5


@pytest.mark.parametrize("asked", [False, True])
async def test_a_checkpoint_at_the_end_of_an_interval_is_spread_and_one_that_was_asked_for_is_not(
    world: World, asked: bool
) -> None:
    worker = await owner_of(world, paced_rows_s=1e9)  # for an interval that is over at once
    await click(worker, 1_000)
    world.store.holding = True
    worker.start(worker.checkpoint.run_forever(3_600.0 if asked else 1e-6))
    if asked:
        worker.checkpoint.request()
    while world.store.pace is None:
        await turns()
    assert world.store.pace.hurried is asked


async def test_a_save_of_many_rows_is_not_spread(world: World) -> None:
    worker = await owner_of(world, paced_rows_s=4 / 60.0)
    await count_an_event_each(worker, 5)
    worker.start(worker.checkpoint.run(over_s=60.0))
    await turns()
    assert world.store.pace is not None
    assert world.store.pace.hurried


async def test_a_hurry_reaches_a_checkpoint_that_waits_for_another(world: World) -> None:
    worker = await hold_a_save(world)
    worker.start(worker.checkpoint.run(over_s=60.0))
    await turns()
    worker.checkpoint.hurry()
    await click(worker, 2_000)
    world.store.pace = None
    world.store.release(True)
    await turns()
    assert world.store.pace is not None
    assert world.store.pace.hurried


@pytest.mark.parametrize("succeeds", [False, True])
async def test_a_save_that_ends_after_its_assignment_came_back_loses_nothing(world: World, succeeds: bool) -> None:
    """Regression: such users stayed clean though their save had failed, or `saving` for ever though it had not."""
    worker = await hold_a_save(world)
    await assign(worker)  # a rebalance that leaves all as it was
    assert worker.table.slot_of.keys() == {ANNA}
    world.store.holding = False
    world.store.release(succeeds)
    await turns()
    assert worker.table.dirty_count == 1
    await work_through(worker)
    assert await checkpoint(worker)
    assert worker.table.dirty_count == 0
    assert (applied(world), committed(world)) == (1, 1)


async def test_users_stay_in_memory_when_nobody_owned_their_partition_meanwhile(world: World) -> None:
    worker, other = await owner_of(world), SimWorker(world)
    await click(worker, 1_000)
    await checkpoint(worker)
    await assign(worker)
    assert worker.table.slot_of.keys() == {ANNA}
    worker.drop_assignment()
    await assign(other)
    await assign(worker)
    assert not worker.table.slot_of


async def test_a_worker_that_gets_a_partition_back_forgets_what_it_knew_of_its_users(world: World) -> None:
    sleeper, other = await owner_of(world), SimWorker(world)
    await click(sleeper, 1_000)
    await checkpoint(sleeper)
    await assign(other)
    await click(other, 2_000)
    await checkpoint(other)
    await assign(sleeper)
    await click(sleeper, 3_000)
    await checkpoint(sleeper)
    assert applied(world) == 3
    assert len(hashes(world.states()[ANNA].recents.ids)) == 3


async def test_the_late_save_of_a_past_owner_overwrites_nothing_and_acks_nothing(world: World) -> None:
    zombie, owner = await owner_of(world), SimWorker(world)
    await click(zombie, 1_000)
    world.store.holding = True
    late = zombie.start(zombie.checkpoint.run())
    await turns()
    release = world.store.take_held()
    world.store.holding = False
    await assign(owner)  # the zombie hears nothing of it
    await click(owner, 2_000)
    assert await checkpoint(owner)
    committed = dict(world.committed)
    release(True)
    await turns()
    zombie.commit()
    assert not late.result()
    assert zombie.superseded
    assert applied(world) == 2
    assert dict(world.committed) == committed


async def test_an_owner_whose_term_somebody_has_overtaken_acks_nothing_until_it_has_a_newer_one(world: World) -> None:
    owner = await owner_of(world)
    await click(owner, 1_000)
    await world.store.take_term("woke up too late", [0, 1])
    assert not await checkpoint(owner)
    assert owner.superseded
    assert committed(world) == 0
    await assign(owner)
    await work_through(owner)
    assert await checkpoint(owner)
    assert (applied(world), committed(world)) == (1, 1)


async def test_a_crash_after_the_save_and_before_the_commit_counts_nothing_twice(world: World) -> None:
    first, second = await owner_of(world), SimWorker(world)
    for n in range(3):
        world.produce(ANNA, n, n * 1_000)
    await work_through(first)
    first.start(first.checkpoint.run())
    await turns()
    first.kill()
    assert committed(world) == 0
    await assign(second)
    await work_through(second)
    assert await checkpoint(second)
    assert applied(world) == 3
    assert committed(world) == 1


async def test_a_clean_hand_over_leaves_the_next_owner_nothing_to_do_again(world: World) -> None:
    first, second = await owner_of(world), SimWorker(world)
    await click(first, *range(0, 5_000, 1_000))
    await first.hand_over()
    first.drop_assignment()
    await assign(second)
    fetch_all(second)
    assert not len(second.queue)


async def test_a_misplaced_event_counts_once_however_often_it_is_sent_on(world: World) -> None:
    first, second = await owner_of(world), SimWorker(world)
    world.produce(ANNA, 0, 1_000, misplaced=True)
    world.produce(ANNA, 0, 2_000, misplaced=True)
    await work_through(first)
    first.kill()  # before a checkpoint: what was read is read and sent on again
    await assign(second)
    await work_through(second)
    await work_through(second)
    assert await checkpoint(second)
    assert len(world.logs[TP("rerouted", HOME)]) == 4
    assert applied(world) == 2
    assert world.states()[ANNA].counters.duplicates == 0  # fenced by where they were read first


async def test_nothing_is_processed_without_a_term(world: World) -> None:
    worker = SimWorker(world)
    world.store.broken = True
    await assign(worker)
    assert not worker.ownership.ready
    world.produce(ANNA, 0, 1_000)
    fetch_all(worker)
    worker.work()
    await turns()
    assert not len(worker.table)
    world.store.broken = False
    await turns()
    assert worker.ownership.ready
    assert len(worker.table) == 1


async def test_a_batch_of_a_past_assignment_is_dropped(world: World) -> None:
    worker = await owner_of(world)
    world.produce(ANNA, 0, 1_000)
    fetch_all(worker)
    group = worker.queue.take()
    await assign(worker)
    stale = worker.start(worker.pipeline.process(group))
    await turns()
    assert stale.result() is False
    assert not len(worker.table)


async def test_a_user_that_the_store_cannot_load_now_waits_and_nothing_is_made_up(world: World) -> None:
    first, second = await owner_of(world), SimWorker(world)
    await click(first, 1_000)
    await checkpoint(first)
    await assign(second)
    world.produce(ANNA, 0, 2_000)
    fetch_all(second)
    world.store.broken = True
    second.work()
    await turns()
    assert not len(second.table)
    world.store.broken = False
    await turns()
    assert await checkpoint(second)
    assert applied(world) == 2


async def test_a_forgotten_user_stays_forgotten_through_a_replay(world: World) -> None:
    first, second = await owner_of(world), SimWorker(world)
    world.produce(ANNA, 2, 1_000)
    await work_through(first)
    forget_anna(first)
    await work_through(first)
    assert first.emitter.tombstones == [ANNA]
    first.start(first.checkpoint.run())
    await turns()
    assert world.store.rows[ANNA].expires_s > 0
    first.kill()  # saved, not committed
    await assign(second)
    await work_through(second)
    await checkpoint(second)
    state = world.states()[ANNA]
    assert (state.recents.items, state.purchased_items, state.seen_ids, state.sums) == (b"", b"", b"", [])
    assert sum(state.counters.applied) == 1
    assert second.emitter.tombstones == [ANNA]  # the first owner may have died before it sent the second one
    world.produce(ANNA, 2, 2_000)
    await work_through(second)
    await checkpoint(second)
    assert len(hashes(world.states()[ANNA].recents.items)) == 1
    assert world.store.rows[ANNA].expires_s == 0


async def withdraw_anna(world: World) -> SimWorker:
    """Let Anna click and be forgotten, and save that."""
    worker = await owner_of(world)
    await click(worker, 1_000)
    forget_anna(worker)
    await work_through(worker)
    assert await checkpoint(worker)
    assert worker.emitter.tombstones == [ANNA]
    return worker


async def test_a_tombstone_is_sent_again_when_a_hung_workers_list_must_have_arrived(world: World) -> None:
    """Regression: a hung worker's list came behind its successor's tombstone, and compaction kept the list."""
    worker = await withdraw_anna(world)
    commands = TP("profile-commands", HOME)
    world.now_s = TOMBSTONES_AFTER_S - 1
    await checkpoint(worker)
    assert (worker.emitter.tombstones, world.committed[commands]) == ([ANNA], 0)
    world.now_s = TOMBSTONES_AFTER_S
    await checkpoint(worker)
    assert (worker.emitter.tombstones, world.committed[commands]) == ([ANNA, ANNA], 1)
    world.now_s *= 10
    await checkpoint(worker)
    assert worker.emitter.tombstones == [ANNA, ANNA]


async def test_a_second_tombstone_never_deletes_the_list_of_a_user_who_came_back(world: World) -> None:
    worker = await withdraw_anna(world)
    await click(worker, 2_000)
    await checkpoint(worker)
    worker.table.evict(worker.table.all_slots())
    world.now_s = TOMBSTONES_AFTER_S
    await checkpoint(worker)
    assert (worker.emitter.tombstones, world.committed[TP("profile-commands", HOME)]) == ([ANNA], 1)


@pytest.mark.parametrize("end", ["killed", "stopped"])
async def test_a_successor_withdraws_a_list_whose_second_tombstone_is_not_sent(world: World, end: str) -> None:
    first = await withdraw_anna(world)
    if end == "killed":
        first.kill()
    else:
        await first.hand_over()
    second = await owner_of(world)
    await work_through(second)
    await checkpoint(second)
    assert second.emitter.tombstones == [ANNA]
    world.now_s = TOMBSTONES_AFTER_S
    await checkpoint(second)
    assert second.emitter.tombstones == [ANNA, ANNA]
    assert world.committed[TP("profile-commands", HOME)] == 1


async def test_a_second_tombstone_that_kafka_does_not_confirm_holds_back_the_commands(world: World) -> None:
    worker = await withdraw_anna(world)
    world.now_s = TOMBSTONES_AFTER_S
    worker.emitter.confirming = False
    assert not await checkpoint(worker)
    assert world.committed[TP("profile-commands", HOME)] == 0
    worker.emitter.confirming = True
    assert await checkpoint(worker)
    assert world.committed[TP("profile-commands", HOME)] == 1


async def test_the_row_of_a_forgotten_user_lives_for_ever_with_an_input(world: World) -> None:
    """Regression: the row expired before its user's events, which then brought the user back."""
    worker = await owner_of(world)
    worker.row_life_s = 0
    await click(worker, 1_000)
    forget_anna(worker)
    await work_through(worker)
    await checkpoint(worker)
    assert world.store.rows[ANNA].expires_s == 0
    worker.kill()
    second = await owner_of(world)  # an input has a retention again
    await work_through(second)
    second.table.dirty[second.table.find([ANNA])] = True
    await checkpoint(second)
    assert world.store.rows[ANNA].expires_s == 3_600


async def test_an_event_written_before_its_user_was_forgotten_and_read_after_it_only_counts(world: World) -> None:
    """Regression: between topics there is no order, and a replay brought forgotten users back by their older events."""
    worker = await owner_of(world)
    world.produce(ANNA, 2, 1_000)  # waits in its log while the command, which was written later, is read
    forget_anna(worker)
    worker.fetch(TP("profile-commands", HOME), 10)
    await drain(worker)
    worker.fetch(TP("purchases", HOME), 10)
    await drain(worker)
    await checkpoint(worker)
    state = world.states()[ANNA]
    assert (state.recents.items, state.purchased_items, state.sums) == (b"", b"", [])
    assert state.counters.applied == [0, 0, 1]
    assert world.store.rows[ANNA].expires_s > 0
    await click(worker, 2_000)
    await checkpoint(worker)
    assert len(hashes(world.states()[ANNA].recents.items)) == 1


async def test_counts_of_a_partition_that_went_to_another_worker_are_not_saved_over_its_own(world: World) -> None:
    """Regression: what was to be released was looked up after it had been struck off."""
    first, second = await owner_of(world), SimWorker(world)
    await click(first, 1_000)
    first.drop_assignment()  # without a checkpoint
    await assign(second)
    await work_through(second)
    await checkpoint(second)
    saved = world.store.trending[HOME]
    await assign(first, frozenset({1 - HOME}))
    await checkpoint(first)
    assert world.store.trending[HOME] == saved


async def test_a_trending_row_that_cannot_be_read_does_not_keep_the_worker_from_its_partitions(world: World) -> None:
    """Regression: the error ended the task that takes the term, without a word."""
    worker = SimWorker(world)
    world.store.trending = {0: (1, b'{"from": "a newer release"}'), 1: (1, b"\xff")}
    await assign(worker)
    assert worker.ownership.ready
    assert not worker.errors


async def test_an_unexpected_error_while_taking_a_term_stops_the_worker(world: World) -> None:
    """Regression: see above."""
    worker = SimWorker(world)
    worker.table.set_logs = lambda logs: 1 / 0  # type: ignore[assignment]
    await assign(worker)
    assert [type(error) for error in worker.errors] == [ZeroDivisionError]


async def test_unequal_partition_counts_are_waited_for(world: World) -> None:
    worker = SimWorker(world)
    topics = world.admin.list_topics().topics
    topics["clicks"].partitions = range(3)
    await assign(worker)
    assert not worker.ownership.ready
    topics["clicks"].partitions = range(2)
    await turns()
    assert worker.ownership.ready


async def test_a_worker_that_counts_fewer_partitions_than_another_waits_and_acks_nothing(world: World) -> None:
    """Regression: while topics grew, two workers could own one user, and the save of one hid that of the other."""
    worker = SimWorker(world)
    await assign(worker)
    assignment = worker.ownership.current
    assert assignment is not None
    assert await worker.ownership.verify(assignment)
    [name] = world.store.numbers
    await world.store.raise_to(name, 4)
    assert not await worker.ownership.verify(assignment)
    behind = SimWorker(world)
    await assign(behind)
    assert not behind.ownership.ready
    for topic in world.admin.list_topics().topics.values():
        topic.partitions = range(4)
    await turns()
    assert behind.ownership.ready


async def test_a_worker_that_took_a_late_term_for_an_old_count_starts_again(world: World) -> None:
    """Regression: its rows hid those of a worker that counted more partitions, and that worker acked."""
    worker = SimWorker(world)
    take_term = world.store.take_term

    async def slow(name: str, partitions: Any) -> Any:
        await world.store.raise_to(next(iter(world.store.numbers)), 4)
        return await take_term(name, partitions)

    world.store.take_term = slow  # type: ignore[method-assign]
    await assign(worker)
    assert worker.ownership.current is None
    for topic in world.admin.list_topics().topics.values():
        topic.partitions = range(4)
    await turns()
    assert worker.ownership.current is not None
    assert worker.ownership.current.partition_count == 4


async def test_partitions_that_no_worker_has_are_asked_for_until_the_group_has_shared_them_out(world: World) -> None:
    """Regression: a leader that did not know new partitions yet left them out, and they stayed unread."""
    missing = {(topic, 0) for topic in NAMES.inputs}
    split = [{(topic, number) for topic in NAMES.inputs[number:]} for number in (0, 1)]
    whole = [missing, {(topic, 1) for topic in NAMES.inputs}]
    answers: list[Any] = [None, BrokerSilent(), [missing], None, split, whole]
    rejoined: list[bool] = []
    asks = asyncio.Semaphore(0)

    async def group_assignment() -> Any:
        await asks.acquire()
        rejoined.append(worker.superseded)
        worker.superseded = False
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    worker = SimWorker(world, group_assignment=group_assignment)
    await assign(worker)
    while answers:
        assert not worker.ownership.ready
        assert worker.ownership.current is not None  # what it has is worked on meanwhile
        asks.release()
        await turns()
    assert worker.ownership.ready
    assert rejoined == [False, False, False, True, False, True]
    assert not worker.errors


async def test_deliveries_of_a_past_assignment_are_still_waited_for_when_its_users_stay(world: World) -> None:
    """Regression: they were forgotten, and users were saved and acked before Kafka had their recommendations."""
    worker = await owner_of(world)
    await click(worker, 1_000)
    worker.emitter.confirming = False
    assert not await checkpoint(worker)
    unconfirmed = worker.emitter.swapped[-1]
    unconfirmed.withheld, worker.emitter.confirming = True, True
    await assign(worker)
    await work_through(worker)
    assert not await checkpoint(worker)
    unconfirmed.withheld = False
    assert await checkpoint(worker)


async def test_a_full_dirty_budget_holds_the_next_batch_back_until_a_checkpoint(world: World) -> None:
    worker = await owner_of(world, max_dirty_users=1)
    await click(worker, 1_000)
    world.produce(ANNA, 0, 2_000)
    fetch_all(worker)
    worker.work()
    await turns()
    assert worker.processing is not None
    assert not worker.processing.done()
    assert await checkpoint(worker)
    await turns()
    assert worker.processing.done()
    assert int(worker.table.applied.sum()) == 2


async def test_a_user_that_one_group_puts_out_of_memory_is_loaded_for_the_next(world: World) -> None:
    """The users of the next group are looked for while this one is ranked: not before it has made its room."""
    worker = await owner_of(world)
    for user in (ANNA, "ben"):
        world.produce(user, 0, 1_000)
    await work_through(worker)
    assert await checkpoint(worker)
    await count_an_event_each(worker, 31)
    free = worker.table.capacity - len(worker.table)
    assert (free, worker.table.dirty_count) == (31, 31)  # only Anna and Ben may go, and both go at once
    newcomers = [user for user in (f"new-{n}" for n in range(200)) if right_partition(user) == HOME][: free + 1]
    worker.queue = BatchQueue(1, NAMES.events)
    for users in (newcomers, [ANNA]):
        for user in users:
            world.produce(user, 0, 2_000)
        fetch_all(worker)
    assert len(worker.queue) == 2
    async with worker.state.lock:
        working = worker.start(worker.queue.run_forever(worker.pipeline.process))
        await turns()
    async with asyncio.timeout(5):
        while applied(world, newcomers[0]) + applied(world) < 3 and not working.done():
            await checkpoint(worker)
            await turns()
    working.cancel()
    assert applied(world) == 2


async def test_a_log_that_was_cut_below_a_fence_is_an_error_with_a_sentence(world: World) -> None:
    first, second = await owner_of(world), SimWorker(world, log_end=lambda log_id, at_least: 1)
    await click(first, *range(0, 4_000, 1_000))
    await checkpoint(first)
    await assign(second)
    world.produce(ANNA, 0, 9_000)
    fetch_all(second)
    second.work()
    await turns()
    assert second.processing is not None
    error = second.processing.exception()
    assert "'clicks'" in str(error)
    assert "ends at offset 1" in str(error)
    assert "'anna'" in str(error)
