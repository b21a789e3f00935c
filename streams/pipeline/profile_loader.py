"""Brings the users of a micro-batch into memory: from stored rows, or with blank slots; sets unreadable rows aside."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import structlog

from schemas.errors import DecodeError, DecodeReason
from streams.checkpoint.profile_rows import fill_slot
from streams.checkpoint.stored_profile import NewerState, StateError
from streams.decode.dead_letter import Refused, dead_letter
from streams.decode.decoder import Decoded
from streams.decode.event_batch import EventBatch
from streams.errors import PrefstreamError
from streams.kafka.log_id import LogId
from streams.monitoring.metrics import Metrics
from streams.rank.loaded_encoder import ActiveEncoder
from streams.rank.preference_vectors import PreferenceVectors
from streams.retry import Backoff
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import fold_pending, fold_spilled
from streams.state.version_sums import map_into
from streams.stores.base import ProfileStore, StoredProfile, StoreError, StoreMisconfigured

log = structlog.get_logger(__name__)


class AppliedOffsetBeyondLog(PrefstreamError):
    """A profile has counted events beyond the end of their log: the log was cut."""


class ProfileLoader:
    """Loads rows while other micro-batches are processed, and fills slots with the state lock held."""

    def __init__(
        self,
        *,
        table: ProfileTable,
        store: ProfileStore,
        active: ActiveEncoder,
        preference_vectors: PreferenceVectors,
        metrics: Metrics,
        log_end: Callable[[LogId, int], int],
    ) -> None:
        """``log_end`` returns the end offset of a log; it asks the broker if the known end is below the given one."""
        self._table, self._store, self._active = table, store, active
        self._preference_vectors, self._metrics = preference_vectors, metrics
        self._log_end = log_end

    async def load(self, users: Sequence[str], goes_on: Callable[[], bool]) -> dict[str, StoredProfile] | None:
        """Load the rows of users that are not in memory.

        A store that does not answer is asked again, until ``goes_on`` returns False, as the assignment has ended. The
        result is then None.
        """
        slots = self._table.find(users)
        missed = [user for user, slot in zip(users, slots.tolist(), strict=True) if slot < 0]
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
            if not goes_on():
                return None
            await backoff.sleep()
        return {}

    def fill(
        self, decoded: Decoded, partition_of: Mapping[str, int], rows: Mapping[str, StoredProfile], term: int
    ) -> dict[str, int]:
        """Give every user of a micro-batch a slot, loaded or blank, and return the slots by user.

        A user whose row can't be read gets no slot: the user's events move to ``decoded.refused``.

        Parameters
        ----------
        partition_of : the partition of each user
        rows : the result of ``load``
        term : the term under which new slots are held

        Raises
        ------
        TableFull
            Too few slots are clean: a checkpoint must save users first.
        AppliedOffsetBeyondLog
            A stored profile has counted events beyond the end of their log.
        """
        users = list(partition_of)
        slots = self._table.find(users)
        absent = [user for user, slot in zip(users, slots.tolist(), strict=True) if slot < 0]
        if absent:
            partitions = np.array([partition_of[user] for user in absent], np.int32)
            self._fill_absent(decoded, absent, partitions, rows, term)
            slots = self._table.find(users)
        return dict(zip(users, slots.tolist(), strict=True))

    def _fill_absent(
        self,
        decoded: Decoded,
        users: list[str],
        partitions: "np.typing.NDArray[np.int32]",
        rows: Mapping[str, StoredProfile],
        term: int,
    ) -> None:
        table, encoder = self._table, self._active.encoder
        slots = table.allocate(users, partitions, term)
        waiting: set[int] = set()
        of_other_version: list[int] = []
        for user, slot in zip(users, slots.tolist(), strict=True):
            row = rows.get(user)
            if row is None:
                continue
            try:
                spilled = fill_slot(table, slot, row, encoder.version, encoder.index, encoder.sums.half_life_s)
            except (StateError, NewerState) as error:
                self._set_aside(decoded, slot, user, error)
                continue
            fold_spilled(table, slot, spilled, encoder.index, encoder.sums)
            if row.encoder != encoder.version and row.mixed:
                of_other_version.append(slot)
            self._check_applied_offsets(slot, user)
            for pending in (table.pending, table.pending_taken_back):
                waiting.update(event.item for event in pending.by_slot.get(slot, ()))
        fold_pending(table, waiting, encoder.index, encoder.sums)
        encoder.unmapped |= map_into(table, slots.tolist(), encoder.maps, encoder.sums.half_life_s)
        # a user may be saved without being ranked in this micro-batch: note the vectors under the active encoder now
        if of_other_version:
            self._preference_vectors.note(np.array(of_other_version, np.intp))

    def _set_aside(self, decoded: Decoded, slot: int, user: str, error: StateError | NewerState) -> None:
        """Turn a user's events into dead letters, so that a row that this worker can't read does not stop it.

        The row stays as it is. If the micro-batch forgets the user, the user gets a blank slot instead, which will
        replace the row.
        """
        self._metrics.store_error("read")
        log.error("a stored profile can't be read", problem=str(error))
        table = self._table
        table.evict(np.array([slot], np.intp))
        if decoded.commands is not None and user in decoded.commands.user_ids:
            table.allocate([user], int(table.partition[slot]), int(table.term[slot]))
            return
        reason = DecodeReason.PROFILE_NEWER if isinstance(error, NewerState) else DecodeReason.PROFILE_UNREADABLE
        refusal = DecodeError(reason, "user_id", str(error))

        def refuse(record: Any) -> None:
            decoded.refused.append(Refused(record, dead_letter(record, refusal)))

        if decoded.events is not None:
            kept = _others(decoded.events, user, decoded.event_records, refuse)
            decoded.events = decoded.events.take(kept) if kept else None
            decoded.event_records = [decoded.event_records[index] for index in kept]
            decoded.event_batch = decoded.event_batch[kept]
        if decoded.actions is not None:
            kept = _others(decoded.actions.events, user, decoded.action_records, refuse)
            decoded.actions = decoded.actions.take(kept) if kept else None
            decoded.action_records = [decoded.action_records[index] for index in kept]
            decoded.action_batch = decoded.action_batch[kept]

    def _check_applied_offsets(self, slot: int, user: str) -> None:
        partition = int(self._table.partition[slot])
        for column, (topic, topic_id) in enumerate(self._table.offsets.logs):
            applied = int(self._table.applied_offsets[slot, column])
            if applied:
                end = self._log_end(LogId(topic, topic_id, partition), applied)
                if applied > end:
                    raise AppliedOffsetBeyondLog(
                        f"Topic {topic!r} partition {partition} ends at offset {end}, but the profile of {user!r} has "
                        f"counted events up to {applied}: the log was cut, and new events below that offset would be "
                        "skipped. Restore the log, or delete the topic and create it again (a new topic counts anew)."
                    )


def _others(events: EventBatch, user: str, records: Sequence[Any], refuse: Callable[[Any], None]) -> list[int]:
    """Refuse the records of a user; return the indices of the events of all others."""
    kept = []
    for index, owner in enumerate(events.user_ids):
        if owner != user:
            kept.append(index)
        elif not events.continues[index]:  # an order is refused once
            refuse(records[index])
    return kept
