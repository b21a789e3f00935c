"""Workers of several releases in one group: what one of them does not understand is not begun."""

import asyncio

import pytest
from faust.types import TP

from schemas.contract import CONTRACT_VERSION, IDENTITIES, ContractChange, contract_of, owner_name
from streams.arrays import IntpArray
from streams.checkpoint.group_contract import GroupContract, NewerContract
from streams.decode.event_batch import EventBatch
from streams.features.contract import AppliedEvents, Feature, FeatureContext, RecommendedLists, RecordToWrite
from streams.worker.startup_checks import check_contract
from tests.unit.streams.in_memory.worker import SimWorker
from tests.unit.streams.in_memory.world import World, right_partition, turns

pytestmark = pytest.mark.usefixtures("no_time")

MERGES = ContractChange(CONTRACT_VERSION + 1, "Merges of users: switch [merges] off and wait until `pending` is 0.")


class Merging:
    """A feature of the next release: it writes a record of a new type for each event."""

    def __init__(self, context: FeatureContext) -> None:
        self._group_release = context.group_release

    def before(self, events: EventBatch, slots: IntpArray) -> None: ...

    def applied(self, batch: AppliedEvents) -> list[RecordToWrite]:
        if self._group_release() < MERGES.contract:
            return []
        return [RecordToWrite(topic="merges", key=user, value=b"{}") for user in batch.events.user_ids]

    def recommended(self, lists: RecommendedLists) -> list[RecordToWrite]:
        return []

    def publish(self) -> None: ...


FEATURE = Feature(name="merging", start=Merging, topics=("merges",), contract_change=MERGES)


class Release(SimWorker):
    """A worker of another release: of the one that has merges, of this one, or of the one before."""

    def __init__(self, world: World, contract: int) -> None:
        features = [FEATURE] if contract >= MERGES.contract else []
        self.group = GroupContract(world.store, [MERGES for _ in features], contract)
        super().__init__(world, group=self.group, features=features)
        # the release before does not tell its contract, and looks at nobody else's
        self.ownership.worker = owner_name("worker", contract) if contract else "worker"
        if not contract:
            self.group.refresh = lambda _: asyncio.sleep(0)  # type: ignore[method-assign]

    async def own(self, *partitions: int) -> None:
        """Take an assignment with these partitions."""
        self.take_assignment(frozenset(partitions))
        await turns()

    @property
    def merges(self) -> bool:
        """What a feature asks before it writes something new."""
        return self.group.lowest >= MERGES.contract


@pytest.mark.parametrize("contract", [0, CONTRACT_VERSION])
async def test_what_one_worker_of_the_group_does_not_know_is_not_begun(world: World, contract: int) -> None:
    """Regression: nothing told the releases of the other workers; the older made dead letters of what was new."""
    old, new = Release(world, contract), Release(world, MERGES.contract)
    await old.own(0)
    await new.own(1)
    assert (new.merges, world.store.notes) == (False, {})
    assert new.group.waiting
    old.kill()
    await new.own(0, 1)
    assert new.merges
    assert not new.group.waiting
    assert list(world.store.notes.values()) == [MERGES]


async def test_it_is_begun_when_the_last_older_owner_has_left_without_another_assignment(world: World) -> None:
    old, one, other = Release(world, 0), Release(world, MERGES.contract), Release(world, MERGES.contract)
    await old.own(0, 1)
    await one.own(0)
    assert not one.merges, "the other partition is still the older worker's"
    await other.own(1)
    assert other.merges
    await one.group.refresh(2)  # as a worker does from time to time, while something waits
    assert one.merges


