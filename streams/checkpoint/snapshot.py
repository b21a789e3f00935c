"""Snapshots: copies of dirty slots, which are saved while processing continues."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import eq
from typing import Any

import numpy as np

from streams.arrays import IntpArray
from streams.kafka.log_id import LogId
from streams.state.applied_offsets import OtherLog, Span
from streams.state.pending_events import PendingEvent
from streams.state.profile_columns import ProfileColumn
from streams.state.profile_table import OtherSums, ProfileTable
from streams.state.user_actions import UserActions


@dataclass(frozen=True)
class ProfileSnapshot:
    """Copies of dirty slots, taken between two micro-batches: processing continues while they are saved."""

    slots: IntpArray
    user_ids: list[str]
    arrays: dict[str, Any]
    pending: dict[int, list[PendingEvent]]
    other_sums: dict[int, list[OtherSums]]
    actions: dict[int, UserActions]
    other_logs: dict[int, dict[LogId, OtherLog]]
    closed_spans: dict[int, dict[LogId, list[Span]]]
    columns: tuple[ProfileColumn, ...]
    logs: list[tuple[str, str]]
    partition_count: int
    encoder_versions: list[str]
    encoder: str

    def __len__(self) -> int:
        return len(self.slots)

    def parts(self, size: int) -> Iterator["ProfileSnapshot"]:
        """Split the snapshot into snapshots of up to ``size`` slots."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            arrays = {name: array[part] for name, array in self.arrays.items()}
            yield replace(self, slots=self.slots[part], user_ids=self.user_ids[part], arrays=arrays)


def take_snapshot(table: ProfileTable, slots: IntpArray, encoder: str) -> ProfileSnapshot:
    """Copy slots, and mark them as clean and as being saved."""
    chosen = slots.tolist()
    snapshot = ProfileSnapshot(
        slots=slots,
        user_ids=[table.user_ids[slot] or "" for slot in chosen],
        arrays={column.name: table.arrays[column.name].take(slots, axis=0) for column in table.columns if column.saved},
        pending={slot: list(table.pending.by_slot[slot]) for slot in chosen if slot in table.pending.by_slot},
        other_sums={slot: list(table.other_sums[slot]) for slot in chosen if slot in table.other_sums},
        actions=_copied_actions(table, chosen),
        other_logs={slot: dict(table.offsets.others[slot]) for slot in chosen if slot in table.offsets.others},
        closed_spans={
            slot: {log: list(spans) for log, spans in table.offsets.closed[slot].items()}
            for slot in chosen
            if slot in table.offsets.closed
        },
        columns=table.columns,
        logs=list(table.offsets.logs),
        partition_count=table.offsets.partition_count,
        encoder_versions=list(table.encoder_versions),
        encoder=encoder,
    )
    table.dirty[slots] = False
    table.saving[slots] = True
    return snapshot


def _copied_actions(table: ProfileTable, slots: list[int]) -> dict[int, UserActions]:
    """Copy the actions of the slots that have any, with those that wait for their item's vector."""
    waiting = table.pending_taken_back.by_slot
    if not table.actions and not waiting:
        return {}
    nothing = UserActions()
    return {
        slot: table.actions.get(slot, nothing).copy(waiting.get(slot, ()))
        for slot in slots
        if slot in table.actions or slot in waiting
    }


def end_save(table: ProfileTable, snapshot: ProfileSnapshot, saved: bool) -> None:
    """End the save of a snapshot. If its rows were not saved, its slots become dirty again."""
    # a rebalance may have given a slot to another user meanwhile
    users = map(table.user_ids.__getitem__, snapshot.slots.tolist())
    same = np.fromiter(map(eq, users, snapshot.user_ids), np.bool_, len(snapshot))
    ours = snapshot.slots[same & (table.term[snapshot.slots] == snapshot.arrays["term"])]
    table.saving[ours] = False
    table.dirty[ours] |= not saved
