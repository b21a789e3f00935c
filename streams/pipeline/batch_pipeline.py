"""The order of the stages for a micro-batch: decode, load, update, rank, emit, and hand over to the checkpoint."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import structlog

from streams.arrays import IntpArray
from streams.checkpoint.checkpointer import Checkpointer
from streams.checkpoint.gate import Gate
from streams.checkpoint.ownership import Assignment, Ownership
from streams.decode.decoder import Decoded, Decoder
from streams.decode.event_batch import CommandBatch, EventBatch
from streams.emit.producer import Emitter
from streams.features.contract import AppliedEvents
from streams.features.running import RunningFeatures
from streams.fetch.record_batch import RecordBatch
from streams.monitoring.metrics import Metrics
from streams.pipeline.profile_loader import ProfileLoader
from streams.pipeline.recommender import Recommender
from streams.rank.loaded_encoder import ActiveEncoder
from streams.state.profile_table import TableFull
from streams.state.profile_update import OUTCOMES, Applied, apply_batch, fold_pending
from streams.state.state import State

log = structlog.get_logger(__name__)


COUNT_EVERY_S = 0.1  # how often unsaved users are counted: that takes a look at every slot there is
MANY_RECORDS = 500  # of a micro-batch: a backlog waits, and what a save costs counts for more than events behind it
_WARN_EVERY_S = 60.0
_WARN_FROM = 10  # a few are somebody's mistake, many are a setting


class BatchPipeline:
    """Brings micro-batches into the state one after the other; while one is ranked, the next one's users are loaded.

    Batches of a past assignment are dropped, as their new owner reads them again.
    """

    def __init__(
        self,
        *,
        state: State,
        active: ActiveEncoder,
        decoder: Decoder,
        loader: ProfileLoader,
        recommender: Recommender,
        emitter: Emitter,
        checkpointer: Checkpointer,
        ownership: Ownership,
        gate: Gate,
        metrics: Metrics,
        features: RunningFeatures,
        max_dirty_users: int,
        count_every_s: float = COUNT_EVERY_S,
        many_records: int = MANY_RECORDS,
    ) -> None:
        """Make a pipeline; nothing is processed yet.

        Parameters
        ----------
        max_dirty_users : unsaved users at which micro-batches wait for a checkpoint
        count_every_s : seconds between two counts of the unsaved users
        many_records : records of a micro-batch from which on a paced save hurries
        """
        self._state, self._active = state, active
        self._decoder, self._loader, self._recommender = decoder, loader, recommender
        self._emitter, self._checkpointer = emitter, checkpointer
        self._ownership, self._gate, self._metrics = ownership, gate, metrics
        self._features = features
        # a batch must fit in beside what is dirty
        self._max_dirty = min(max_dirty_users, state.table.capacity // 2)
        self._count_every_s, self._many_records = count_every_s, many_records
        self._dirty = 0  # users not saved when they were counted, and those of the micro-batches since
        self._counted = 0.0
        self._warn_after = 0.0

    async def process(self, micro_batch: Sequence[RecordBatch], entered: Callable[[], None] = lambda: None) -> bool:
        """Process batches of one assignment; False if it passed before they were in the state.

        Parameters
        ----------
        micro_batch : batches in order of arrival, as `streams.pipeline.batch_queue` puts them together
        entered : called as soon as all users of the micro-batch are in memory. Until then another micro-batch must not
            look users up: it could find one that is about to be evicted, or load a row older than this one's result.
        """
        assignment = await self._ownership.wait(micro_batch[0].epoch)
        if assignment is None or not self._gate.is_open(assignment.epoch):
            return False
        for batch in micro_batch:
            self._metrics.batch(batch.topic, len(batch))
        if sum(map(len, micro_batch)) >= self._many_records:
            self._checkpointer.hurry()
        with self._metrics.stage("decode"):
            decoded = self._decoder.decode(micro_batch, assignment.partition_count)
        partition_of = _partition_of_users(decoded)
        while True:
            if not await self._wait_for_room(assignment):
                return False
            rows = await self._loader.load(list(partition_of), lambda: self._gate.is_open(assignment.epoch))
            if rows is None:
                return False
            async with self._state.lock:
                if not self._gate.is_open(assignment.epoch):
                    return False
                try:
                    slots = self._loader.fill(decoded, partition_of, rows, assignment.term)
                    entered()
                    await self._apply(decoded, slots, assignment.term)
                except TableFull:
                    self._metrics.wait("dirty-budget")
                except BaseException:
                    # the micro-batch may be half in the table: nothing may be saved when the lock is let go of
                    self._ownership.revoke()
                    raise
                else:
                    self._checkpointer.add(micro_batch)
                    self._dirty += len(partition_of)
                    return True
            await self._checkpointer.advanced(1.0)

    async def _wait_for_room(self, assignment: Assignment) -> bool:
        """Wait while too much is unsaved; False if the assignment passed."""
        table = self._state.table
        while self._gate.is_open(assignment.epoch):
            if self._dirty >= self._max_dirty or time.monotonic() - self._counted > self._count_every_s:
                self._dirty, self._counted = table.dirty_count, time.monotonic()
            if self._dirty >= self._max_dirty // 2:
                self._checkpointer.hurry()
            if self._dirty < self._max_dirty:
                return True
            self._metrics.wait("dirty-budget")
            await self._checkpointer.advanced(1.0)
        return False

    async def _apply(self, decoded: Decoded, slots: dict[str, int], term: int) -> None:
        self.apply_index_updates()
        if decoded.events is not None:
            await self._apply_events(decoded, decoded.events, slots, term)
        if decoded.commands is not None:
            for user in self._apply_commands(decoded.commands, slots):
                await asyncio.to_thread(self._emitter.recommend, user, None)
            for topic, count in Counter(decoded.batches[index].topic for index in decoded.command_batch).items():
                self._metrics.events(topic, "command", count)
        if decoded.refused or decoded.misplaced:
            await asyncio.to_thread(self._send_on, decoded)
        for refused in decoded.refused:
            self._metrics.dead_letter(refused.record.topic, refused.letter.reason)
            self._metrics.events(refused.record.topic, "dead")
        for topic, count in Counter(misplaced.record.topic for misplaced in decoded.misplaced).items():
            self._metrics.events(topic, "rerouted", count)
            self._metrics.rerouted(topic, count)
            records = sum(len(batch) for batch in decoded.batches if batch.topic == topic)
            self._warn_of_partitioner(topic, count, records)

    def _warn_of_partitioner(self, topic: str, misplaced: int, records: int) -> None:
        if misplaced > _WARN_FROM and misplaced * 2 > records and time.monotonic() > self._warn_after:
            self._warn_after = time.monotonic() + _WARN_EVERY_S
            log.warning(
                "most events come on another partition than their user's and are sent on, which costs time: "
                "do producers hash as kafka.input_partitioner says, and key by user id?",
                topic=topic,
                misplaced=misplaced,
                of=records,
            )

    def _send_on(self, decoded: Decoded) -> None:
        self._emitter.refuse(decoded.refused)
        self._emitter.reroute(decoded.misplaced)

    def apply_index_updates(self) -> None:
        """Put new item vectors into the index, and events that waited for them into the sums.

        Call it with the state lock held.
        """
        encoder, table = self._active.encoder, self._state.table
        changed = self._active.feed.apply()
        if changed:
            fold_pending(table, changed & table.pending.slots_by_item.keys(), encoder.index, encoder.sums)
            self._metrics.items(len(encoder.index))

    async def _apply_events(self, decoded: Decoded, events: EventBatch, slots: dict[str, int], term: int) -> None:
        state, encoder = self._state, self._active.encoder
        places = np.fromiter((slots[user] for user in events.user_ids), np.intp, len(events))
        self._features.before(events, places)
        with self._metrics.stage("update"):
            applied = apply_batch(state.table, events, places, encoder.index, encoder.sums)
            counted = applied.events
            self._count(decoded, applied)
            item_ids = [events.item_ids[index] for index in counted.tolist()]
            partitions = state.table.partition[places[counted]]
            state.trending.count(partitions, item_ids, events.types[counted], events.times[counted])
        records = self._features.applied(AppliedEvents(events=events, slots=places, applied=counted))
        if records:
            await asyncio.to_thread(self._emitter.write, records)
        if len(counted) == 0:
            return
        touched, causes = _last_event_of_each(places, counted)
        await asyncio.to_thread(self._recommender.refresh, events, touched, causes, term)

    def _count(self, decoded: Decoded, applied: Applied) -> None:
        """Count what became of events, by the topic that they were read from."""
        topics = list({batch.topic for batch in decoded.batches})
        topic = np.array([topics.index(batch.topic) for batch in decoded.batches], np.intp)[decoded.event_batch]
        kinds = len(OUTCOMES)
        counts = np.bincount(kinds * topic + applied.outcome, minlength=kinds * len(topics))
        for code, count in enumerate(counts.tolist()):
            self._metrics.events(topics[code // kinds], OUTCOMES[code % kinds], count)

    def _apply_commands(self, commands: CommandBatch, slots: dict[str, int]) -> list[str]:
        """Carry commands out; returns the users whose recommendations have to go."""
        forgotten, table = [], self._state.table
        columns = (commands.user_ids, commands.sources, commands.offsets, commands.written)
        for user, log_id, offset, written_ms in zip(*columns, strict=True):
            slot = slots[user]
            if table.offsets.apply_once(slot, log_id, offset):
                table.wipe(slot, written_ms)
                forgotten.append(user)
                log.info("forgot a user", partition=int(table.partition[slot]))
        return forgotten


def _partition_of_users(decoded: Decoded) -> dict[str, int]:
    """Every user of the micro-batch, once: a user's events are all of one partition."""
    partition_of: dict[str, int] = {}
    if decoded.events is not None:
        partitions = np.array([batch.partition for batch in decoded.batches])[decoded.event_batch].tolist()
        partition_of |= zip(decoded.events.user_ids, partitions, strict=True)
    if decoded.commands is not None:
        partitions = [decoded.batches[place].partition for place in decoded.command_batch]
        partition_of |= zip(decoded.commands.user_ids, partitions, strict=True)
    return partition_of


def _last_event_of_each(slots: IntpArray, events: IntpArray) -> tuple[IntpArray, IntpArray]:
    """Each touched slot and the last of its events."""
    touched, from_end = np.unique(slots[events][::-1], return_index=True)
    return touched, events[::-1][from_end]
