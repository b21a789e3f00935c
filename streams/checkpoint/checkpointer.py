"""Checkpoints: Kafka is the log, the store holds the state, and every acked record is saved.

A checkpoint copies the dirty users between two micro-batches. It waits until Kafka has confirmed all records that were
produced before. Then it writes the rows, verifies that the store still names our term, and only after that acks the
batches. A crash at any point replays batches; applied offsets skip the events that are in the rows already.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from streams.checkpoint.erased_users import Tombstones
from streams.checkpoint.ownership import Assignment, Ownership
from streams.checkpoint.profile_rows import encode_rows
from streams.checkpoint.snapshot import ProfileSnapshot, end_save, take_snapshot
from streams.emit.deliveries import Deliveries
from streams.emit.producer import Emitter
from streams.fetch.record_batch import RecordBatch
from streams.monitoring.metrics import Metrics
from streams.retry import Backoff
from streams.state.state import State
from streams.state.trending import TakenCounts
from streams.stores.base import ProfileStore, StoreError, StoreMisconfigured
from streams.stores.base import version as store_version
from streams.stores.write_pace import WritePace

log = structlog.get_logger(__name__)

_DELIVERY_TIMEOUT_S = 5.0
ROWS_AT_ONCE = 512
"""Rows that are encoded at once. It takes some milliseconds, during which no other Python code runs."""
PACED_ROWS_S = 2_000
"""Rows a second above which a save is written at once instead of being paced."""
# pacing sends one request at a time, which costs the client three times as much a row; and at this rate a paced save
# would keep the servers busy, and others waiting, all the time


@dataclass
class _Frozen:
    """The copied state, and the batches that are acked when it is saved."""

    assignment: Assignment
    snapshot: ProfileSnapshot
    batches: list[RecordBatch]
    deliveries: list[Deliveries]
    trending: dict[int, TakenCounts]


class Checkpointer:
    """Saves state and acks batches, one checkpoint at a time."""

    def __init__(
        self,
        *,
        state: State,
        store: ProfileStore,
        emitter: Emitter,
        ownership: Ownership,
        metrics: Metrics,
        encoder_version: Callable[[], str],
        forget_after_s: Callable[[], int],
        tombstones: Tombstones,
        superseded: Callable[[], None],
        rows_at_once: int = ROWS_AT_ONCE,
        paced_rows_s: float = PACED_ROWS_S,
    ) -> None:
        """Create without batches.

        Parameters
        ----------
        encoder_version : returns the version whose sums and preferences the table holds
        forget_after_s : returns the seconds after which the row of a forgotten user expires; 0 = never
        tombstones : the withdrawn lists whose tombstones are to be repeated
        superseded : called when another worker turns out to own our partitions
        rows_at_once : rows that are encoded at once
        paced_rows_s : rows a second above which a save is written at once instead of being paced
        """
        self._state, self._store, self._emitter = state, store, emitter
        self._ownership, self._metrics = ownership, metrics
        self._encoder_version = encoder_version
        self._forget_after_s = forget_after_s
        self.tombstones = tombstones
        self._superseded = superseded
        self._rows_at_once, self._paced_rows_s = rows_at_once, paced_rows_s
        self._running = asyncio.Lock()
        self._batches: list[RecordBatch] = []  # processed, not acked yet
        self._undelivered: list[Deliveries] = []
        self._save_number = 0
        self._wanted = asyncio.Event()
        self._advanced = asyncio.Event()
        self._paces: list[WritePace] = []  # of the save in progress, and of those that wait for it

    def add(self, batches: Sequence[RecordBatch], held: Sequence[RecordBatch] = ()) -> None:
        """Add batches to the next checkpoint. Call with the state lock held.

        All their events must be in the table, and all records that follow from them must be produced. ``held`` are
        batches that `tombstones` gives back later.
        """
        if held:
            batches = [batch for batch in batches if batch not in held]
        self._batches += batches

    def request(self) -> None:
        """Ask `run_forever` for a checkpoint now instead of at the end of the interval."""
        self._wanted.set()
        self.hurry()

    def hurry(self) -> None:
        """End the pacing of the save in progress, if there is one."""
        for pace in self._paces:
            pace.hurry()

    async def advanced(self, timeout_s: float) -> bool:
        """Request a checkpoint, and wait until one has succeeded; False if none has within ``timeout_s``."""
        self._advanced.clear()
        self.request()
        try:
            await asyncio.wait_for(self._advanced.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def run_forever(self, interval_s: float) -> None:
        """Run a checkpoint ``interval_s`` seconds after the last one, paced over ``interval_s``; on request at once."""
        # an unpaced save keeps the store's servers busy, and events wait for the rows of their users meanwhile
        backoff = Backoff()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), interval_s)
            requested = self._wanted.is_set()
            self._wanted.clear()
            if await self.run(0.0 if requested else interval_s):
                backoff = Backoff()
            else:
                await backoff.sleep()

    async def run(self, over_s: float = 0.0) -> bool:
        """Run one checkpoint; False if it failed. Nothing is lost then: the next checkpoint saves the same state.

        The save is paced over about ``over_s`` seconds, unless `hurry` is called or there are too many rows.
        """
        if over_s == 0.0:
            self.hurry()
        pace = WritePace(over_s)
        self._paces.append(pace)
        try:
            async with self._running:
                return await self._run(pace, over_s)
        finally:
            pace.hurry()  # the thread of a cancelled save continues to write
            self._paces.remove(pace)

    async def _run(self, pace: WritePace, over_s: float) -> bool:
        start = time.perf_counter()
        async with self._state.lock:
            await self._repeat_tombstones()
            frozen = self._freeze()
        if frozen is None:
            return True
        if len(frozen.snapshot) > self._paced_rows_s * over_s:
            pace.hurry()
        saved = False
        try:
            saved = await self._save(frozen, pace)
        except StoreMisconfigured:
            raise
        except StoreError as error:
            self._metrics.store_error("save")
            log.warning("checkpoint failed, will be tried again", problem=str(error), users=len(frozen.snapshot))
        finally:
            self._end(frozen, saved)
        if saved:
            self._metrics.checkpoint(time.perf_counter() - start, len(frozen.snapshot), time.time())
            self._advanced.set()
        return saved

    async def _repeat_tombstones(self) -> None:
        """Send the tombstones that are due again. No list of their users can come between: the state lock is held."""
        assignment = self._ownership.current
        if assignment is None:
            return
        users, released = self.tombstones.take_due(assignment.epoch)
        self._batches += released
        for user in users:
            await asyncio.to_thread(self._emitter.recommend, user, None)

    def _freeze(self) -> _Frozen | None:
        assignment = self._ownership.current
        if assignment is None:
            # batches of an earlier assignment belong to another worker now
            self._batches.clear()
            return None
        dirty = np.flatnonzero(self._state.table.dirty)
        mine = self._state.table.term[dirty] == assignment.term
        if not mine.all():
            self._state.table.evict(dirty[~mine])
            dirty = dirty[mine]
        trending = self._state.trending.take_changed()
        if len(dirty) == 0 and not self._batches and not trending:
            return None
        batches, self._batches = self._batches, []
        deliveries, self._undelivered = [*self._undelivered, self._emitter.swap()], []
        snapshot = take_snapshot(self._state.table, dirty, self._encoder_version())
        return _Frozen(assignment, snapshot, batches, deliveries, trending)

    async def _save(self, frozen: _Frozen, pace: WritePace) -> bool:
        for deliveries in frozen.deliveries:
            if not await asyncio.to_thread(deliveries.wait, _DELIVERY_TIMEOUT_S):
                log.warning("checkpoint waits for Kafka to confirm what was produced", records=deliveries.produced)
                return False
        self._save_number += 1
        number = self._save_number
        pace.begin(len(frozen.snapshot))
        for part in frozen.snapshot.parts(self._rows_at_once):
            rows = await asyncio.to_thread(encode_rows, part, number, self._forget_after_s())
            with self._metrics.stage("save", pace):
                await self._store.save(rows, pace)
        trending = await asyncio.to_thread(self._publish, frozen.trending)
        if trending:
            await self._store.save_trending(trending, store_version(frozen.assignment.term, number))
        if not self._ownership.is_current(frozen.assignment):
            return False
        if frozen.assignment.partitions and not await self._ownership.verify(frozen.assignment):
            log.warning("another worker has taken our partitions: nothing is acked, asking for a new assignment")
            self._superseded()
            return False
        return True

    def _publish(self, trending: dict[int, TakenCounts]) -> dict[int, bytes]:
        states = {partition: counts.encode() for partition, counts in trending.items()}
        self._emitter.trending(states)
        return states

    def _end(self, frozen: _Frozen, saved: bool) -> None:
        end_save(self._state.table, frozen.snapshot, saved)
        if not saved:
            # users that stay ours under the next assignment still depend on these deliveries
            self._undelivered[:0] = [deliveries for deliveries in frozen.deliveries if not deliveries.confirmed]
        if not self._ownership.is_current(frozen.assignment):
            return
        if saved:
            for batch in frozen.batches:
                batch.ack()
        else:
            self._batches[:0] = frozen.batches
            self._state.trending.mark_changed(frozen.trending)
