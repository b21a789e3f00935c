"""Ownership of partitions: a worker writes only under a term, which it takes anew at every assignment.

A term (a fencing token, as in Raft) comes from one global counter in the store, so writes of a later owner always win
over writes of an earlier one. An assignment needs partition counts, topic ids, a term and saved trending counts. They
are fetched in the background, because the consumer group's callbacks must not wait for a store or broker that is down.
Without a term nothing is processed.

The leader of the group shares out the partitions that it knows. While the topics grow these may be fewer than there
are, or the inputs' counts may differ for it. So after each assignment the group's partitions are compared with the
topics', and a new assignment is asked for until they are all shared out.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import structlog
from confluent_kafka.admin import AdminClient

from schemas.contract import owner_name
from streams.checkpoint.gate import Gate
from streams.checkpoint.group_contract import GroupContract
from streams.kafka.topic_ids import BrokerSilent, TopicIds
from streams.kafka.topics import TopicNames, TopicsError, check_inputs, partition_counts
from streams.monitoring.metrics import Metrics
from streams.retry import Backoff
from streams.state.state import State
from streams.stores.base import ProfileStore, StoreError, StoreMisconfigured

log = structlog.get_logger(__name__)
T = TypeVar("T")

GroupAssignment = Callable[[], Awaitable[list[set[tuple[str, int]]] | None]]
"""Asks which (topic, partition) each member of the consumer group has; None while the group shares them out."""

_ASK_GROUP_S, _ASK_GROUP_LONGEST_S = 0.1, 1.0


class Assignment(NamedTuple):
    """The partitions of one assignment, and the term for them."""

    epoch: int
    partitions: frozenset[int]
    partition_count: int
    """Number of partitions of each input topic."""
    term: int


class Ownership:
    """Holds the current assignment. Keeps the users and counts of owned partitions in memory, and drops the others."""

    def __init__(
        self,
        *,
        store: ProfileStore,
        state: State,
        gate: Gate,
        admin: AdminClient,
        names: TopicNames,
        topic_ids: TopicIds,
        metrics: Metrics,
        fail: Callable[[BaseException], None],
        prepare: Callable[[], Awaitable[None]] | None = None,
        group: GroupContract | None = None,
        group_assignment: GroupAssignment | None = None,
        rejoin: Callable[[], None] = lambda: None,
    ) -> None:
        """Create without an assignment.

        Parameters
        ----------
        fail : called with an error that this worker can't recover from
        prepare : awaited at each assignment, before anything is processed under it
        group : looks at each assignment which contract all owners know; by default, one that begins nothing
        group_assignment : which partitions the members have; None: all partitions are always shared out
        rejoin : asks the group for a new assignment
        """
        self._store, self._state, self._gate = store, state, gate
        self._admin, self._names, self._metrics = admin, names, metrics
        self._fail = fail
        self._prepare = prepare
        self._group_assignment, self._rejoin = group_assignment, rejoin
        self._shared_out = False
        self._rejoin_backoff = Backoff()  # of all assignments until one shares out all partitions
        self.topic_ids = topic_ids
        self.worker = owner_name(uuid.uuid4().hex)
        self.group = group or GroupContract(store)
        self.epoch = 0
        self.current: Assignment | None = None
        self._last_count = 0
        self._last_term: dict[int, int] = {}  # by partition, while its users are in the table
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def revoke(self) -> None:
        """End the assignment. Work in progress belongs to no term from now on."""
        self._gate.close()
        self.epoch += 1
        self.current = None
        self._shared_out = False
        self._ready.set()  # wakes the waiting tasks: they see that their epoch has passed
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._metrics.partitions(0)

    def assign(self, partitions: set[int]) -> None:
        """Begin a new assignment. Its term is taken in the background."""
        self.revoke()
        self._ready = asyncio.Event()
        self._gate.open(self.epoch)
        self._task = asyncio.create_task(self._acquire(self.epoch, frozenset(partitions)), name="take-term")

    async def wait(self, epoch: int) -> Assignment | None:
        """Wait for the term of this epoch, and return its assignment; None if the epoch has passed."""
        while self.epoch == epoch and self.current is None:
            await self._ready.wait()
        return self.current if self.epoch == epoch else None

    def is_current(self, assignment: Assignment) -> bool:
        """Return whether this assignment is the current one, so that work done under it counts."""
        return self.current is not None and self.current.epoch == assignment.epoch

    @property
    def ready(self) -> bool:
        """Whether there is an assignment with a term, and the group has shared out all partitions of the inputs."""
        return self.current is not None and self._shared_out

    async def verify(self, assignment: Assignment) -> bool:
        """Return whether the store still names our term for every partition.

        A worker that was assigned these partitions long ago, and was suspended until now, may have taken a later term
        than ours. Its rows would hide ours, so nothing may be acked. A new assignment resolves the conflict.
        """
        if await self._largest_count(assignment.partition_count) > assignment.partition_count:
            return False  # another worker knows that the topics have grown, and some users are its own by now
        owners = await self._store.owners(sorted(assignment.partitions))
        return all(
            partition in owners and owners[partition].term == assignment.term for partition in assignment.partitions
        )

    async def _acquire(self, epoch: int, partitions: frozenset[int]) -> None:
        try:
            await self._take(epoch, partitions)
            await self._see_shared_out(epoch)
        except Exception as error:  # not CancelledError, by which a revocation ends this task
            self._fail(error)

    async def _take(self, epoch: int, partitions: frozenset[int]) -> None:
        if self._prepare is not None:
            await self._prepare()
        await self._retry(self.topic_ids.refresh)
        term = 0
        replaced: dict[int, int] = {}
        saved: dict[int, bytes] = {}
        while True:
            count = await self._partition_count(partitions)
            if not partitions:  # there are more workers than partitions
                break
            taken = await self._retry(lambda: self._store.take_term(self.worker, sorted(partitions)))
            # a term that is later than that of a worker which counts more partitions would hide its rows
            if await self._retry(partial(self._largest_count, count)) == count:
                term, replaced = taken.number, taken.replaced
                break
        if partitions:
            await self._retry(lambda: self.group.refresh(count))  # after the term: see `group_contract`
            saved = await self._retry(lambda: self._store.load_trending(sorted(partitions)))
        async with self._state.lock:
            if epoch != self.epoch:
                return
            kept = self._keep_or_evict(partitions, count, term, replaced)
            self._state.trending.release_all_but(partitions)
            for partition in saved.keys() - kept:
                self._state.trending.adopt(partition, saved[partition])
        self.current = Assignment(epoch, partitions, count, term)
        self._metrics.partitions(len(partitions))
        log.info("assigned", partitions=sorted(partitions), of=count, term=term, hot_users=len(self._state.table))
        self._ready.set()

    def _keep_or_evict(self, partitions: frozenset[int], count: int, term: int, replaced: dict[int, int]) -> set[int]:
        """Keep the users of partitions that no other worker has owned since, and evict all others.

        If the partition count has changed, all users are evicted, because it moves users to other partitions. Returns
        the partitions whose users stay.
        """
        table = self._state.table
        table.set_logs(self.topic_ids.columns())
        table.offsets.partition_count = count
        if count != self._last_count:
            table.evict(table.all_slots())
            self._last_term.clear()
        self._last_count = count
        for partition in list(self._last_term):
            if partition not in partitions or replaced.get(partition) != self._last_term[partition]:
                table.evict(table.slots_of_partition(partition))
                del self._last_term[partition]
        unbroken = set(self._last_term)
        for partition in partitions:
            kept = table.slots_of_partition(partition)
            table.term[kept] = term
            # a save in progress is of the former term: the users have to be saved again under this one
            table.dirty[kept] |= table.saving[kept]
            table.saving[kept] = False
            self._last_term[partition] = term
        stale = table.all_slots()
        stale = stale[~np.isin(table.partition[stale], np.fromiter(partitions, np.int64, len(partitions)))]
        table.evict(stale)
        return unbroken

    async def _see_shared_out(self, epoch: int) -> None:
        """Compare the group's partitions with the topics', and ask for a new assignment until they are the same.

        A new assignment ends this task, and begins another one.
        """
        asking = Backoff(_ASK_GROUP_S, _ASK_GROUP_LONGEST_S)
        while self.epoch == epoch and self.current is not None:
            members = await self._ask_group()
            if members is not None:
                left_out = _left_out(members, self._names.inputs, self.current.partition_count)
                if not left_out:
                    self._shared_out = True
                    self._rejoin_backoff = Backoff()
                    return
                self._metrics.wait("unassigned-partitions")
                log.warning("partitions have no worker yet: asking for a new assignment", partitions=left_out)
                await self._rejoin_backoff.sleep()
                self._rejoin()
            await asking.sleep()

    async def _ask_group(self) -> list[set[tuple[str, int]]] | None:
        if self._group_assignment is None:
            count = 0 if self.current is None else self.current.partition_count
            return [{(topic, number) for topic in self._names.inputs for number in range(count)}]
        try:
            return await self._group_assignment()
        except BrokerSilent as error:
            log.debug("the group's assignment can't be read", problem=str(error))
            return None

    async def count_changed(self) -> bool:
        """Return whether the partition count of the inputs differs now from that of the assignment."""
        current = self.current
        try:
            counts = await asyncio.to_thread(partition_counts, self._admin, self._names.inputs)
            return current is not None and check_inputs(counts, self._names) != current.partition_count
        except Exception as error:  # the broker is down, or the topics are growing: the next call will know
            log.debug("the partition counts can't be read", problem=str(error))
            return False

    async def _partition_count(self, assigned: frozenset[int]) -> int:
        backoff = Backoff()
        while True:
            try:
                counts = await asyncio.to_thread(partition_counts, self._admin, self._names.inputs)
                count = check_inputs(counts, self._names)
                if count > max(assigned, default=-1) and await self._largest_count(count) == count:
                    return count
                log.warning("this broker doesn't know yet that the inputs have grown", count=count)
            except TopicsError as error:
                self._metrics.wait("unequal-partitions")
                log.warning("waiting for the input topics", problem=str(error))
            except Exception as error:
                self._metrics.wait("term")
                log.warning("waiting for the broker", problem=str(error))
            await backoff.sleep()

    async def _largest_count(self, count: int) -> int:
        """Tell the store this partition count; return the largest that any worker has seen for these topics.

        Two workers that count differently would both take themselves for the owner of a user. And if a path of rerouted
        events were used again after another one, its span would hold events that are still on their way.
        """
        return await self._store.raise_to(f"partitions/{self.topic_ids(self._names.events[0])}", count)

    async def _retry(self, call: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff()
        while True:
            try:
                return await call()
            except StoreMisconfigured:
                raise
            except (StoreError, BrokerSilent) as error:
                if isinstance(error, StoreError):
                    self._metrics.store_error("term")
                self._metrics.wait("term")
                log.warning("waiting for a term", problem=str(error))
            await backoff.sleep()


def _left_out(members: Iterable[set[tuple[str, int]]], topics: list[str], count: int) -> list[int]:
    """Return the partition numbers below ``count`` that no member has of all topics."""
    whole = {
        number for member in members for number in range(count) if all((topic, number) in member for topic in topics)
    }
    return sorted(set(range(count)) - whole)
