"""Ownership of partitions: a worker writes only under a term, which it takes anew at every assignment.

A term (a fencing token, as in Raft) comes from one global counter in the store, so writes of a later owner always win
over writes of an earlier one. An assignment needs partition counts, topic ids, a term and saved trending counts. They
are fetched in the background, because the consumer group's callbacks must not wait for a store or broker that is down.
Without a term nothing is processed.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import numpy as np
import structlog
from confluent_kafka.admin import AdminClient

from streams.checkpoint.gate import Gate
from streams.kafka.topic_ids import BrokerSilent, TopicIds
from streams.kafka.topics import TopicNames, TopicsError, check_inputs, partition_counts
from streams.monitoring.metrics import Metrics
from streams.retry import Backoff
from streams.state.state import State
from streams.stores.base import ProfileStore, StoreError, StoreMisconfigured

log = structlog.get_logger(__name__)
T = TypeVar("T")


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
    ) -> None:
        """Create without an assignment.

        Parameters
        ----------
        fail : called with an error that this worker can't recover from
        prepare : awaited at each assignment, before anything is processed under it
        """
        self._store, self._state, self._gate = store, state, gate
        self._admin, self._names, self._metrics = admin, names, metrics
        self._fail = fail
        self._prepare = prepare
        self.topic_ids = topic_ids
        self.worker = uuid.uuid4().hex
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
        """Whether there is an assignment with a term."""
        return self.current is not None

    async def verify(self, assignment: Assignment) -> bool:
        """Return whether the store still names our term for every partition.

        A worker that was assigned these partitions long ago, and was suspended until now, may have taken a later term
        than ours. Its rows would hide ours, so nothing may be acked. A new assignment resolves the conflict.
        """
        owners = await self._store.owners(sorted(assignment.partitions))
        return all(
            partition in owners and owners[partition].term == assignment.term for partition in assignment.partitions
        )

    async def _acquire(self, epoch: int, partitions: frozenset[int]) -> None:
        try:
            await self._take(epoch, partitions)
        except Exception as error:  # not CancelledError, by which a revocation ends this task
            self._fail(error)

    async def _take(self, epoch: int, partitions: frozenset[int]) -> None:
        if self._prepare is not None:
            await self._prepare()
        count = await self._partition_count(partitions)
        await self._retry(self.topic_ids.refresh)
        term = 0
        replaced: dict[int, int] = {}
        saved: dict[int, bytes] = {}
        if partitions:  # none, if there are more workers than partitions
            taken = await self._retry(lambda: self._store.take_term(self.worker, sorted(partitions)))
            term, replaced = taken.number, taken.replaced
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
                if count > max(assigned, default=-1):
                    return count
                log.warning("this broker doesn't know yet that the inputs have grown", count=count)
            except TopicsError as error:
                self._metrics.wait("unequal-partitions")
                log.warning("waiting for the input topics", problem=str(error))
            except Exception as error:
                self._metrics.wait("term")
                log.warning("waiting for the broker", problem=str(error))
            await backoff.sleep()

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
