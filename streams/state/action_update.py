"""Applies actions to the profiles: refunds, removals from the cart, hidden items, and consents.

Refunds and removals from the cart are added to the sums at once, as events with a negative vector. Sums commute, so an
action may also come before its purchase.
"""

from typing import Final

import numpy as np

from encoders.index.item_index import ItemIndex
from schemas.actions import CartRemoval, Refund
from schemas.events import CLICK, PURCHASE
from streams.arrays import IntpArray, UInt8Array
from streams.decode.event_batch import ActionBatch
from streams.kafka.log_id import LogId
from streams.state.pending_events import PendingEvent
from streams.state.profile_table import NO_TIMESTAMP, ProfileTable
from streams.state.profile_update import OUTCOMES, SumsConfig, fold_taken_back
from streams.state.user_actions import UserActions

_APPLIED, _FORGOTTEN, _REPLAYED, _DUPLICATE = range(len(OUTCOMES))
_TAKES_BACK: Final = {Refund: PURCHASE, CartRemoval: CLICK}
"""Type of the event whose weight an action takes back."""


def apply_actions(
    table: ProfileTable, batch: ActionBatch, slots: IntpArray, index: ItemIndex, config: SumsConfig
) -> UInt8Array:
    """Apply every action that is neither replayed nor a duplicate exactly once.

    Parameters
    ----------
    table : ProfileTable that holds all users of the batch
    batch : ActionBatch of B actions
    slots : intp array of shape (B,), the slot of each action's user

    Returns
    -------
    uint8 array of shape (B,): the outcome of each action, an index in `streams.state.profile_update.OUTCOMES`
    """
    events = batch.events
    outcome = np.empty(len(batch), np.uint8)
    taken_back: list[tuple[int, PendingEvent]] = []
    columns = (slots, events.source, events.offsets, events.written, events.received, events.items, events.ids)
    for number, (action, values) in enumerate(
        zip(batch.actions, zip(*(column.tolist() for column in columns), strict=True), strict=True)
    ):
        slot, source, offset, written_ms, received_ms, item, identity = values
        outcome[number] = _judge(table, slot, events.sources[source], offset, written_ms, received_ms, identity)
        if outcome[number] != _APPLIED:
            continue
        table.actions.setdefault(slot, UserActions()).note(
            action, item, written_ms or NO_TIMESTAMP, table.shape.purchases
        )
        kind = _TAKES_BACK.get(type(action))
        if kind is not None:
            taken_back.append((slot, PendingEvent(item, kind, action.event_time_ms, identity)))
    if taken_back:
        fold_taken_back(table, taken_back, index, config)
    return outcome


def _judge(
    table: ProfileTable, slot: int, source: LogId, offset: int, written_ms: int, received_ms: int, identity: int
) -> int:
    if not table.offsets.apply_once(slot, source, offset, received_ms):
        return _REPLAYED
    table.dirty[slot] = True
    if 0 < written_ms <= table.forgotten_ms[slot]:
        return _FORGOTTEN
    if not table.remember(slot, identity):
        table.duplicates[slot] += 1
        return _DUPLICATE
    table.forgotten[slot] = False
    return _APPLIED
