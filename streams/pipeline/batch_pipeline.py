"""Runs the stages of a micro-batch in order: decode, load, update, rank, emit, and hand over to the checkpoint."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import structlog

from schemas.actions import CAUSE_TYPES
from streams.arrays import IntpArray
from streams.checkpoint.checkpointer import Checkpointer
from streams.checkpoint.gate import Gate
from streams.checkpoint.ownership import Assignment, Ownership
from streams.decode.decoder import Decoded, Decoder, Misplaced
from streams.decode.event_batch import ActionBatch, CommandBatch, EventBatch
from streams.decode.misplaced_records import MisplacedRecords
from streams.emit.producer import Emitter
from streams.features.contract import AppliedEvents
from streams.features.running import RunningFeatures
from streams.fetch.record_batch import RecordBatch
from streams.monitoring.bad_input import BadInput
from streams.monitoring.metrics import Metrics
from streams.pipeline.profile_loader import ProfileLoader
from streams.pipeline.recommender import Recommender
from streams.rank.loaded_encoder import ActiveEncoder
from streams.state.action_update import apply_actions
from streams.state.profile_table import TableFull
from streams.state.profile_update import OUTCOMES, Applied, apply_batch, fold_pending
from streams.state.profile_update_kernel import APPLIED
from streams.state.state import State

log = structlog.get_logger(__name__)


_CONSENT = CAUSE_TYPES.index("consent")  # changes no list
COUNT_EVERY_S = 0.1  # seconds between two counts of the unsaved users: a count reads every slot
# a micro-batch of this many records shows a backlog. A save is then not paced: its cost counts for more than the delay
# of the events behind it
MANY_RECORDS = 500


class BatchPipeline:
    """Applies micro-batches to the state, one after the other.

    While a micro-batch is ranked, the users of the next one are loaded. Batches of a past assignment are dropped: their
    new owner reads them again.
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
        misplaced: MisplacedRecords,
        features: RunningFeatures,
        excluded_ms: float,
        max_dirty_users: int,
        count_every_s: float = COUNT_EVERY_S,
        many_records: int = MANY_RECORDS,
    ) -> None:
        """Make a pipeline; nothing is processed yet.

        Parameters
        ----------
        excluded_ms : milliseconds for which purchased items are excluded
        max_dirty_users : number of unsaved users from which on micro-batches wait for a checkpoint
        count_every_s : seconds between two counts of the unsaved users
        many_records : number of records in a micro-batch from which on a paced save is written at once
        """
        self._state, self._active = state, active
        self._decoder, self._loader, self._recommender = decoder, loader, recommender
        self._emitter, self._checkpointer = emitter, checkpointer
        self._ownership, self._gate, self._metrics = ownership, gate, metrics
        self._features, self._excluded_ms = features, excluded_ms
        self._bad_input, self._misplaced = BadInput(metrics), misplaced
        # a micro-batch must fit into the table beside the unsaved users
        self._max_dirty = min(max_dirty_users, state.table.capacity // 2)
        self._count_every_s, self._many_records = count_every_s, many_records
        self._dirty = 0  # unsaved users at the last count, and the users of all micro-batches since
        self._counted = 0.0

    async def process(self, micro_batch: Sequence[RecordBatch], entered: Callable[[], None] = lambda: None) -> bool:
        """Process batches of one assignment; False if the assignment ended before they were in the state.

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
                    held = await self._apply(decoded, slots, assignment)
                except TableFull:
                    self._metrics.wait("dirty-budget")
                except BaseException:
                    # the table may hold half of the micro-batch: nothing may be saved once the lock is released
                    self._ownership.revoke()
                    raise
                else:
                    self._checkpointer.add(micro_batch, held)
                    self._dirty += len(partition_of)
                    return True
            await self._checkpointer.advanced(1.0)

    async def _wait_for_room(self, assignment: Assignment) -> bool:
        """Wait while too many users are unsaved; False if the assignment ended."""
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

    async def _apply(self, decoded: Decoded, slots: dict[str, int], assignment: Assignment) -> list[RecordBatch]:
        """Apply events, actions and commands; returns the batches that must not be acked with the others."""
        self.apply_index_updates()
        held: list[RecordBatch] = []
        if decoded.events is not None:
            await self._apply_events(decoded, decoded.events, slots, assignment.term)
        if decoded.actions is not None:
            await self._apply_actions(decoded, decoded.actions, slots, assignment.term)
        for topic, count in Counter(decoded.impressions).items():
            self._metrics.events(topic, "applied", count)
        self._metrics.actions("impression", len(decoded.impressions))
        if decoded.commands is not None:
            withdrawn = self._apply_commands(decoded.commands, slots)
            for user in withdrawn:
                await asyncio.to_thread(self._emitter.recommend, user, None)
            if withdrawn:
                held = _batches_of_commands(decoded)
                self._checkpointer.tombstones.add(withdrawn, assignment.epoch, held)
            for topic, count in Counter(decoded.batches[index].topic for index in decoded.command_batch).items():
                self._metrics.events(topic, "command", count)
        if decoded.refused or decoded.misplaced:
            await asyncio.to_thread(self._refuse_and_reroute, decoded)
        for refused in decoded.refused:
            letter = refused.letter
            self._bad_input.refused(refused.record, letter.reason, letter.field, letter.detail)
            self._metrics.events(refused.record.topic, "dead")
        for fault in decoded.faults:
            self._bad_input.fault(fault.record, fault.error.reason, fault.error.field, fault.error.detail)
        if decoded.misplaced:
            self._tell_of_misplaced(decoded.misplaced, assignment.partition_count)
        return held

    def _tell_of_misplaced(self, misplaced: list[Misplaced], partition_count: int) -> None:
        by_topic: defaultdict[str, list[Misplaced]] = defaultdict(list)
        for entry in misplaced:
            by_topic[entry.record.topic].append(entry)
        for topic, entries in by_topic.items():
            self._metrics.events(topic, "rerouted", len(entries))
            self._metrics.rerouted(topic, len(entries))
            causes, sentences = self._misplaced.note(topic, entries, partition_count)
            for cause, count in causes.items():
                if not self._misplaced.is_expected(topic, cause):
                    self._metrics.misplaced(topic, cause, count)
            for sentence in sentences:
                log.warning(
                    f"records are on another partition than their user's and take a detour: {sentence}", topic=topic
                )

    def _refuse_and_reroute(self, decoded: Decoded) -> None:
        self._emitter.refuse(decoded.refused)
        self._emitter.reroute(decoded.misplaced)

    def apply_index_updates(self) -> None:
        """Bring new item vectors into the index, and events that waited for them into the sums.

        Call it with the state lock held.
        """
        encoder, table = self._active.encoder, self._state.table
        changed = self._active.feed.apply()
        if changed:
            fold_pending(table, changed, encoder.index, encoder.sums)

    async def _apply_events(self, decoded: Decoded, events: EventBatch, slots: dict[str, int], term: int) -> None:
        state, encoder = self._state, self._active.encoder
        event_slots = np.fromiter((slots[user] for user in events.user_ids), np.intp, len(events))
        self._features.before(events, event_slots)
        with self._metrics.stage("update"):
            applied = apply_batch(state.table, events, event_slots, encoder.index, encoder.sums, self._excluded_ms)
            counted = applied.events
            self._count(decoded, applied)
            self._metrics.purchases_dropped(applied.purchases_dropped)
            item_ids = [events.item_ids[index] for index in counted.tolist()]
            partitions = state.table.partition[event_slots[counted]]
            state.trending.count(partitions, item_ids, events.types[counted], events.times[counted])
        records = self._features.applied(AppliedEvents(events=events, slots=event_slots, applied=counted))
        if records:
            await asyncio.to_thread(self._emitter.write, records)
        if len(counted) == 0:
            return
        if self._checkpointer.tombstones.users:
            self._checkpointer.tombstones.came_back(events.user_ids[index] for index in counted.tolist())
        touched, causes = _last_event_of_each(event_slots, counted)
        await asyncio.to_thread(self._recommender.refresh, events, touched, events.first_lines(causes), term)

    async def _apply_actions(self, decoded: Decoded, batch: ActionBatch, slots: dict[str, int], term: int) -> None:
        state, encoder, events = self._state, self._active.encoder, batch.events
        action_slots = np.fromiter((slots[user] for user in events.user_ids), np.intp, len(batch))
        with self._metrics.stage("update"):
            outcome = apply_actions(state.table, batch, action_slots, encoder.index, encoder.sums)
        topics = [decoded.batches[index].topic for index in decoded.action_batch.tolist()]
        for (topic, code), count in Counter(zip(topics, outcome.tolist(), strict=True)).items():
            self._metrics.events(topic, OUTCOMES[code], count)
        counted = np.flatnonzero(outcome == APPLIED)
        for code, count in Counter(events.types[counted].tolist()).items():
            self._metrics.actions(CAUSE_TYPES[code], count)
        if len(counted) and self._checkpointer.tombstones.users:
            self._checkpointer.tombstones.came_back(events.user_ids[index] for index in counted.tolist())
        relisting = counted[events.types[counted] != _CONSENT]
        if len(relisting):
            touched, causes = _last_event_of_each(action_slots, relisting)
            await asyncio.to_thread(self._recommender.refresh, events, touched, causes, term)

    def _count(self, decoded: Decoded, applied: Applied) -> None:
        """Count records of events by their outcome and by the topic that they were read from."""
        assert decoded.events is not None
        starts = ~decoded.events.continues
        topics = list({batch.topic for batch in decoded.batches})
        topic = np.array([topics.index(batch.topic) for batch in decoded.batches], np.intp)[decoded.event_batch]
        kinds = len(OUTCOMES)
        counts = np.bincount((kinds * topic + applied.outcome)[starts], minlength=kinds * len(topics))
        for code, count in enumerate(counts.tolist()):
            self._metrics.events(topics[code // kinds], OUTCOMES[code % kinds], count)

    def _apply_commands(self, commands: CommandBatch, slots: dict[str, int]) -> list[str]:
        """Forget the users that commands name; returns those whose recommendations must be deleted."""
        forgotten, table = [], self._state.table
        columns = (commands.user_ids, commands.sources, commands.offsets, commands.written)
        for user, log_id, offset, written_ms in zip(*columns, strict=True):
            slot = slots[user]
            if table.offsets.apply_once(slot, log_id, offset):
                table.wipe(slot, written_ms)
                forgotten.append(user)
                log.info("forgot a user", partition=int(table.partition[slot]))
            elif table.forgotten[slot]:
                # read again: the former owner may have ended before it repeated the tombstone
                forgotten.append(user)
        return forgotten


def _partition_of_users(decoded: Decoded) -> dict[str, int]:
    """Map each user of the micro-batch to the user's partition; all events of a user are of one partition."""
    partition_of: dict[str, int] = {}
    if decoded.events is not None:
        partitions = np.array([batch.partition for batch in decoded.batches])[decoded.event_batch].tolist()
        partition_of |= zip(decoded.events.user_ids, partitions, strict=True)
    if decoded.actions is not None:
        partitions = [decoded.batches[index].partition for index in decoded.action_batch.tolist()]
        partition_of |= zip(decoded.actions.events.user_ids, partitions, strict=True)
    if decoded.commands is not None:
        partitions = [decoded.batches[index].partition for index in decoded.command_batch]
        partition_of |= zip(decoded.commands.user_ids, partitions, strict=True)
    return partition_of


def _batches_of_commands(decoded: Decoded) -> list[RecordBatch]:
    """Return the batches of a micro-batch that hold commands and no events."""
    # batches of `rerouted` are not among them: to hold one of these would keep all events behind it in memory
    assert decoded.commands is not None
    topics = {source.topic for source in decoded.commands.sources}
    indices = dict.fromkeys(decoded.command_batch)
    return [decoded.batches[index] for index in indices if decoded.batches[index].topic in topics]


def _last_event_of_each(slots: IntpArray, events: IntpArray) -> tuple[IntpArray, IntpArray]:
    """Return each slot that has events, once, and the index of its last event."""
    touched, from_end = np.unique(slots[events][::-1], return_index=True)
    return touched, events[::-1][from_end]
