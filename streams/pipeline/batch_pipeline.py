"""What happens to batches of the inputs: decode, load, update, rank, emit, and hand over to the checkpoint."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import structlog

from schemas.errors import DecodeError, DecodeReason
from streams.arrays import IntpArray
from streams.checkpoint.checkpointer import Checkpointer
from streams.checkpoint.ownership import Assignment, Ownership
from streams.checkpoint.profile_rows import fill_slot
from streams.checkpoint.stored_profile import StateError
from streams.decode.dead_letter import Refused, dead_letter
from streams.decode.decoder import Decoded, Decoder
from streams.decode.event_batch import CommandBatch, EventBatch
from streams.emit.producer import Emitter
from streams.errors import PrefstreamError
from streams.fetch.record_batch import RecordBatch
from streams.kafka.log_id import LogId
from streams.monitoring.metrics import Metrics
from streams.pipeline.recommender import Recommender
from streams.quality.list_statistics import ListStatistics
from streams.quality.online_quality import OnlineQuality
from streams.rank.loaded_encoder import ActiveEncoder
from streams.retry import Backoff
from streams.state.profile_table import ProfileTable, TableFull
from streams.state.profile_update import OUTCOMES, Applied, apply_batch, fold_pending, fold_spilled
from streams.state.trending import Trending
from streams.state.version_sums import map_into
from streams.stores.base import ProfileStore, StoredProfile, StoreError, StoreMisconfigured

log = structlog.get_logger(__name__)


_COUNT_EVERY_S = 0.1  # what is not saved: that takes a look at every slot there is
_MANY_RECORDS = 500  # of a group: a backlog waits, and what a save costs counts for more than what waits behind it
_WARN_EVERY_S = 60.0
_WARN_FROM = 10  # a few are somebody's mistake, many are a setting


class AppliedOffsetBeyondLog(PrefstreamError):
    """A profile counted events that the log does not hold (any more): it was cut."""


class BatchPipeline:
    """Groups of batches, one after the other into the state; while one is ranked, the users of the next are loaded.

    Batches of a past assignment are dropped, as their new owner reads them again.
    """

    def __init__(
        self,
        table: ProfileTable,
        store: ProfileStore,
        decoder: Decoder,
        serving: ActiveEncoder,
        recommender: Recommender,
        trending: Trending,
        emitter: Emitter,
        checkpoint: Checkpointer,
        ownership: Ownership,
        metrics: Metrics,
        max_dirty_users: int,
        log_end: Callable[[LogId, int], int],
        quality: OnlineQuality,
        statistics: ListStatistics,
    ) -> None:
        self._table, self._store, self._decoder = table, store, decoder
        self._serving, self._recommender = serving, recommender
        self._trending, self._emitter, self._checkpoint = trending, emitter, checkpoint
        self._ownership, self._metrics = ownership, metrics
        # a batch must fit in beside what is dirty
        self._max_dirty = min(max_dirty_users, table.capacity // 2)
        self._log_end = log_end
        self._quality, self._statistics = quality, statistics
        self._dirty = 0  # users that were not saved yet when they were counted, and those of the groups since
        self._counted = 0.0
        self._warn_after = 0.0
        self.accepting = True
        """False while handing over: the batch in hand is finished, no other is begun."""

    async def process(self, group: Sequence[RecordBatch], entered: Callable[[], None] = lambda: None) -> bool:
        """Process batches of one assignment; False if it passed before they were in the state.

        Parameters
        ----------
        group : batches in order of arrival, as `streams.pipeline.batch_queue` puts them together
        entered : called once all users of the group are in memory, and no sooner: who looks for users before that may
            find one in memory that goes, or load a row that is older than what this group makes of it
        """
        assignment = await self._ownership.wait(group[0].epoch)
        if assignment is None or not self.accepting:
            return False
        for batch in group:
            self._metrics.batch(batch.topic, len(batch))
        if sum(map(len, group)) >= _MANY_RECORDS:
            self._checkpoint.hurry()
        with self._metrics.stage("decode"):
            decoded = self._decoder.decode(group, assignment.partition_count)
        partition_of = _partition_of_users(decoded)
        while True:
            if not await self._wait_for_room(assignment):
                return False
            rows = await self._load(list(partition_of), assignment)
            if rows is None:
                return False
            async with self._checkpoint.state_lock:
                if not self._goes_on(assignment):
                    return False
                try:
                    slots = self._slots(decoded, partition_of, rows, assignment.term)
                    entered()
                    await self._apply(decoded, slots, assignment.term)
                except TableFull:
                    self._metrics.wait("dirty-budget")
                except BaseException:
                    # the group may be half in the table: see to it that nothing is saved when the state_lock falls
                    self.accepting = False
                    self._ownership.revoke()
                    raise
                else:
                    self._checkpoint.add(group)
                    self._dirty += len(partition_of)
                    return True
            await self._checkpoint.advanced(1.0)

    def _goes_on(self, assignment: Assignment) -> bool:
        return self.accepting and self._ownership.is_current(assignment)

    async def _wait_for_room(self, assignment: Assignment) -> bool:
        """Wait while too much is unsaved; False if the assignment passed."""
        while self._goes_on(assignment):
            if self._dirty >= self._max_dirty or time.monotonic() - self._counted > _COUNT_EVERY_S:
                self._dirty, self._counted = self._table.dirty_count, time.monotonic()
            if self._dirty >= self._max_dirty // 2:
                self._checkpoint.hurry()
            if self._dirty < self._max_dirty:
                return True
            self._metrics.wait("dirty-budget")
            await self._checkpoint.advanced(1.0)
        return False

    async def _load(self, users: list[str], assignment: Assignment) -> dict[str, StoredProfile] | None:
        """Stored rows of the users that are not in memory; None if the assignment passed meanwhile."""
        found = self._table.find(users)
        missed = [user for user, slot in zip(users, found.tolist(), strict=True) if slot < 0]
        self._metrics.cache(len(users) - len(missed), len(missed))
        backoff = Backoff()
        while missed:
            try:
                with self._metrics.stage("load"):
                    return await self._store.load(missed)
            except StoreMisconfigured:
                raise
            except StoreError as error:
                self._metrics.store_error("load")
                self._metrics.wait("store")
                log.warning("waiting for the store to load users", users=len(missed), problem=str(error))
            if not self._goes_on(assignment):
                return None
            await backoff.sleep()
        return {}

    def _slots(
        self, decoded: Decoded, partition_of: dict[str, int], rows: dict[str, StoredProfile], term: int
    ) -> dict[str, int]:
        """Slots of all users of the group, loaded or blank."""
        users = list(partition_of)
        slots = self._table.find(users)
        absent = [user for user, slot in zip(users, slots.tolist(), strict=True) if slot < 0]
        if absent:
            space = self._serving.space
            partitions = np.array([partition_of[user] for user in absent], np.int32)
            fresh = self._table.allocate(absent, partitions, term)
            waiting: set[int] = set()
            moved: list[int] = []
            for user, slot in zip(absent, fresh.tolist(), strict=True):
                row = rows.get(user)
                if row is not None:
                    try:
                        spilled = fill_slot(self._table, slot, row, space.version, space.index)
                    except StateError as error:
                        self._set_aside(decoded, slot, user, error)
                        continue
                    fold_spilled(self._table, slot, spilled, space.index, space.sums)
                    if row.encoder != space.version and row.mixed:
                        moved.append(slot)
                    self._check_fences(slot, user)
                    waiting.update(event.item for event in self._table.pending.get(slot, ()))
            fold_pending(self._table, waiting, space.index, space.sums)
            space.wanted |= map_into(self._table, fresh.tolist(), space.maps, space.sums.half_life_s)
            # not all of them are ranked in this batch, and all may be saved
            if moved:
                self._recommender.note_preferences(np.array(moved, np.intp))
            slots = self._table.find(users)
        return dict(zip(users, slots.tolist(), strict=True))

    def _set_aside(self, decoded: Decoded, slot: int, user: str, error: StateError) -> None:
        """One row that can't be read must not stop the shop: that user's events become dead letters.

        Unless the user is to be forgotten in this group: then the row is what has to go.
        """
        self._metrics.store_error("read")
        log.error("a stored profile can't be read", problem=str(error))
        slots = np.array([slot], np.intp)
        self._table.evict(slots)
        if decoded.commands is not None and user in decoded.commands.user_ids:
            self._table.allocate([user], int(self._table.partition[slot]), int(self._table.term[slot]))
            return
        events = decoded.events
        if events is None:
            return
        refusal = DecodeError(DecodeReason.PROFILE_UNREADABLE, "user_id", str(error))
        kept = []
        for place, owner in enumerate(events.user_ids):
            if owner == user:
                record = decoded.event_records[place]
                decoded.refused.append(Refused(record, dead_letter(record, refusal)))
            else:
                kept.append(place)
        decoded.events = events.take(kept) if kept else None
        decoded.event_records = [decoded.event_records[place] for place in kept]
        decoded.event_batch = decoded.event_batch[kept]

    def _check_fences(self, slot: int, user: str) -> None:
        partition = int(self._table.partition[slot])
        for column, (topic, topic_id) in enumerate(self._table.columns):
            fence = int(self._table.applied_offsets[slot, column])
            if fence:
                end = self._log_end(LogId(topic, topic_id, partition), fence)
                if fence > end:
                    raise AppliedOffsetBeyondLog(
                        f"Topic {topic!r} partition {partition} ends at offset {end}, but the profile of {user!r} has "
                        f"counted events up to {fence}: the log was cut, and new events below that offset would be "
                        "skipped. Restore the log, or delete the topic and create it again (a new topic counts anew)."
                    )

    async def _apply(self, decoded: Decoded, slots: dict[str, int], term: int) -> None:
        self.apply_index_updates()
        if decoded.events is not None:
            await self._apply_events(decoded, decoded.events, slots, term)
        if decoded.commands is not None:
            for user in self._apply_commands(decoded.commands, slots):
                await asyncio.to_thread(self._emitter.recommend, user, None)
            for topic, count in Counter(decoded.batches[place].topic for place in decoded.command_batch).items():
                self._metrics.events(topic, "command", count)
        if decoded.refused or decoded.misplaced:
            await asyncio.to_thread(self._send_on, decoded)
        for refused in decoded.refused:
            self._metrics.dead_letter(refused.record.topic, refused.letter.reason)
            self._metrics.events(refused.record.topic, "dead")
        for topic, count in Counter(one.record.topic for one in decoded.misplaced).items():
            self._metrics.events(topic, "rerouted", count)
            self._metrics.rerouted(topic, count)
            self._warn_of_partitioner(topic, count, sum(len(one) for one in decoded.batches if one.topic == topic))

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
        """New item vectors into the index, and what waited for them into the sums; call with the state_lock held."""
        space = self._serving.space
        changed = space.updates.apply(space.index)
        if changed:
            fold_pending(self._table, changed & self._table.waiting_for.keys(), space.index, space.sums)
            self._metrics.items(len(space.index))

    async def _apply_events(self, decoded: Decoded, events: EventBatch, slots: dict[str, int], term: int) -> None:
        places = np.fromiter((slots[user] for user in events.user_ids), np.intp, len(events))
        with self._metrics.stage("quality"):
            checked = self._quality.check(events, places)
        with self._metrics.stage("update"):
            space = self._serving.space
            applied = apply_batch(self._table, events, places, space.index, space.sums)
        counted = applied.events
        with self._metrics.stage("quality"):
            self._quality.record(checked, events, places, counted)
            self._statistics.demanded(checked.rows[counted])
            self._count(decoded, applied)
            item_ids = [events.item_ids[i] for i in counted.tolist()]
            partitions = self._table.partition[places[counted]]
            self._trending.count(partitions, item_ids, events.types[counted], events.times[counted])
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
        """Carry them out; returns the users whose recommendations have to go."""
        forgotten = []
        columns = (commands.user_ids, commands.sources, commands.offsets, commands.written)
        for user, source, offset, written_ms in zip(*columns, strict=True):
            slot = slots[user]
            if self._table.apply_once(slot, source, offset):
                self._table.wipe(slot, written_ms)
                forgotten.append(user)
                log.info("forgot a user", partition=int(self._table.partition[slot]))
        return forgotten


def _partition_of_users(decoded: Decoded) -> dict[str, int]:
    """Every user of the group, once: a user's events are all of one partition."""
    found: dict[str, int] = {}
    if decoded.events is not None:
        partitions = np.array([batch.partition for batch in decoded.batches])[decoded.event_batch].tolist()
        found |= zip(decoded.events.user_ids, partitions, strict=True)
    if decoded.commands is not None:
        partitions = [decoded.batches[place].partition for place in decoded.command_batch]
        found |= zip(decoded.commands.user_ids, partitions, strict=True)
    return found


def _last_event_of_each(slots: IntpArray, events: IntpArray) -> tuple[IntpArray, IntpArray]:
    """Each touched slot and the last of its events."""
    touched, from_end = np.unique(slots[events][::-1], return_index=True)
    return touched, events[::-1][from_end]
