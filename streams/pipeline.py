"""What happens to batches of the inputs: decode, load, update, rank, emit, and hand over to the checkpoint."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import structlog

from schemas.errors import DecodeError, DecodeReason
from streams.batch import CommandBatch, EventBatch
from streams.checkpoint import Checkpoint
from streams.decoding import Decoded, Decoder, Refused, dead_letter
from streams.emitter import Emitter
from streams.list_statistics import ListStatistics
from streams.metrics import Metrics
from streams.moving import carry
from streams.online_quality import OnlineQuality
from streams.ownership import Assignment, Ownership
from streams.preference import IntpArray
from streams.profile_rows import fill_slot
from streams.profile_state import StateError
from streams.profiles import ProfileTable, Source, TableFull
from streams.recommend import Recommender
from streams.retry import Backoff
from streams.space import Serving
from streams.stores.base import ProfileStore, StoredProfile, StoreError, StoreMisconfigured
from streams.transport import RecordBatch
from streams.trending import Trending
from streams.update import OUTCOMES, apply_batch, fold_pending, fold_spilled

log = structlog.get_logger(__name__)


_WARN_EVERY_S = 60.0
_WARN_FROM = 10  # a few are somebody's mistake, many are a setting


class FenceBeyondLog(Exception):
    """A profile counted events that the log does not hold (any more): it was cut."""


class Pipeline:
    """One group of batches at a time; those of a past assignment are dropped, as their new owner reads them again."""

    def __init__(
        self,
        table: ProfileTable,
        store: ProfileStore,
        decoder: Decoder,
        serving: Serving,
        recommender: Recommender,
        trending: Trending,
        emitter: Emitter,
        checkpoint: Checkpoint,
        ownership: Ownership,
        metrics: Metrics,
        max_dirty_users: int,
        log_end: Callable[[Source, int], int],
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
        self._warn_after = 0.0
        self.accepting = True
        """False while handing over: the batch in hand is finished, no other is begun."""

    async def process(self, group: Sequence[Any]) -> bool:
        """Process batches of one assignment; False if it passed before they were in the state.

        Parameters
        ----------
        group : Faust events of `RecordBatch`es in order of arrival, as `streams.intake` puts them together
        """
        batches: list[RecordBatch] = [event.value for event in group]
        assignment = await self._ownership.wait(batches[0].epoch)
        if assignment is None or not self.accepting:
            return False
        for batch in batches:
            self._metrics.batch(batch.topic, len(batch))
        with self._metrics.stage("decode"):
            decoded = [self._decoder.decode(batch, assignment.partition_count) for batch in batches]
        partition_of = _partition_of_users(decoded)
        while True:
            if not await self._wait_for_room(assignment):
                return False
            rows = await self._load(list(partition_of), assignment)
            if rows is None:
                return False
            async with self._checkpoint.boundary:
                if not self._goes_on(assignment):
                    return False
                try:
                    slots = self._slots(decoded, partition_of, rows, assignment.term)
                except TableFull:
                    self._metrics.wait("dirty-budget")
                else:
                    await self._apply(decoded, slots, assignment.term)
                    for event in group:
                        self._checkpoint.add(event)
                    self._metrics.users(len(self._table), self._table.dirty_count)
                    return True
            await self._checkpoint.advanced(1.0)

    def _goes_on(self, assignment: Assignment) -> bool:
        return self.accepting and self._ownership.is_current(assignment)

    async def _wait_for_room(self, assignment: Assignment) -> bool:
        """Wait while too much is unsaved; False if the assignment passed."""
        while self._goes_on(assignment):
            if self._table.dirty_count < self._max_dirty:
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
        self, decoded: list[Decoded], partition_of: dict[str, int], rows: dict[str, StoredProfile], term: int
    ) -> dict[str, int]:
        """Slots of all users of the batches, loaded or blank."""
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
            space.wanted |= carry(self._table, fresh.tolist(), space.maps, space.sums.half_life_s)
            # not all of them are ranked in this batch, and all may be saved
            if moved:
                self._recommender.note_preferences(np.array(moved, np.intp))
            slots = self._table.find(users)
        return dict(zip(users, slots.tolist(), strict=True))

    def _set_aside(self, batches: list[Decoded], slot: int, user: str, error: StateError) -> None:
        """One row that can't be read must not stop the shop: that user's events become dead letters.

        Unless the user is to be forgotten in this batch: then the row is what has to go.
        """
        self._metrics.store_error("read")
        log.error("a stored profile can't be read", problem=str(error))
        slots = np.array([slot], np.intp)
        self._table.evict(slots)
        if any(decoded.commands is not None and user in decoded.commands.user_ids for decoded in batches):
            self._table.allocate([user], int(self._table.partition[slot]), int(self._table.term[slot]))
            return
        refusal = DecodeError(DecodeReason.PROFILE_UNREADABLE, "user_id", str(error))
        for decoded in batches:
            events = decoded.events
            if events is None or user not in events.user_ids:
                continue
            kept = []
            for place, owner in enumerate(events.user_ids):
                if owner == user:
                    record = decoded.event_records[place]
                    decoded.refused.append(Refused(record, dead_letter(record, refusal)))
                else:
                    kept.append(place)
            decoded.events = events.take(kept) if kept else None
            decoded.event_records = [decoded.event_records[place] for place in kept]

    def _check_fences(self, slot: int, user: str) -> None:
        partition = int(self._table.partition[slot])
        for column, (topic, topic_id) in enumerate(self._table.columns):
            fence = int(self._table.fences[slot, column])
            if fence:
                end = self._log_end(Source(topic, topic_id, partition), fence)
                if fence > end:
                    raise FenceBeyondLog(
                        f"Topic {topic!r} partition {partition} ends at offset {end}, but the profile of {user!r} has "
                        f"counted events up to {fence}: the log was cut, and new events below that offset would be "
                        "skipped. Restore the log, or delete the topic and create it again (a new topic counts anew)."
                    )

    async def _apply(self, batches: list[Decoded], slots: dict[str, int], term: int) -> None:
        self.apply_index_updates()
        with_events = [decoded for decoded in batches if decoded.events is not None]
        if with_events:
            await self._apply_events(with_events, slots, term)
        for decoded in batches:
            if decoded.commands is not None:
                for user in self._apply_commands(decoded.commands, slots):
                    await asyncio.to_thread(self._emitter.recommend, user, None)
                self._metrics.events(decoded.topic, "command", len(decoded.commands))
            if decoded.refused or decoded.misplaced:
                await asyncio.to_thread(self._send_on, decoded)
            for refused in decoded.refused:
                self._metrics.dead_letter(decoded.topic, refused.letter.reason)
            self._metrics.events(decoded.topic, "dead", len(decoded.refused))
            self._metrics.events(decoded.topic, "rerouted", len(decoded.misplaced))
            if decoded.misplaced:
                self._metrics.rerouted(decoded.topic, len(decoded.misplaced))
                self._warn_of_partitioner(decoded)

    def _warn_of_partitioner(self, decoded: Decoded) -> None:
        misplaced = len(decoded.misplaced)
        if misplaced > _WARN_FROM and misplaced * 2 > decoded.records and time.monotonic() > self._warn_after:
            self._warn_after = time.monotonic() + _WARN_EVERY_S
            log.warning(
                "most events come on another partition than their user's and are sent on, which costs time: "
                "do producers hash as kafka.input_partitioner says, and key by user id?",
                topic=decoded.topic,
                misplaced=misplaced,
                of=decoded.records,
            )

    def _send_on(self, decoded: Decoded) -> None:
        self._emitter.refuse(decoded.refused)
        self._emitter.reroute(decoded.misplaced)

    def apply_index_updates(self) -> None:
        """New item vectors into the index, and what waited for them into the sums; call with the boundary held."""
        space = self._serving.space
        changed = space.updates.apply(space.index)
        if changed:
            fold_pending(self._table, changed & self._table.waiting_for.keys(), space.index, space.sums)
            self._metrics.items(len(space.index))

    async def _apply_events(self, batches: list[Decoded], slots: dict[str, int], term: int) -> None:
        parts = [decoded.events for decoded in batches if decoded.events is not None]
        events = EventBatch.join(parts)
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
        start = 0
        for decoded, part in zip(batches, parts, strict=True):
            own = slice(start, start + len(part))
            start += len(part)
            for name, count in zip(OUTCOMES, np.bincount(applied.outcome[own], minlength=len(OUTCOMES)), strict=True):
                self._metrics.events(decoded.topic, name, int(count))
            taken = np.flatnonzero(applied.outcome[own] == 0)
            item_ids = [part.item_ids[i] for i in taken.tolist()]
            self._trending.count(decoded.partition, item_ids, part.types[taken], part.times[taken])
        if len(counted) == 0:
            return
        touched, causes = _last_event_of_each(places, counted)
        await asyncio.to_thread(self._recommender.refresh, events, touched, causes, term)

    def _apply_commands(self, commands: CommandBatch, slots: dict[str, int]) -> list[str]:
        """Carry them out; returns the users whose recommendations have to go."""
        forgotten = []
        columns = (commands.user_ids, commands.sources, commands.offsets, commands.received)
        for user, source, offset, written_ms in zip(*columns, strict=True):
            slot = slots[user]
            if self._table.pass_fence(slot, source, offset):
                self._table.wipe(slot, written_ms)
                forgotten.append(user)
                log.info("forgot a user", partition=int(self._table.partition[slot]))
        return forgotten


def _partition_of_users(batches: list[Decoded]) -> dict[str, int]:
    """Every user of the batches, once: a user's events are all of one partition."""
    return {
        user: decoded.partition
        for decoded in batches
        for part in (decoded.events, decoded.commands)
        for user in _users(part)
    }


def _users(batch: EventBatch | CommandBatch | None) -> Sequence[str]:
    return batch.user_ids if batch is not None else ()


def _last_event_of_each(slots: IntpArray, events: IntpArray) -> tuple[IntpArray, IntpArray]:
    """Each touched slot and the last of its events."""
    touched, from_end = np.unique(slots[events][::-1], return_index=True)
    return touched, events[::-1][from_end]