async def test_a_feature_writes_nothing_new_before_it_is_begun(world: World) -> None:
    old, new = Release(world, 0), Release(world, MERGES.contract)
    user = next(name for name in map(str, range(100)) if right_partition(name) == 1)
    for partitions in ([0], [1]):
        await old.own(*partitions)
        await new.own(1)
        world.produce(user, 0, 1_000)
        new.fetch(TP("clicks", 1), 10)
        new.work()
        await turns()
        assert new.emitter.written == []
    old.kill()
    await new.own(0, 1)
    world.produce(user, 0, 2_000)
    new.fetch(TP("clicks", 1), 10)
    new.work()
    await turns()
    assert [record.key for record in new.emitter.written] == [user] * 3


async def test_a_partition_that_nobody_owns_may_get_an_owner_of_any_release(world: World) -> None:
    new = Release(world, MERGES.contract)
    await new.own(0)
    assert not new.merges


async def test_a_group_that_goes_back_says_what_must_be_drained_first(world: World) -> None:
    new, old = Release(world, MERGES.contract), Release(world, CONTRACT_VERSION)
    await new.own(0, 1)
    new.kill()
    with pytest.raises(NewerContract, match=r"Merges of users: switch .* `pending` is 0\. .* --drained 3\.$"):
        await check_contract(world.store, [])  # before it joins the group
    await old.own(0, 1)  # or if it had joined before
    assert [type(error) for error in old.errors] == [NewerContract]
    assert not old.ownership.ready
    await check_contract(world.store, [MERGES.contract])
    await old.own(0, 1)
    assert old.ownership.ready


async def test_workers_that_know_it_start_beside_what_was_begun(world: World) -> None:
    first, second = Release(world, MERGES.contract), Release(world, MERGES.contract)
    await first.own(0, 1)
    await second.own(1)
    assert second.errors == []
    assert second.merges


async def test_nothing_more_is_begun_while_a_worker_of_the_release_before_is_back(world: World) -> None:
    """Such a worker tells nothing and looks at nothing: the newer ones stop what it does not understand."""
    new, old = Release(world, MERGES.contract), Release(world, 0)
    await new.own(0, 1)
    assert new.merges
    await old.own(1)
    await new.own(0)
    assert not new.merges


@pytest.mark.parametrize("turns_between", range(0, 40, 3))
async def test_of_a_newer_and_an_older_worker_at_the_same_moment_one_gives_way(
    world: World, turns_between: int
) -> None:
    new, old = Release(world, MERGES.contract), Release(world, CONTRACT_VERSION)
    await new.own(0)
    world.store.held_owners[1] = world.store.held_owners[0]  # the owner before, which is gone
    slow = _SlowStore(world.store)
    new.group._store = old.group._store = slow  # type: ignore[assignment]
    beginning = asyncio.ensure_future(new.group.refresh(2))
    await turns(turns_between)
    await world.store.take_term(old.ownership.worker, [1])
    looked = await asyncio.gather(old.group.refresh(2), beginning, return_exceptions=True)
    assert isinstance(looked[0], NewerContract) or not new.merges


class _SlowStore:
    """Answers some turns later, so that calls of two workers interleave."""

    def __init__(self, store: object) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        async def call(*arguments: object) -> object:
            await turns(5)
            answer = await getattr(self._store, name)(*arguments)
            await turns(5)
            return answer

        return call


@pytest.mark.parametrize("owner", ["", "5f1c", "5f1c/", "5f1c/x", "5f1c/-1", "5f1c/²"])
def test_a_name_without_a_contract_is_of_the_release_before(owner: str) -> None:
    assert contract_of(owner) == 0


async def test_an_older_release_says_what_to_do_before_it_reads_rows_with_identities(world: World) -> None:
    group = GroupContract(world.store, [IDENTITIES])
    worker = SimWorker(world, group=group)
    worker.take_assignment(frozenset({0, 1}))
    await turns()
    assert list(world.store.notes.values()) == [IDENTITIES]
    worker.kill()
    with pytest.raises(
        NewerContract, match=r"stop whatever sends events again .* read all inputs to the end.* --drained 2"
    ):
        await GroupContract(world.store, contract=1).check()
