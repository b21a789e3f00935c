"""Checkpoints, terms and applied_offsets together: whatever happens, every event counts exactly once in the store.

`test_handover` tells the stories one by one; here hypothesis mixes them.
"""

import asyncio

import pytest
from faust.types import TP
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.checkpoint.stored_profile import hashes, times
from tests.unit.streams.in_memory.worker import SimWorker
from tests.unit.streams.in_memory.world import EVENT_TOPICS, ITEMS, PARTITIONS, SHAPE, World, right_partition, turns

pytestmark = pytest.mark.usefixtures("no_time")

USERS = tuple(f"user-{n}" for n in range(6))  # some of each partition


class Shop(RuleBasedStateMachine):
    """Two workers, two partitions of each topic, and every mishap that the design names."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.world = World(self.loop)
        self.workers = [SimWorker(self.world), SimWorker(self.world)]
        self.asleep: set[SimWorker] = set()
        self.everyone = list(self.workers)
        self.does(self.rebalance(0, [True, True]))

    def does(self, work: object) -> None:
        self.loop.run_until_complete(work)  # type: ignore[arg-type]

    async def rebalance(self, split: int, clean: list[bool]) -> None:
        """New owners; a worker that sleeps hears nothing of it and goes on believing in its old assignment."""
        awake = [worker for worker in self.workers if worker not in self.asleep]
        for worker, hand_over in zip(awake, clean, strict=False):
            if hand_over:
                await worker.hand_over()
            worker.drop_assignment()
        parts: dict[SimWorker, set[int]] = {worker: set() for worker in awake}
        self.world.owner.clear()
        for partition in range(PARTITIONS):
            owner = awake[(split >> partition) % len(awake)]
            parts[owner].add(partition)
            self.world.owner[partition] = owner
        for worker, partitions in parts.items():
            worker.take_assignment(frozenset(partitions))
        await turns()

    who = st.integers(0, 1)

    # hypothesis leaves some rules out of each example: those that nothing happens without do several things at once

    @rule(
        events=st.lists(
            st.tuples(st.sampled_from(USERS), st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=8
        ),
        how=st.sampled_from(["well", "well", "misplaced", "twice", "garbage", "many", "orders", "misplaced orders"]),
        most=st.integers(1, 20),
        count=st.integers(1, 60),
    )
    def events_come(self, events: list[tuple[str, int, int]], how: str, most: int, count: int) -> None:
        """They are produced, fetched, and worked on: to the end, or part of the way."""
        for user, kind, time_s in events:
            lines = ITEMS[: 1 + time_s % len(ITEMS)] if "orders" in how and kind == 2 else ()
            name = self.world.produce(user, kind, time_s * 1_000, misplaced="misplaced" in how, lines=lines)
            if how == "twice":
                self.world.produce(user, kind, time_s * 1_000, event_id=name)
        if how == "garbage":
            self.world.append(TP("clicks", 0), b"{")
        for number in range(12 if how == "many" else 0):
            self.world.produce(events[0][0], number % 3, number * 700)
        self.fetch(most)
        self.work(count)

    def fetch(self, most: int) -> None:
        for worker in self.workers:
            for tp in worker.partitions():
                worker.fetch(tp, most)

    @rule(count=st.integers(1, 60))
    def work(self, count: int) -> None:
        for _ in range(6):
            for worker in self.workers:
                worker.work()
            self.does(turns(count))

    @rule(count=st.integers(1, 60), commit=st.booleans())
    def checkpoint(self, count: int, commit: bool) -> None:
        for worker in self.workers:
            worker.start(worker.checkpoint.run())
        self.does(turns(count))
        for worker in self.workers if commit else ():
            worker.commit()

    @rule(who=who)
    def evict_what_may_be_evicted(self, who: int) -> None:
        worker = self.workers[who]
        if worker.processing is None or worker.processing.done():
            slots = worker.table.all_slots()
            worker.table.evict(slots[~worker.table.dirty[slots] & ~worker.table.saving[slots]])

    @rule(split=st.integers(0, 3), clean=st.lists(st.booleans(), min_size=2, max_size=2))
    def rebalances(self, split: int, clean: list[bool]) -> None:
        self.does(self.rebalance(split, clean))

    @rule(who=who, split=st.integers(0, 3))
    def crash(self, who: int, split: int) -> None:
        old = self.workers[who]
        self.asleep.discard(old)
        old.kill()
        self.does(turns(3))
        self.workers[who] = SimWorker(self.world)
        self.everyone.append(self.workers[who])
        self.does(self.rebalance(split, [False, False]))

    @precondition(lambda self: not self.asleep)
    @rule(who=who)
    def fall_asleep(self, who: int) -> None:
        """A worker that the group believes dead: it goes on, and everything it writes comes from a past owner."""
        self.asleep.add(self.workers[who])
        self.does(self.rebalance(0, [True]))

    @precondition(lambda self: self.asleep)
    @rule(split=st.integers(0, 3))
    def wake_up(self, split: int) -> None:
        self.asleep.clear()
        self.does(self.rebalance(split, [False, False]))

    @rule(how=st.sampled_from(["away", "slow", "back", "back, and what waited has failed"]))
    def the_store_is(self, how: str) -> None:
        store = self.world.store
        store.broken, store.holding = how == "away", how == "slow"
        if how.startswith("back"):
            store.release(how == "back")
        self.does(turns())

    @rule(who=who, confirming=st.booleans())
    def kafka_confirms(self, who: int, confirming: bool) -> None:
        self.workers[who].emitter.confirming = confirming

    @invariant()
    def nothing_is_committed_that_is_not_in_the_store(self) -> None:
        if not hasattr(self, "world"):
            return
        applied_offsets = {
            (fence.topic, fence.partition, user): fence.next_offset
            for user, state in self.world.states().items()
            for fence in state.fences
        }
        for topic in EVENT_TOPICS:
            for partition in range(PARTITIONS):
                tp = TP(topic, partition)
                for record in self.world.logs[tp]:
                    if record.offset < self.world.committed[tp] and record.value.startswith(b'{"'):
                        user = record.value.split(b'"user_id":"')[1].split(b'"')[0].decode()
                        if right_partition(user) == partition:
                            assert applied_offsets.get((topic, partition, user), 0) > record.offset

    @invariant()
    def no_worker_has_failed(self) -> None:
        for worker in getattr(self, "everyone", []):
            assert not worker.errors
            for task in list(worker.tasks):
                if task.done():
                    worker.tasks.discard(task)
                    if not task.cancelled():
                        assert task.exception() is None

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.settle()
            self.assert_exactly_once()
        finally:
            for worker in self.everyone:
                worker.kill()
            self.does(turns())
            self.loop.close()

    def settle(self) -> None:
        """The mishaps end, and the workers do what is left to do."""
        store = self.world.store
        store.broken = store.holding = False
        store.release(True)
        self.asleep.clear()
        for worker in self.workers:
            worker.emitter.confirming = True
        self.does(turns())
        self.does(self.rebalance(1, [False, False]))
        for _ in range(40):
            for worker in self.workers:
                for tp in worker.partitions():
                    worker.fetch(tp, 1_000)
                for _ in range(len(worker.queue) + 1):
                    worker.work()
                    self.does(turns())
                assert not len(worker.queue), "a batch is stuck"
                worker.start(worker.checkpoint.run())
                self.does(turns())
                worker.commit()
            if all(self.world.committed[tp] > log[-1].offset for tp, log in self.world.logs.items() if log):
                return
        raise AssertionError(f"not everything could be done: {dict(self.world.committed)}")

    def assert_exactly_once(self) -> None:
        states = self.world.states()
        assert {user: state.counters.applied for user, state in states.items() if any(state.counters.applied)} == (
            self.world.expected()
        )
        for user, state in states.items():
            newest = sorted(times(state.recents.times).tolist(), reverse=True)
            assert newest == times(state.recents.times).tolist(), user
            assert len(newest) == min(SHAPE.history, sum(state.counters.applied))
            assert len(hashes(state.seen_ids)) == self.world.records_of(user)


TestShop = Shop.TestCase
TestShop.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
